// The kernel's routes over the host interface as routes of the engine's underlay. Holds the kernel's routes
// of the tables that count, of every interface, because one over another interface takes precedence where it
// has the better metric; knows from them which routes the engine should have and how that has changed. Routes
// of Podwire's own (protocol 80) are not among them. Pure; used by one thread.
#pragma once

#include <map>
#include <vector>

#include "control/netlink/monitor.hpp"
#include "control/routing/mirrored_ids.hpp"
#include "dataplane/api/objects.hpp"

namespace podwire::control {

// Changes of the engine's routes. No id is in both.
struct RoutePatch {
  std::vector<api::Route> put;
  std::vector<RouteId> remove;
  bool empty() const { return put.empty() && remove.empty(); }
};

class RouteMirror {
 public:
  // `tables` in their order of precedence; `uplink` is the engine's port for the host interface.
  RouteMirror(std::vector<std::uint32_t> tables, PortId uplink);

  // Everything that there is; what is not among it has gone. `link` is the host interface's index, 0: there
  // is none.
  void reset(unsigned link, std::vector<netlink::Route> routes);
  void apply(netlink::RouteChange change);
  // What has changed for the engine since the last call.
  RoutePatch take();

  std::size_t size() const { return ids_.size(); }  // routes that the engine should have

 private:
  struct Entry {
    // In the order in which the kernel takes them within one table and metric.
    std::vector<netlink::Route> kernel;
    RouteId id;  // 0: not mirrored
    std::vector<api::NextHop> next_hops;
    bool dirty = false;  // among dirty_
  };
  using Entries = std::map<IpPrefix, Entry>;
  void touch(Entries::iterator at);
  bool counts(const netlink::Route& route) const;
  std::size_t rank(std::uint32_t table) const;
  std::vector<api::NextHop> next_hops_of(const Entry& entry) const;

  const std::vector<std::uint32_t> tables_;
  const PortId uplink_;
  unsigned link_ = 0;
  Entries entries_;
  MirroredIds ids_;  // by prefix
  std::vector<Entries::iterator> dirty_;
};

}  // namespace podwire::control
