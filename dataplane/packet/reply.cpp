#include "dataplane/packet/reply.hpp"

#include <algorithm>
#include <cstring>

#include "dataplane/packet/checksum.hpp"
#include "dataplane/packet/linearize.hpp"
#include "dataplane/packet/neighbor_message.hpp"
#include "dataplane/packet/offload.hpp"

namespace podwire::engine {

namespace {

constexpr std::uint8_t kReplyTtl = 64;
constexpr std::uint8_t kNeighborHopLimit = 255;  // RFC 4861: proof that no router forwarded it
constexpr Ipv6 kAllNodes{{0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}};
constexpr MacAddr kAllNodesMac{{0x33, 0x33, 0, 0, 0, 1}};

void turn_round(rte_mbuf* mbuf, const MacAddr& our_mac) noexcept {
  auto* ether = header_unchecked<EtherHeader>(mbuf, 0);
  ether->destination = ether->source;
  ether->source = our_mac;
}

}  // namespace

bool make_echo4_reply(rte_mbuf* mbuf, PacketMeta& meta, const MacAddr& our_mac) noexcept {
  auto* ip = header_at<Ipv4Header>(mbuf, meta.l3_offset);
  if (ip == nullptr || meta.l3_offset < sizeof(EtherHeader) || ip->protocol != ip_proto::kIcmp ||
      ip->is_fragment()) {
    return false;
  }
  const std::uint16_t header_bytes = ip->header_bytes();
  auto* message = header_at<IcmpHeader>(mbuf, std::uint32_t{meta.l3_offset} + header_bytes);
  if (header_bytes < sizeof(Ipv4Header) || message == nullptr || message->type != icmp::kEchoRequest ||
      message->code != 0 || ip->source.is_multicast() || ip->source.is_zero() || ip->source.is_broadcast()) {
    return false;
  }
  const Be16 before(std::uint16_t{icmp::kEchoRequest} << 8);
  message->type = icmp::kEchoReply;
  message->checksum = update_checksum(message->checksum, before, Be16(0));
  const Ipv4 asked = ip->destination;
  ip->destination = ip->source;
  ip->source = asked;
  ip->ttl = kReplyTtl;
  set_ipv4_checksum(ip);
  turn_round(mbuf, our_mac);
  meta.l4_offset = static_cast<std::uint16_t>(meta.l3_offset + header_bytes);
  return true;
}

bool make_echo6_reply(rte_mbuf* mbuf, PacketMeta& meta, const MacAddr& our_mac) noexcept {
  auto* ip = header_at<Ipv6Header>(mbuf, meta.l3_offset);
  // With extension headers (meta tells their end) there is no answer: nobody asks like that.
  if (ip == nullptr || meta.l3_offset < sizeof(EtherHeader) || ip->next_header != ip_proto::kIcmpv6)
    return false;
  auto* message = header_at<IcmpHeader>(mbuf, meta.l3_offset + std::uint32_t{sizeof(Ipv6Header)});
  if (message == nullptr || message->type != icmp6::kEchoRequest || message->code != 0 ||
      ip->source.is_multicast() || ip->source.is_zero()) {
    return false;
  }
  const Be16 before(std::uint16_t{icmp6::kEchoRequest} << 8);
  message->type = icmp6::kEchoReply;
  // Swapping source and destination does not change the pseudo-header's sum.
  message->checksum = update_checksum(message->checksum, before, Be16(std::uint16_t{icmp6::kEchoReply} << 8));
  const Ipv6 asked = ip->destination;
  ip->destination = ip->source;
  ip->source = asked;
  ip->hop_limit = kReplyTtl;
  turn_round(mbuf, our_mac);
  meta.l4_offset = static_cast<std::uint16_t>(meta.l3_offset + sizeof(Ipv6Header));
  return true;
}

bool make_arp_reply(rte_mbuf* mbuf, const PacketMeta& meta, const MacAddr& our_mac) noexcept {
  auto* arp = header_at<ArpHeader>(mbuf, meta.l3_offset);
  if (arp == nullptr || meta.l3_offset < sizeof(EtherHeader)) return false;
  if (arp->hardware.host() != 1 || arp->protocol.host() != ether_type::kIpv4 || arp->hardware_length != 6 ||
      arp->protocol_length != 4 || arp->operation.host() != ArpHeader::kRequest) {
    return false;
  }
  const Ipv4 asked = arp->target_ip;
  arp->operation = Be16(ArpHeader::kReply);
  arp->target_mac = arp->sender_mac;
  arp->target_ip = arp->sender_ip;
  arp->sender_mac = our_mac;
  arp->sender_ip = asked;
  turn_round(mbuf, our_mac);
  return true;
}

const NeighborMessage* valid_solicitation(rte_mbuf* mbuf, const PacketMeta& meta) noexcept {
  // With extension headers there is no answer: nobody asks like that, and the answer has no room for them.
  if (meta.l3_offset < sizeof(EtherHeader) || meta.l4_offset != meta.l3_offset + sizeof(Ipv6Header))
    return nullptr;
  const auto discovery = discovery_of(mbuf, meta);
  return discovery && discovery->type == icmp6::kNeighborSolicitation ? discovery->message : nullptr;
}

bool make_neighbor_advertisement(rte_mbuf* mbuf, PacketMeta& meta, const MacAddr& our_mac,
                                 std::uint32_t flags) noexcept {
  constexpr std::uint16_t kPayload = sizeof(NeighborMessage) + sizeof(LinkLayerOption);
  const auto* question = valid_solicitation(mbuf, meta);
  if (question == nullptr) return false;
  const std::uint32_t frame = meta.l3_offset + std::uint32_t{sizeof(Ipv6Header)} + kPayload;
  if (frame > mbuf->data_len && frame - mbuf->data_len > rte_pktmbuf_tailroom(mbuf)) return false;

  const Ipv6 target = question->target;
  auto* ip = header_unchecked<Ipv6Header>(mbuf, meta.l3_offset);
  const Ipv6 asker = ip->source;
  // A valid question lies in the first segment; what may follow it is padding.
  truncate(mbuf, std::min<std::uint32_t>(frame, mbuf->data_len));
  if (mbuf->pkt_len < frame) rte_pktmbuf_append(mbuf, static_cast<std::uint16_t>(frame - mbuf->pkt_len));
  clear_offload(mbuf);
  turn_round(mbuf, our_mac);
  if (asker.is_zero()) header_unchecked<EtherHeader>(mbuf, 0)->destination = kAllNodesMac;

  ip->version_class_flow = Be32(std::uint32_t{6} << 28);
  ip->payload_length = Be16(kPayload);
  ip->next_header = ip_proto::kIcmpv6;
  ip->hop_limit = kNeighborHopLimit;
  ip->source = target;
  ip->destination = asker.is_zero() ? kAllNodes : asker;
  struct Advertisement {
    NeighborMessage message;
    LinkLayerOption option;
  };
  meta.l4_offset = static_cast<std::uint16_t>(meta.l3_offset + sizeof(Ipv6Header));
  auto* answer = header_unchecked<Advertisement>(mbuf, meta.l4_offset);
  const std::uint32_t all_flags = asker.is_zero() ? flags : flags | icmp6::kNaSolicited;
  answer->message.icmp = IcmpHeader{icmp6::kNeighborAdvertisement, 0, Be16(0), Be32(all_flags)};
  answer->message.target = target;
  answer->option = LinkLayerOption{icmp6::kOptionTargetLinkLayer, 1, our_mac};
  answer->message.icmp.checksum =
      checksum_of(sum_bytes(answer, kPayload) +
                  pseudo_header_sum(ip->source, ip->destination, ip_proto::kIcmpv6, kPayload));
  return true;
}

}  // namespace podwire::engine
