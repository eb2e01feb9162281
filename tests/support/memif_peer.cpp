#include "tests/support/memif_peer.hpp"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <thread>

namespace podwire::test {
namespace {

using memif::Descriptor;
using memif::Message;
using memif::MessageType;
using memif::RingHeader;

constexpr auto kPatience = std::chrono::seconds(2);

std::uint16_t load(std::uint16_t& word) {
  return std::atomic_ref(word).load(std::memory_order_acquire);
}
void store(std::uint16_t& word, std::uint16_t value) {
  std::atomic_ref(word).store(value, std::memory_order_release);
}

sockaddr_un address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
  return address;
}

UniqueFd seqpacket() {
  return UniqueFd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

}  // namespace

MemifPeer::~MemifPeer() {
  if (memory_ != nullptr) ::munmap(memory_, memory_bytes_);
  if (listener_) ::unlink(path_.c_str());
}

bool MemifPeer::connect(const std::string& path) {
  socket_ = seqpacket();
  const auto address = address_of(path);
  return ::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0;
}

bool MemifPeer::listen(const std::string& path) {
  server_ = true;
  path_ = path;
  ::unlink(path.c_str());
  listener_ = seqpacket();
  const auto address = address_of(path);
  return ::bind(listener_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) == 0 &&
         ::listen(listener_.get(), 4) == 0;
}

bool MemifPeer::accept() {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  do {
    pump_();
    socket_ = UniqueFd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  } while (!socket_ && std::chrono::steady_clock::now() < deadline);
  return static_cast<bool>(socket_);
}

void MemifPeer::send(const Message& message, const std::vector<int>& descriptors) {
  Message copy = message;
  iovec part{&copy, sizeof copy};
  std::vector<char> control(CMSG_SPACE(sizeof(int) * descriptors.size()));
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (!descriptors.empty()) {
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int) * descriptors.size());
    std::memcpy(CMSG_DATA(rights), descriptors.data(), sizeof(int) * descriptors.size());
  }
  ::sendmsg(socket_.get(), &header, MSG_NOSIGNAL);
}

void MemifPeer::send_bytes(const void* data, std::size_t size) {
  ::send(socket_.get(), data, size, MSG_NOSIGNAL);
}

std::optional<Message> MemifPeer::receive() {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (socket_ && std::chrono::steady_clock::now() < deadline) {
    pump_();
    Message message;
    iovec part{&message, sizeof message};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
    msghdr header{};
    header.msg_iov = &part;
    header.msg_iovlen = 1;
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    const auto got = ::recvmsg(socket_.get(), &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0 && errno == EAGAIN) {
      std::this_thread::sleep_for(std::chrono::microseconds(200));
      continue;
    }
    if (got <= 0) {
      socket_.reset();
      return {};
    }
    if (const cmsghdr* rights = CMSG_FIRSTHDR(&header); rights != nullptr) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(rights), sizeof fd);
      if (message.type == MessageType::kAddRegion) {
        file_.reset(fd);
      } else {
        rings_.push_back({message.add_ring.offset, 0, UniqueFd(fd)});
      }
    }
    return message;
  }
  return {};
}

std::string MemifPeer::await_disconnect() {
  while (const auto message = receive()) {
    if (message->type == MessageType::kDisconnect) return message->disconnect.reason.data();
  }
  return socket_ ? "still connected" : "closed";
}

Message MemifPeer::of_type(MessageType type) {
  Message message;
  message.type = type;
  return message;
}

Message MemifPeer::init() const {
  auto message = of_type(MessageType::kInit);
  message.init = {memif::kVersion, shape_.id, memif::InterfaceMode::kEthernet, {}, {"test peer"}};
  std::strncpy(message.init.secret.data(), shape_.secret.c_str(), memif::kSecretBytes);
  return message;
}

Message MemifPeer::hello() const {
  auto message = of_type(MessageType::kHello);
  message.hello = {{"test server"},
                   memif::kVersion,
                   memif::kVersion,
                   255,
                   static_cast<std::uint16_t>(shape_.to_client - 1),
                   static_cast<std::uint16_t>(shape_.to_server - 1),
                   static_cast<std::uint8_t>(shape_.log2_ring_size)};
  return message;
}

Message MemifPeer::add_region() const {
  auto message = of_type(MessageType::kAddRegion);
  message.add_region = {0, memory_bytes_};
  return message;
}

Message MemifPeer::add_ring(bool to_server, unsigned index) const {
  auto message = of_type(MessageType::kAddRing);
  message.add_ring = {to_server ? memif::AddRing::kToServer : std::uint16_t{0},
                      static_cast<std::uint16_t>(index),
                      0,
                      static_cast<std::uint32_t>(rings_[number(to_server, index)].offset),
                      static_cast<std::uint8_t>(shape_.log2_ring_size),
                      0};
  return message;
}

void MemifPeer::make_memory() {
  const std::size_t count = shape_.to_server + shape_.to_client;
  const auto ring = memif::ring_bytes(shape_.log2_ring_size);
  const std::size_t buffers = std::size_t{shape_.buffer_bytes} * slots();
  const bool huge = (shape_.memory_flags & MFD_HUGETLB) != 0;
  const std::size_t page = huge ? 2u << 20 : 4096;
  memory_bytes_ = (count * (ring + buffers) + page - 1) / page * page;
  file_.reset(::memfd_create("memif-test-peer", MFD_CLOEXEC | shape_.memory_flags));
  if (::ftruncate(file_.get(), static_cast<off_t>(memory_bytes_)) != 0) return;
  void* at = ::mmap(nullptr, memory_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, file_.get(), 0);
  if (at == MAP_FAILED) return;
  memory_ = static_cast<std::byte*>(at);
  for (std::size_t i = 0; i < count; ++i) {
    rings_.push_back(
        {i * ring, count * ring + i * buffers, UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))});
    reinterpret_cast<RingHeader*>(memory_ + i * ring)->cookie = memif::kCookie;
    auto* descriptors = reinterpret_cast<Descriptor*>(memory_ + i * ring + sizeof(RingHeader));
    for (unsigned slot = 0; slot < slots(); ++slot) {
      descriptors[slot] = {0, 0, shape_.buffer_bytes,
                           static_cast<std::uint32_t>(rings_[i].buffers + slot * shape_.buffer_bytes), 0};
    }
  }
}

std::optional<Message> MemifPeer::ask(Message message, std::vector<int> descriptors) {
  send(message, descriptors);
  return receive();
}

// True once the port is connected.
bool MemifPeer::shake_hands(const Tamper& tamper) {
  if (memory_ == nullptr) make_memory();
  const auto step = [&](Message message, std::vector<int> descriptors, MessageType expected) {
    if (tamper) tamper(message, descriptors);
    if (message.type == MessageType::kNone) return true;  // left out
    const auto answer = ask(message, descriptors);
    return answer && answer->type == expected;
  };
  const auto hello = receive();
  if (!hello || hello->type != MessageType::kHello) return false;
  bool good = step(init(), {}, MessageType::kAck) && step(add_region(), {file_.get()}, MessageType::kAck);
  for (const bool to_server : {true, false}) {
    for (unsigned i = 0; good && i < (to_server ? shape_.to_server : shape_.to_client); ++i) {
      good = step(add_ring(to_server, i), {ring_signal(to_server, i)}, MessageType::kAck);
    }
  }
  if (!good || !step(of_type(MessageType::kConnect), {}, MessageType::kConnected)) return false;
  offer_all();
  return true;
}

bool MemifPeer::serve_handshake(const Tamper& tamper) {
  rings_.clear();
  shape_.to_server = shape_.to_client = 0;
  while (const auto message = receive()) {
    auto answer = of_type(MessageType::kAck);
    if (message->type == MessageType::kAddRegion) memory_bytes_ = message->add_region.bytes;
    if (message->type == MessageType::kAddRing) {
      const auto& added = message->add_ring;
      shape_.log2_ring_size = added.log2_ring_size;
      ++((added.flags & memif::AddRing::kToServer) != 0 ? shape_.to_server : shape_.to_client);
    }
    if (message->type == MessageType::kConnect) {
      void* at = ::mmap(nullptr, memory_bytes_, PROT_READ | PROT_WRITE, MAP_SHARED, file_.get(), 0);
      if (at == MAP_FAILED) return false;
      if (memory_ != nullptr) ::munmap(memory_, memory_bytes_);
      memory_ = static_cast<std::byte*>(at);
      answer = of_type(MessageType::kConnected);
      answer.connected = {{"test server port"}};
    }
    if (message->type == MessageType::kDisconnect) return false;
    std::vector<int> descriptors;
    const bool last = answer.type == MessageType::kConnected;
    if (tamper) tamper(answer, descriptors);
    send(answer, descriptors);
    pump_();
    if (last) return true;
  }
  return false;
}

RingHeader& MemifPeer::ring(bool incoming, unsigned index) {
  return *reinterpret_cast<RingHeader*>(memory_ + place(incoming, index).offset);
}

Descriptor& MemifPeer::descriptor(bool incoming, unsigned index, unsigned slot) {
  auto* first = reinterpret_cast<Descriptor*>(memory_ + place(incoming, index).offset + sizeof(RingHeader));
  return first[slot & (slots() - 1)];
}

bool MemifPeer::put(const Bytes& frame, std::size_t piece, unsigned index) {
  auto& own = place(false, index);
  auto& header = ring(false, index);
  const std::uint16_t limit =
      server_ ? load(header.head) : static_cast<std::uint16_t>(load(header.tail) + slots());
  std::uint16_t at = own.next;
  for (std::size_t done = 0; done < frame.size();) {
    if (at == limit) return false;
    auto& slot = descriptor(false, index, at++);
    const std::size_t room = server_ ? slot.length : shape_.buffer_bytes;
    const auto part = std::min({piece, room, frame.size() - done});
    std::memcpy(buffer(slot), frame.data() + done, part);
    done += part;
    slot.length = static_cast<std::uint32_t>(part);
    slot.flags = done < frame.size() ? Descriptor::kNext : std::uint16_t{0};
  }
  own.next = at;
  store(server_ ? header.tail : header.head, at);
  if ((load(header.flags) & RingHeader::kMaskInterrupt) == 0) {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(own.signal.get(), &one, sizeof one);
  }
  return true;
}

Bytes MemifPeer::take(unsigned index) {
  auto& own = place(true, index);
  auto& header = ring(true, index);
  Bytes frame;
  bool more = true;
  while (more && own.next != load(server_ ? header.head : header.tail)) {
    auto& slot = descriptor(true, index, own.next++);
    const auto* data = reinterpret_cast<const unsigned char*>(buffer(slot));
    frame.insert(frame.end(), data, data + slot.length);
    more = (slot.flags & Descriptor::kNext) != 0;
    if (!server_) slot.length = shape_.buffer_bytes;
  }
  if (server_) {
    store(header.tail, own.next);
  } else if (own.offered) {
    store(header.head, static_cast<std::uint16_t>(own.next + slots()));
  }
  return frame;
}

void MemifPeer::offer_all() {
  for (unsigned i = 0; i < shape_.to_client; ++i) {
    place(true, i).offered = true;
    store(ring(true, i).head, static_cast<std::uint16_t>(slots()));
  }
}

void MemifPeer::ask_signals(bool wanted, unsigned index) {
  store(ring(true, index).flags, wanted ? std::uint16_t{0} : RingHeader::kMaskInterrupt);
}

bool MemifPeer::signalled(unsigned index) {
  std::uint64_t count;
  return ::read(place(true, index).signal.get(), &count, sizeof count) == sizeof count;
}

}  // namespace podwire::test
