// Frames that the generator sends: Ethernet, IPv4 or IPv6, UDP, a signature, zeros; checksums are right for
// every one. Sizes here are bytes in memory, without the FCS. Pure: used by the exchange loop and by tests.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "dataplane/base/addresses.hpp"

namespace podwire::trafficgen {

inline constexpr unsigned kFcsBytes = 4;
inline constexpr unsigned kMaxSize = 9600;  // with FCS

// What tells frames of one trial from all others, and when they left. Directly behind the UDP header, in the
// machine's own byte order: sender and receiver are one process.
struct Signature {
  std::uint16_t magic = kMagic;
  std::uint8_t trial = 0;
  std::uint8_t direction = 0;
  std::uint32_t number = 0;
  std::uint64_t time = 0;  // TSC
  static constexpr std::uint16_t kMagic = 0x5057;
};
static_assert(sizeof(Signature) == 16);

// Which field makes one flow different from the next.
enum class Vary {
  kPorts,         // the source port, and beyond kPortsInTurn flows the destination port
  kSources,       // the source address
  kDestinations,  // the destination address
};
inline constexpr std::uint32_t kPortsInTurn = 50000;
inline constexpr std::uint32_t kMaxFlows = 16'000'000;

// One direction's headers. Both addresses are of one family.
struct Conversation {
  MacAddr source_mac, destination_mac;
  IpAddr source, destination;  // of flow 0
  std::uint16_t source_port = 10000, destination_port = 20000;
  std::uint32_t flows = 1;
  Vary vary = Vary::kPorts;
};

// Ethernet, IP, UDP and signature.
constexpr std::size_t head_bytes(bool ipv6) {
  return 14 + (ipv6 ? 40 : 20) + 8 + sizeof(Signature);
}
// The smallest size, FCS included: 64, or what signature and headers need.
constexpr unsigned smallest_size(bool ipv6) {
  return ipv6 ? static_cast<unsigned>(head_bytes(true)) + kFcsBytes : 64;
}

// Writes the head of frames of one size and one direction. The bytes behind it must be zero.
class FrameWriter {
 public:
  FrameWriter(const Conversation& conversation, std::size_t frame_bytes, std::uint8_t trial,
              std::uint8_t direction);

  // head_bytes() bytes to `to`. `flow` is below conversation.flows.
  void write(std::uint8_t* to, std::uint32_t flow, std::uint32_t number, std::uint64_t time) const noexcept;
  std::size_t frame_bytes() const noexcept { return frame_bytes_; }

 private:
  Conversation conversation_;
  std::size_t frame_bytes_;
  std::size_t head_bytes_;
  std::size_t source_at_, destination_at_, udp_at_;  // offsets of the varying address words and of UDP
  std::uint32_t source_word_, destination_word_;     // host byte order, of flow 0
  std::uint64_t ip_sum_ = 0, udp_sum_ = 0;           // without what varies
  std::array<std::uint8_t, head_bytes(true)> head_{};
};

// The signature of a frame of ours; nothing of any other. `head` is the frame's beginning.
std::optional<Signature> read_signature(std::span<const std::uint8_t> head, bool ipv6) noexcept;

// A size as a person names it: bytes with FCS, or 0 for IMIX.
struct FrameSize {
  unsigned bytes = 64;
  static constexpr FrameSize imix() { return {0}; }
  bool is_imix() const { return bytes == 0; }
  friend bool operator==(const FrameSize&, const FrameSize&) = default;
};
std::string to_string(FrameSize size);  // "64", "imix"

// The sizes (with FCS) that are sent in turn: one, or the twelve of the simple IMIX (64, 594 and 1518 as 7 :
// 4 : 1; IPv6 headers do not fit into 64, and 82 stands for it).
std::vector<unsigned> sizes_in_turn(FrameSize size, bool ipv6);
double mean_size(FrameSize size, bool ipv6);
unsigned largest_size(FrameSize size, bool ipv6);

}  // namespace podwire::trafficgen
