// Programmer: ports are opened with a change or not at all, replaced, and closed when no worker can use them.
#include <unistd.h>

#include "tests/unit/tables/programmer_fixture.hpp"

namespace podwire::engine {
namespace {

using namespace testing_objects;
using ProgrammerPorts = ProgrammerTest;

TEST_F(ProgrammerPorts, StartsWithAnEmptySnapshotThatWorkersCanUse) {
  EXPECT_EQ(programmer->generation(), 0u);
  EXPECT_NE(tables().vni_to_domain, nullptr);
  EXPECT_NE(tables().vtep4, nullptr);
  EXPECT_NE(tables().vtep6, nullptr);
  EXPECT_NE(tables().fdb, nullptr);
  EXPECT_NE(tables().fib4, nullptr);
  EXPECT_NE(tables().fib6, nullptr);
  EXPECT_NE(tables().adjacencies, nullptr);
  EXPECT_NE(tables().domain(kUnderlayDomain), nullptr);
  EXPECT_EQ(tables().domain(DomainId(2)), nullptr);
}

TEST_F(ProgrammerPorts, OpensPublishesAndCloses) {
  patch({.ports = {uplink(1), tap(3)}, .domains = {domain()}});
  EXPECT_EQ(open_ports.size(), 2u);
  EXPECT_EQ(added_ports, (std::vector<PortId>{PortId(1), PortId(3)}));
  EXPECT_EQ(added_domains, std::vector<DomainId>{DomainId(2)});
  const auto* entry = tables().port(PortId(3));
  ASSERT_NE(entry, nullptr);
  EXPECT_EQ(entry->device, programmer->device(PortId(3)));
  EXPECT_EQ(entry->domain, DomainId(2));
  EXPECT_EQ(entry->mac, mac(3));
  EXPECT_EQ(entry->mtu, 1450);
  EXPECT_EQ(tables().uplinks, std::vector<PortId>{PortId(1)});
  EXPECT_EQ(tables().port(PortId(1))->mac, MacAddr::from_u64(0x02aa00000001));  // the device's own
  EXPECT_EQ(tables().port(PortId(1))->mtu, 1500);
  const auto generation = tables().ports_generation;
  patch({}, {.ports = {PortId(3)}});
  EXPECT_EQ(tables().port(PortId(3)), nullptr);
  EXPECT_GT(tables().ports_generation, generation);
  EXPECT_EQ(open_ports, std::multiset<PortId>{PortId(1)});
  EXPECT_EQ(programmer->device(PortId(3)), nullptr);
}

TEST_F(ProgrammerPorts, OtherChangesDoNotTouchPorts) {
  patch({.ports = {tap(3)}, .domains = {domain()}});
  const auto generation = tables().ports_generation;
  const auto* device = programmer->device(PortId(3));
  auto renamed = tap(3, 2, 0);
  renamed.name = "other";
  patch({.ports = {renamed}, .endpoints = {pod(1, 3, {"10.244.1.10"})}});
  EXPECT_EQ(programmer->device(PortId(3)), device);
  EXPECT_EQ(tables().ports_generation, generation);
  EXPECT_EQ(opened, 1);
}

TEST_F(ProgrammerPorts, FailureToOpenUndoesTheWholeChange) {
  patch({.ports = {tap(3)}, .domains = {domain()}});
  fail_to_open = "pod5";
  refused({.ports = {tap(4), tap(5)}, .domains = {domain(3, {})}}, {.ports = {PortId(3)}},
          "port pod5: no such device");
  EXPECT_EQ(open_ports, std::multiset<PortId>{PortId(3)});
  EXPECT_NE(programmer->intent().port(PortId(3)), nullptr);
  EXPECT_EQ(programmer->intent().domain(DomainId(3)), nullptr);
  EXPECT_NE(tables().port(PortId(3)), nullptr);
  fail_to_open.clear();
  patch({.ports = {tap(4), tap(5)}});
  EXPECT_EQ(open_ports.size(), 3u);
}

TEST_F(ProgrammerPorts, RuleViolationOpensNothing) {
  refused({.ports = {tap(3)}, .domains = {domain()}, .endpoints = {pod(1, 9, {})}}, {},
          "port 9 does not exist");
  EXPECT_EQ(opened, 0);
}

TEST_F(ProgrammerPorts, DescriptorsMustFitTheMessage) {
  patch({.domains = {domain()}});
  auto two = tap(3, 2, 2);
  two.queues = 2;
  auto result = programmer->patch({.ports = {two}}, {}, descriptors(1), now);
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().message.find(
                "port 3 \"pod3\": descriptors is 2, but only 1 are left of the message's 1"),
            std::string::npos)
      << result.error().message;
  result = programmer->patch({.ports = {two}}, {}, descriptors(3), now);
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().message.find("the message carries 3 descriptors, but its ports take 2"),
            std::string::npos);
  refused({.ports = {tap(3, 2, 0)}}, {},
          "port 3 \"pod3\": the engine does not have this tap yet and the message brings no descriptors");
}

TEST_F(ProgrammerPorts, DescriptorsGoToTheirPortsInOrder) {
  auto two = tap(4, 2, 2);
  two.queues = 2;
  const api::ObjectSet put{.ports = {tap(3), two}, .domains = {domain()}};
  int pipes[3][2];
  std::vector<UniqueFd> fds;
  for (auto& ends : pipes) {
    ASSERT_EQ(::pipe(ends), 0);
    fds.emplace_back(ends[0]);
  }
  ASSERT_TRUE(programmer->patch(put, {}, std::move(fds), now));
  EXPECT_EQ(programmer->device(PortId(3))->poll_fd(0), pipes[0][0]);
  EXPECT_EQ(programmer->device(PortId(4))->poll_fd(0), pipes[1][0]);
  EXPECT_EQ(programmer->device(PortId(4))->poll_fd(1), pipes[2][0]);
  const auto duplicates = programmer->port_descriptors(PortId(4));
  ASSERT_TRUE(duplicates);
  EXPECT_EQ(duplicates->size(), 2u);
  EXPECT_NE((*duplicates)[0].get(), pipes[1][0]);
  for (auto& ends : pipes) ::close(ends[1]);
}

TEST_F(ProgrammerPorts, NewDescriptorsReplaceTheQueues) {
  patch({.ports = {tap(3)}, .domains = {domain()}});
  const auto generation = tables().ports_generation;
  patch({.ports = {tap(3, 2, 1)}});
  EXPECT_EQ(opened, 2);
  EXPECT_EQ(open_ports.size(), 1u);
  EXPECT_GT(tables().ports_generation, generation);
  EXPECT_EQ(tables().port(PortId(3))->device, programmer->device(PortId(3)));
  EXPECT_EQ(added_ports.size(), 1u);  // the same port: its counters go on
}

TEST_F(ProgrammerPorts, KnownTapChangesMtuOverDuplicatesOfItsQueues) {
  patch({.ports = {tap(3)}, .domains = {domain()}});
  auto larger = tap(3, 2, 0);
  larger.mtu = 1400;
  patch({.ports = {larger}});
  EXPECT_EQ(opened, 2);
  EXPECT_EQ(tables().port(PortId(3))->mtu, 1400);
  EXPECT_GE(programmer->device(PortId(3))->poll_fd(0), 0);
  auto queues = larger;
  queues.queues = 4;
  refused({.ports = {queues}}, {},
          "port 3 \"pod3\": queues is 4, but the open port has 1; send 4 descriptors with it");
}

TEST_F(ProgrammerPorts, OpenPhysicalPortsRefuseWhatNeedsReopening) {
  patch({.ports = {uplink(1)}});
  auto other = uplink(1);
  other.devargs = "net_null7";
  refused({.ports = {other}}, {},
          "port 1 \"uplink1\": devargs cannot change while the port is open; delete the port in one change "
          "and add it in the next");
  other = uplink(1);
  other.queues = 4;
  refused({.ports = {other}}, {}, "queues cannot change");
  other = uplink(1);
  other.mtu = 9000;
  refused({.ports = {other}}, {}, "mtu cannot change");
  other = uplink(1);
  other.vlan = 42;
  patch({.ports = {other}});
  EXPECT_EQ(tables().port(PortId(1))->vlan, 42);
  EXPECT_EQ(opened, 1);
}

TEST_F(ProgrammerPorts, UplinkAnswersForTheHostOnlyWhereThereIsNone) {
  patch({.ports = {uplink(1)}});
  EXPECT_TRUE(tables().port(PortId(1))->answers_for_host);
  patch({.ports = {host_tap(2)}});
  EXPECT_FALSE(tables().port(PortId(1))->answers_for_host);
  EXPECT_EQ(tables().host_port, PortId(2));
  patch({}, {.ports = {PortId(2)}});
  EXPECT_TRUE(tables().port(PortId(1))->answers_for_host);
  EXPECT_EQ(tables().host_port, PortId());
}

TEST_F(ProgrammerPorts, PortIsNotClosedWhileAWorkerStillPollsIt) {
  patch({.ports = {tap(3)}, .domains = {domain()}});
  publisher.set_waker([] {});  // the worker does not answer
  patch({}, {.ports = {PortId(3)}});
  EXPECT_EQ(open_ports.size(), 1u);
  programmer->tick(now += 100);
  EXPECT_EQ(open_ports.size(), 1u);
  publisher.report_ports_seen(0, tables().ports_generation);
  programmer->tick(now += 100);
  EXPECT_EQ(open_ports.size(), 0u);
}

TEST_F(ProgrammerPorts, DescriptorsOfUnknownAndPhysicalPortsAreRefused) {
  patch({.ports = {uplink(1)}});
  EXPECT_EQ(programmer->port_descriptors(PortId(9)).error().message,
            "port 9 does not exist; see dump of ports");
  EXPECT_NE(programmer->port_descriptors(PortId(1)).error().message.find("port 1 \"uplink1\" is physical"),
            std::string::npos);
}

TEST_F(ProgrammerPorts, GuardListsComeFromTheEndpointsOfThePort) {
  auto with_pair = pod(1, 3, {"10.244.1.10", "fd00::10"});
  with_pair.allowed_pairs = {{prefix("10.99.0.0/24"), MacAddr()}, {prefix("10.98.0.1/32"), mac(0x77)}};
  patch({.ports = {tap(3), tap(4)}, .domains = {domain()}, .endpoints = {with_pair, pod(2, 4, {})}});
  const auto own = with_pair.mac;
  EXPECT_EQ(tables().port(PortId(3))->macs, (std::vector<MacAddr>{own, mac(0x77)}));
  EXPECT_EQ(tables().port(PortId(3))->sources,
            (std::vector<AllowedSource>{{own, prefix("10.244.1.10/32")},
                                        {own, prefix("fd00::10/128")},
                                        {own, prefix("10.99.0.0/24")},
                                        {mac(0x77), prefix("10.98.0.1/32")}}));
  EXPECT_EQ(tables().port(PortId(4))->macs.size(), 1u);
  EXPECT_TRUE(tables().port(PortId(4))->sources.empty());
  patch({.endpoints = {pod(3, 4, {"10.244.1.12"})}});  // now the other one's freedom must be spelled out
  EXPECT_EQ(tables().port(PortId(4))->sources.size(), 3u);
  patch({}, {.endpoints = {EndpointId(1)}});
  EXPECT_TRUE(tables().port(PortId(3))->macs.empty());
}

}  // namespace
}  // namespace podwire::engine
