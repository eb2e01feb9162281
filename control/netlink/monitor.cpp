#include "control/netlink/monitor.hpp"

#include <libmnl/libmnl.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <sys/socket.h>

#include <cerrno>

#include "control/netlink/parse.hpp"

namespace podwire::control::netlink {
namespace {

constexpr std::size_t kDatagramBytes = 65536;

}  // namespace

void Monitor::Close::operator()(mnl_socket* socket) const {
  mnl_socket_close(socket);
}

Result<Monitor> Monitor::open(int queue_bytes) {
  mnl_socket* const socket = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | SOCK_NONBLOCK);
  if (socket == nullptr) return errno_error("netlink socket");
  Monitor monitor(socket);
  // Beyond the system's limit where we may; a shorter queue only means lists.
  ::setsockopt(mnl_socket_get_fd(socket), SOL_SOCKET, SO_RCVBUFFORCE, &queue_bytes, sizeof queue_bytes);
  constexpr unsigned kGroups =
      RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE | RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_NEIGH;
  if (mnl_socket_bind(socket, kGroups, MNL_SOCKET_AUTOPID) < 0)
    return errno_error("subscribe to the kernel's routes and neighbours");
  return monitor;
}

int Monitor::fd() const {
  return mnl_socket_get_fd(socket_.get());
}

Result<Changes> Monitor::read(std::size_t most, const NeighborFilter& matters) {
  Changes out;
  std::vector<char> buffer(kDatagramBytes);
  while (out.size() < most) {
    const auto got = mnl_socket_recvfrom(socket_.get(), buffer.data(), buffer.size());
    if (got < 0) {
      if (errno == EINTR) continue;
      if (errno == EAGAIN || errno == EWOULDBLOCK) break;
      // ENOBUFS: the queue was full; ENOSPC: a datagram larger than the buffer, which is as good as lost.
      if (errno != ENOBUFS && errno != ENOSPC)
        return errno_error("read the kernel's changes of routes and neighbours");
      out.relist = true;
      continue;
    }
    int left = static_cast<int>(got);
    for (auto* m = reinterpret_cast<nlmsghdr*>(buffer.data()); mnl_nlmsg_ok(m, left);
         m = mnl_nlmsg_next(m, &left))
      note_change(m, out, matters);
  }
  return out;
}

void note_change(const nlmsghdr* message, Changes& out, const NeighborFilter& matters) {
  switch (message->nlmsg_type) {
    case RTM_NEWROUTE:
    case RTM_DELROUTE:
      if (Route route; parse_route(message, route)) {
        const bool removed = message->nlmsg_type == RTM_DELROUTE;
        out.routes.push_back({.removed = removed,
                              .replaces = !removed && (message->nlmsg_flags & NLM_F_REPLACE) != 0,
                              .appends = !removed && (message->nlmsg_flags & NLM_F_APPEND) != 0,
                              .route = std::move(route)});
      }
      break;
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH: {
      NeighborChange change;
      change.removed = message->nlmsg_type == RTM_DELNEIGH;
      if (matters && parse_neighbor(message, change.neighbor) && matters(change))
        out.neighbors.push_back(change);
      break;
    }
    case RTM_NEWLINK:
    case RTM_DELLINK:
    case RTM_DELADDR:
      out.relist = true;
      break;
    default:
      break;
  }
}

}  // namespace podwire::control::netlink
