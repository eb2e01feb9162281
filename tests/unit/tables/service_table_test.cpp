// ServiceTable: which frontends are found, how clients are dealt out to backends, and who moves when backends
// come and go.
#include "dataplane/tables/service_table.hpp"

#include <gtest/gtest.h>

#include "dataplane/headers/headers.hpp"
#include "tests/unit/tables/objects.hpp"

namespace podwire::engine {
namespace {

using namespace testing_objects;
using ChoiceKind = ServiceTable::Choice::Kind;

constexpr DomainId kPods{2};

api::ServiceFrontend frontend(const std::string& address, std::uint16_t port, DomainId in = kPods,
                              api::ServiceProtocol protocol = api::ServiceProtocol::kTcp) {
  api::ServiceFrontend made;
  made.domain = in;
  if (!address.empty()) made.address = ip(address);
  made.protocol = protocol;
  made.port = port;
  return made;
}

api::ServiceBackend backend(const std::string& address, std::uint16_t weight = 1, bool draining = false) {
  return {ip(address), 8080, weight, draining};
}

api::Service service(std::uint32_t id, std::vector<api::ServiceFrontend> frontends,
                     std::vector<api::ServiceBackend> backends = {}) {
  api::Service made;
  made.id = ServiceId(id);
  made.name = "ns/service" + std::to_string(id);
  made.domain = kPods;
  made.frontends = std::move(frontends);
  made.backends = std::move(backends);
  return made;
}

std::vector<api::ServiceBackend> backends(int count) {
  std::vector<api::ServiceBackend> all;
  for (int i = 0; i < count; ++i) all.push_back(backend("10.244.1." + std::to_string(10 + i)));
  return all;
}

// The connection number `n`: many clients with many ports.
FlowKey connection(std::uint32_t n, const std::string& to = "10.96.0.1", std::uint16_t port = 80,
                   DomainId in = kPods, std::uint8_t protocol = ip_proto::kTcp) {
  const auto destination = ip(to);
  if (destination.is_v4()) {
    return make_flow_key(in, protocol, IpAddr(Ipv4::from_u32(0x0a000000 + n / 16)), destination,
                         static_cast<std::uint16_t>(32768 + n % 16 * 7), port);
  }
  Ipv6 client = ip("fd00:1::").v6();
  std::memcpy(client.bytes.data() + 12, &n, sizeof n);
  return make_flow_key(in, protocol, IpAddr(client), destination, 40000, port);
}

ServiceTable table_of(const std::vector<const api::Service*>& services,
                      const std::vector<std::string>& node = {}) {
  std::vector<ServiceTable::Item> items;
  for (const auto* one : services) items.push_back({one, make_service_entry(*one, nullptr)});
  std::vector<IpAddr> addresses;
  for (const auto& address : node) addresses.push_back(ip(address));
  return {items, addresses};
}

IpAddr chosen(const ServiceEntry& entry, const FlowKey& key, std::uint32_t now_s = 0) {
  const auto choice = ServiceTable::choose(entry, key, now_s);
  EXPECT_EQ(choice.kind, ChoiceKind::kBackend);
  EXPECT_EQ(choice.port, 8080);
  return choice.address;
}

std::map<IpAddr, int> shares(const ServiceEntry& entry, std::uint32_t connections) {
  std::map<IpAddr, int> counts;
  for (std::uint32_t n = 0; n < connections; ++n) ++counts[chosen(entry, connection(n))];
  return counts;
}

TEST(ServiceTable, FindsByDomainAddressProtocolAndPort) {
  const auto web = service(1, {frontend("10.96.0.1", 80), frontend("fd00:96::1", 80)}, backends(1));
  const auto dns = service(2, {frontend("10.96.0.1", 53, kPods, api::ServiceProtocol::kUdp)});
  const auto node = service(3, {frontend("192.168.100.1", 80, kUnderlayDomain)});
  const auto table = table_of({&web, &dns, &node});
  const auto id = [&](const FlowKey& key) {
    const auto* found = table.find(key);
    return found == nullptr ? 0 : found->id.value();
  };
  EXPECT_EQ(id(connection(1)), 1u);
  EXPECT_EQ(id(connection(1, "fd00:96::1")), 1u);
  EXPECT_EQ(id(connection(1, "10.96.0.1", 53, kPods, ip_proto::kUdp)), 2u);
  EXPECT_EQ(id(connection(1, "192.168.100.1", 80, kUnderlayDomain)), 3u);
  EXPECT_EQ(id(connection(1, "10.96.0.1", 81)), 0u);
  EXPECT_EQ(id(connection(1, "10.96.0.2", 80)), 0u);
  EXPECT_EQ(id(connection(1, "10.96.0.1", 80, DomainId(3))), 0u);
  EXPECT_EQ(id(connection(1, "10.96.0.1", 80, kPods, ip_proto::kUdp)), 0u);
  EXPECT_EQ(id(connection(1, "10.96.0.1", 80, kPods, ip_proto::kSctp)), 0u);
  EXPECT_EQ(id(connection(1, "10.96.0.1", 80, kPods, ip_proto::kIcmp)), 0u);
}

TEST(ServiceTable, FrontendWithoutAddressIsEveryAddressOfTheNode) {
  const auto any = service(1, {frontend("", 80, kUnderlayDomain)});
  const auto one = service(2, {frontend("192.168.100.2", 80, kUnderlayDomain)});
  const auto table = table_of({&any, &one}, {"192.168.100.1", "192.168.100.2", "fd00:100::1"});
  EXPECT_EQ(table.find(connection(1, "192.168.100.1", 80, kUnderlayDomain))->id, ServiceId(1));
  EXPECT_EQ(table.find(connection(1, "fd00:100::1", 80, kUnderlayDomain))->id, ServiceId(1));
  EXPECT_EQ(table.find(connection(1, "192.168.100.2", 80, kUnderlayDomain))->id, ServiceId(2));
  EXPECT_EQ(table.find(connection(1, "192.168.100.3", 80, kUnderlayDomain)), nullptr);
  EXPECT_EQ(table.find(connection(1, "192.168.100.1", 80)), nullptr) << "not the underlay";
  EXPECT_EQ(table.find(connection(1, "192.168.100.1", 81, kUnderlayDomain)), nullptr);
  EXPECT_TRUE(table.is_node_address(ip("192.168.100.2")));
  EXPECT_FALSE(table.is_node_address(ip("192.168.100.3")));
}

TEST(ServiceTable, RejectsWithoutBackendOfTheFamily) {
  const auto none = make_service_entry(service(1, {frontend("10.96.0.1", 80)}), nullptr);
  EXPECT_EQ(ServiceTable::choose(*none, connection(1), 0).kind, ChoiceKind::kReject);
  const auto v4 = make_service_entry(
      service(1, {frontend("10.96.0.1", 80), frontend("fd00:96::1", 80)}, backends(1)), nullptr);
  EXPECT_EQ(ServiceTable::choose(*v4, connection(1, "fd00:96::1"), 0).kind, ChoiceKind::kReject);
  EXPECT_EQ(chosen(*v4, connection(1)), ip("10.244.1.10"));
}

TEST(ServiceTable, ChoosesAmongTheFamilysOwn) {
  auto both = backends(3);
  both.push_back(backend("fd00:1::10"));
  both.push_back(backend("fd00:1::11"));
  const auto entry = make_service_entry(service(1, {frontend("", 80, kUnderlayDomain)}, both), nullptr);
  std::set<IpAddr> v4, v6;
  for (std::uint32_t n = 0; n < 200; ++n) {
    v4.insert(chosen(*entry, connection(n)));
    v6.insert(chosen(*entry, connection(n, "fd00:96::1")));
  }
  EXPECT_EQ(v4, (std::set<IpAddr>{ip("10.244.1.10"), ip("10.244.1.11"), ip("10.244.1.12")}));
  EXPECT_EQ(v6, (std::set<IpAddr>{ip("fd00:1::10"), ip("fd00:1::11")}));
}

TEST(ServiceTable, SharesFollowWeights) {
  const auto entry = make_service_entry(
      service(1, {frontend("10.96.0.1", 80)},
              {backend("10.244.1.10", 1), backend("10.244.1.11", 2), backend("10.244.1.12", 5)}),
      nullptr);
  const auto counts = shares(*entry, 80'000);
  EXPECT_NEAR(counts.at(ip("10.244.1.10")), 10'000, 500);
  EXPECT_NEAR(counts.at(ip("10.244.1.11")), 20'000, 800);
  EXPECT_NEAR(counts.at(ip("10.244.1.12")), 50'000, 1'200);
}

TEST(ServiceTable, EverybodyHasAShareAtEverySize) {
  for (const int count : {2, 3, 20, 21, 150, 200}) {
    auto all = backends(count);
    const auto entry = make_service_entry(service(1, {frontend("10.96.0.1", 80)}, all), nullptr);
    const auto counts = shares(*entry, static_cast<std::uint32_t>(count) * 1000);
    ASSERT_EQ(counts.size(), static_cast<std::size_t>(count));
    for (const auto& [address, share] : counts) EXPECT_NEAR(share, 1000, 200) << count;
  }
}

TEST(ServiceTable, ThousandsOfBackendsOfMixedWeights) {
  std::vector<api::ServiceBackend> all;
  for (std::uint32_t i = 0; i < api::kMaxBackends; ++i) {
    all.push_back({IpAddr(Ipv4::from_u32(0x0a800000 + i)), 8080, static_cast<std::uint16_t>(i % 256 + 1)});
  }
  const auto entry = make_service_entry(service(1, {frontend("10.96.0.1", 80)}, all), nullptr);
  EXPECT_GT(shares(*entry, 200'000).size(), 3500u) << "the lightest have less than a slot";
}

TEST(ServiceTable, RemovingOneOfTenMovesFewOfTheOthersClients) {
  const auto all = backends(10);
  auto without = all;
  without.erase(without.begin() + 4);
  const auto before = make_service_entry(service(1, {frontend("10.96.0.1", 80)}, all), nullptr);
  const auto after = make_service_entry(service(1, {frontend("10.96.0.1", 80)}, without), before.get());
  int others = 0, moved = 0;
  for (std::uint32_t n = 0; n < 20'000; ++n) {
    const auto first = chosen(*before, connection(n));
    if (first == all[4].address) continue;
    ++others;
    moved += chosen(*after, connection(n)) == first ? 0 : 1;
  }
  EXPECT_LT(moved * 100, others * 15);
}

TEST(ServiceTable, TheOrderOfBackendsMakesNoDifference) {
  auto all = backends(7);
  const auto one = make_service_entry(service(1, {frontend("10.96.0.1", 80)}, all), nullptr);
  std::reverse(all.begin(), all.end());
  const auto other = make_service_entry(service(9, {frontend("10.96.0.1", 80)}, all), nullptr);
  for (std::uint32_t n = 0; n < 1'000; ++n)
    EXPECT_EQ(chosen(*one, connection(n)), chosen(*other, connection(n, "10.96.0.1", 80, DomainId(7))));
}

TEST(ServiceTable, DrainingBackendsGetNoNewConnectionsAndKeepTheirOld) {
  auto all = backends(3);
  all[1].draining = true;
  const auto entry = make_service_entry(service(1, {frontend("10.96.0.1", 80)}, all), nullptr);
  EXPECT_FALSE(shares(*entry, 1'000).contains(all[1].address));
  EXPECT_TRUE(entry->serves(all[1].address, 8080));
  EXPECT_TRUE(entry->serves(all[2].address, 8080));
  EXPECT_FALSE(entry->serves(all[2].address, 8081));
  EXPECT_FALSE(entry->serves(ip("10.244.1.99"), 8080));
  for (auto& one : all) one.draining = true;
  const auto drained = make_service_entry(service(1, {frontend("10.96.0.1", 80)}, all), nullptr);
  EXPECT_EQ(ServiceTable::choose(*drained, connection(1), 0).kind, ChoiceKind::kReject);
}

TEST(ServiceTable, AffinityGoesByTheClientsAddressAlone) {
  auto sticky = service(1, {frontend("10.96.0.1", 80), frontend("10.96.0.2", 443)}, backends(5));
  sticky.affinity_s = 60;
  const auto entry = make_service_entry(sticky, nullptr);
  std::set<IpAddr> used;
  for (std::uint32_t client = 0; client < 100; ++client) {
    const auto first = chosen(*entry, connection(client * 16));
    for (std::uint32_t port = 1; port < 16; ++port)
      EXPECT_EQ(chosen(*entry, connection(client * 16 + port, "10.96.0.2", 443)), first);
    used.insert(first);
  }
  EXPECT_EQ(used.size(), 5u);
}

TEST(ServiceTable, AffinityOutlivesABackendThatCame) {
  auto sticky = service(1, {frontend("10.96.0.1", 80)}, backends(2));
  sticky.affinity_s = 60;
  const auto before = make_service_entry(sticky, nullptr);
  std::map<std::uint32_t, IpAddr> first;
  for (std::uint32_t client = 0; client < 200; ++client) {
    first[client] = chosen(*before, connection(client * 16), 1'000'000);
  }
  sticky.backends = backends(6);
  const auto after = make_service_entry(sticky, before.get());
  const auto stranger = make_service_entry(sticky, nullptr);
  int kept = 0, would_move = 0;
  for (std::uint32_t client = 0; client < 200; ++client) {
    kept += chosen(*after, connection(client * 16), 1'000'059) == first[client] ? 1 : 0;
    would_move += chosen(*stranger, connection(client * 16), 1'000'059) == first[client] ? 0 : 1;
  }
  EXPECT_GT(would_move, 100);
  EXPECT_GE(kept, 180) << "two clients on one slot: the later is remembered";
}

TEST(ServiceTable, AffinityEndsAfterItsTimeAndWithItsBackend) {
  AffinityMemory memory;
  memory.remember(42, 7, 100);
  EXPECT_EQ(memory.find(42, 100, 60), 7u);
  EXPECT_EQ(memory.find(42, 159, 60), 7u);
  EXPECT_EQ(memory.find(42, 160, 60), 0u);
  EXPECT_EQ(memory.find(42 + (std::uint64_t{1} << 32), 100, 60), 0u) << "another client on the same slot";
  EXPECT_EQ(memory.find(43, 100, 60), 0u);
  memory.remember(42, 7, (1u << AffinityMemory::kSecondBits) - 1);
  EXPECT_EQ(memory.find(42, 5 + (1u << AffinityMemory::kSecondBits), 60), 7u) << "time has wrapped";

  auto sticky = service(1, {frontend("10.96.0.1", 80)}, backends(2));
  sticky.affinity_s = 60;
  const auto before = make_service_entry(sticky, nullptr);
  const auto first = chosen(*before, connection(0));
  std::erase_if(sticky.backends, [&](const auto& one) { return one.address == first; });
  const auto after = make_service_entry(sticky, before.get());
  EXPECT_EQ(chosen(*after, connection(0)), sticky.backends[0].address);
}

TEST(ServiceTable, FrontendsForTheNodesProgramsAreFoundFromTheHostPortOnly) {
  auto own = frontend("10.96.0.1", 80, kUnderlayDomain);
  own.from_host = true;
  const auto for_host = service(1, {own}), for_all = service(2, {frontend("10.96.0.1", 80, kUnderlayDomain),
                                                                 frontend("10.96.0.1", 81, kUnderlayDomain)});
  const ServiceTable table(
      {{&for_host, make_service_entry(for_host, nullptr)}, {&for_all, make_service_entry(for_all, nullptr)}},
      {});
  const auto found = [&](std::uint16_t port, bool from_host, DomainId in = kUnderlayDomain) {
    const auto* entry = table.find_for(connection(1, "10.96.0.1", port, in), from_host);
    return entry == nullptr ? ServiceId() : entry->id;
  };
  EXPECT_EQ(found(80, true), ServiceId(1));
  EXPECT_EQ(found(80, false), ServiceId(2));
  EXPECT_EQ(found(81, true), ServiceId(2)) << "what is for everybody is for the node too";
  EXPECT_EQ(found(82, true), ServiceId());
  EXPECT_EQ(found(80, true, kPods), ServiceId());
  EXPECT_TRUE(table.is_for_host(ip("10.96.0.1")));
  EXPECT_FALSE(table.is_for_host(ip("10.96.0.2")));
}

}  // namespace
}  // namespace podwire::engine
