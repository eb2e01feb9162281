// rtnetlink over libmnl: links, addresses, routes, neighbours and the per-interface IPv6 switches, always of
// the calling thread's network namespace (enter it with NetnsGuard first). A Netlink object belongs to the
// thread that opened it and stays in the namespace it was opened in. Every error names the object and carries
// the kernel's text. Left out: monitoring (monitor.hpp), and interface kinds other than the few that the node
// and the tests need.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/base/addresses.hpp"
#include "dataplane/base/result.hpp"

struct mnl_socket;

namespace podwire::control::netlink {

struct Link {
  unsigned index = 0;
  std::string name;
  MacAddr mac;  // zero when the link has none of six bytes
  unsigned mtu = 0;
  bool up = false;       // administratively
  bool carrier = false;  // IFF_LOWER_UP: somebody is at the other end
  std::string kind;      // "veth", "tun", "vxlan", ...; empty for hardware
  unsigned master = 0;   // index of the bridge or bond it is in; 0: none
};

struct Address {
  unsigned link = 0;           // index; 0 in a query result never happens
  IpPrefix prefix;             // address with the on-link length
  bool nodad = false;          // IPv6: usable at once, no duplicate address detection
  bool noprefixroute = false;  // the kernel adds no on-link route
  bool deprecated = false;     // IPv6: nobody's choice for new connections (RFC 4862 section 5.5.4)
  bool tentative = false;      // read only: detection is running, or has failed
  bool dynamic = false;        // read only: has a lifetime (DHCP, router advertisement)
  std::uint8_t scope = 0;      // RT_SCOPE_*
};

// Routing protocol number (rtm_protocol) of routes that Podwire adds.
inline constexpr std::uint8_t kRouteProtocol = 80;
inline constexpr std::uint32_t kMainTable = 254;

struct RouteNextHop {
  std::optional<IpAddr> gateway;
  unsigned link = 0;
  std::uint16_t weight = 1;  // 1..256
  bool onlink = false;
  bool operator==(const RouteNextHop&) const = default;
};

struct Route {
  IpPrefix destination;  // length 0: default
  std::optional<IpAddr> gateway;
  unsigned link = 0;             // outgoing interface's index; 0: none (blackhole, or next_hops)
  std::optional<IpAddr> source;  // preferred source
  std::uint32_t metric = 0;      // 0: the kernel's default
  std::uint8_t protocol = kRouteProtocol;
  std::uint8_t scope = 0;  // RT_SCOPE_*; a v4 route without gateway is added with scope link when this is 0
  std::uint8_t type = 1;   // RTN_*; 1 unicast
  std::uint32_t table = kMainTable;
  std::uint32_t mtu = 0;                // 0: the link's
  bool onlink = false;                  // the gateway is on the link though no prefix says so
  std::vector<RouteNextHop> next_hops;  // more than one way; then gateway and link are unset
};

struct Neighbor {
  unsigned link = 0;
  IpAddr address;
  MacAddr mac;              // zero: unresolved
  std::uint16_t state = 0;  // NUD_*
  std::uint8_t flags = 0;   // NTF_*
  bool permanent() const { return (state & 0x80) != 0; }
};

// Changes to make, sent together in one system call. The kernel tries every one; apply() reports the first
// that failed. Where a link is given by index, `name` is for the message only.
class Batch {
 public:
  struct LinkChange {
    std::optional<bool> up;
    std::optional<unsigned> mtu;
    std::optional<MacAddr> mac;
    std::string new_name;  // empty: keep; the link must be down
  };
  Batch& change_link(const Link& link, const LinkChange& change);
  Batch& remove_link(const Link& link);
  // Moves the link to the namespace behind the descriptor `netns`.
  Batch& move_link(const Link& link, int netns);
  Batch& add_veth(const std::string& name, const std::string& peer_name);

  // `replace`: no error when it is there already.
  Batch& add_address(const Link& link, const Address& address, bool replace = false);
  Batch& remove_address(const Link& link, const IpPrefix& prefix);

  Batch& add_route(const Route& route);  // fails when there is one of the same destination, table and metric
  Batch& replace_route(const Route& route);
  Batch& remove_route(const Route& route);

  Batch& set_neighbor(const Link& link, const IpAddr& address, const MacAddr& mac);  // permanent; replaces
  Batch& remove_neighbor(const Link& link, const IpAddr& address);

  bool empty() const { return items_.empty(); }

 private:
  friend class Netlink;
  struct Item {
    std::string what;                 // "add address 10.0.0.1/24 to eth0"
    std::vector<std::uint8_t> bytes;  // the complete netlink message
  };
  std::vector<Item> items_;
};

class Netlink {
 public:
  static Result<Netlink> open();  // in the calling thread's namespace
  Netlink(Netlink&&) noexcept = default;
  Netlink& operator=(Netlink&&) noexcept = default;

  Result<std::vector<Link>> links();
  Result<std::optional<Link>> find_link(const std::string& name);
  Result<Link> link(const std::string& name);  // kNotFound when there is none
  // `link` is an index; 0: of every link.
  Result<std::vector<Address>> addresses(unsigned link = 0);
  // `table` 0: every table. Routes of the table "local" come only when asked for by number.
  Result<std::vector<Route>> routes(unsigned link = 0, std::uint32_t table = kMainTable);
  Result<std::vector<Neighbor>> neighbors(unsigned link = 0);

  // kConflict for EEXIST and EBUSY, kNotFound for ENODEV, ENOENT, ESRCH and EADDRNOTAVAIL, kInvalid for
  // EINVAL, else kIo.
  Result<void> apply(const Batch& batch);

 private:
  struct Close {
    void operator()(mnl_socket* socket) const;
  };
  explicit Netlink(mnl_socket* socket) : socket_(socket) {}
  template <class T>
  Result<std::vector<T>> dump(std::vector<std::uint8_t> request, const char* what);
  Result<void> check_answers(const Batch& batch, std::size_t begin, std::size_t end, unsigned first_sequence);

  std::unique_ptr<mnl_socket, Close> socket_;
  unsigned sequence_ = 1;
};

// /proc/sys/net/ipv6/conf/<ifname>/<key> of the calling thread's namespace. kNotFound when the kernel or the
// namespace has no IPv6 or no such interface.
Result<int> read_ipv6_sysctl(const std::string& ifname, const std::string& key);
Result<void> write_ipv6_sysctl(const std::string& ifname, const std::string& key, int value);

}  // namespace podwire::control::netlink
