// A vhost-user guest of one queue pair, by hand: speaks the protocol on the port's socket and works its rings
// in a memfd, so that it can break either. Everything on the test's thread, which also runs the port's
// reactor.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "dataplane/base/reactor.hpp"
#include "dataplane/ports/vhost_message.hpp"
#include "dataplane/ports/vnet_header.hpp"

namespace podwire::test {

using engine::VhostHeader;
using engine::VhostRequest;

class VhostPeer {
 public:
  static constexpr std::uint16_t kRing = 256;
  static constexpr std::size_t kMemory = 4 << 20, kRoom = 2048;
  static constexpr std::uint64_t kDeviceBase = 1ull << 32;  // of the memory behind an IOMMU

  explicit VhostPeer(Reactor& reactor) : reactor_(reactor) {
    memory_fd_.reset(::memfd_create("guest", MFD_ALLOW_SEALING));
    EXPECT_EQ(::ftruncate(memory_fd_.get(), kMemory), 0);
    memory_ =
        static_cast<char*>(::mmap(nullptr, kMemory, PROT_READ | PROT_WRITE, MAP_SHARED, memory_fd_.get(), 0));
    for (auto& ring : rings_) {
      ring.kick.reset(::eventfd(0, EFD_NONBLOCK));
      ring.call.reset(::eventfd(0, EFD_NONBLOCK));
    }
  }
  ~VhostPeer() { ::munmap(memory_, kMemory); }

  bool connect(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    socket_.reset(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    return ::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
  }
  void adopt(UniqueFd socket) { socket_ = std::move(socket); }
  int socket() const { return socket_.get(); }
  int memory_fd() const { return memory_fd_.get(); }
  // Of a byte of the memory, as the messages have it.
  std::uint64_t user_address(std::size_t offset) const {
    return reinterpret_cast<std::uintptr_t>(memory_) + offset;
  }
  int kick_fd(unsigned ring) const { return rings_[ring].kick.get(); }
  void close() { socket_.reset(); }
  void truncate() { EXPECT_EQ(::ftruncate(memory_fd_.get(), 0), 0); }

  // Runs the reactor until `done` or for a while; whether it was done.
  bool run_until(const std::function<bool()>& done, int rounds = 500) {
    for (int i = 0; i < rounds; ++i) {
      if (done()) return true;
      EXPECT_TRUE(reactor_.run_once(10));
    }
    return false;
  }
  // Whether the engine has closed the connection.
  bool closed() {
    return run_until([this] {
      char byte;
      return ::recv(socket_.get(), &byte, 1, MSG_DONTWAIT | MSG_PEEK) == 0;
    });
  }

  void send(std::uint32_t request, const void* payload, std::size_t size, std::vector<int> fds = {},
            std::uint32_t flags = VhostHeader::kVersion) {
    std::vector<char> bytes(sizeof(VhostHeader) + size);
    const VhostHeader header{request, flags, static_cast<std::uint32_t>(size)};
    std::memcpy(bytes.data(), &header, sizeof header);
    if (size != 0) std::memcpy(bytes.data() + sizeof header, payload, size);
    send_bytes(bytes, fds);
  }
  void send_bytes(const std::vector<char>& bytes, const std::vector<int>& fds = {}) {
    iovec part{const_cast<char*>(bytes.data()), bytes.size()};
    std::vector<char> control(CMSG_SPACE(sizeof(int) * std::max<std::size_t>(fds.size(), 1)));
    msghdr out{};
    out.msg_iov = &part;
    out.msg_iovlen = 1;
    if (!fds.empty()) {
      out.msg_control = control.data();
      out.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
      auto* header = CMSG_FIRSTHDR(&out);
      header->cmsg_level = SOL_SOCKET;
      header->cmsg_type = SCM_RIGHTS;
      header->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
      std::memcpy(CMSG_DATA(header), fds.data(), sizeof(int) * fds.size());
    }
    EXPECT_GT(::sendmsg(socket_.get(), &out, MSG_NOSIGNAL), 0);
  }
  void send(VhostRequest request, std::uint64_t value, std::vector<int> fds = {}) {
    send(static_cast<std::uint32_t>(request), &value, sizeof value, std::move(fds));
  }
  void send_ring(VhostRequest request, std::uint32_t ring, std::uint32_t number) {
    send(request, ring | std::uint64_t{number} << 32);
  }
  std::uint64_t ask(VhostRequest request) {
    send(static_cast<std::uint32_t>(request), nullptr, 0);
    pollfd readable{socket_.get(), POLLIN, 0};
    if (!run_until([&] { return ::poll(&readable, 1, 0) == 1; })) return 0;
    struct {
      VhostHeader header;
      char value[8];
    } reply{};
    EXPECT_EQ(::recv(socket_.get(), &reply, sizeof reply, MSG_WAITALL), ssize_t{sizeof reply});
    std::uint64_t value;
    std::memcpy(&value, reply.value, sizeof value);
    return value;
  }

  void share_memory() {
    const std::uint64_t table[] = {1, 0, kMemory, reinterpret_cast<std::uintptr_t>(memory_), 0};
    send(static_cast<std::uint32_t>(VhostRequest::kSetMemTable), table, sizeof table, {memory_fd_.get()});
  }
  void place_ring(std::uint32_t ring) {
    const auto base =
        (channel_ ? kDeviceBase : reinterpret_cast<std::uintptr_t>(memory_)) + std::uint64_t{ring} * 65536;
    const std::uint64_t addresses[] = {ring, base, base + 4096, base + 8192, 0};
    send(static_cast<std::uint32_t>(VhostRequest::kSetVringAddr), addresses, sizeof addresses);
  }
  // All of the negotiation; the port's link comes up.
  void start(std::uint64_t features) {
    EXPECT_EQ(features & ~ask(VhostRequest::kGetFeatures), 0u);
    send(static_cast<std::uint32_t>(VhostRequest::kSetOwner), nullptr, 0);
    send(VhostRequest::kSetFeatures, features);
    share_memory();
    for (std::uint32_t ring = 0; ring < 2; ++ring) {
      send_ring(VhostRequest::kSetVringNum, ring, kRing);
      send_ring(VhostRequest::kSetVringBase, ring, 0);
      place_ring(ring);
      send(VhostRequest::kSetVringCall, ring, {rings_[ring].call.get()});
      send(VhostRequest::kSetVringKick, ring, {rings_[ring].kick.get()});
    }
    for (std::uint16_t i = 0; i < kRing; ++i) offer(0, i, i, kRoom, 2 /* VRING_DESC_F_WRITE */);
  }

  // From now on the device reaches the memory through an IOMMU; before start.
  void use_iommu() {
    int ends[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    channel_.reset(ends[0]);
    const UniqueFd theirs(ends[1]);
    send(VhostRequest::kSetProtocolFeatures, engine::kVhostIommuProtocolFeatures);
    send(static_cast<std::uint32_t>(VhostRequest::kSetBackendRequestFd), nullptr, 0, {theirs.get()});
  }
  // An IOTLB_MSG.
  void translate(engine::VhostTranslation type, std::uint64_t address, std::uint64_t bytes,
                 std::uint64_t user = 0, unsigned char permissions = 3) {
    unsigned char payload[32] = {};
    const std::uint64_t words[] = {address, bytes, user};
    std::memcpy(payload, words, sizeof words);
    payload[24] = permissions;
    payload[25] = static_cast<unsigned char>(type);
    send(static_cast<std::uint32_t>(VhostRequest::kIotlb), payload, sizeof payload);
  }
  // Answers what the device has asked for, a page each; how many questions there were.
  unsigned answer_misses() {
    unsigned answered = 0;
    for (std::uint64_t page; next_miss(page); ++answered) {
      translate(engine::VhostTranslation::kUpdate, page, 4096,
                reinterpret_cast<std::uintptr_t>(memory_) + (page - kDeviceBase));
    }
    return answered;
  }
  // Takes them and does not answer.
  unsigned ignore_misses() {
    unsigned ignored = 0;
    for (std::uint64_t page; next_miss(page);) ++ignored;
    return ignored;
  }
  // run_until for a guest behind an IOMMU.
  bool serve_until(const std::function<bool()>& done) {
    return run_until([&] {
      answer_misses();
      return done();
    });
  }

  // The guest sends: header and frame in one buffer.
  void transmit(const engine::VnetHeader& header, const std::vector<unsigned char>& frame) {
    const auto slot = static_cast<std::uint16_t>(rings_[1].offered % kRing);
    char* place = buffer(1, slot);
    std::memcpy(place, &header, sizeof header);
    std::memcpy(place + sizeof header, frame.data(), frame.size());
    offer(1, slot, slot, static_cast<std::uint32_t>(sizeof header + frame.size()), 0);
    if ((*used_flags(1) & 1) == 0) kick(1);
  }
  bool wants_kick() { return (*used_flags(1) & 1) == 0; }
  void kick(unsigned ring) {
    const std::uint64_t one = 1;
    EXPECT_EQ(::write(rings_[ring].kick.get(), &one, sizeof one), ssize_t{sizeof one});
  }
  // What has arrived: header and frame, merged buffers joined; empty when there is nothing.
  std::vector<unsigned char> receive(engine::VnetHeader& header) {
    std::vector<unsigned char> bytes;
    if (*used_index(0) == taken_) return bytes;
    std::uint16_t buffers = 1;
    for (std::uint16_t i = 0; i < buffers; ++i, ++taken_) {
      std::uint32_t used[2];
      std::memcpy(used, memory_ + 4096 + 4 + 8 * (taken_ % kRing), sizeof used);
      const char* data = buffer(0, static_cast<std::uint16_t>(used[0]));
      bytes.insert(bytes.end(), data, data + used[1]);
      if (i == 0) std::memcpy(&header, data, sizeof header);
      if (i == 0) buffers = header.buffers;
    }
    bytes.erase(bytes.begin(), bytes.begin() + sizeof header);
    return bytes;
  }
  // A descriptor of its own choice, made available.
  void offer(unsigned ring, std::uint16_t slot, std::uint16_t index, std::uint32_t bytes, std::uint16_t flags,
             std::uint64_t address = 0) {
    struct {
      std::uint64_t address;
      std::uint32_t bytes;
      std::uint16_t flags, next;
    } descriptor{address != 0 ? address : device_address(buffer(ring, slot)), bytes, flags, 0};
    std::memcpy(memory_ + ring * 65536 + 16 * index, &descriptor, sizeof descriptor);
    char* available = memory_ + ring * 65536 + 8192;
    std::memcpy(available + 4 + 2 * (rings_[ring].offered % kRing), &index, sizeof index);
    ++rings_[ring].offered;
    __atomic_store_n(reinterpret_cast<std::uint16_t*>(available + 2), rings_[ring].offered, __ATOMIC_RELEASE);
  }

 private:
  struct Ring {
    UniqueFd kick, call;
    std::uint16_t offered = 0;
  };
  // The page that the device asks for next, if it has.
  bool next_miss(std::uint64_t& page) {
    struct {
      VhostHeader header;
      unsigned char payload[32];
    } request;
    if (::recv(channel_.get(), &request, sizeof request, MSG_DONTWAIT) != ssize_t{sizeof request})
      return false;
    std::memcpy(&page, request.payload, sizeof page);
    EXPECT_EQ(request.payload[25], static_cast<unsigned char>(engine::VhostTranslation::kMiss));
    page &= ~std::uint64_t{4095};
    EXPECT_GE(page, kDeviceBase);
    return true;
  }
  char* buffer(unsigned ring, std::uint16_t slot) {
    // Those that the guest sends may be longer: there are fewer of them at a time.
    return ring == 0 ? memory_ + (1 << 20) + slot * kRoom : memory_ + (2 << 20) + (slot % 16) * 65536;
  }
  std::uint64_t device_address(const char* place) const {
    return (channel_ ? kDeviceBase : 0) + static_cast<std::uint64_t>(place - memory_);
  }
  volatile std::uint16_t* used_flags(unsigned ring) {
    return reinterpret_cast<volatile std::uint16_t*>(memory_ + ring * 65536 + 4096);
  }
  volatile std::uint16_t* used_index(unsigned ring) { return used_flags(ring) + 1; }

  Reactor& reactor_;
  UniqueFd socket_, memory_fd_;
  UniqueFd channel_;  // with an IOMMU: where the device asks for translations
  char* memory_ = nullptr;
  Ring rings_[2];
  std::uint16_t taken_ = 0;
};

}  // namespace podwire::test
