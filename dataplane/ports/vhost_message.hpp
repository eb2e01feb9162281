// The vhost-user protocol as far as a network port needs it: what a message looks like, and which ones of a
// peer may reach librte_vhost. The peer is hostile, and the library trusts it in places (it changes a ring's
// size under a translated ring, maps a migration log, blocks on half a message, joins translations that lie
// apart: vhost_address_map.hpp), so that everything passes here first. No DPDK, no sockets; the caller's
// thread.
#pragma once

#include <array>
#include <concepts>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "dataplane/base/unique_fd.hpp"
#include "dataplane/ports/vhost_address_map.hpp"

namespace podwire::engine {

// Of the vhost-user specification (QEMU docs/interop/vhost-user.rst), "Front-end message types".
enum class VhostRequest : std::uint32_t {
  kGetFeatures = 1,
  kSetFeatures = 2,
  kSetOwner = 3,
  kSetMemTable = 5,
  kSetVringNum = 8,
  kSetVringAddr = 9,
  kSetVringBase = 10,
  kGetVringBase = 11,
  kSetVringKick = 12,
  kSetVringCall = 13,
  kSetVringErr = 14,
  kGetProtocolFeatures = 15,
  kSetProtocolFeatures = 16,
  kGetQueueNum = 17,
  kSetVringEnable = 18,
  kNetSetMtu = 20,
  kSetBackendRequestFd = 21,
  kIotlb = 22,
  kSetStatus = 39,
  kGetStatus = 40,
};

// What IOTLB_MSG is about: kMiss goes to the peer, on the channel for our requests (where its number is 1),
// kUpdate and kInvalidate come from it.
enum class VhostTranslation : std::uint8_t { kMiss = 1, kUpdate = 2, kInvalidate = 3 };
inline constexpr std::uint32_t kVhostBackendIotlb = 1;

// Feature bits of virtio 1.1 sections 5.1.3 and 6 (the kernel's header is none of C++'s).
enum class VirtioFeature : unsigned {
  kChecksum = 0,  // the guest leaves checksums to us
  kGuestChecksum = 1,
  kMtu = 3,
  kGuestTso4 = 7,  // the guest takes segments that are not cut yet
  kGuestTso6 = 8,
  kGuestEcn = 9,
  kGuestUfo = 10,
  kHostTso4 = 11,
  kHostTso6 = 12,
  kHostEcn = 13,
  kHostUfo = 14,
  kMergeableBuffers = 15,
  kControlQueue = 17,
  kMultiQueue = 22,
  kLogAll = 26,  // vhost: a migration's
  kIndirectDescriptors = 28,
  kEventIndex = 29,
  kVersion1 = 32,
  kAccessPlatform = 33,  // IOMMU
  kRingPacked = 34,
  kInOrder = 35,
};
constexpr std::uint64_t feature_bits(std::same_as<VirtioFeature> auto... features) {
  return ((1ull << static_cast<unsigned>(features)) | ...);
}

inline constexpr std::size_t kVhostMaxRegions = 8;  // of one memory table
inline constexpr std::size_t kVhostMaxQueues = 16;  // pairs
// Bits of SET_PROTOCOL_FEATURES that may be offered: MQ, REPLY_ACK, NET_MTU and STATUS; with an IOMMU also
// the channel for our requests. Everything else (migration log, in-flight region, postcopy) would have the
// library map or follow what nobody guards.
inline constexpr std::uint64_t kVhostProtocolFeatures = 1ull << 0 | 1ull << 3 | 1ull << 4 | 1ull << 16;
inline constexpr std::uint64_t kVhostIommuProtocolFeatures = 1ull << 5;

struct VhostHeader {  // native byte order, as the specification says
  std::uint32_t request = 0;
  std::uint32_t flags = 0;
  std::uint32_t size = 0;  // of the payload

  static constexpr std::uint32_t kVersion = 1, kVersionMask = 3, kReply = 4, kNeedReply = 8;
};
static_assert(sizeof(VhostHeader) == 12);

struct VhostMessage {
  static constexpr std::size_t kMaxPayload = 8 + 32 * kVhostMaxRegions;

  VhostHeader header;
  std::array<std::byte, kMaxPayload> payload{};
  std::vector<UniqueFd> fds;

  // A payload field; zero behind the payload's end.
  template <class T>
  T at(std::size_t offset) const {
    T value{};
    if (offset + sizeof value <= header.size && offset + sizeof value <= payload.size())
      std::memcpy(&value, payload.data() + offset, sizeof value);
    return value;
  }
  template <class T>
  void set(std::size_t offset, T value) {
    std::memcpy(payload.data() + offset, &value, sizeof value);
  }
  // Of an IOTLB_MSG: address that the device uses, bytes, address in the peer, permissions, and this.
  VhostTranslation translation() const { return static_cast<VhostTranslation>(at<std::uint8_t>(25)); }
};

// "SET_MEM_TABLE"; "request 77" for an unknown one.
std::string vhost_request_name(std::uint32_t request);

// One connection's messages, judged in their order.
class VhostMessageCheck {
 public:
  // `queues`: pairs that the peer may use. `iommu`: whether translations and their channel are allowed.
  VhostMessageCheck(std::uint16_t queues, bool iommu) : queues_(queues), iommu_(iommu) {}

  // Before the payload is read: whether such a message may come at all and has an allowed size. Empty when
  // good, else why the peer has to be disconnected.
  std::string check_header(const VhostHeader& header) const;
  // A complete message of the peer. Descriptors that are signalled are made non-blocking.
  std::string check(const VhostMessage& message);
  // After a check that was good: messages that the library must be given before that one.
  std::vector<VhostMessage> take_first();
  // After check: where rings lie that the message takes back.
  std::vector<std::uint64_t> rings_taken_back(const VhostMessage& message) const;
  // Adapts a reply of the library before the peer gets it: it is told how many queues there are.
  void adapt_reply(VhostMessage& reply) const;

 private:
  struct Ring {
    bool placed = false;  // its addresses are known to the library, which does not look at its size again
    std::uint32_t size = 0;
    std::array<std::uint64_t, 3> places{};  // of descriptors, used and available ring

    std::array<VhostAddressMap::Range, 3> parts() const;
  };
  std::string check_memory(const VhostMessage& message);
  std::string check_ring(const VhostMessage& message, VhostRequest request);
  std::string check_ring_file(const VhostMessage& message, VhostRequest request) const;
  std::string check_features(const VhostMessage& message);
  std::string check_translation(const VhostMessage& message);
  std::string check_pieces(std::uint32_t index) const;
  void forget_all();

  const std::uint16_t queues_;
  const bool iommu_;
  std::array<Ring, 2 * kVhostMaxQueues> rings_{};
  std::uint64_t features_ = 0;
  VhostAddressMap addresses_;                      // behind an IOMMU
  std::vector<VhostAddressMap::Range> to_forget_;  // by the library, before the message that was checked last
};

}  // namespace podwire::engine
