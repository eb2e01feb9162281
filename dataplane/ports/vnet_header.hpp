// The virtio_net_hdr in front of every frame of a tap or vhost guest (virtio 1.1 section 5.1.6) and what it
// means for an mbuf (packet/offload.hpp). On receive it is hostile input: a pod may put anything into it.
// Called by workers; no state.
#pragma once

#include <rte_mbuf.h>

#include <cstdint>
#include <type_traits>

namespace podwire::engine {

struct VnetHeader {  // native byte order: TUNSETVNETLE and TUNSETVNETBE are left alone
  std::uint8_t flags;
  std::uint8_t gso_type;
  std::uint16_t header_length;
  std::uint16_t gso_size;
  std::uint16_t checksum_start;
  std::uint16_t checksum_offset;
  std::uint16_t buffers;

  static constexpr std::uint8_t kNeedsChecksum = 1;
  static constexpr std::uint8_t kDataValid = 2;
  static constexpr std::uint8_t kGsoNone = 0;
  static constexpr std::uint8_t kGsoTcp4 = 1;
  static constexpr std::uint8_t kGsoTcp6 = 4;
  static constexpr std::uint8_t kGsoEcn = 0x80;
};
static_assert(sizeof(VnetHeader) == 12 && std::is_trivially_copyable_v<VnetHeader>);

// Sets the offload fields of a received packet from its header. A partial checksum of something else than the
// packet's own TCP or UDP header (a tunnel inside the pod, ICMP) is completed here. False when the header
// announces work that does not fit the packet; the packet's offload fields are clear then.
[[nodiscard]] bool apply_vnet_header(const VnetHeader& header, rte_mbuf* packet) noexcept;

// The same where somebody else has read the header and found that it asks for the checksum of the packet's
// own TCP or UDP header, and with `segment_bytes` other than zero for segmentation.
[[nodiscard]] bool apply_own_offload(std::uint16_t segment_bytes, rte_mbuf* packet) noexcept;

// The header to send `packet` with.
[[nodiscard]] VnetHeader make_vnet_header(rte_mbuf* packet) noexcept;

}  // namespace podwire::engine
