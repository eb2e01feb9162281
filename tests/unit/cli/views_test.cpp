#include "control/cli/views.hpp"

#include <gtest/gtest.h>

#include "tests/unit/cli/replies.hpp"

namespace podwire::control::cli {
namespace {

std::string shown(const Result<std::string>& page) {
  EXPECT_TRUE(page) << (page ? "" : page.error().message);
  return page ? *page : "";
}

TEST(StatusView, ShowsAHealthyNode) {
  EXPECT_EQ(shown(status_view(status_reply(), {})), R"(Node      node-a
Daemon    podwired 0.1.0, pid 1234, up 2h 05m
Engine    podwire-engine 0.1.0, pid 1200, up 2h 01m, generation 42, 1 restart seen, idle policy adaptive
Memory    4 KiB pages, 256 MiB, packet buffers 812 of 16,384, jumbo 0 of 256
Worker 0  cpu 1, 5 ports, 3.1 % busy
Underlay  eth0, by af_xdp, link up, MTU 1500, 192.168.100.1/24, fd00:100::1/64, host interface podwire0
Objects   5 ports, 1 peer

ID  NAME     VNI  MODE   MTU  PREFIXES       GATEWAYS    REACHES  USED   FREE
 2  default    1  l3    1450  10.244.1.0/24  10.244.1.1  -           6  >10^9

No differences: desired state, engine and kernel agree.
)");
  EXPECT_TRUE(*is_healthy(status_reply()));
}

TEST(StatusView, ShowsADeadEngineAndDifferences) {
  Json reply = status_reply();
  reply["engine"] =
      parsed(R"({"connected":false,"socket":"/run/podwire/engine.sock","pid":null,"version":null,
    "memory":null,"workers":null,"last_error":"cannot connect: No such file or directory"})");
  reply["differences"] = {"port web-0 is not in the engine; type: podwirectl reconcile", "x\ny"};
  const auto page = shown(status_view(reply, {}));
  EXPECT_NE(page.find("Engine         down: cannot connect: No such file or directory; see: systemctl status "
                      "podwire-engine"),
            std::string::npos)
      << page;
  EXPECT_NE(
      page.find(
          "2 differences:\n  - port web-0 is not in the engine; type: podwirectl reconcile\n  - x\\x0ay\n"),
      std::string::npos)
      << page;
  EXPECT_FALSE(*is_healthy(reply));
}

TEST(StatusView, DeadEngineIsUnhealthyAlsoWithoutDifferences) {
  Json reply = status_reply();
  reply["engine"] = {{"connected", false}};
  EXPECT_FALSE(*is_healthy(reply));
  EXPECT_EQ(shown(status_view(reply, {})).find("agree"), std::string::npos);
}

TEST(StatusView, NamesTheFieldThatIsWrong) {
  Json reply = status_reply();
  reply["engine"]["memory"]["mbufs"]["size"] = "many";
  EXPECT_EQ(status_view(reply, {}).error().message,
            "engine.memory.mbufs.size must be an integer, not a string");
  reply = status_reply();
  reply.erase("node");
  EXPECT_EQ(status_view(reply, {}).error().message, "node is missing");
}

TEST(PortsView, ShowsPortsAndTheirErrors) {
  EXPECT_EQ(shown(ports_view(ports_reply(), {})),
            R"(ID  NAME    KIND      ROLE    DOMAIN    MAC                 MTU  QUEUES  LINK  POD
 1  uplink  physical  uplink  underlay  02:00:00:00:00:01  1500       1  up    -
 4  web-0   tap       pod     default   02:00:00:00:00:0a  1450       2  down  prod/web-0

port web-0: read: Bad file descriptor
)");
}

TEST(PortsView, FallsBackToTheContainerId) {
  Json reply = ports_reply();
  reply["ports"][1]["attachment"]["pod_name"] = nullptr;
  EXPECT_NE(shown(ports_view(reply, {})).find("down  4be3f0a1b2c3\n"), std::string::npos);
}

TEST(DomainsView, ShowsAddressesLeft) {
  EXPECT_EQ(shown(domains_view(domains_reply(), {})),
            R"(ID  NAME     VNI  MODE   MTU  PREFIXES       GATEWAYS    REACHES      USED  FREE
 2  default    1  l3    1450  10.244.1.0/24  10.244.1.1  shop, stock     6     0
 3  blue      77  l2    1450  -              -           -               0     0
)");
  auto global = domains_reply();
  global["domains"][0]["global"] = true;
  EXPECT_NE(shown(domains_view(global, {})).find("10.244.1.1  all      "), std::string::npos);
}

TEST(EndpointsView, ShowsWhereEachIs) {
  EXPECT_EQ(
      shown(endpoints_view(endpoints_reply(), {})),
      R"(NAME   DOMAIN   WHERE        MAC                ADDRESSES                      CONTAINER          POD
web-0  default  port web-0   02:00:00:00:00:0a  10.244.1.10, fd00:10:244:1::a  4be3f0a1b2c3 eth0  prod/web-0
db-0   default  peer node-b  02:00:00:00:00:0b  10.244.2.11                    -                  -
)");
}

TEST(EndpointsView, TakesAPodAsAnObject) {
  Json reply = endpoints_reply();
  reply["endpoints"][1]["pod"] = {{"namespace", "prod"}, {"name", "db-0"}};
  EXPECT_NE(shown(endpoints_view(reply, {})).find("prod/db-0"), std::string::npos);
}

TEST(RoutesView, ShowsNextHopsAndWeights) {
  EXPECT_EQ(shown(routes_view(routes_reply(), {})),
            R"(DOMAIN   PREFIX         NEXT HOPS                                      SOURCE
default  10.244.0.0/16  blackhole                                      builtin
default  10.244.2.0/24  peer node-b x3, port web-0 via 10.244.1.10 x1  config
blue     10.244.2.0/24  peer node-c                                    peer
blue     10.50.0.0/16   domain shop                                    join
)");
}

TEST(PeersView, ShowsNeighborAndPrefixes) {
  EXPECT_EQ(shown(peers_view(peers_reply(), {})),
            R"(NAME    ADDRESS        UDP PORT  NEIGHBOR   NEIGHBOR MAC       PREFIXES
node-b  192.168.100.2      4789  reachable  02:00:00:00:00:02  default: 10.244.2.0/24, fd00:10:244:2::/64
)");
}

TEST(ListViews, SayWhenThereIsNothing) {
  EXPECT_EQ(shown(ports_view(parsed(R"({"ports":[]})"), {})), "There are no ports.\n");
  EXPECT_EQ(shown(peers_view(parsed(R"({"peers":[]})"), {})), "There are no peers.\n");
}

TEST(DetailsView, ShowsEveryFieldWithItsUnit) {
  Json reply = ports_reply();
  reply["ports"].erase(1);
  EXPECT_EQ(shown(details_view(reply, "ports", {})), R"(id                   1
name                 uplink
kind                 physical
role                 uplink
domain               underlay
mac                  02:00:00:00:00:01
mtu                  1500
queues               1
link                 up
last error           -
device driver        net_af_xdp
device free bytes    2 KiB
device age           1m 01s
device rings 1 size  512
attachment           -
)");
}

TEST(DetailsView, SeparatesObjectsByAnEmptyLine) {
  EXPECT_EQ(shown(details_view(parsed(R"({"x":[{"a":true},{"b":[1,"c",null]},{"d":[]}]})"), "x", {})),
            "a  yes\n\nb  1, c, \n\nd  -\n");
}

TEST(ExplainView, TellsTheStory) {
  const Json question = {{"from", "web-0"}, {"to", "10.244.2.11"}, {"protocol", "tcp"}, {"dport", 443}};
  EXPECT_EQ(shown(explain_view(explain_reply(), question, {})), R"(tcp from web-0 to 10.244.2.11, dport 443

  1  parse    IPv4 ICMP echo request, 84 bytes
  2  forward  route 10.244.2.0/24

SENT
  out of port uplink, a frame of 8 bytes: VXLAN to 192.168.100.2, VNI 1

Decided by
  route default 10.244.2.0/24 (id 2)
)");
}

TEST(ExplainView, GivesTheDropReasonAndItsMeaning) {
  const Json reply =
      parsed(R"({"verdict":"dropped","reason":"no_route","reason_help":"no route covers the destination",
    "steps":[],"outputs":[],"decided_by":[]})");
  const auto page = shown(explain_view(reply, {{"from", "a"}, {"to", "b"}, {"protocol", "icmp"}}, {}));
  EXPECT_NE(page.find("DROPPED: no_route - no route covers the destination\n"), std::string::npos) << page;
}

TEST(ReconcileView, CountsRepairs) {
  EXPECT_EQ(shown(reconcile_view(parsed(R"({"generation":43,"changed":1})"))),
            "Reconciled: 1 difference repaired; the engine is at generation 43.\n");
  EXPECT_EQ(shown(reconcile_view(parsed(R"({"generation":43,"changed":0})"))),
            "Reconciled: nothing differed; the engine is at generation 43.\n");
}

TEST(AddressesView, ListsThemAndSaysWhatWasGiven) {
  const auto reply = parsed(R"({"addresses": [
      {"name": "shop", "kind": "egress", "addresses": ["192.0.2.1", "2001:db8::1"], "pods": ["shop/db", "shop/web"]},
      {"name": "shop/x", "kind": "floating", "addresses": ["192.0.2.2"], "pods": [], "problem": "no masquerade"}]})");
  EXPECT_EQ(shown(addresses_view(reply, {})),
            "NAME    KIND      ADDRESSES               PODS               PROBLEM\n"
            "shop    egress    192.0.2.1, 2001:db8::1  shop/db, shop/web  -\n"
            "shop/x  floating  192.0.2.2               -                  no masquerade\n");
  EXPECT_EQ(shown(addresses_view(parsed(R"({"addresses": []})"), {})),
            "No namespace and no pod has an address of its own outside.\n");
  EXPECT_EQ(shown(address_change_view(parsed(R"({"name": "shop", "kind": "egress", "addresses": ["192.0.2.1"],
                                                 "pods": ["shop/web"], "warnings": ["far\u001b"]})"),
                                      {})),
            "shop: egress 192.0.2.1, in force for shop/web\nwarning: far\\x1b\n");
  EXPECT_FALSE(address_change_view(parsed(R"({"name": 7})"), {}));
}

}  // namespace
}  // namespace podwire::control::cli
