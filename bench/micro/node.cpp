#include "bench/micro/node.hpp"

#include <rte_cycles.h>
#include <rte_memcpy.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <utility>

#include "tests/support/packet_builder.hpp"
#include "tests/support/silent_port.hpp"

namespace podwire::engine::bench {
namespace {

using tests::Packet;

constexpr PortId kUplink{1}, kHostPort{2}, kPod1{11}, kPod2{12}, kBridge1{21}, kBridge2{22}, kTracked1{31};
constexpr DomainId kRouted{2}, kBridged{3}, kTrackedDomain{4};
constexpr Vni kRoutedVni{100};
constexpr MacAddr kGatewayMac{{0x02, 0x70, 0x77, 0, 0, 1}}, kBroadcast{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
constexpr MacAddr kUplinkMac{{0x02, 0, 0, 0, 1, 1}}, kPeerNodeMac{{0x02, 0, 0, 0, 1, 2}};
constexpr MacAddr kOurVtepMac{{0x02, 0, 0, 0, 2, 1}}, kPeerVtepMac{{0x02, 0, 0, 0, 2, 2}};
constexpr MacAddr kPod1Mac{{0x02, 0, 0, 0, 3, 1}}, kBridge1Mac{{0x02, 0, 0, 0, 4, 1}};
constexpr MacAddr kTracked1Mac{{0x02, 0, 0, 0, 5, 1}};
constexpr std::uint32_t kFlowCapacity = 1u << 18;
constexpr Ipv4 kNodeIp{{192, 168, 100, 1}}, kGateway4{{10, 244, 1, 1}};
constexpr Ipv4 kPod1Ip{{10, 244, 1, 11}}, kPod2Ip{{10, 244, 1, 12}};
constexpr Ipv6 kPod1Ip6{{0xfd, 0, 0, 0x10, 2, 0x44, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0x11}};

constexpr unsigned kTrain = 8;
constexpr std::size_t kTrainPayload = 100;

constexpr const char* kNode = R"({
  "ports": [
    {"id": 1, "name": "uplink", "kind": "physical", "role": "uplink", "mac": "02:00:00:00:01:01", "mtu": 1500, "devargs": "net_null0"},
    {"id": 2, "name": "host", "kind": "tap", "role": "host", "mac": "02:00:00:00:01:01", "mtu": 1500, "descriptors": 1},
    {"id": 11, "name": "pod1", "kind": "tap", "domain": 2, "mac": "02:00:00:00:03:01", "mtu": 1450, "descriptors": 1},
    {"id": 12, "name": "pod2", "kind": "tap", "domain": 2, "mac": "02:00:00:00:03:02", "mtu": 1450, "descriptors": 1},
    {"id": 21, "name": "bridge1", "kind": "tap", "domain": 3, "mac": "02:00:00:00:04:01", "mtu": 1450, "descriptors": 1},
    {"id": 22, "name": "bridge2", "kind": "tap", "domain": 3, "mac": "02:00:00:00:04:02", "mtu": 1450, "descriptors": 1},
    {"id": 31, "name": "tracked1", "kind": "tap", "domain": 4, "mac": "02:00:00:00:05:01", "mtu": 1450, "descriptors": 1,
     "flow_limit": 1000000}],
  "vteps": [{"id": 1, "name": "self", "local": true, "address": "192.168.100.1", "mac": "02:00:00:00:02:01"}],
  "domains": [
    {"id": 2, "name": "routed", "vni": 100, "gateway_mac": "02:70:77:00:00:01", "mtu": 1450, "host_access": true,
     "gateways": ["10.244.1.1/24", "fd00:10:244:1::1/64"]},
    {"id": 3, "name": "bridged", "vni": 200, "mode": "l2", "gateway_mac": "02:70:77:00:00:01", "mtu": 1450, "flood": [2, 3]},
    {"id": 4, "name": "tracked", "vni": 300, "gateway_mac": "02:70:77:00:00:01", "mtu": 1450, "stateful": true,
     "gateways": ["10.244.1.1/24"]}],
  "endpoints": [
    {"id": 1, "name": "pod1", "domain": 2, "port": 11, "mac": "02:00:00:00:03:01", "addresses": ["10.244.1.11", "fd00:10:244:1::11"]},
    {"id": 2, "name": "pod2", "domain": 2, "port": 12, "mac": "02:00:00:00:03:02", "addresses": ["10.244.1.12", "fd00:10:244:1::12"]},
    {"id": 3, "name": "bridge1", "domain": 3, "port": 21, "mac": "02:00:00:00:04:01", "addresses": ["10.9.0.1"]},
    {"id": 4, "name": "tracked1", "domain": 4, "port": 31, "mac": "02:00:00:00:05:01", "addresses": ["10.244.1.11"]}],
  "routes": [{"id": 1, "domain": 1, "prefix": "192.168.100.0/24", "next_hops": [{"port": 1}]},
    {"id": 2, "domain": 4, "prefix": "10.128.0.0/9", "next_hops": [{"vtep": 2}]}]
})";

[[noreturn]] void fail(const std::string& message) {
  std::fprintf(stderr, "podwire-micro: %s\n", message.c_str());
  std::exit(1);
}

rte_mempool* make_pool(const char* name, unsigned packets) {
  auto* pool = rte_pktmbuf_pool_create(name, packets, kBurstMax, kMbufPrivateBytes,
                                       RTE_PKTMBUF_HEADROOM + kFrameRoom, SOCKET_ID_ANY);
  if (pool == nullptr) fail("no memory for " + std::to_string(packets) + " packets");
  return pool;
}

// Says what it was opened as; packets never come to it.
class KeepingPort final : public tests::SilentPort {
 public:
  KeepingPort(const api::Port& config, Kept& kept) : kept_(kept) {
    const bool tap = config.kind == api::PortKind::kTap;
    mac_ = config.mac;
    mtu_ = config.mtu;
    capabilities_ = {.l4_checksum = tap,
                     .segmentation = tap,
                     .multi_segment = tap,
                     .max_frame = static_cast<std::uint16_t>(mtu_ + 18)};
  }
  std::uint16_t tx_burst(std::uint16_t, std::span<rte_mbuf*> in) noexcept override {
    kept_.mbufs.insert(kept_.mbufs.end(), in.begin(), in.end());
    return static_cast<std::uint16_t>(in.size());
  }

 private:
  Kept& kept_;
};

VtepId vtep_id(unsigned endpoint) {
  return VtepId(2 + endpoint % kRemoteVteps);
}
Ipv4 vtep_address(unsigned endpoint) {
  return Ipv4::from_u32(kNodeIp.to_u32() + 1 + endpoint % kRemoteVteps);
}
Ipv4 endpoint4(unsigned i) {
  return Ipv4::from_u32((10u << 24 | 128u << 16) + i);
}
Ipv6 endpoint6(unsigned i) {
  Ipv6 address{{0xfd, 0, 0, 0x10, 2, 0x44, 0, 2}};
  for (unsigned byte = 0; byte < 4; ++byte)
    address.bytes[15 - byte] = static_cast<std::uint8_t>(i >> (8 * byte));
  return address;
}
MacAddr endpoint_mac(unsigned i) {
  return {{0x02, 0x10, 0, static_cast<std::uint8_t>(i >> 16), static_cast<std::uint8_t>(i >> 8),
           static_cast<std::uint8_t>(i)}};
}
api::Endpoint remote_endpoint(unsigned i, VtepId vtep) {
  api::Endpoint endpoint;
  endpoint.id = EndpointId(1000 + i);
  endpoint.name = "remote" + std::to_string(i);
  endpoint.domain = kRouted;
  endpoint.vtep = vtep;
  endpoint.mac = endpoint_mac(i);
  endpoint.addresses = {IpAddr(endpoint4(i)), IpAddr(endpoint6(i))};
  return endpoint;
}

api::ObjectSet node_objects() {
  api::ObjectSet objects;
  auto json = parse_json(kNode, "node");
  if (!json) fail(json.error().message);
  if (auto read = api::read_value(*json, "node", objects); !read) fail(read.error().message);
  for (unsigned i = 0; i < kRemoteVteps; ++i) {
    api::Vtep vtep;
    vtep.id = vtep_id(i);
    vtep.name = "vtep" + std::to_string(i);
    vtep.address = IpAddr(vtep_address(i));
    vtep.mac = kPeerVtepMac;
    objects.vteps.push_back(vtep);
  }
  for (unsigned i = 0; i < kRemoteEndpoints; ++i) objects.endpoints.push_back(remote_endpoint(i, vtep_id(i)));
  return objects;
}

// The frame of one flow; for trains the flow's `segment`.
Packet frame_of(Traffic traffic, unsigned flow, unsigned segment) {
  const auto port = static_cast<std::uint16_t>(1024 + flow % 50000);
  const auto outer = [&] {
    return Packet()
        .eth(kUplinkMac, kPeerNodeMac)
        .ipv4(vtep_address(flow), kNodeIp)
        .udp_without_checksum(static_cast<std::uint16_t>(49152 + flow % 16384), 4789)
        .vxlan(kRoutedVni)
        .eth(kOurVtepMac, kPeerVtepMac)
        .ipv4(endpoint4(flow), kPod1Ip);
  };
  switch (traffic) {
    case Traffic::kLocal:
      return Packet().eth(kGatewayMac, kPod1Mac).ipv4(kPod1Ip, kPod2Ip).udp(port, 2000).payload(18);
    case Traffic::kBridge:
      return Packet()
          .eth(endpoint_mac(flow), kPod1Mac)
          .ipv4(kPod1Ip, endpoint4(flow))
          .udp(port, 2000)
          .payload(18);
    case Traffic::kEncap:
    case Traffic::kChecksum:
      return Packet().eth(kGatewayMac, kPod1Mac).ipv4(kPod1Ip, endpoint4(flow)).udp(port, 2000).payload(18);
    case Traffic::kEncap6:
      return Packet().eth(kGatewayMac, kPod1Mac).ipv6(kPod1Ip6, endpoint6(flow)).udp(port, 2000).payload(16);
    case Traffic::kDecap:
      return outer().udp(port, 2000).payload(18);
    case Traffic::kDecapTcp:
      return outer()
          .tcp(port, 80, {.seq = 1000 + segment * static_cast<std::uint32_t>(kTrainPayload)})
          .payload(kTrainPayload);
    case Traffic::kHost:
      return Packet()
          .eth(kUplinkMac, kPeerNodeMac)
          .ipv4(vtep_address(flow), kNodeIp)
          .tcp(port, 22)
          .payload(6);
    case Traffic::kArp:
      return Packet().eth(kBroadcast, kPod1Mac).arp(1, kPod1Mac, kPod1Ip, {}, kGateway4).padding(18);
    case Traffic::kFlood:
      return Packet()
          .eth(kBroadcast, kBridge1Mac)
          .ipv4(Ipv4{{10, 9, 0, 1}}, Ipv4{{10, 9, 0, 255}})
          .udp(port, 2000)
          .payload(18);
    case Traffic::kTracked:
      return Packet()
          .eth(kGatewayMac, kTracked1Mac)
          .ipv4(kPod1Ip, endpoint4(flow))
          .udp(port, 2000)
          .payload(18);
    case Traffic::kCount:
      break;
  }
  return {};
}

PortId ingress_of(Traffic traffic) {
  switch (traffic) {
    case Traffic::kDecap:
    case Traffic::kDecapTcp:
    case Traffic::kHost:
      return kUplink;
    case Traffic::kFlood:
      return kBridge1;
    case Traffic::kTracked:
      return kTracked1;
    default:
      return kPod1;
  }
}

}  // namespace

const char* name_of(Traffic traffic) {
  static constexpr const char* kNames[] = {"local", "bridge", "encap", "encap6",   "decap",  "decap_tcp",
                                           "host",  "arp",    "flood", "checksum", "tracked"};
  static_assert(std::size(kNames) == static_cast<std::size_t>(Traffic::kCount));
  return kNames[static_cast<std::size_t>(traffic)];
}

void Kept::free() {
  for (rte_mbuf* mbuf : mbufs) rte_pktmbuf_free(mbuf);
  mbufs.clear();
}

BenchNode& BenchNode::get() {
  // Never destroyed: EAL's memory, which it holds, is gone before destructors of statics run.
  static auto* const node = new BenchNode;
  return *node;
}

BenchNode::BenchNode()
    : pool_(make_pool("micro", kPoolPackets)),
      warm_pool_(make_pool("warm", kWarmPoolPackets)),
      flows_(kFlowCapacity, 7) {
  kept_.mbufs.reserve(kPoolPackets);
  ctx_.counters = &counters_.worker(0);
  ctx_.pool = pool_;
  ctx_.events = this;
  ctx_.tsc_hz = rte_get_tsc_hz();
  ctx_.now_tsc = rte_rdtsc();
  ctx_.now_s = 1000;
  ctx_.flows = &flows_;
  publisher_.set_waker([this] { publisher_.report_ports_seen(0, UINT64_MAX); });
  ProgrammerEnvironment environment;
  environment.publisher = &publisher_;
  environment.injector = this;
  environment.counters = &counters_.main();
  environment.pool = pool_;
  environment.flows = &flows_;
  environment.open_port = [this](const api::Port& config,
                                 std::vector<UniqueFd>) -> Result<std::unique_ptr<Port>> {
    return std::unique_ptr<Port>(std::make_unique<KeepingPort>(config, kept_));
  };
  programmer_ = std::make_unique<Programmer>(std::move(environment), now_ms_);
  auto objects = node_objects();
  std::vector<UniqueFd> fds;
  for (const auto& port : objects.ports) {
    if (port.descriptors != 0) fds.emplace_back(::dup(0));
  }
  if (auto done = programmer_->patch(std::move(objects), {}, std::move(fds), now_ms_); !done)
    fail(done.error().message);
  resolve_vteps();
  ctx_.tables = publisher_.load();
}

void BenchNode::resolve_vteps() {
  now_ms_ += 200;
  programmer_->tick(now_ms_);
  for (unsigned i = 0; i < kRemoteVteps; ++i) {
    Event event;
    event.kind = Event::Kind::kNeighbor;
    event.solicited = true;
    event.port = kUplink;
    event.domain = kUnderlayDomain;
    event.mac = kPeerNodeMac;
    event.address = IpAddr(vtep_address(i));
    programmer_->on_event(event, now_ms_);
  }
  programmer_->flush(now_ms_);
  for (const auto& vtep : publisher_.load()->vteps) {
    if (vtep.known && !vtep.direct && !vtep.resolved) fail("a VTEP is not resolved");
  }
}

void BenchNode::move_endpoint(unsigned index) {
  api::ObjectSet objects;
  objects.endpoints.push_back(remote_endpoint(index, vtep_id(index + ++moves_ % 2)));
  if (auto done = programmer_->patch(std::move(objects), {}, {}, now_ms_); !done) fail(done.error().message);
  ctx_.tables = publisher_.load();
}

const FrameSet& BenchNode::frames(Traffic traffic) {
  auto [at, made] = frames_.try_emplace(traffic);
  FrameSet& set = at->second;
  if (!made) return set;
  set.ingress = ingress_of(traffic);
  set.partial_checksum = traffic == Traffic::kChecksum;
  for (unsigned i = 0; i < kMaxFlows; ++i) {
    const bool train = traffic == Traffic::kDecapTcp;
    const auto bytes = frame_of(traffic, train ? i / kTrain : i, i % kTrain).bytes();
    set.length = static_cast<std::uint16_t>(bytes.size());
    set.bytes.insert(set.bytes.end(), bytes.begin(), bytes.end());
  }
  if (traffic == Traffic::kTracked) establish(set);
  return set;
}

// Each connection's first packet takes the stages, which note the way of those behind it; then it is
// answered.
void BenchNode::establish(const FrameSet& frames) {
  class : public EgressSink {
   public:
    void take(Burst& burst) noexcept override {
      rte_pktmbuf_free_bulk(burst.mbufs.data(), burst.count);
      burst.count = 0;
    }
  } nowhere;
  auto* const egress = std::exchange(ctx_.egress, &nowhere);
  static Burst burst;
  for (unsigned first = 0; first < kMaxFlows; first += kBurstMax) {
    receive(frames, first, kMaxFlows, kBurstMax, false, burst);
    Pipeline::run(ctx_, burst);
  }
  ctx_.egress = egress;
  for (unsigned flow = 0; flow < kMaxFlows; ++flow) {
    const auto port = static_cast<std::uint16_t>(1024 + flow % 50000);
    const auto ref = flows_.find(
        make_flow_key(kTrackedDomain, ip_proto::kUdp, IpAddr(kPod1Ip), IpAddr(endpoint4(flow)), port, 2000));
    if (!ref) fail("connection " + std::to_string(flow) + " was not noted");
    flows_.update(ref, [](FlowPhase phase) {
      phase.state = FlowState::kUdpReplied;
      return FlowStep{FlowStep::Outcome::kPass, phase};
    });
  }
}

void BenchNode::receive(const FrameSet& frames, std::size_t first, std::size_t flows, unsigned count,
                        bool cold, Burst& burst) {
  if (rte_pktmbuf_alloc_bulk(cold ? pool_ : warm_pool_, burst.mbufs.data(), count) != 0)
    fail("out of packets");
  const auto* port = ctx_.tables->port(frames.ingress);
  PacketMeta meta;
  meta.ingress = frames.ingress;
  meta.domain = port->domain;
  meta.ingress_role = static_cast<std::uint8_t>(port->role);
  burst.count = static_cast<std::uint16_t>(count);
  burst.leaving = 0;
  for (unsigned i = 0; i < count; ++i) {
    rte_mbuf* mbuf = burst.mbufs[i];
    rte_memcpy(rte_pktmbuf_mtod(mbuf, void*), frames.bytes.data() + (first + i) % flows * frames.length,
               frames.length);
    mbuf->data_len = frames.length;
    mbuf->pkt_len = frames.length;
    if (frames.partial_checksum) {
      mbuf->l2_len = sizeof(EtherHeader);
      mbuf->l3_len = sizeof(Ipv4Header);
      mbuf->ol_flags |= RTE_MBUF_F_TX_UDP_CKSUM | RTE_MBUF_F_TX_IPV4;
    }
    burst.meta[i] = meta;
  }
}

bool BenchNode::push(const Event& event) noexcept {
  return event.kind != Event::Kind::kPark;  // nothing is to be parked: every VTEP is resolved
}

bool BenchNode::inject(rte_mbuf* mbuf, const PacketMeta&) {
  rte_pktmbuf_free(mbuf);
  return true;
}

}  // namespace podwire::engine::bench
