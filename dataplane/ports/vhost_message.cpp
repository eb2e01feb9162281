#include "dataplane/ports/vhost_message.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <span>

namespace podwire::engine {
namespace {

constexpr std::uint32_t kMaxRingSize = 32768;         // virtio 1.1 section 2.6
constexpr std::uint64_t kMaxGuestBytes = 1ull << 40;  // of all regions: address space is not endless
constexpr std::uint64_t kNoDescriptor = 1u << 8;      // in the payload of KICK, CALL and ERR
constexpr std::uint64_t kRingIndexMask = 0xff;

struct Rule {
  VhostRequest request;
  std::string_view name;
  std::uint32_t least, most;  // payload bytes
};

constexpr Rule kRules[] = {
    {VhostRequest::kGetFeatures, "GET_FEATURES", 0, 0},
    {VhostRequest::kSetFeatures, "SET_FEATURES", 8, 8},
    {VhostRequest::kSetOwner, "SET_OWNER", 0, 0},
    {VhostRequest::kSetMemTable, "SET_MEM_TABLE", 8, VhostMessage::kMaxPayload},
    {VhostRequest::kSetVringNum, "SET_VRING_NUM", 8, 8},
    {VhostRequest::kSetVringAddr, "SET_VRING_ADDR", 40, 40},
    {VhostRequest::kSetVringBase, "SET_VRING_BASE", 8, 8},
    {VhostRequest::kGetVringBase, "GET_VRING_BASE", 8, 8},
    {VhostRequest::kSetVringKick, "SET_VRING_KICK", 8, 8},
    {VhostRequest::kSetVringCall, "SET_VRING_CALL", 8, 8},
    {VhostRequest::kSetVringErr, "SET_VRING_ERR", 8, 8},
    {VhostRequest::kGetProtocolFeatures, "GET_PROTOCOL_FEATURES", 0, 0},
    {VhostRequest::kSetProtocolFeatures, "SET_PROTOCOL_FEATURES", 8, 8},
    {VhostRequest::kGetQueueNum, "GET_QUEUE_NUM", 0, 0},
    {VhostRequest::kSetVringEnable, "SET_VRING_ENABLE", 8, 8},
    {VhostRequest::kNetSetMtu, "NET_SET_MTU", 8, 8},
    {VhostRequest::kSetBackendRequestFd, "SET_BACKEND_REQ_FD", 0, 8},
    {VhostRequest::kIotlb, "IOTLB_MSG", 26, 32},
    {VhostRequest::kSetStatus, "SET_STATUS", 8, 8},
    {VhostRequest::kGetStatus, "GET_STATUS", 0, 8},
};

const Rule* find_rule(std::uint32_t request) {
  const auto* it = std::ranges::find(kRules, static_cast<VhostRequest>(request), &Rule::request);
  return it == std::end(kRules) ? nullptr : it;
}

bool is_eventfd(int fd) {
  const std::string link = "/proc/self/fd/" + std::to_string(fd);
  char target[64];
  const auto length = ::readlink(link.c_str(), target, sizeof target);
  return length > 0 && std::string_view(target, static_cast<std::size_t>(length)) == "anon_inode:[eventfd]";
}

// What a region's file must be so that mapping it is safe: memory (a memfd, tmpfs or hugetlbfs file), which
// is what F_GET_SEALS tells, and as large as the region.
std::string check_file(int fd, std::uint64_t offset, std::uint64_t bytes) {
  struct stat status {};
  if (::fstat(fd, &status) != 0 || !S_ISREG(status.st_mode)) return "is no file";
  if (::fcntl(fd, F_GET_SEALS) < 0) return "is no memory file (F_GET_SEALS fails)";
  const auto size = static_cast<std::uint64_t>(status.st_size);
  if (offset > size || bytes > size - offset) {
    return "ends at " + std::to_string(offset) + "+" + std::to_string(bytes) + ", its file has " +
           std::to_string(size) + " bytes";
  }
  return {};
}

bool wraps(std::uint64_t start, std::uint64_t bytes) {
  return start > ~std::uint64_t{0} - bytes;
}

VhostMessage taking_back(const VhostAddressMap::Range& range) {
  VhostMessage message;
  message.header = {static_cast<std::uint32_t>(VhostRequest::kIotlb), VhostHeader::kVersion, 32};
  message.set(0, range.first);
  message.set(8, range.bytes);
  message.set(25, VhostTranslation::kInvalidate);
  return message;
}

}  // namespace

std::string vhost_request_name(std::uint32_t request) {
  const auto* rule = find_rule(request);
  return rule != nullptr ? std::string(rule->name) : "request " + std::to_string(request);
}

std::string VhostMessageCheck::check_header(const VhostHeader& header) const {
  const auto name = vhost_request_name(header.request);
  if ((header.flags & VhostHeader::kVersionMask) != VhostHeader::kVersion ||
      (header.flags & VhostHeader::kReply) != 0) {
    return name + " has flags " + std::to_string(header.flags) + ", must be version 1 and no reply";
  }
  const auto* rule = find_rule(header.request);
  const bool of_iommu = rule != nullptr && (rule->request == VhostRequest::kIotlb ||
                                            rule->request == VhostRequest::kSetBackendRequestFd);
  if (rule == nullptr || (of_iommu && !iommu_)) return name + " is not offered";
  if (header.size < rule->least || header.size > rule->most) {
    return name + " has " + std::to_string(header.size) + " bytes, must be " + std::to_string(rule->least) +
           " to " + std::to_string(rule->most);
  }
  return {};
}

std::string VhostMessageCheck::check(const VhostMessage& message) {
  if (auto bad = check_header(message.header); !bad.empty()) return bad;
  to_forget_.clear();
  const auto request = static_cast<VhostRequest>(message.header.request);
  switch (request) {
    case VhostRequest::kSetMemTable:
      return check_memory(message);
    case VhostRequest::kSetVringKick:
    case VhostRequest::kSetVringCall:
    case VhostRequest::kSetVringErr:
      return check_ring_file(message, request);
    case VhostRequest::kSetBackendRequestFd:
      return message.fds.size() == 1 ? std::string() : "SET_BACKEND_REQ_FD brings no single descriptor";
    default:
      break;
  }
  if (!message.fds.empty()) return vhost_request_name(message.header.request) + " brings descriptors";
  switch (request) {
    case VhostRequest::kSetVringNum:
    case VhostRequest::kSetVringAddr:
    case VhostRequest::kSetVringBase:
    case VhostRequest::kGetVringBase:
    case VhostRequest::kSetVringEnable:
      return check_ring(message, request);
    case VhostRequest::kSetFeatures:
    case VhostRequest::kSetProtocolFeatures:
      return check_features(message);
    case VhostRequest::kIotlb:
      return check_translation(message);
    default:
      return {};
  }
}

// Where the library keeps translations over a change that ends their meaning, it is told.
void VhostMessageCheck::forget_all() {
  if (addresses_.empty()) return;
  to_forget_.push_back(VhostAddressMap::kAll);
  addresses_.clear();
}

std::string VhostMessageCheck::check_memory(const VhostMessage& message) {
  const auto count = message.at<std::uint32_t>(0);
  if (count == 0 || count > kVhostMaxRegions || message.fds.size() != count ||
      message.header.size < 8 + 32 * count) {
    return "SET_MEM_TABLE has " + std::to_string(count) + " regions, " + std::to_string(message.fds.size()) +
           " descriptors and " + std::to_string(message.header.size) + " bytes";
  }
  std::uint64_t total = 0;
  std::vector<VhostAddressMap::Range> regions;
  for (std::uint32_t i = 0; i < count; ++i) {
    const std::size_t region = 8 + 32 * i;
    const auto guest = message.at<std::uint64_t>(region), bytes = message.at<std::uint64_t>(region + 8);
    const auto user = message.at<std::uint64_t>(region + 16), offset = message.at<std::uint64_t>(region + 24);
    const auto name = "SET_MEM_TABLE: region " + std::to_string(i) + " ";
    if (bytes == 0 || bytes > kMaxGuestBytes || wraps(guest, bytes) || wraps(user, bytes))
      return name + "has " + std::to_string(bytes) + " bytes at " + std::to_string(guest);
    if (auto bad = check_file(message.fds[i].get(), offset, bytes); !bad.empty()) return name + bad;
    total += bytes + offset;  // the library maps a file from its start
    if (total > kMaxGuestBytes) return "SET_MEM_TABLE maps more than 1 TiB";
    // The library takes the first that has an address; how far it goes from there would depend on their
    // order.
    for (const auto& other : regions) {
      if (user < other.first + other.bytes && other.first < user + bytes)
        return name + "overlaps another in the peer's address space";
    }
    regions.push_back({user, bytes});
  }
  forget_all();
  addresses_.set_memory(std::move(regions));
  return {};
}

std::string VhostMessageCheck::check_ring(const VhostMessage& message, VhostRequest request) {
  const auto index = message.at<std::uint32_t>(0), number = message.at<std::uint32_t>(4);
  const auto name = vhost_request_name(message.header.request) + " of ring " + std::to_string(index);
  if (index >= 2u * queues_) return name + ": there are " + std::to_string(2 * queues_);
  Ring& ring = rings_[index];
  switch (request) {
    case VhostRequest::kSetVringNum:
      if (!std::has_single_bit(number) || number > kMaxRingSize)
        return name + ": " + std::to_string(number) + " is no power of two up to 32768";
      if (ring.placed && number != ring.size) return name + ": the ring is in use";
      ring.size = number;
      return {};
    case VhostRequest::kSetVringAddr:
      if (number != 0) return name + ": logging is not offered";
      if (ring.size == 0) return name + ": its size is not known yet";
      ring.placed = true;
      for (std::size_t i = 0; i < ring.places.size(); ++i)
        ring.places[i] = message.at<std::uint64_t>(8 + 8 * i);
      return check_pieces(index);
    case VhostRequest::kSetVringBase:
      return number > 0xffff ? name + ": " + std::to_string(number) + " is no index" : std::string();
    case VhostRequest::kGetVringBase:
      ring.placed = false;
      return {};
    default:
      return {};
  }
}

std::string VhostMessageCheck::check_ring_file(const VhostMessage& message, VhostRequest request) const {
  const auto value = message.at<std::uint64_t>(0);
  const auto index = value & kRingIndexMask;
  const auto name = vhost_request_name(message.header.request) + " of ring " + std::to_string(index);
  if (index >= 2u * queues_) return name + ": there are " + std::to_string(2 * queues_);
  const bool polled = (value & kNoDescriptor) != 0;
  if (message.fds.size() != (polled ? 0u : 1u))
    return name + " brings " + std::to_string(message.fds.size()) + " descriptors";
  // A sleeping worker would never hear of the ring's packets.
  if (polled && request == VhostRequest::kSetVringKick) return name + " brings no eventfd";
  // The library translates a ring's addresses when it is kicked off.
  if (request == VhostRequest::kSetVringKick && !rings_[index].placed) return name + ": it has no addresses";
  if (message.fds.empty()) return {};
  // A worker writes to it: anything but an eventfd could stop the worker.
  const int fd = message.fds.front().get();
  if (!is_eventfd(fd)) return name + " brings no eventfd";
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) return name + ": no non-blocking eventfd";
  return {};
}

std::string VhostMessageCheck::check_features(const VhostMessage& message) {
  const auto wanted = message.at<std::uint64_t>(0);
  if (message.header.request == static_cast<std::uint32_t>(VhostRequest::kSetProtocolFeatures)) {
    const auto offered = kVhostProtocolFeatures | (iommu_ ? kVhostIommuProtocolFeatures : 0);
    return (wanted & ~offered) == 0 ? std::string() : "SET_PROTOCOL_FEATURES wants what is not offered";
  }
  // They decide how long a ring is, so they cannot change once there is one.
  const bool any = std::ranges::any_of(rings_, [](const Ring& ring) { return ring.placed; });
  if (any && wanted != features_) return "SET_FEATURES: rings are in use";
  if (wanted != features_) forget_all();
  features_ = wanted;
  return {};
}

// The library finds out itself whether the peer's address lies in its memory. A range may end where the
// addresses do.
std::string VhostMessageCheck::check_translation(const VhostMessage& message) {
  const auto address = message.at<std::uint64_t>(0), bytes = message.at<std::uint64_t>(8);
  const auto type = message.translation();
  if (type != VhostTranslation::kUpdate && type != VhostTranslation::kInvalidate)
    return "IOTLB_MSG is of type " + std::to_string(static_cast<unsigned>(type));
  const bool update = type == VhostTranslation::kUpdate;
  const auto user = message.at<std::uint64_t>(16);
  if (bytes == 0 || wraps(address, bytes - (update ? 0 : 1)) || (update && wraps(user, bytes - 1)))
    return "IOTLB_MSG has " + std::to_string(bytes) + " bytes at " + std::to_string(address);
  const auto permissions = message.at<std::uint8_t>(24);
  if (update && (permissions == 0 || permissions > 3))
    return "IOTLB_MSG has permissions " + std::to_string(permissions);
  if ((features_ & feature_bits(VirtioFeature::kAccessPlatform)) == 0)
    return "IOTLB_MSG: the device is behind no IOMMU";
  if (!update) {
    addresses_.remove({address, bytes});
    return {};
  }
  if (auto bad = addresses_.add({address, bytes}, user, to_forget_); !bad.empty()) return bad;
  for (std::uint32_t index = 0; index < rings_.size(); ++index) {
    if (auto bad = check_pieces(index); !bad.empty()) return bad;
  }
  return {};
}

// The library finds the beginning of each part of a ring, and takes the rest for what follows there.
std::string VhostMessageCheck::check_pieces(std::uint32_t index) const {
  const Ring& ring = rings_[index];
  if (!ring.placed || addresses_.empty()) return {};
  for (const auto& part : ring.parts()) {
    if (wraps(part.first, part.bytes) || addresses_.in_one_piece(part)) continue;
    return "ring " + std::to_string(index) + " of " + std::to_string(ring.size) +
           " entries lies in pieces in its memory; behind an IOMMU give it 256 at most, which fit a page";
  }
  return {};
}

std::vector<VhostMessage> VhostMessageCheck::take_first() {
  std::vector<VhostMessage> messages;
  for (const auto& range : std::exchange(to_forget_, {})) messages.push_back(taking_back(range));
  return messages;
}

// Virtio 1.1 section 2.6: the three parts of a ring, with the event index.
std::array<VhostAddressMap::Range, 3> VhostMessageCheck::Ring::parts() const {
  const std::uint64_t n = size;
  return {{{places[0], 16 * n}, {places[1], 6 + 8 * n}, {places[2], 6 + 2 * n}}};
}

std::vector<std::uint64_t> VhostMessageCheck::rings_taken_back(const VhostMessage& message) const {
  std::vector<std::uint64_t> found;
  if (message.header.request != static_cast<std::uint32_t>(VhostRequest::kIotlb) ||
      message.translation() != VhostTranslation::kInvalidate)
    return found;
  const auto first = message.at<std::uint64_t>(0), last = first + (message.at<std::uint64_t>(8) - 1);
  for (const Ring& ring : rings_) {
    if (!ring.placed) continue;
    for (const auto& [place, bytes] : ring.parts()) {
      if (place <= last && !wraps(place, bytes) && place + bytes > first) found.push_back(place);
    }
  }
  return found;
}

void VhostMessageCheck::adapt_reply(VhostMessage& reply) const {
  if (reply.header.request == static_cast<std::uint32_t>(VhostRequest::kGetQueueNum) &&
      reply.header.size == 8)
    reply.set<std::uint64_t>(0, queues_);
}

}  // namespace podwire::engine
