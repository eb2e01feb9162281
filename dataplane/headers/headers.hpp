// Wire layouts of the protocols the engine speaks. Alignment 1, trivially copyable, sizes and offsets
// asserted. Nothing here reads a packet: check lengths first (dataplane/packet/access.hpp).
#pragma once

#include <cstddef>
#include <cstdint>
#include <type_traits>

#include "dataplane/base/addresses.hpp"
#include "dataplane/base/be.hpp"
#include "dataplane/base/ids.hpp"

namespace podwire::engine {

namespace ether_type {
inline constexpr std::uint16_t kIpv4 = 0x0800;
inline constexpr std::uint16_t kArp = 0x0806;
inline constexpr std::uint16_t kVlan = 0x8100;
inline constexpr std::uint16_t kIpv6 = 0x86dd;
}  // namespace ether_type

namespace ip_proto {
inline constexpr std::uint8_t kHopByHop = 0;
inline constexpr std::uint8_t kIcmp = 1;
inline constexpr std::uint8_t kTcp = 6;
inline constexpr std::uint8_t kUdp = 17;
inline constexpr std::uint8_t kRouting = 43;
inline constexpr std::uint8_t kFragment = 44;
inline constexpr std::uint8_t kEsp = 50;
inline constexpr std::uint8_t kAh = 51;
inline constexpr std::uint8_t kIcmpv6 = 58;
inline constexpr std::uint8_t kNoNext = 59;
inline constexpr std::uint8_t kDestinationOptions = 60;
inline constexpr std::uint8_t kSctp = 132;
}  // namespace ip_proto

struct EtherHeader {  // IEEE 802.3
  MacAddr destination;
  MacAddr source;
  Be16 type;
};
static_assert(sizeof(EtherHeader) == 14 && alignof(EtherHeader) == 1);

struct VlanTag {  // IEEE 802.1Q, after the source address
  Be16 tpid;
  Be16 tci;  // priority 3, DEI 1, VLAN id 12 bits
  static constexpr std::uint16_t kIdMask = 0x0fff;
};
static_assert(sizeof(VlanTag) == 4);

struct ArpHeader {               // RFC 826, Ethernet and IPv4
  Be16 hardware;                 // 1
  Be16 protocol;                 // ether_type::kIpv4
  std::uint8_t hardware_length;  // 6
  std::uint8_t protocol_length;  // 4
  Be16 operation;
  MacAddr sender_mac;
  Ipv4 sender_ip;
  MacAddr target_mac;
  Ipv4 target_ip;
  static constexpr std::uint16_t kRequest = 1;
  static constexpr std::uint16_t kReply = 2;
};
static_assert(sizeof(ArpHeader) == 28 && alignof(ArpHeader) == 1);

struct Ipv4Header {  // RFC 791
  std::uint8_t version_ihl;
  std::uint8_t dscp_ecn;
  Be16 total_length;
  Be16 identification;
  Be16 flags_fragment;
  std::uint8_t ttl;
  std::uint8_t protocol;
  Be16 checksum;
  Ipv4 source;
  Ipv4 destination;
  static constexpr std::uint16_t kDontFragment = 0x4000;
  static constexpr std::uint16_t kMoreFragments = 0x2000;
  static constexpr std::uint16_t kOffsetMask = 0x1fff;
  constexpr std::uint16_t header_bytes() const {
    return static_cast<std::uint16_t>((version_ihl & 0x0f) * 4);
  }
  constexpr bool is_fragment() const { return (flags_fragment.host() & (kMoreFragments | kOffsetMask)) != 0; }
  constexpr bool is_later_fragment() const { return (flags_fragment.host() & kOffsetMask) != 0; }
};
static_assert(sizeof(Ipv4Header) == 20 && alignof(Ipv4Header) == 1);
static_assert(offsetof(Ipv4Header, source) == 12);

struct Ipv6Header {  // RFC 8200
  Be32 version_class_flow;
  Be16 payload_length;
  std::uint8_t next_header;
  std::uint8_t hop_limit;
  Ipv6 source;
  Ipv6 destination;
};
static_assert(sizeof(Ipv6Header) == 40 && alignof(Ipv6Header) == 1);
static_assert(offsetof(Ipv6Header, source) == 8);

struct Ipv6FragmentHeader {  // RFC 8200 section 4.5
  std::uint8_t next_header;
  std::uint8_t reserved;
  Be16 offset_flags;
  Be32 identification;
};
static_assert(sizeof(Ipv6FragmentHeader) == 8);

struct UdpHeader {  // RFC 768
  Be16 source_port;
  Be16 destination_port;
  Be16 length;
  Be16 checksum;
};
static_assert(sizeof(UdpHeader) == 8);

struct TcpHeader {  // RFC 9293
  Be16 source_port;
  Be16 destination_port;
  Be32 sequence;
  Be32 acknowledgment;
  std::uint8_t data_offset;  // header length in 32-bit words in the high 4 bits
  std::uint8_t flags;
  Be16 window;
  Be16 checksum;
  Be16 urgent;
  static constexpr std::uint8_t kFin = 0x01;
  static constexpr std::uint8_t kSyn = 0x02;
  static constexpr std::uint8_t kRst = 0x04;
  static constexpr std::uint8_t kPsh = 0x08;
  static constexpr std::uint8_t kAck = 0x10;
  static constexpr std::uint8_t kUrg = 0x20;
  static constexpr std::uint8_t kEce = 0x40;
  static constexpr std::uint8_t kCwr = 0x80;
  constexpr std::uint16_t header_bytes() const { return static_cast<std::uint16_t>((data_offset >> 4) * 4); }
};
static_assert(sizeof(TcpHeader) == 20 && offsetof(TcpHeader, checksum) == 16);

struct IcmpHeader {  // RFC 792 and RFC 4443; `rest` depends on type and code
  std::uint8_t type;
  std::uint8_t code;
  Be16 checksum;
  Be32 rest;
};
static_assert(sizeof(IcmpHeader) == 8);

namespace icmp {  // RFC 792, RFC 1191
inline constexpr std::uint8_t kEchoReply = 0;
inline constexpr std::uint8_t kUnreachable = 3;
inline constexpr std::uint8_t kEchoRequest = 8;
inline constexpr std::uint8_t kTimeExceeded = 11;
inline constexpr std::uint8_t kParameterProblem = 12;
inline constexpr std::uint8_t kCodeNetUnreachable = 0;
inline constexpr std::uint8_t kCodeHostUnreachable = 1;
inline constexpr std::uint8_t kCodePortUnreachable = 3;
inline constexpr std::uint8_t kCodeFragmentationNeeded = 4;
}  // namespace icmp

namespace icmp6 {  // RFC 4443, RFC 4861
inline constexpr std::uint8_t kUnreachable = 1;
inline constexpr std::uint8_t kPacketTooBig = 2;
inline constexpr std::uint8_t kTimeExceeded = 3;
inline constexpr std::uint8_t kEchoRequest = 128;
inline constexpr std::uint8_t kEchoReply = 129;
inline constexpr std::uint8_t kRouterSolicitation = 133;
inline constexpr std::uint8_t kRouterAdvertisement = 134;
inline constexpr std::uint8_t kNeighborSolicitation = 135;
inline constexpr std::uint8_t kNeighborAdvertisement = 136;
inline constexpr std::uint8_t kCodeNoRoute = 0;
inline constexpr std::uint8_t kCodeAddressUnreachable = 3;
inline constexpr std::uint8_t kCodePortUnreachable = 4;
inline constexpr std::uint8_t kOptionSourceLinkLayer = 1;
inline constexpr std::uint8_t kOptionTargetLinkLayer = 2;
inline constexpr std::uint32_t kNaRouter = 0x80000000;
inline constexpr std::uint32_t kNaSolicited = 0x40000000;
inline constexpr std::uint32_t kNaOverride = 0x20000000;
}  // namespace icmp6

struct NeighborMessage {  // RFC 4861 sections 4.3 and 4.4: NS and NA without options
  IcmpHeader icmp;
  Ipv6 target;
};
static_assert(sizeof(NeighborMessage) == 24);

struct LinkLayerOption {  // RFC 4861 section 4.6.1
  std::uint8_t type;
  std::uint8_t length;  // 1: in units of 8 bytes
  MacAddr mac;
};
static_assert(sizeof(LinkLayerOption) == 8);

struct VxlanHeader {  // RFC 7348 section 5
  std::uint8_t flags;
  std::uint8_t reserved1[3];
  std::uint8_t vni[3];
  std::uint8_t reserved2;
  static constexpr std::uint8_t kVniValid = 0x08;
  constexpr Vni get_vni() const {
    return Vni(std::uint32_t{vni[0]} << 16 | std::uint32_t{vni[1]} << 8 | vni[2]);
  }
};
static_assert(sizeof(VxlanHeader) == 8 && alignof(VxlanHeader) == 1);

static_assert(std::is_trivially_copyable_v<Ipv4Header> && std::is_trivially_copyable_v<Ipv6Header> &&
              std::is_trivially_copyable_v<ArpHeader>);

}  // namespace podwire::engine
