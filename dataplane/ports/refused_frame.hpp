// Frames that a port delivers only to be booked: the worker counts them as received and drops them for the
// reason that their flags say. Set by ports in rx_burst, read by workers.
#pragma once

#include "dataplane/pipeline/drop_reason.hpp"
#include "dataplane/ports/port.hpp"

namespace podwire::engine {

// Longer than the port takes. Nothing of the frame is kept but its length.
inline constexpr std::uint64_t kTooBigFlag = kBadOffloadFlag | RTE_MBUF_F_RX_SEC_OFFLOAD;

inline void refuse_too_big(rte_mbuf* packet, std::uint32_t frame_bytes) noexcept {
  packet->ol_flags |= kTooBigFlag;
  packet->pkt_len = frame_bytes;
}

// Of a packet with kBadOffloadFlag.
inline DropReason refusal_of(const rte_mbuf* packet) noexcept {
  return (packet->ol_flags & kTooBigFlag) == kTooBigFlag ? DropReason::too_big : DropReason::bad_offload;
}

}  // namespace podwire::engine
