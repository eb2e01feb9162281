// Frames that the engine makes from nothing to answer a pod: a buffer on the caller's stack, the message
// written behind the place of its headers, the headers in front of it when its length is known, and the whole
// moved into an mbuf. Called by workers and, for what is sent unasked, by the main thread; allocates nothing.
#pragma once

#include <rte_mbuf.h>

#include <array>
#include <cstdint>
#include <span>

#include "dataplane/headers/headers.hpp"
#include "dataplane/packet/meta.hpp"

namespace podwire::engine {

inline constexpr std::size_t kAnswerIpBytes = 1500;  // at most, whatever the MTU
using AnswerBuffer = std::array<std::uint8_t, sizeof(EtherHeader) + kAnswerIpBytes>;

// Where the message begins.
inline constexpr std::size_t kUdp4Message = sizeof(EtherHeader) + sizeof(Ipv4Header) + sizeof(UdpHeader);
inline constexpr std::size_t kUdp6Message = sizeof(EtherHeader) + sizeof(Ipv6Header) + sizeof(UdpHeader);
inline constexpr std::size_t kIcmp6Message = sizeof(EtherHeader) + sizeof(Ipv6Header);

// Room for a message at `offset` of a packet of at most `mtu` IP bytes.
std::span<std::uint8_t> message_room(AnswerBuffer& buffer, std::size_t offset, std::uint16_t mtu) noexcept;

template <class Ip>
struct Ends {
  MacAddr source_mac, destination_mac;
  Ip source, destination;
};

// Headers before a message of `bytes` bytes; return the whole frame. Checksums complete, TTL 64; the ICMPv6
// message has its checksum filled in and hop limit 255.
std::span<const std::uint8_t> finish_udp4(AnswerBuffer& buffer, const Ends<Ipv4>& ends,
                                          std::uint16_t source_port, std::uint16_t destination_port,
                                          std::size_t bytes) noexcept;
std::span<const std::uint8_t> finish_udp6(AnswerBuffer& buffer, const Ends<Ipv6>& ends,
                                          std::uint16_t source_port, std::uint16_t destination_port,
                                          std::size_t bytes) noexcept;
std::span<const std::uint8_t> finish_icmp6(AnswerBuffer& buffer, const Ends<Ipv6>& ends,
                                           std::size_t bytes) noexcept;

// Replaces all that `mbuf` holds, offload work included, with `frame`, and sets meta's offsets. False, packet
// unchanged, when it has no room for it.
[[nodiscard]] bool put_frame(rte_mbuf* mbuf, PacketMeta& meta, std::span<const std::uint8_t> frame) noexcept;

}  // namespace podwire::engine
