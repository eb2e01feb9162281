#include "dataplane/worker/flow_sampler.hpp"

#include <algorithm>
#include <cstring>

#include "dataplane/packet/offload.hpp"
#include "dataplane/pipeline/flow_packet.hpp"
#include "dataplane/pipeline/parse.hpp"
#include "dataplane/tables/routed_prefixes.hpp"
#include "dataplane/tunnels/vxlan.hpp"

namespace podwire::engine {
namespace {

bool is_role(const PacketMeta& meta, api::PortRole role) noexcept {
  return meta.ingress_role == static_cast<std::uint8_t>(role);
}

// Takes `count` bytes off the front of a copied mbuf; the frame itself stays.
bool skip(rte_mbuf& view, std::uint32_t count) noexcept {
  if (count > view.data_len) return false;
  view.data_off = static_cast<std::uint16_t>(view.data_off + count);
  view.data_len = static_cast<std::uint16_t>(view.data_len - count);
  view.pkt_len -= count;
  return true;
}

// As the parse stage does, but that the tag of an uplink's VLAN is stepped over and not taken off.
bool parse_ip(rte_mbuf& view, PacketMeta& meta, std::uint16_t vlan, MacAddr& destination) noexcept {
  const auto* ether = header_at<EtherHeader>(&view, 0);
  if (ether == nullptr) return false;
  destination = ether->destination;
  if (vlan != 0) {
    if (ether->type.host() != ether_type::kVlan || !skip(view, sizeof(VlanTag))) return false;
    ether = header_at<EtherHeader>(&view, 0);
    if (ether == nullptr) return false;
  }
  meta.ether_type = ether->type.host();
  meta.l3_offset = sizeof(EtherHeader);
  meta.l4_offset = 0;
  meta.is_fragment = false;
  if (meta.ether_type == ether_type::kIpv4) return parse_ipv4(&view, meta).good;
  return meta.ether_type == ether_type::kIpv6 && parse_ipv6(&view, meta).good;
}

// The same of what a tunnel packet to us carries, which then has its VNI's domain; others stay as they are.
bool enter_tunnel(const Snapshot& tables, rte_mbuf& view, PacketMeta& meta, MacAddr& destination) noexcept {
  if (vxlan::match_local(tables, &view, meta) == nullptr) return true;
  const std::uint32_t at = meta.l4_offset + std::uint32_t{sizeof(UdpHeader)};
  const auto* header = header_at<VxlanHeader>(&view, at);
  if (header == nullptr || tables.vni_to_domain == nullptr) return false;
  const auto domain = tables.vni_to_domain->find({header->get_vni().value()});
  if (domain == 0 || !skip(view, at + std::uint32_t{sizeof(VxlanHeader)})) return false;
  meta.domain = DomainId(static_cast<std::uint16_t>(domain));
  meta.from_tunnel = true;
  return parse_ip(view, meta, 0, destination);
}

// The domain that what the uplink or the node brings without a tunnel goes into: see pipeline/host.hpp.
DomainId domain_entered(const Snapshot& tables, rte_mbuf& view, const PacketMeta& meta,
                        const MacAddr& destination) noexcept {
  const bool from_host = is_role(meta, api::PortRole::kHost);
  const auto* port = tables.port(meta.ingress);
  if (tables.routed != nullptr && port != nullptr && (from_host || destination == port->mac)) {
    const auto domain =
        meta.ether_type == ether_type::kIpv4
            ? tables.routed->find(header_unchecked<Ipv4Header>(&view, meta.l3_offset)->destination)
            : tables.routed->find(header_unchecked<Ipv6Header>(&view, meta.l3_offset)->destination);
    if (tables.domain(domain) != nullptr) return domain;
  }
  const auto* host_domain = from_host ? tables.domain(tables.host_domain) : nullptr;
  return host_domain != nullptr && destination == host_domain->gateway_mac ? host_domain->id : meta.domain;
}

}  // namespace

bool key_as_received(const Snapshot& tables, const rte_mbuf* packet, const PacketMeta& first, FlowKey& key,
                     std::uint64_t& bytes) noexcept {
  const auto* port = tables.port(first.ingress);
  if (port == nullptr) return false;
  rte_mbuf
      view;  // of the first segment's headers nothing is changed, so a copy of what leads to them is enough
  std::memcpy(static_cast<void*>(&view), packet, sizeof view);
  auto meta = first;
  MacAddr destination;
  if (!parse_ip(view, meta, port->vlan, destination)) return false;
  if (is_role(meta, api::PortRole::kUplink) && !enter_tunnel(tables, view, meta, destination)) return false;
  if (!is_role(meta, api::PortRole::kPod) && !meta.from_tunnel)
    meta.domain = domain_entered(tables, view, meta, destination);
  bytes = meta.from_tunnel ? view.pkt_len : bytes_on_wire(packet);
  key = {};
  read_flow_packet(nullptr, &view, meta, 0, key);
  if (key.words[0] == 0) key.set_head(meta.domain, meta.ip_proto, meta.ether_type == ether_type::kIpv4, 0);
  return true;
}

FlowSampler::FlowSampler(const FlowTable& flows, std::uint64_t tsc_hz, std::uint64_t seed)
    : flows_(flows), period_(tsc_hz / kPeriodsPerSecond), random_(seed | 1), rows_(kRows) {}

void FlowSampler::see(const Snapshot& tables, std::span<rte_mbuf* const> packets, const PacketMeta& first,
                      std::uint64_t now_tsc) noexcept {
  totals_.seen += packets.size();
  seen_in_period_ += packets.size();
  follow_rate(now_tsc);
  if (!chosen()) return;
  totals_.looked_at += packets.size();
  looked_at_since_ += packets.size();
  totals_.estimated += packets.size() * stride_;
  for (const rte_mbuf* packet : packets) {
    FlowKey key;
    std::uint64_t bytes = 0;
    if (key_as_received(tables, packet, first, key, bytes)) {
      count(key, bytes);
    } else {
      totals_.not_ip += stride_;
    }
  }
}

// A rate that has risen is noticed at once, one that has fallen at the end of the period.
void FlowSampler::follow_rate(std::uint64_t now_tsc) noexcept {
  constexpr std::uint64_t kBudget = kPacketsPerSecond / kPeriodsPerSecond;
  if (now_tsc >= period_end_) {
    const auto wanted = (seen_in_period_ + kBudget - 1) / kBudget;
    stride_ = static_cast<std::uint32_t>(std::clamp<std::uint64_t>(wanted, 1, kMaxStride));
    period_end_ = now_tsc + period_;
    seen_in_period_ = looked_at_since_ = 0;
  } else if (looked_at_since_ >= kBudget) {
    stride_ = std::min(stride_ * 2, kMaxStride);
    looked_at_since_ = 0;
  }
}

// By chance, not every so many: who receives from several ports in turn would otherwise always meet the same.
bool FlowSampler::chosen() noexcept {
  if (stride_ == 1) return true;
  random_ ^= random_ << 13;
  random_ ^= random_ >> 7;
  random_ ^= random_ << 17;
  return (random_ >> 32) * stride_ >> 32 == 0;
}

void FlowSampler::count(const FlowKey& key, std::uint64_t bytes) noexcept {
  const auto set = std::span(rows_).subspan(flows_.hash(key) % (kRows / kWays) * kWays, kWays);
  Row* least = &set[0];
  for (auto& row : set) {
    if (row.key == key) {
      row.packets += stride_;
      row.bytes += bytes * stride_;
      return;
    }
    if (row.bytes + row.taken_over < least->bytes + least->taken_over) least = &row;
  }
  if (least->key.words[0] != 0) ++totals_.displaced;
  *least = {key, stride_, bytes * stride_, least->bytes + least->taken_over};
}

}  // namespace podwire::engine
