// Packet: frames as tests want them, layer by layer, with lengths, next-protocol fields and checksums filled
// in by an implementation of its own (byte at a time, nothing shared with the code under test). Input and
// expectation alike come from here. No DPDK: see mbufs.hpp for the way into mbufs.
//
//   Packet().eth(a, b).ipv4(x, y).udp(1, 4789).vxlan(Vni(7)).eth(c, d).ipv4(s, t).tcp(80,
//   90).payload(100).bytes()
#pragma once

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <string>
#include <vector>

#include "dataplane/headers/headers.hpp"

namespace podwire::engine::tests {

using Bytes = std::vector<std::uint8_t>;

// RFC 1071 the slow way: big-endian words, one at a time. The result is a value in host order.
std::uint16_t slow_checksum(const Bytes& bytes, std::size_t from = 0, std::size_t length = ~std::size_t{0});

struct Ipv4Fields {
  std::uint8_t ttl = 64;
  std::uint8_t tos = 0;
  std::uint16_t id = 0x1234;
  std::uint16_t flags_fragment = Ipv4Header::kDontFragment;
  Bytes options = {};  // padded to 4 bytes
};
struct Ipv6Fields {
  std::uint8_t hop_limit = 64;
  std::uint8_t traffic_class = 0;
  std::uint32_t flow_label = 0;
};
struct TcpFields {
  std::uint32_t seq = 1000;
  std::uint32_t ack = 2000;
  std::uint8_t flags = TcpHeader::kAck;
  std::uint16_t window = 500;
  Bytes options = {};  // padded to 4 bytes
};

class Packet {
 public:
  Packet& eth(const MacAddr& destination, const MacAddr& source);
  Packet& vlan(std::uint16_t id);
  Packet& arp(std::uint16_t operation, const MacAddr& sender_mac, const Ipv4& sender_ip,
              const MacAddr& target_mac, const Ipv4& target_ip);
  Packet& ipv4(const Ipv4& source, const Ipv4& destination, const Ipv4Fields& fields = {});
  Packet& ipv6(const Ipv6& source, const Ipv6& destination, const Ipv6Fields& fields = {});
  // Hop-by-hop, routing or destination options: `units` times 8 bytes of padding options.
  Packet& extension(std::uint8_t number, std::uint8_t units = 1);
  // IPv6 fragment header; `offset_flags` as on the wire.
  Packet& fragment6(std::uint16_t offset_flags, std::uint32_t id);
  Packet& tcp(std::uint16_t source, std::uint16_t destination, const TcpFields& fields = {});
  Packet& udp(std::uint16_t source, std::uint16_t destination);
  Packet& udp_without_checksum(std::uint16_t source, std::uint16_t destination);
  Packet& icmp(std::uint8_t type, std::uint8_t code,
               std::uint32_t rest = 0);  // by the IP header before it: v4 or v6
  Packet& vxlan(Vni vni);
  Packet& payload(std::size_t bytes, std::uint8_t seed = 1);  // seed, seed + 1, ... with a long period
  Packet& payload(const Bytes& bytes);
  Packet& padding(std::size_t bytes,
                  std::uint8_t value = 0);  // behind the IP packet, in no length or checksum

  Bytes bytes() const;
  std::size_t offset(std::size_t layer) const;  // where layer number `layer` begins, from 0

 private:
  enum class Kind {
    kEth,
    kVlan,
    kArp,
    kIpv4,
    kIpv6,
    kExtension,
    kFragment6,
    kTcp,
    kUdp,
    kUdpNoChecksum,
    kIcmp,
    kVxlan,
    kPayload
  };
  struct Layer {
    Kind kind;
    std::uint8_t protocol;  // how an IP header names it
    Bytes bytes;
  };

  Packet& add(Kind kind, std::uint8_t protocol, Bytes bytes);
  const Layer* ip_before(std::size_t index) const;
  void finish(std::size_t index, Bytes& header, const Bytes& behind) const;
  void finish_l4(std::size_t index, Bytes& header, const Bytes& behind) const;

  std::vector<Layer> layers_;
  Bytes padding_;
};

// Payload as payload(bytes, seed) makes it.
Bytes make_payload(std::size_t bytes, std::uint8_t seed = 1);

// "offset 34: 05 expected 06" for the first difference, or empty: makes failures readable.
std::string difference(const Bytes& actual, const Bytes& expected);

inline constexpr MacAddr kMacA{{0x02, 0, 0, 0, 0, 0x0a}};
inline constexpr MacAddr kMacB{{0x02, 0, 0, 0, 0, 0x0b}};
inline constexpr Ipv4 kIpA{{10, 244, 1, 10}};
inline constexpr Ipv4 kIpB{{10, 244, 2, 20}};
inline constexpr Ipv6 kIp6A{{0xfd, 0, 0x10, 0x02, 0x44, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0x0a}};
inline constexpr Ipv6 kIp6B{{0xfd, 0, 0x10, 0x02, 0x44, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0x0b}};

}  // namespace podwire::engine::tests
