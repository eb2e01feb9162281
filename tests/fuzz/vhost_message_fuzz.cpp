// Whatever bytes and descriptors a vhost-user peer sends, in whatever pieces, reader and check neither crash
// nor leak, and what they let through keeps what librte_vhost trusts in. That is restated here, apart from
// the check.
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>

#include "dataplane/ports/vhost_socket.hpp"
#include "tests/fuzz/fuzz_input.hpp"

namespace podwire::engine {
namespace {

constexpr off_t kFileBytes = 1 << 16;

void require(bool holds) {
  if (!holds) __builtin_trap();
}

UniqueFd memory_file(unsigned flags) {
  UniqueFd fd(::memfd_create("fuzz", MFD_CLOEXEC | flags));
  require(::ftruncate(fd.get(), kFileBytes) == 0);
  return fd;
}

int descriptor(std::uint8_t kind) {
  static const UniqueFd sealable = memory_file(MFD_ALLOW_SEALING), plain = memory_file(0);
  static const UniqueFd event(::eventfd(0, EFD_CLOEXEC)), poll(::epoll_create1(EPOLL_CLOEXEC));
  static const UniqueFd on_disk(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  static const UniqueFd device(::open("/dev/null", O_RDWR | O_CLOEXEC));
  const std::array all{sealable.get(), plain.get(), event.get(), poll.get(), on_disk.get(), device.get()};
  return all[kind % all.size()];
}

void send(int socket, const std::byte* bytes, std::size_t size, const std::vector<int>& fds) {
  iovec part{const_cast<std::byte*>(bytes), size};
  std::vector<char> control(CMSG_SPACE(sizeof(int) * fds.size()));
  msghdr out{};
  out.msg_iov = &part;
  out.msg_iovlen = 1;
  if (!fds.empty()) {
    out.msg_control = control.data();
    out.msg_controllen = control.size();
    cmsghdr* header = CMSG_FIRSTHDR(&out);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
    std::memcpy(CMSG_DATA(header), fds.data(), sizeof(int) * fds.size());
  }
  ::sendmsg(socket, &out, MSG_DONTWAIT | MSG_NOSIGNAL);
}

// What the library knows of the rings after the messages that it was given.
class Library {
 public:
  Library(std::uint16_t queues, bool iommu) : queues_(queues), iommu_(iommu) {}

  void take(const VhostMessage& message) {
    const auto request = static_cast<VhostRequest>(message.header.request);
    require(message.header.size <= VhostMessage::kMaxPayload);
    require((message.header.flags & ~VhostHeader::kNeedReply & 7) == VhostHeader::kVersion);
    switch (request) {
      case VhostRequest::kSetMemTable:
        return take_memory(message);
      case VhostRequest::kSetVringKick:
      case VhostRequest::kSetVringCall:
      case VhostRequest::kSetVringErr:
        return take_ring_file(message, request);
      case VhostRequest::kSetBackendRequestFd:
        require(iommu_ && message.fds.size() == 1);
        return;
      default:
        break;
    }
    require(message.fds.empty());
    if (request == VhostRequest::kIotlb) {
      const auto address = message.at<std::uint64_t>(0), bytes = message.at<std::uint64_t>(8);
      const auto type = message.at<std::uint8_t>(25);
      require(iommu_ && (type == 2 || type == 3) && bytes != 0 && address + (bytes - 1) >= address);
    }
    if (request == VhostRequest::kSetFeatures) {
      const auto features = message.at<std::uint64_t>(0);
      require(std::ranges::none_of(rings_, &Ring::placed) || features == features_);
      features_ = features;
    }
    if (request == VhostRequest::kSetProtocolFeatures) {
      const auto offered = kVhostProtocolFeatures | (iommu_ ? kVhostIommuProtocolFeatures : 0);
      require((message.at<std::uint64_t>(0) & ~offered) == 0);
    }
    take_ring(message, request);
  }

 private:
  struct Ring {
    bool placed = false;
    std::uint32_t size = 0;
  };

  void take_ring(const VhostMessage& message, VhostRequest request) {
    const auto index = message.at<std::uint32_t>(0), number = message.at<std::uint32_t>(4);
    switch (request) {
      case VhostRequest::kSetVringNum:
        require(index < 2u * queues_ && std::has_single_bit(number) && number <= 32768);
        require(!rings_[index].placed || rings_[index].size == number);
        rings_[index].size = number;
        return;
      case VhostRequest::kSetVringAddr:
        require(index < 2u * queues_ && number == 0 && rings_[index].size != 0);
        rings_[index].placed = true;
        return;
      case VhostRequest::kGetVringBase:
        require(index < 2u * queues_);
        rings_[index].placed = false;
        return;
      case VhostRequest::kSetVringBase:
      case VhostRequest::kSetVringEnable:
        require(index < 2u * queues_);
        return;
      default:
        return;
    }
  }

  void take_ring_file(const VhostMessage& message, VhostRequest request) {
    const auto index = message.at<std::uint64_t>(0) & 0xff;
    const bool polled = (message.at<std::uint64_t>(0) & 0x100) != 0;
    require(index < 2u * queues_ && message.fds.size() == (polled ? 0u : 1u));
    if (request == VhostRequest::kSetVringKick) require(!polled && rings_[index].placed);
    // Nothing that a worker writes to makes it wait.
    for (const auto& fd : message.fds) {
      require((::fcntl(fd.get(), F_GETFL) & O_NONBLOCK) != 0);
      const std::uint64_t one = 1;
      require(::write(fd.get(), &one, sizeof one) == sizeof one || errno == EAGAIN);
    }
  }

  void take_memory(const VhostMessage& message) {
    const auto count = message.at<std::uint32_t>(0);
    require(count != 0 && count <= kVhostMaxRegions && message.fds.size() == count);
    for (std::uint32_t i = 0; i < count; ++i) {
      const auto bytes = message.at<std::uint64_t>(16 + 32 * i),
                 offset = message.at<std::uint64_t>(32 + 32 * i);
      struct stat status {};
      require(::fstat(message.fds[i].get(), &status) == 0 && status.st_size == kFileBytes);
      require(bytes != 0 && bytes <= kFileBytes && offset <= kFileBytes - bytes);
    }
  }

  const std::uint16_t queues_;
  const bool iommu_;
  std::array<Ring, 2 * kVhostMaxQueues> rings_{};
  std::uint64_t features_ = 0;
};

struct Connection {
  Connection(std::uint16_t queues, bool iommu)
      : check(queues, iommu), library(queues, iommu), queues(queues) {
    int ends[2];
    require(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) == 0);
    peer.reset(ends[0]);
    ours.reset(ends[1]);
  }

  // As VhostRelay::peer_readable does; false: the peer would be disconnected.
  bool read() {
    for (;;) {
      const auto state = reader.read(ours.get());
      if (state == VhostMessageReader::State::kPartial) return true;
      if (state == VhostMessageReader::State::kClosed) return false;
      if (state == VhostMessageReader::State::kHeader) {
        if (!check.check_header(reader.message().header).empty()) return false;
        continue;
      }
      require(!vhost_request_name(reader.message().header.request).empty());
      if (!check.check(reader.message()).empty()) return false;
      for (const auto& first : check.take_first()) library.take(first);
      VhostMessage message = reader.take();
      library.take(message);
      check.adapt_reply(message);
      if (message.header.request == static_cast<std::uint32_t>(VhostRequest::kGetQueueNum) &&
          message.header.size == 8)
        require(message.at<std::uint64_t>(0) == queues);
    }
  }

  VhostMessageCheck check;
  Library library;
  const std::uint16_t queues;
  VhostMessageReader reader;
  UniqueFd peer, ours;
};

// One message: descriptors, header, where the bytes are cut in two, payload. Size and payload may disagree.
bool send_one(Connection& connection, fuzz::Input& input) {
  std::vector<int> fds(input.take<std::uint8_t>() % 10);
  for (auto& fd : fds) fd = descriptor(input.take<std::uint8_t>());
  const auto request = input.take<std::uint8_t>(), flags = input.take<std::uint8_t>();
  const auto announced = input.take<std::uint16_t>();
  const auto cut = input.take<std::uint8_t>(), withheld = input.take<std::uint8_t>();
  const VhostHeader header{request, flags, announced};
  std::array<std::byte, sizeof header + VhostMessage::kMaxPayload> bytes{};
  std::memcpy(bytes.data(), &header, sizeof header);
  std::size_t payload = std::min<std::size_t>(announced, VhostMessage::kMaxPayload);
  payload -= std::min<std::size_t>(payload, withheld);
  input.fill(bytes.data() + sizeof header, payload);
  const std::size_t size = sizeof header + payload,
                    first = cut == 0 ? size : std::min<std::size_t>(cut, size);
  send(connection.peer.get(), bytes.data(), first, fds);
  if (!connection.read()) return false;
  if (first == size) return true;
  // A second lot of descriptors may come with the rest.
  if (input.flag())
    fds.assign(input.take<std::uint8_t>() % 10, descriptor(input.take<std::uint8_t>()));
  else
    fds.clear();
  send(connection.peer.get(), bytes.data() + first, size - first, fds);
  return connection.read();
}

}  // namespace
}  // namespace podwire::engine

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  podwire::fuzz::Input input(data, size);
  const auto queues =
      static_cast<std::uint16_t>(1 + input.take<std::uint8_t>() % podwire::engine::kVhostMaxQueues);
  podwire::engine::Connection connection(queues, input.flag());
  for (unsigned i = 0; i < 64 && !input.empty(); ++i) {
    if (!podwire::engine::send_one(connection, input)) return 0;
  }
  return 0;
}
