#include "dataplane/packet/host_answer.hpp"

#include "dataplane/packet/checksum.hpp"
#include "dataplane/packet/offload.hpp"
#include "dataplane/packet/router_advert.hpp"

namespace podwire::engine {
namespace {

constexpr std::size_t kMostQuestionBytes = 1500;
constexpr MacAddr kBroadcastMac{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
constexpr MacAddr kAllNodesMac{{0x33, 0x33, 0, 0, 0, 1}};
constexpr Ipv6 kAllNodes{{0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}};

// The message, in place or copied together; empty when a length or the checksum is wrong, or it is longer
// than any client's.
std::span<const std::uint8_t> message_of(rte_mbuf* mbuf, const PacketMeta& meta,
                                         std::span<std::uint8_t> copy) noexcept {
  if (meta.is_fragment || needs_segmentation(mbuf)) return {};
  if (!needs_l4_checksum(mbuf) && !verify_l4(mbuf, meta.l3_offset, meta.l4_offset, meta.ip_proto)) return {};
  const std::uint32_t end =
      meta.l3_offset + (meta.ether_type == ether_type::kIpv4
                            ? header_unchecked<Ipv4Header>(mbuf, meta.l3_offset)->total_length.host()
                            : header_unchecked<Ipv6Header>(mbuf, meta.l3_offset)->payload_length.host() +
                                  std::uint32_t{sizeof(Ipv6Header)});
  std::uint32_t from = meta.l4_offset, bytes = end - from;  // parse has checked end
  if (meta.ip_proto == ip_proto::kUdp) {
    const std::uint32_t udp_bytes = header_unchecked<UdpHeader>(mbuf, from)->length.host();
    if (udp_bytes < sizeof(UdpHeader) || udp_bytes > bytes) return {};
    from += std::uint32_t{sizeof(UdpHeader)};
    bytes = udp_bytes - std::uint32_t{sizeof(UdpHeader)};
  }
  if (bytes > copy.size()) return {};
  const auto* data = static_cast<const std::uint8_t*>(rte_pktmbuf_read(mbuf, from, bytes, copy.data()));
  return data == nullptr ? std::span<const std::uint8_t>{} : std::span(data, bytes);
}

HostAnswer dhcp4_answer(std::span<const std::uint8_t> message, const Lease& lease,
                        AnswerBuffer& buffer) noexcept {
  const auto answer = answer_dhcp4(message, lease, message_room(buffer, kUdp4Message, lease.mtu));
  if (answer.outcome != DhcpOutcome::kAnswer) return {answer.outcome, {}};
  const Ends<Ipv4> ends{lease.gateway_mac, answer.to_all ? kBroadcastMac : lease.mac, lease.server4,
                        answer.destination};
  return {answer.outcome, finish_udp4(buffer, ends, dhcp4::kServerPort, dhcp4::kClientPort, answer.bytes)};
}

HostAnswer dhcp6_answer(std::span<const std::uint8_t> message, const Ipv6& asker, const Lease& lease,
                        AnswerBuffer& buffer) noexcept {
  if (asker.is_zero() || asker.is_multicast()) return {};
  const auto answer = answer_dhcp6(message, lease, message_room(buffer, kUdp6Message, lease.mtu));
  if (answer.outcome != DhcpOutcome::kAnswer) return {answer.outcome, {}};
  const Ends<Ipv6> ends{lease.gateway_mac, lease.mac, Ipv6::link_local_of(lease.gateway_mac), asker};
  return {answer.outcome, finish_udp6(buffer, ends, dhcp6::kServerPort, dhcp6::kClientPort, answer.bytes)};
}

}  // namespace

bool asks_engine(rte_mbuf* mbuf, const PacketMeta& meta, const Lease& lease, HostConfig kind) noexcept {
  if (kind == HostConfig::kDhcp4Question) {
    const auto destination = header_unchecked<Ipv4Header>(mbuf, meta.l3_offset)->destination;
    return destination.is_broadcast() || destination == lease.server4;
  }
  if (kind == HostConfig::kRouterSolicitation) return true;
  return header_unchecked<Ipv6Header>(mbuf, meta.l3_offset)->destination == dhcp6::kAllServers;
}

HostAnswer answer_host(rte_mbuf* mbuf, const PacketMeta& meta, const Lease& lease, HostConfig kind,
                       AnswerBuffer& buffer) noexcept {
  std::array<std::uint8_t, kMostQuestionBytes> copy;
  const auto message = message_of(mbuf, meta, copy);
  if (message.empty()) return {};
  if (kind == HostConfig::kDhcp4Question) return dhcp4_answer(message, lease, buffer);
  const auto* ip = header_unchecked<Ipv6Header>(mbuf, meta.l3_offset);
  if (kind == HostConfig::kDhcp6Question) return dhcp6_answer(message, ip->source, lease, buffer);
  if (!valid_router_solicitation(message, ip->source, ip->hop_limit)) return {};
  if (lease.addresses6.empty()) return {DhcpOutcome::kSilence, {}};
  return {DhcpOutcome::kAnswer, router_advert_frame(lease, ip->source, buffer)};
}

std::span<const std::uint8_t> router_advert_frame(const Lease& lease, const Ipv6& asker,
                                                  AnswerBuffer& buffer) noexcept {
  const bool to_all = asker.is_zero();
  const auto bytes = write_router_advert(lease, message_room(buffer, kIcmp6Message, lease.mtu));
  const Ends<Ipv6> ends{lease.gateway_mac, to_all ? kAllNodesMac : lease.mac,
                        Ipv6::link_local_of(lease.gateway_mac), to_all ? kAllNodes : asker};
  return finish_icmp6(buffer, ends, bytes);
}

}  // namespace podwire::engine
