// The kernel's permanent neighbours on the host interface as endpoints of the engine's underlay: there they
// are known without a question, like in the kernel. Knows which of them the engine should have and how that
// has changed. Left out: what no host on link can be (zero and multicast addresses and MACs), the node
// itself, the neighbour behind which services are for the node's own programs (Podwire's own), and proxies,
// which are answers that the kernel gives. Pure; used by one thread.
#pragma once

#include <map>
#include <set>
#include <vector>

#include "control/netlink/monitor.hpp"
#include "control/routing/mirrored_ids.hpp"
#include "dataplane/api/objects.hpp"

namespace podwire::control {

// Changes of the engine's endpoints. No id is in both.
struct NeighborPatch {
  std::vector<api::Endpoint> put;
  std::vector<EndpointId> remove;
  bool empty() const { return put.empty() && remove.empty(); }
};

class NeighborMirror {
 public:
  // `uplink` is the engine's port for the host interface.
  explicit NeighborMirror(PortId uplink) : uplink_(uplink) {}

  // Everything that there is; what is not among it has gone. `link` is the host interface, with index 0 when
  // there is none; `own` are its addresses.
  void reset(const netlink::Link& link, std::set<IpAddr> own, const std::vector<netlink::Neighbor>& all);
  // Whether apply() would do anything.
  bool matters(const netlink::NeighborChange& change) const;
  void apply(const netlink::NeighborChange& change);
  // What has changed for the engine since the last call.
  NeighborPatch take();

  std::size_t size() const { return ids_.size(); }  // neighbours that the engine should have

 private:
  struct Entry {
    MacAddr kernel;  // zero: not there, or none that counts
    MacAddr engine;  // as of the last take()
    EndpointId id;   // 0: the engine has none
  };
  bool counts(const netlink::Neighbor& neighbor) const;

  const PortId uplink_;
  netlink::Link link_;
  std::set<IpAddr> own_;
  std::map<IpAddr, Entry> entries_;
  MirroredIds ids_;  // by address
  std::set<IpAddr> dirty_;
};

}  // namespace podwire::control
