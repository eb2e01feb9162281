// Programmer with workers that read all the while: every adjacency they find is whole and refers only to what
// their snapshot holds. Meant for ThreadSanitizer as well.
#include <thread>

#include "tests/unit/tables/programmer_fixture.hpp"

namespace podwire::engine {
namespace {

using namespace testing_objects;

constexpr std::uint32_t kEndpoints = 64;

std::string address_of(std::uint32_t id) {
  return to_string(Ipv4::from_u32(0x0b000000 + id));
}
MacAddr mac_of(std::uint32_t id) {
  return mac(0x1000 + id);
}

// Looks up every address and MAC that may be there, as stages do.
class Reader {
 public:
  Reader(Publisher& publisher, unsigned worker)
      : publisher_(publisher), worker_(worker), thread_([this] { run(); }) {}
  void stop() {
    stop_ = true;
    thread_.join();
  }
  std::uint64_t wrong = 0;  // after stop()
  std::uint64_t found = 0;

 private:
  void run() {
    publisher_.online(worker_);
    while (!stop_) {
      const auto& tables = *publisher_.load();
      publisher_.report_ports_seen(worker_, tables.ports_generation);
      if (const auto* entry = tables.domain(DomainId(2))) {
        for (std::uint32_t id = 1; id <= kEndpoints; ++id) {
          check(tables, find_route(tables, *entry, Ipv4::from_u32(0x0b000000 + id)), id);
          check(tables, tables.fdb->find(fdb_key(entry->id, mac_of(id))), id);
        }
        follow_route(tables, *entry);
      }
      publisher_.quiescent(worker_);
    }
    publisher_.offline(worker_);
  }
  void check(const Snapshot& tables, std::uint32_t slot, std::uint32_t id) {
    if (slot == 0) return;
    ++found;
    const auto& adjacency = tables.adjacencies[slot];
    if (adjacency.kind == Adjacency::Kind::kOnLink) return;
    if (adjacency.endpoint != EndpointId(id) || adjacency.mac != mac_of(id)) ++wrong;
    check_reference(tables, adjacency);
  }
  void follow_route(const Snapshot& tables, const DomainEntry& domain) {
    const auto slot = find_route(tables, domain, Ipv4::from_u32(0x0c000001));
    if (slot == 0) return;
    const auto& adjacency = tables.adjacencies[slot];
    if (adjacency.route != RouteId(1)) ++wrong;
    if (adjacency.kind != Adjacency::Kind::kMultipath) return check_reference(tables, adjacency);
    for (std::uint32_t i = 0; i < adjacency.paths_count; ++i) {
      if (adjacency.paths_first + i >= tables.paths.size()) {
        ++wrong;
      } else {
        check_reference(tables, tables.adjacencies[tables.paths[adjacency.paths_first + i]]);
      }
    }
  }
  void check_reference(const Snapshot& tables, const Adjacency& adjacency) {
    if (adjacency.kind == Adjacency::Kind::kPort) {
      const auto* port = tables.port(adjacency.port);
      if (port == nullptr || port->device->mtu() == 0) ++wrong;
    } else if (adjacency.kind == Adjacency::Kind::kVtep) {
      if (adjacency.vtep >= tables.vteps.size() || !tables.vteps[adjacency.vtep].known) ++wrong;
    } else {
      ++wrong;
    }
  }

  Publisher& publisher_;
  const unsigned worker_;
  std::atomic<bool> stop_{false};
  std::thread thread_;
};

class ProgrammerConcurrency : public ProgrammerTest {
 protected:
  // One random, valid change; the model keeps what exists.
  void step(std::uint64_t random) {
    const auto id = static_cast<std::uint32_t>(random % kEndpoints + 1);
    const auto place = static_cast<std::uint16_t>(10 + (random >> 16) % 6);
    switch ((random >> 32) % 6) {
      case 0:
        return patch({}, {.endpoints = {EndpointId(id)}});
      case 1: {  // on a new port, which comes with it
        if (programmer->intent().port(PortId(place)) != nullptr) return;
        auto endpoint = pod(id, place, {address_of(id)});
        return patch({.ports = {tap(place)}, .endpoints = {endpoint}});
      }
      case 2: {  // a port goes with its endpoints
        api::IdSet gone{.ports = {PortId(place)}};
        for (const auto on : programmer->intent().endpoints_on(PortId(place))) gone.endpoints.push_back(on);
        return patch({}, gone);
      }
      case 3: {  // behind a new VTEP, which comes with it
        if (programmer->intent().vtep(VtepId(place)) != nullptr) return;
        return patch({.vteps = {vtep(place, "192.168.1." + std::to_string(place))},
                      .endpoints = {remote(id, place, {address_of(id)})}});
      }
      case 4: {  // a VTEP goes with what is behind it
        if (programmer->intent().vtep(VtepId(place)) == nullptr) return;
        api::IdSet gone{.vteps = {VtepId(place)}, .routes = {RouteId(1)}};
        for (const auto& [at, endpoint] : programmer->intent().endpoints()) {
          if (endpoint.vtep == VtepId(place)) gone.endpoints.push_back(at);
        }
        return patch({}, gone);
      }
      default: {
        std::vector<api::NextHop> hops;
        for (const auto& [at, object] : programmer->intent().vteps()) hops.push_back(via_vtep(at.value()));
        if (hops.empty()) return;
        return patch({.routes = {route(1, random >> 40 & 1 ? "12.0.0.0/24" : "12.0.0.0/16", hops)}});
      }
    }
  }
};

TEST_F(ProgrammerConcurrency, ReadersNeverFollowADanglingReference) {
  patch({.domains = {domain(2, {"11.0.0.254/8"})}});
  publisher.set_waker([] {});
  Reader reader(publisher, 0);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(1500);
  std::uint64_t random = 42;
  int steps = 0;
  while (std::chrono::steady_clock::now() < deadline && !HasFatalFailure()) {
    random = mix(random + 1);
    step(random);
    ++steps;
  }
  reader.stop();
  EXPECT_EQ(reader.wrong, 0u);
  EXPECT_GT(reader.found, 0u);
  EXPECT_GT(steps, 100);
}

}  // namespace
}  // namespace podwire::engine
