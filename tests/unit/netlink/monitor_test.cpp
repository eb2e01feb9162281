#include "control/netlink/monitor.hpp"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <poll.h>

#include <cstring>

#include "tests/unit/netlink/private_netns.hpp"

namespace podwire::control::netlink {
namespace {

// A message as the kernel writes it, in memory of exactly its size.
class Notification {
 public:
  Notification(std::uint16_t type, std::uint16_t flags, std::uint8_t family, std::uint8_t length) {
    auto* const header = mnl_nlmsg_put_header(buffer_);
    header->nlmsg_type = type;
    header->nlmsg_flags = flags;
    auto* const head = static_cast<rtmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(rtmsg)));
    head->rtm_family = family;
    head->rtm_dst_len = length;
    head->rtm_protocol = 186;
    head->rtm_type = RTN_UNICAST;
    head->rtm_table = RT_TABLE_MAIN;
  }
  nlmsghdr* header() { return reinterpret_cast<nlmsghdr*>(buffer_); }
  // The first `bytes` of it, with a header that says so.
  std::vector<std::uint8_t> cut(std::size_t bytes) {
    std::vector<std::uint8_t> out(bytes);
    std::memcpy(out.data(), buffer_, bytes);
    reinterpret_cast<nlmsghdr*>(out.data())->nlmsg_len = static_cast<std::uint32_t>(bytes);
    return out;
  }
  std::size_t size() { return header()->nlmsg_len; }
  Changes read() {
    auto whole = cut(size());
    Changes out;
    note_change(reinterpret_cast<const nlmsghdr*>(whole.data()), out);
    return out;
  }

 private:
  alignas(8) char buffer_[1024]{};
};

Notification multipath_route() {
  Notification message(RTM_NEWROUTE, NLM_F_REPLACE, AF_INET, 24);
  mnl_attr_put_u32(message.header(), RTA_DST, htonl(0x0a010000));
  mnl_attr_put_u32(message.header(), RTA_PRIORITY, 32);
  auto* const nest = mnl_attr_nest_start(message.header(), RTA_MULTIPATH);
  for (std::uint32_t i = 1; i <= 2; ++i) {
    auto* const hop =
        static_cast<rtnexthop*>(mnl_nlmsg_put_extra_header(message.header(), sizeof(rtnexthop)));
    hop->rtnh_ifindex = 7;
    hop->rtnh_hops = static_cast<std::uint8_t>(i - 1);
    const auto begin = message.size() - sizeof(rtnexthop);
    mnl_attr_put_u32(message.header(), RTA_GATEWAY, htonl(0xc0000200 + i));
    hop->rtnh_len = static_cast<std::uint16_t>(message.size() - begin);
  }
  mnl_attr_nest_end(message.header(), nest);
  return message;
}

TEST(MonitorMessages, TellWhatBecameOfARoute) {
  const auto changes = multipath_route().read();
  ASSERT_EQ(changes.routes.size(), 1u);
  const auto& change = changes.routes[0];
  EXPECT_FALSE(change.removed);
  EXPECT_TRUE(change.replaces);
  EXPECT_EQ(to_string(change.route.destination), "10.1.0.0/24");
  EXPECT_EQ(change.route.metric, 32u);
  EXPECT_EQ(change.route.protocol, 186);
  ASSERT_EQ(change.route.next_hops.size(), 2u);
  EXPECT_EQ(to_string(*change.route.next_hops[1].gateway), "192.0.2.2");
  EXPECT_EQ(change.route.next_hops[1].link, 7u);
  EXPECT_EQ(change.route.next_hops[1].weight, 2);
  Notification gone(RTM_DELROUTE, 0, AF_INET6, 0);
  EXPECT_TRUE(gone.read().routes.at(0).removed);
}

TEST(MonitorMessages, KnowGatewaysOfTheOtherFamily) {
  Notification message(RTM_NEWROUTE, 0, AF_INET, 16);
  mnl_attr_put_u32(message.header(), RTA_DST, htonl(0x0a010000));
  std::uint8_t via[18]{};
  via[0] = AF_INET6;
  via[2] = 0xfe, via[3] = 0x80, via[17] = 1;
  mnl_attr_put(message.header(), RTA_VIA, sizeof via, via);
  const auto changes = message.read();
  ASSERT_EQ(changes.routes.size(), 1u);
  EXPECT_EQ(to_string(*changes.routes[0].route.gateway), "fe80::1");
}

TEST(MonitorMessages, AreReadWithinTheirLength) {
  auto whole = multipath_route();
  for (std::size_t bytes = sizeof(nlmsghdr); bytes < whole.size(); ++bytes) {
    const auto part = whole.cut(bytes);
    Changes out;
    note_change(reinterpret_cast<const nlmsghdr*>(part.data()), out);
    if (bytes < sizeof(nlmsghdr) + sizeof(rtmsg)) {
      EXPECT_TRUE(out.empty()) << bytes;
    }
    for (const auto& change : out.routes) EXPECT_LE(change.route.next_hops.size(), 2u);
  }
}

TEST(MonitorMessages, LeaveOutWhatIsNoRoute) {
  Notification bridge(RTM_NEWROUTE, 0, AF_BRIDGE, 0);
  EXPECT_TRUE(bridge.read().empty());
  Notification cached(RTM_NEWROUTE, 0, AF_INET, 32);
  static_cast<rtmsg*>(mnl_nlmsg_get_payload(cached.header()))->rtm_flags = RTM_F_CLONED;
  EXPECT_TRUE(cached.read().empty());
  Notification link(RTM_DELLINK, 0, AF_INET, 0);
  EXPECT_TRUE(link.read().relist);
}

// What has come within a bounded time, until `enough`.
Changes gather(Monitor& monitor, const std::function<bool(const Changes&)>& enough) {
  Changes all;
  for (int i = 0; i < 200 && !enough(all); ++i) {
    pollfd watched{monitor.fd(), POLLIN, 0};
    ::poll(&watched, 1, 50);
    auto more = monitor.read(1000);
    EXPECT_TRUE(more) << more.error().message;
    if (!more) break;
    all.relist |= more->relist;
    for (auto& change : more->routes) all.routes.push_back(std::move(change));
  }
  return all;
}

void in_netns_with_veth(const std::function<void(Netlink&, const Link&)>& body) {
  run_in_netns(-1, [&] {
    auto kernel = Netlink::open();
    ASSERT_TRUE(kernel) << kernel.error().message;
    ASSERT_TRUE(kernel->apply(Batch().add_veth("a0", "a1")));
    for (const char* name : {"a1", "a0"}) {
      const auto link = kernel->link(name);
      ASSERT_TRUE(link);
      ASSERT_TRUE(
          kernel->apply(Batch().change_link(*link, {.up = true, .mtu = {}, .mac = {}, .new_name = {}})));
    }
    Address address;
    address.prefix = *parse_prefix("192.0.2.1/24");
    const auto link = kernel->link("a0");
    ASSERT_TRUE(kernel->apply(Batch().add_address(*link, address)));
    body(*kernel, *link);
  });
}

Route route_over(const Link& link, std::uint32_t number) {
  Route route;
  route.destination = {IpAddr(Ipv4::from_u32(0x0a000000 + (number << 8))), 24};
  route.gateway = *parse_ip("192.0.2.9");
  route.link = link.index;
  route.protocol = 186;
  return route;
}

TEST(Monitor, HearsOfRoutesThatComeAndGo) {
  in_netns_with_veth([](Netlink& kernel, const Link& link) {
    auto monitor = Monitor::open();
    ASSERT_TRUE(monitor) << monitor.error().message;
    ASSERT_TRUE(kernel.apply(Batch().add_route(route_over(link, 1)).add_route(route_over(link, 2))));
    ASSERT_TRUE(kernel.apply(Batch().remove_route(route_over(link, 1))));
    const auto heard = gather(*monitor, [](const Changes& all) { return all.routes.size() >= 3; });
    ASSERT_EQ(heard.routes.size(), 3u);
    EXPECT_EQ(to_string(heard.routes[0].route.destination), "10.0.1.0/24");
    EXPECT_FALSE(heard.routes[1].removed);
    EXPECT_TRUE(heard.routes[2].removed);
    EXPECT_EQ(heard.routes[2].route.destination, heard.routes[0].route.destination);
  });
}

TEST(Monitor, HearsOfThoseNeighborsThatMatter) {
  in_netns_with_veth([](Netlink& kernel, const Link& link) {
    auto monitor = Monitor::open();
    ASSERT_TRUE(monitor);
    const auto wanted = *parse_ip("192.0.2.9"), other = *parse_ip("192.0.2.8"), last = *parse_ip("192.0.2.7");
    const auto mac = MacAddr::from_u64(0x020000000009);
    Batch batch;
    for (const auto& address : {other, wanted}) batch.set_neighbor(link, address, mac);
    for (const auto& address : {other, wanted}) batch.remove_neighbor(link, address);
    batch.set_neighbor(link, last, mac);
    ASSERT_TRUE(kernel.apply(batch));
    std::vector<NeighborChange> heard;
    for (int i = 0; i < 200 && (heard.empty() || heard.back().neighbor.address != last); ++i) {
      pollfd watched{monitor->fd(), POLLIN, 0};
      ::poll(&watched, 1, 50);
      const auto more =
          monitor->read(1000, [&](const NeighborChange& one) { return one.neighbor.address != other; });
      ASSERT_TRUE(more) << more.error().message;
      heard.insert(heard.end(), more->neighbors.begin(), more->neighbors.end());
    }
    ASSERT_GE(heard.size(), 3u);
    EXPECT_FALSE(heard.front().removed);
    EXPECT_TRUE(heard.front().neighbor.permanent());
    EXPECT_EQ(heard.front().neighbor.mac, mac);
    EXPECT_EQ(heard.front().neighbor.link, link.index);
    EXPECT_TRUE(heard[heard.size() - 2].removed);
    EXPECT_EQ(heard[heard.size() - 2].neighbor.address, wanted);
  });
}

TEST(MonitorMessages, OfNeighborsAreReadWithinTheirLength) {
  alignas(8) char buffer[256]{};
  auto* const header = mnl_nlmsg_put_header(buffer);
  header->nlmsg_type = RTM_NEWNEIGH;
  auto* const head = static_cast<ndmsg*>(mnl_nlmsg_put_extra_header(header, sizeof(ndmsg)));
  head->ndm_family = AF_INET;
  head->ndm_ifindex = 7;
  head->ndm_state = NUD_PERMANENT;
  mnl_attr_put_u32(header, NDA_DST, htonl(0xc0000209));
  const std::uint8_t mac[6] = {2, 0, 0, 0, 0, 9};
  mnl_attr_put(header, NDA_LLADDR, sizeof mac, mac);
  const std::size_t size = header->nlmsg_len;
  for (std::size_t bytes = sizeof(nlmsghdr); bytes <= size; ++bytes) {
    std::vector<std::uint8_t> part(buffer, buffer + bytes);
    auto* const cut = reinterpret_cast<nlmsghdr*>(part.data());
    cut->nlmsg_len = static_cast<std::uint32_t>(bytes);
    Changes out, unasked;
    note_change(cut, out, [](const NeighborChange&) { return true; });
    note_change(cut, unasked);
    EXPECT_TRUE(unasked.empty());
    if (bytes < sizeof(nlmsghdr) + sizeof(ndmsg) + 8) {
      EXPECT_TRUE(out.empty()) << bytes;
    }
    if (bytes != size) continue;
    ASSERT_EQ(out.neighbors.size(), 1u);
    EXPECT_EQ(to_string(out.neighbors[0].neighbor.address), "192.0.2.9");
    EXPECT_EQ(to_string(out.neighbors[0].neighbor.mac), "02:00:00:00:00:09");
    cut->nlmsg_type = RTM_DELNEIGH;
    note_change(cut, out, [](const NeighborChange&) { return true; });
    EXPECT_TRUE(out.neighbors.at(1).removed);
  }
}

TEST(Monitor, SaysWhenTheKernelWouldNotTell) {
  in_netns_with_veth([](Netlink& kernel, const Link& link) {
    auto monitor = Monitor::open();
    ASSERT_TRUE(monitor);
    ASSERT_TRUE(kernel.apply(Batch().change_link(link, {.up = false, .mtu = {}, .mac = {}, .new_name = {}})));
    EXPECT_TRUE(gather(*monitor, [](const Changes& all) { return all.relist; }).relist);
  });
}

TEST(Monitor, SaysWhenSomethingWasLost) {
  in_netns_with_veth([](Netlink& kernel, const Link& link) {
    auto monitor = Monitor::open(4096);
    ASSERT_TRUE(monitor);
    Batch batch;
    for (std::uint32_t i = 0; i < 500; ++i) batch.add_route(route_over(link, i));
    ASSERT_TRUE(kernel.apply(batch));
    const auto heard = gather(*monitor, [](const Changes& all) { return all.relist; });
    EXPECT_TRUE(heard.relist);
    EXPECT_LT(heard.routes.size(), 500u);
  });
}

}  // namespace
}  // namespace podwire::control::netlink
