// DHCPv6 (RFC 8415): the answer to one message of a client, from its endpoint's lease. Pure functions over
// bytes, called by workers and tests. Every address of the endpoint goes to the first IA_NA of a message.
// Left out: relayed messages, temporary addresses (IA_TA is not answered), delegated prefixes (IA_PD is told
// that there are none), unicast to the server (never offered), reconfiguration and authentication.
#pragma once

#include <cstdint>
#include <span>

#include "dataplane/packet/byte_writer.hpp"
#include "dataplane/packet/lease.hpp"

namespace podwire::engine {

namespace dhcp6 {
inline constexpr std::uint16_t kServerPort = 547;
inline constexpr std::uint16_t kClientPort = 546;
// ff02::1:2, all relay agents and servers.
inline constexpr Ipv6 kAllServers{{0xff, 0x02, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2}};
}  // namespace dhcp6

struct Dhcp6Answer {
  DhcpOutcome outcome = DhcpOutcome::kBad;
  std::size_t bytes = 0;  // of the message, in the room that was given
};

// Answers `message` (the UDP payload) into `room`; options that do not fit are left out.
//   SOLICIT: ADVERTISE, or REPLY when it asks for rapid commit · REQUEST, RENEW, REBIND, CONFIRM, RELEASE,
//   DECLINE, INFORMATION-REQUEST: REPLY
//   for another server (the server identifier is the DUID-LL of the gateway's MAC), CONFIRM without
//   addresses: silence · malformed, relayed, without what section 16 demands: bad
[[nodiscard]] Dhcp6Answer answer_dhcp6(std::span<const std::uint8_t> message, const Lease& lease,
                                       std::span<std::uint8_t> room) noexcept;

}  // namespace podwire::engine
