#include "tests/eal/pipeline/switch_fixture.hpp"

#include <rte_cycles.h>

namespace podwire::engine::tests {
namespace {

constexpr const char* kNode = R"({
  "ports": [
    {"id": 1, "name": "uplink", "kind": "physical", "role": "uplink", "mac": "02:00:00:00:01:01", "mtu": 1500, "devargs": "net_null0"},
    {"id": 2, "name": "host", "kind": "tap", "role": "host", "mac": "02:00:00:00:01:01", "mtu": 1500, "descriptors": 1},
    {"id": 11, "name": "pod1", "kind": "tap", "domain": 2, "mac": "02:00:00:00:03:01", "mtu": 1450, "descriptors": 1},
    {"id": 12, "name": "pod2", "kind": "tap", "domain": 2, "mac": "02:00:00:00:03:02", "mtu": 1450, "descriptors": 1},
    {"id": 21, "name": "bridge1", "kind": "tap", "domain": 3, "mac": "02:00:00:00:04:01", "mtu": 1450, "descriptors": 1},
    {"id": 22, "name": "bridge2", "kind": "tap", "domain": 3, "mac": "02:00:00:00:04:02", "mtu": 1450, "descriptors": 1}],
  "vteps": [
    {"id": 1, "name": "self", "local": true, "address": "192.168.100.1", "mac": "02:00:00:00:02:01"},
    {"id": 2, "name": "peer", "address": "192.168.100.2", "mac": "02:00:00:00:02:02"}],
  "domains": [
    {"id": 2, "name": "routed", "vni": 100, "gateway_mac": "02:70:77:00:00:01", "mtu": 1450, "host_access": true,
     "gateways": ["10.244.1.1/24", "fd00:10:244:1::1/64"]},
    {"id": 3, "name": "bridged", "vni": 200, "mode": "l2", "gateway_mac": "02:70:77:00:00:01", "mtu": 1450,
     "learning": true, "flood": [2]}],
  "endpoints": [
    {"id": 1, "name": "pod1", "domain": 2, "port": 11, "mac": "02:00:00:00:03:01", "addresses": ["10.244.1.11", "fd00:10:244:1::11"]},
    {"id": 2, "name": "pod2", "domain": 2, "port": 12, "mac": "02:00:00:00:03:02", "addresses": ["10.244.1.12", "fd00:10:244:1::12"]},
    {"id": 3, "name": "bridge1", "domain": 3, "port": 21, "mac": "02:00:00:00:04:01", "addresses": ["10.9.0.1"]}],
  "routes": [
    {"id": 1, "domain": 1, "prefix": "192.168.100.0/24", "next_hops": [{"port": 1}]},
    {"id": 2, "domain": 2, "prefix": "10.244.2.0/24", "next_hops": [{"vtep": 2}]},
    {"id": 3, "domain": 2, "prefix": "fd00:10:244:2::/64", "next_hops": [{"vtep": 2}]},
    {"id": 4, "domain": 2, "prefix": "192.168.100.1/32", "next_hops": [{"port": 2}]},
    {"id": 5, "domain": 2, "prefix": "10.99.0.0/16", "blackhole": true}]
})";

Json parsed(const char* text) {
  auto json = parse_json(text, "test");
  EXPECT_TRUE(json) << json.error().message;
  return json ? *json : Json::object();
}

}  // namespace

SwitchTest::SwitchTest(FlowTable* flows) {
  ctx_.counters = &counters_.worker(0);
  ctx_.pool = pool_.get();
  ctx_.events = this;
  ctx_.egress = this;
  ctx_.tsc_hz = rte_get_tsc_hz();
  ctx_.now_tsc = rte_rdtsc();
  // The only "worker" is the test itself, and it holds no port between packets.
  publisher_.set_waker([this] { publisher_.report_ports_seen(0, UINT64_MAX); });
  ProgrammerEnvironment environment;
  environment.publisher = &publisher_;
  environment.injector = this;
  environment.counters = &counters_.main();
  environment.pool = pool_.get();
  environment.flows = flows;
  environment.open_port = [](const api::Port& config,
                             std::vector<UniqueFd>) -> Result<std::unique_ptr<Port>> {
    return std::unique_ptr<Port>(std::make_unique<RecordingPort>(config, config.kind == api::PortKind::kTap));
  };
  programmer_ = std::make_unique<Programmer>(std::move(environment), now_ms_);
  std::vector<UniqueFd> fds;
  auto objects = node();
  for (const auto& port : objects.ports) {
    if (port.descriptors != 0) fds.emplace_back(::dup(0));
  }
  auto applied = programmer_->patch(std::move(objects), {}, std::move(fds), now_ms_);
  EXPECT_TRUE(applied) << applied.error().message;
  run_injected();  // the first question for the peer's MAC
  sent_.clear();
}

SwitchTest::~SwitchTest() {
  run_injected();
  programmer_.reset();
  check_ledger();
}

api::ObjectSet SwitchTest::node() {
  api::ObjectSet objects;
  auto read = api::read_value(parsed(kNode), "node", objects);
  EXPECT_TRUE(read) << read.error().message;
  return objects;
}

void SwitchTest::program(const char* put, const char* remove) {
  api::ObjectSet objects;
  api::IdSet ids;
  auto read = api::read_value(parsed(put), "put", objects);
  ASSERT_TRUE(read) << read.error().message;
  read = api::read_value(parsed(remove), "delete", ids);
  ASSERT_TRUE(read) << read.error().message;
  std::vector<UniqueFd> fds;
  for (const auto& port : objects.ports) {
    if (port.descriptors != 0) fds.emplace_back(::dup(0));
  }
  auto applied = programmer_->patch(std::move(objects), ids, std::move(fds), now_ms_);
  ASSERT_TRUE(applied) << applied.error().message;
}

void SwitchTest::resolve(const IpAddr& address, const MacAddr& mac) {
  now_ms_ += 200;
  programmer_->tick(now_ms_);
  Event event;
  event.kind = Event::Kind::kNeighbor;
  event.solicited = true;
  event.port = kUplink;
  event.domain = kUnderlayDomain;
  event.mac = mac;
  event.address = address;
  programmer_->on_event(event, now_ms_);
  programmer_->flush(now_ms_);
  run_injected();
}

void SwitchTest::resolve_peer() {
  resolve(IpAddr(kPeerIp), kPeerNodeMac);
  sent_.clear();
}

void SwitchTest::receive(PortId id, const std::vector<rte_mbuf*>& mbufs) {
  ctx_.tables = publisher_.load();
  const auto* port = ctx_.tables->port(id);
  ASSERT_NE(port, nullptr);
  PacketMeta meta;
  meta.ingress = id;
  meta.domain = port->domain;
  meta.ingress_role = static_cast<std::uint8_t>(port->role);
  Burst burst;
  for (auto* mbuf : mbufs) {
    burst.push(mbuf, meta);
    book(*ctx_.counters, meta, &LedgerCounters::received);
  }
  if (express_) {
    ctx_.booked_tsc = rte_rdtsc();
    Express<Pipeline>::run(ctx_, burst, meta);
  } else {
    Pipeline::run(ctx_, burst);
  }
  programmer_->flush(now_ms_);
  run_injected();
}

void SwitchTest::run_injected() {
  while (!injected_.empty()) {
    ctx_.tables = publisher_.load();
    Burst burst;
    while (!injected_.empty() && !burst.full()) {
      burst.push(injected_.front().first, injected_.front().second);
      injected_.erase(injected_.begin());
    }
    Pipeline::run<kResumeStage>(ctx_, burst);
  }
}

std::uint64_t SwitchTest::all_drops() const {
  return counters_.all.front()->engine.dropped.get() + counters_.all.back()->engine.dropped.get();
}

void SwitchTest::expect_sent(PortId port, const Packet& expected) {
  ASSERT_EQ(sent_.size(), 1u);
  EXPECT_EQ(sent_[0].port, port);
  EXPECT_EQ(difference(sent_[0].bytes, expected.bytes()), "");
  EXPECT_EQ(all_drops(), 0u);
}

void SwitchTest::expect_dropped(DropReason reason, std::uint64_t count) {
  EXPECT_EQ(drops(reason), count) << name_of(reason);
  EXPECT_EQ(all_drops(), count);
}

Packet SwitchTest::from_peer(Vni vni, std::uint16_t udp_port) {
  return Packet()
      .eth(kUplinkMac, kPeerNodeMac)
      .ipv4(kPeerIp, kNodeIp)
      .udp_without_checksum(50000, udp_port)
      .vxlan(vni);
}

void SwitchTest::check_ledger() const {
  std::int64_t balance = 0, parked = 0;
  for (const auto& one : counters_.all) {
    const auto& e = one->engine;
    balance +=
        static_cast<std::int64_t>(e.received.get() + e.generated.get() + e.clones.get() + e.segments.get());
    balance -= static_cast<std::int64_t>(e.sent.get() + e.dropped.get() + e.consumed.get() + e.merged.get());
    parked += static_cast<std::int64_t>(e.parked_in.get()) - static_cast<std::int64_t>(e.parked_out.get());
  }
  EXPECT_EQ(balance, parked) << "the ledger does not add up";
  EXPECT_EQ(parked, 0) << "packets are still parked";
}

void SwitchTest::record(rte_mbuf* mbuf, PortId egress, const PacketMeta& booked_on) noexcept {
  sent_.push_back({egress, to_bytes(mbuf), needs_l4_checksum(mbuf), needs_segmentation(mbuf)});
  book(*ctx_.counters, booked_on, &LedgerCounters::sent);
  rte_pktmbuf_free(mbuf);
}

void SwitchTest::take(Burst& burst) noexcept {
  settle();
  for (std::uint16_t i = 0; i < burst.count; ++i) {
    EXPECT_EQ(burst.meta[i].verdict, Verdict::kForward);
    record(burst.mbufs[i], burst.meta[i].egress, burst.meta[i]);
  }
  burst.count = 0;
}

EgressQueue* SwitchTest::queue(PortId port) noexcept {
  auto& queue = queues_[port];
  queue.port = port;
  return &queue;
}

void SwitchTest::settle() noexcept {
  for (auto& [port, queue] : queues_) {
    std::uint64_t bytes = 0;
    for (std::uint16_t i = 0; i < queue.count; ++i) {
      bytes += queue.mbufs[i]->pkt_len;
      PacketMeta booked_on;
      booked_on.ingress = queue.accounts[i].ingress();
      booked_on.domain = queue.accounts[i].domain();
      record(queue.mbufs[i], port, booked_on);
    }
    EXPECT_EQ(queue.bytes, bytes);
    queue.count = 0;
    queue.bytes = 0;
  }
}

bool SwitchTest::push(const Event& event) noexcept {
  if (events_full_) return false;
  events_.push_back(event);
  if (programmer_) programmer_->on_event(event, now_ms_);
  return true;
}

bool SwitchTest::inject(rte_mbuf* mbuf, const PacketMeta& meta) {
  injected_.emplace_back(mbuf, meta);
  return true;
}

}  // namespace podwire::engine::tests
