// What changes in the kernel's routes and neighbours, and whether links or addresses did, as the kernel tells
// it. To know all that there is without a gap: open(), then list with Netlink, then read(); a change that the
// list had already comes a second time, which the reader has to bear. The kernel drops notifications that
// find no room, and says nothing at all of IPv4 routes that go with a link or an address; both come out as
// `relist`. Of the namespace of the thread that opened it; used by one thread.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "control/netlink/netlink.hpp"

struct nlmsghdr;

namespace podwire::control::netlink {

struct RouteChange {
  bool removed = false;
  // Of a new one: in place of the first of the same destination, table and metric, or behind the last.
  // Neither: before the first. (IPv6 has one of these at most, with all its next hops.)
  bool replaces = false, appends = false;
  Route route;
};

struct NeighborChange {
  bool removed = false;  // then `neighbor` may lack its MAC
  Neighbor neighbor;
};

// Whether a neighbour's change is of interest; asked of each, before anything is kept of it, because a busy
// host has many. None given: none is.
using NeighborFilter = std::function<bool(const NeighborChange&)>;

struct Changes {
  std::vector<RouteChange> routes;        // in the order in which they happened
  std::vector<NeighborChange> neighbors;  // the same
  bool relist = false;                    // there may be more than that: list anew
  bool empty() const { return size() == 0 && !relist; }
  std::size_t size() const { return routes.size() + neighbors.size(); }
};

class Monitor {
 public:
  // A routing daemon may change a hundred thousand routes at once, each of which takes almost a KiB in the
  // kernel's queue. What finds no room costs a new list.
  static constexpr int kQueueBytes = 64 << 20;
  static Result<Monitor> open(int queue_bytes = kQueueBytes);
  Monitor(Monitor&&) noexcept = default;
  Monitor& operator=(Monitor&&) noexcept = default;

  int fd() const;  // readable: there is something to read()
  // What has come by now, without waiting; not much more than `most` changes at a time.
  Result<Changes> read(std::size_t most, const NeighborFilter& matters = {});

 private:
  struct Close {
    void operator()(mnl_socket* socket) const;
  };
  explicit Monitor(mnl_socket* socket) : socket_(socket) {}

  std::unique_ptr<mnl_socket, Close> socket_;
};

// Adds what one notification says.
void note_change(const nlmsghdr* message, Changes& out, const NeighborFilter& matters = {});

}  // namespace podwire::control::netlink
