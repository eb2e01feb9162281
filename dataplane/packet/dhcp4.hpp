// DHCPv4 (RFC 2131, options RFC 2132): the answer to one message of a client, from its endpoint's lease. Pure
// functions over bytes, called by workers and tests. Left out: relayed messages (a pod is no relay), leases
// of other addresses than the endpoint's first, rapid commit, and authentication.
#pragma once

#include <cstdint>
#include <span>

#include "dataplane/base/addresses.hpp"
#include "dataplane/base/be.hpp"
#include "dataplane/packet/byte_writer.hpp"
#include "dataplane/packet/lease.hpp"

namespace podwire::engine {

namespace dhcp4 {
inline constexpr std::uint16_t kServerPort = 67;
inline constexpr std::uint16_t kClientPort = 68;
inline constexpr std::uint32_t kMagic = 0x63825363;
inline constexpr std::uint16_t kBroadcastFlag = 0x8000;
}  // namespace dhcp4

struct Dhcp4Header {  // RFC 2131 section 2, with the magic cookie that options begin with
  std::uint8_t op;    // 1: from a client; 2: from a server
  std::uint8_t hardware;
  std::uint8_t hardware_length;
  std::uint8_t hops;
  Be32 transaction;
  Be16 seconds;
  Be16 flags;
  Ipv4 client;  // ciaddr
  Ipv4 yours;   // yiaddr
  Ipv4 next_server;
  Ipv4 relay;  // giaddr
  MacAddr mac;
  std::uint8_t mac_padding[10];
  std::uint8_t server_name[64];
  std::uint8_t file[128];
  Be32 magic;
};
static_assert(sizeof(Dhcp4Header) == 240 && alignof(Dhcp4Header) == 1);

struct Dhcp4Answer {
  DhcpOutcome outcome = DhcpOutcome::kBad;
  std::size_t bytes = 0;  // of the message, in the room that was given
  Ipv4 destination;       // where it goes, port 68
  bool to_all = false;    // to the broadcast MAC
};

// Answers `message` (the UDP payload) into `room`: at most what the client takes (RFC 2132 section 9.10; 576
// bytes of IP packet unless it says more), what the room holds, options that do not fit left out, at least
// the 300 bytes that BOOTP clients want. `room` must hold 300.
//   DISCOVER: OFFER · REQUEST: ACK, or NAK when it names another address · INFORM: ACK without lease
//   RELEASE, DECLINE, a REQUEST for another server, BOOTP: silence
//   relayed, of another MAC, malformed, or no client's: bad
[[nodiscard]] Dhcp4Answer answer_dhcp4(std::span<const std::uint8_t> message, const Lease& lease,
                                       std::span<std::uint8_t> room) noexcept;

}  // namespace podwire::engine
