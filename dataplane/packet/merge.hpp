// Joining of consecutive TCP segments of one burst into one packet with segmentation work
// (packet/offload.hpp): what GRO is to a kernel. Called by workers; one TcpMerger a burst, on the stack.
// Allocates nothing: segments are chained.
//
// Two segments join when Ethernet and IP headers are equal but for length, identification and checksum,
// nothing is fragmented or has IP options or extension headers, ports, acknowledgment, window and TCP options
// are equal, the flags are ACK and PSH at most, the sequence is consecutive, and both checksums were right.
// All payloads of a join are of one size but the last, which may be smaller; PSH ends a join.
#pragma once

#include <rte_mbuf.h>

#include <array>
#include <cstdint>

#include "dataplane/headers/headers.hpp"
#include "dataplane/packet/burst.hpp"
#include "dataplane/packet/meta.hpp"

namespace podwire::engine {

class TcpMerger {
 public:
  // Most mbufs in a chain: what a device takes in one call (IOV_MAX and virtio rings allow more).
  static constexpr std::uint16_t kMaxChain = 64;

  TcpMerger() = default;

  // Offers the next packet of the burst. True: it was joined to an earlier one and is no longer the caller's.
  // False: it stays where it is; later ones may join it, so it must stay in place until finish().
  [[nodiscard]] bool offer(rte_mbuf* mbuf, const PacketMeta& meta) noexcept;

  // A packet that is not offered passes and might belong to an open join (a fragment): nothing may overtake
  // it.
  void barrier() noexcept { open_count_ = 0; }

  // Writes headers and offload fields of every join. Call once, after the last offer().
  void finish() noexcept;

 private:
  struct Segment;  // headers of one packet, found and checked (merge.cpp)
  struct Join {
    rte_mbuf* head = nullptr;
    rte_mbuf* last = nullptr;  // of the chain
    std::uint32_t next_sequence = 0;
    std::uint32_t ip_bytes = 0;       // the joined packet's, from the IP header on
    std::uint16_t segment_bytes = 0;  // payload of the first
    std::uint16_t next_identification = 0;
    std::uint16_t segments = 0;
    std::uint16_t l3_offset = 0;
    std::uint16_t l4_offset = 0;
    PortId egress;
    DomainId domain;
    std::uint8_t tcp_bytes = 0;
    bool v6 = false;
    bool verified = false;  // the head's checksum
    bool push = false;      // a joined segment had PSH
  };

  static bool parse(rte_mbuf* mbuf, const PacketMeta& meta, Segment& segment) noexcept;
  static bool same_flow(const Join& join, const Segment& segment, const PacketMeta& meta) noexcept;
  static bool may_append(const Join& join, const Segment& segment) noexcept;
  static void append(Join& join, rte_mbuf* mbuf, const Segment& segment) noexcept;
  static void write_headers(const Join& join) noexcept;
  void open(rte_mbuf* mbuf, const PacketMeta& meta, const Segment& segment) noexcept;
  void close(std::uint16_t index) noexcept;

  std::uint16_t join_count_ = 0;
  std::uint16_t open_count_ = 0;
  std::array<Join, kBurstMax> joins_;               // every one of the burst, in order
  std::array<std::uint16_t, kBurstMax> open_;       // indices of those that still take segments
  std::array<std::uint32_t, kBurstMax> open_hash_;  // their flows' hashes: most searches end here
};

}  // namespace podwire::engine
