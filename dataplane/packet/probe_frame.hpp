// Probe frames: the echo requests (RFC 792; RFC 4443 section 4.1) by which the engine finds out whether
// another node's gateway can be reached through the tunnel. Their payload begins with a number that nobody
// can guess. The main thread makes them; workers read the mark of what comes back.
#pragma once

#include <cstdint>
#include <cstring>
#include <vector>

#include "dataplane/headers/headers.hpp"

namespace podwire::engine {

// What the payload begins with. The number has no byte order: only who made it reads it.
struct ProbeMark {
  std::uint8_t bytes[8];

  std::uint64_t nonce() const noexcept {
    std::uint64_t value = 0;
    std::memcpy(&value, bytes, sizeof value);
    return value;
  }
};
static_assert(sizeof(ProbeMark) == 8 && alignof(ProbeMark) == 1);

struct ProbeQuestion {
  MacAddr source_mac, destination_mac;
  IpAddr source, destination;  // of one family
  std::uint16_t slot = 0;      // becomes the sequence number
  std::uint64_t nonce = 0;     // never 0
  std::uint16_t ip_bytes = 0;  // the whole IP packet, least_probe_bytes() or more
};

constexpr std::uint16_t least_probe_bytes(bool v4) noexcept {
  return static_cast<std::uint16_t>((v4 ? sizeof(Ipv4Header) : sizeof(Ipv6Header)) + sizeof(IcmpHeader) +
                                    sizeof(ProbeMark));
}

// The whole Ethernet frame, checksums complete, not to be fragmented, TTL 64.
std::vector<std::uint8_t> probe_frame(const ProbeQuestion& question);

}  // namespace podwire::engine
