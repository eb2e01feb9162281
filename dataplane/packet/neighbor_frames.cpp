#include "dataplane/packet/neighbor_frames.hpp"

#include <algorithm>
#include <cstring>

#include "dataplane/packet/access.hpp"
#include "dataplane/packet/checksum.hpp"

namespace podwire::engine {

namespace {

constexpr MacAddr kBroadcast{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
constexpr std::uint16_t kMinFrame = 60;  // IEEE 802.3, without FCS

// Zeroed room for a whole frame of `payload` bytes behind Ethernet and tag; null when the mbuf cannot take
// it.
std::uint8_t* start_frame(rte_mbuf* mbuf, PacketMeta& meta, const NeighborQuestion& question,
                          const MacAddr& everybody, std::uint16_t type, std::uint16_t payload) noexcept {
  if (mbuf->pkt_len != 0 || mbuf->next != nullptr) return nullptr;
  const std::uint16_t tag = question.vlan == 0 ? 0 : sizeof(VlanTag);
  meta.l3_offset = static_cast<std::uint16_t>(sizeof(EtherHeader) + tag);
  meta.ether_type = type;
  const auto least = static_cast<std::uint16_t>(kMinFrame + tag);
  const auto bytes = std::max(static_cast<std::uint16_t>(meta.l3_offset + payload), least);
  auto* frame = reinterpret_cast<std::uint8_t*>(rte_pktmbuf_append(mbuf, bytes));
  if (frame == nullptr) return nullptr;
  std::memset(frame, 0, bytes);
  auto* ether = reinterpret_cast<EtherHeader*>(frame);
  ether->destination = question.destination.is_zero() ? everybody : question.destination;
  ether->source = question.source_mac;
  ether->type = Be16(question.vlan == 0 ? type : ether_type::kVlan);
  if (question.vlan != 0) {
    const Be16 after_tag[2] = {Be16(question.vlan & VlanTag::kIdMask), Be16(type)};
    std::memcpy(frame + sizeof(EtherHeader), after_tag, sizeof after_tag);
  }
  return frame + meta.l3_offset;
}

}  // namespace

bool build_arp_request(rte_mbuf* mbuf, PacketMeta& meta, const NeighborQuestion& question, const Ipv4& source,
                       const Ipv4& target) noexcept {
  auto* at = start_frame(mbuf, meta, question, kBroadcast, ether_type::kArp, sizeof(ArpHeader));
  if (at == nullptr) return false;
  auto* arp = reinterpret_cast<ArpHeader*>(at);
  arp->hardware = Be16(1);
  arp->protocol = Be16(ether_type::kIpv4);
  arp->hardware_length = sizeof(MacAddr);
  arp->protocol_length = sizeof(Ipv4);
  arp->operation = Be16(ArpHeader::kRequest);
  arp->sender_mac = question.source_mac;
  arp->sender_ip = source;
  arp->target_ip = target;
  return true;
}

bool build_neighbor_solicitation(rte_mbuf* mbuf, PacketMeta& meta, const NeighborQuestion& question,
                                 const Ipv6& source, const Ipv6& target) noexcept {
  const Ipv6 group = target.solicited_node();
  // RFC 2464 section 7: 33:33 and the group's last four bytes.
  const MacAddr group_mac{{0x33, 0x33, group.bytes[12], group.bytes[13], group.bytes[14], group.bytes[15]}};
  const bool with_option = !source.is_zero();
  const auto bytes =
      static_cast<std::uint16_t>(sizeof(NeighborMessage) + (with_option ? sizeof(LinkLayerOption) : 0));
  auto* at = start_frame(mbuf, meta, question, group_mac, ether_type::kIpv6,
                         static_cast<std::uint16_t>(sizeof(Ipv6Header) + bytes));
  if (at == nullptr) return false;
  auto* ip = reinterpret_cast<Ipv6Header*>(at);
  ip->version_class_flow = Be32(std::uint32_t{6} << 28);
  ip->payload_length = Be16(bytes);
  ip->next_header = ip_proto::kIcmpv6;
  ip->hop_limit = 255;
  ip->source = source;
  ip->destination = question.destination.is_zero() ? group : target;
  auto* message = reinterpret_cast<NeighborMessage*>(ip + 1);
  message->icmp.type = icmp6::kNeighborSolicitation;
  message->target = target;
  if (with_option) {
    const LinkLayerOption option{icmp6::kOptionSourceLinkLayer, 1, question.source_mac};
    std::memcpy(at + sizeof(Ipv6Header) + sizeof(NeighborMessage), &option, sizeof option);
  }
  message->icmp.checksum = checksum_of(
      sum_bytes(message, bytes) + pseudo_header_sum(ip->source, ip->destination, ip_proto::kIcmpv6, bytes));
  meta.l4_offset = static_cast<std::uint16_t>(meta.l3_offset + sizeof(Ipv6Header));
  meta.ip_proto = ip_proto::kIcmpv6;
  return true;
}

}  // namespace podwire::engine
