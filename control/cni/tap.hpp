// Tap interfaces: making them and opening their queues. Both functions work in the calling thread's network
// namespace, so hold a NetnsGuard when it is to be a pod's. MAC, MTU, addresses and state are netlink's
// business.
//
// Every queue's descriptor is non-blocking and carries frames with a 12-byte virtio_net_hdr_mrg_rxbuf-sized
// header in front (IFF_VNET_HDR, TUNSETVNETHDRSZ), no packet information; checksum and TSO offloads (with
// ECN) are on.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dataplane/base/addresses.hpp"
#include "dataplane/base/result.hpp"
#include "dataplane/base/unique_fd.hpp"

namespace podwire::control {

inline constexpr int kVnetHeaderBytes = 12;
inline constexpr std::uint16_t kMaxTapQueues = 16;

struct TapSpec {
  std::string name;          // 1..15 characters
  std::uint16_t queues = 1;  // 1..kMaxTapQueues; IFF_MULTI_QUEUE is set only above 1
  // Zero: by chance. Set before the tap becomes persistent, so that whoever finds one after a crash can tell
  // whose it is.
  MacAddr mac;
};

// Makes a new persistent tap (it outlives its descriptors). kConflict when the name is taken by any
// interface. On failure nothing is left behind.
Result<std::vector<UniqueFd>> create_tap(const TapSpec& spec);

// Opens the queues of an existing tap, `queues` being what it was made with. kNotFound when there is no such
// interface, kConflict (try again) while another process still holds its queues, kInvalid when it is no tap
// of ours.
Result<std::vector<UniqueFd>> open_tap_queues(const std::string& name, std::uint16_t queues);

}  // namespace podwire::control
