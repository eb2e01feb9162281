// The client's side: after HELLO it makes the memory, announces it message by message, each when the one
// before was acknowledged, and ends on CONNECTED. The messages both sides share are here as well.
#include <sys/eventfd.h>

#include <algorithm>

#include "dataplane/ports/memif_handshake.hpp"
#include "dataplane/ports/memif_text.hpp"

namespace podwire::engine::memif {
namespace {

class ClientHandshake final : public Handshake {
 public:
  explicit ClientHandshake(Terms terms) : Handshake(std::move(terms)) {}
  Result<std::optional<OutgoingMessage>> on_message(const Message& message,
                                                    std::vector<UniqueFd> descriptors) override;

 private:
  Result<void> on_hello(const Hello& hello);
  Result<void> lay_out(unsigned to_server, unsigned to_client, unsigned log2_size);
  Result<UniqueFd> announce_ring(bool to_server, unsigned index, std::uint64_t offset, unsigned log2_size);
  Result<std::optional<OutgoingMessage>> next();

  bool greeted_ = false;
  std::deque<OutgoingMessage> unsent_;
};

Result<std::optional<OutgoingMessage>> ClientHandshake::on_message(const Message& message,
                                                                   std::vector<UniqueFd> descriptors) {
  if (message.type == MessageType::kDisconnect)
    return unavailable("the peer disconnects: " + reason_of(message.disconnect));
  if (!descriptors.empty()) {
    return invalid("message: " + std::to_string(descriptors.size()) + " descriptors came, expected 0");
  }
  const auto unexpected = [&] {
    return invalid("message: type " + std::to_string(static_cast<unsigned>(message.type)) +
                   " is not expected now");
  };
  if (complete_ || greeted_ == (message.type == MessageType::kHello)) return unexpected();
  switch (message.type) {
    case MessageType::kHello:
      PODWIRE_CHECK(on_hello(message.hello));
      return next();
    case MessageType::kAck:
      if (unsent_.empty()) return unexpected();
      return next();
    case MessageType::kConnected:
      if (!unsent_.empty()) return unexpected();
      link_->peer.interface = to_text(message.connected.interface);
      for (auto& queue : link_->incoming) queue.ring.offer_all();
      complete_ = true;
      return std::optional<OutgoingMessage>();
    default:
      return unexpected();
  }
}

Result<std::optional<OutgoingMessage>> ClientHandshake::next() {
  auto message = unsent_.front();
  unsent_.pop_front();
  return std::optional(message);
}

Result<void> ClientHandshake::on_hello(const Hello& hello) {
  if (hello.min_version > kVersion || hello.max_version < kVersion)
    return Error{ErrorCode::kDenied, "version: 2.0 is spoken here"};
  if (hello.max_log2_ring_size < 1) return invalid("hello: rings of one descriptor at most");
  greeted_ = true;
  link_->role = Role::kClient;
  link_->peer.name = to_text(hello.name);
  link_->peer.version = kVersion;
  const auto rings = [&](std::uint16_t last) { return std::min<unsigned>(terms_.queues, last + 1u); };
  const auto log2_size = std::min<unsigned>(terms_.log2_ring_size, hello.max_log2_ring_size);
  PODWIRE_CHECK(lay_out(rings(hello.max_to_server_ring), rings(hello.max_to_client_ring), log2_size));

  Message init;
  init.type = MessageType::kInit;
  init.init = {kVersion, terms_.id, InterfaceMode::kEthernet, to_field<kSecretBytes>(terms_.secret),
               to_field<32>(terms_.name)};
  Message connect;
  connect.type = MessageType::kConnect;
  connect.connect = {to_field<32>(terms_.interface)};
  unsent_.push_front({init});
  unsent_.push_back({connect});
  return {};
}

// One region: all rings, then all buffers, in the order of the rings.
Result<void> ClientHandshake::lay_out(unsigned to_server, unsigned to_client, unsigned log2_size) {
  const auto bytes = client_region_bytes(to_server + to_client, log2_size, terms_.buffer_bytes);
  PODWIRE_TRY(auto region, Region::make(bytes, link_->condemned));
  Message message;
  message.type = MessageType::kAddRegion;
  message.add_region = {0, bytes};
  unsent_.push_back({message, region.file()});

  std::uint64_t ring_at = 0;
  std::uint64_t buffers_at = std::uint64_t{ring_bytes(log2_size)} * (to_server + to_client);
  const std::uint64_t ring_buffers = std::uint64_t{terms_.buffer_bytes} << log2_size;
  for (unsigned i = 0; i < to_server + to_client; ++i) {
    const bool sends = i < to_server;
    Ring ring(region.data() + ring_at, log2_size);
    ring.set_cookie(kCookie);
    Buffers buffers;
    buffers.role = Role::kClient;
    buffers.first = region.data() + buffers_at;
    buffers.first_offset = static_cast<std::uint32_t>(buffers_at);
    buffers.bytes = terms_.buffer_bytes;
    PODWIRE_TRY(auto signal, announce_ring(sends, sends ? i : i - to_server, ring_at, log2_size));
    if (sends) {
      link_->outgoing.push_back({OutgoingRing(ring, buffers), std::move(signal)});
    } else {
      link_->incoming.push_back({IncomingRing(ring, buffers), std::move(signal)});
    }
    ring_at += ring_bytes(log2_size);
    buffers_at += ring_buffers;
  }
  link_->regions.push_back(std::move(region));
  link_->buffer_bytes.store(terms_.buffer_bytes, std::memory_order_relaxed);
  return {};
}

Result<UniqueFd> ClientHandshake::announce_ring(bool to_server, unsigned index, std::uint64_t offset,
                                                unsigned log2_size) {
  UniqueFd signal(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!signal) return errno_error("an eventfd for memif");
  Message message;
  message.type = MessageType::kAddRing;
  message.add_ring = {to_server ? AddRing::kToServer : std::uint16_t{0},
                      static_cast<std::uint16_t>(index),
                      0,
                      static_cast<std::uint32_t>(offset),
                      static_cast<std::uint8_t>(log2_size),
                      0};
  unsent_.push_back({message, signal.get()});
  return signal;
}

}  // namespace

std::unique_ptr<Handshake> make_client_handshake(Terms terms) {
  return std::make_unique<ClientHandshake>(std::move(terms));
}

Message make_disconnect(const std::string& reason) {
  Message message;
  message.type = MessageType::kDisconnect;
  message.disconnect = {0, to_field<96>(reason)};
  message.disconnect.reason.back() = '\0';
  return message;
}

std::string reason_of(const Disconnect& disconnect) {
  return to_text(disconnect.reason);
}

std::uint64_t client_region_bytes(unsigned rings, unsigned log2_ring_size, std::uint32_t buffer_bytes) {
  return rings *
         (std::uint64_t{ring_bytes(log2_ring_size)} + (std::uint64_t{buffer_bytes} << log2_ring_size));
}

}  // namespace podwire::engine::memif
