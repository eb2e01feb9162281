// The server's side: the peer announces regions and rings, each is acknowledged, and CONNECT ends it.
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "dataplane/ports/memif_handshake.hpp"
#include "dataplane/ports/memif_text.hpp"

namespace podwire::engine::memif {
namespace {

Error denied(std::string message) {
  return {ErrorCode::kDenied, std::move(message)};
}

// Only an eventfd is written without waiting for a reader, and tells nothing to whoever else holds it.
Result<void> check_signal(const UniqueFd& descriptor) {
  const auto link = "/proc/self/fd/" + std::to_string(descriptor.get());
  std::array<char, 32> target{};
  const auto length = ::readlink(link.c_str(), target.data(), target.size() - 1);
  if (length < 0 || std::strcmp(target.data(), "anon_inode:[eventfd]") != 0)
    return invalid("ring: its interrupt descriptor is no eventfd");
  const int flags = ::fcntl(descriptor.get(), F_GETFL);
  if (flags < 0 || ::fcntl(descriptor.get(), F_SETFL, flags | O_NONBLOCK) != 0)
    return invalid("ring: its interrupt descriptor cannot be made non-blocking");
  return {};
}

// The whole field is compared, whatever differs first.
bool same_secret(const std::array<char, kSecretBytes>& sent, const std::string& wanted) {
  const auto field = to_field<kSecretBytes>(wanted);
  unsigned difference = 0;
  for (std::size_t i = 0; i < kSecretBytes; ++i) {
    difference |= static_cast<unsigned char>(sent[i]) ^ static_cast<unsigned char>(field[i]);
  }
  return difference == 0;
}

class ServerHandshake final : public Handshake {
 public:
  explicit ServerHandshake(Terms terms) : Handshake(std::move(terms)) {
    to_server_.resize(terms_.queues);
    to_client_.resize(terms_.queues);
  }
  std::optional<OutgoingMessage> begin() override;
  Result<std::optional<OutgoingMessage>> on_message(const Message& message,
                                                    std::vector<UniqueFd> descriptors) override;

 private:
  struct AnnouncedRing {
    AddRing ring{};
    UniqueFd signal;
  };
  Result<void> on_init(const Init& init);
  Result<void> on_add_region(const AddRegion& added, const UniqueFd& file);
  Result<void> on_add_ring(const AddRing& added, UniqueFd signal);
  Result<void> on_connect(const Connect& connect);
  Result<Ring> build_ring(const AddRing& added) const;
  Buffers buffers() const;

  bool initialised_ = false;
  std::uint64_t plain_bytes_ = 0, huge_bytes_ = 0;
  std::vector<std::optional<AnnouncedRing>> to_server_, to_client_;  // by index
};

std::optional<OutgoingMessage> ServerHandshake::begin() {
  Message message;
  message.type = MessageType::kHello;
  const auto last_ring = static_cast<std::uint16_t>(terms_.queues - 1);
  message.hello = {to_field<32>(terms_.name),
                   kVersion,
                   kVersion,
                   kMaxRegions - 1,
                   last_ring,
                   last_ring,
                   static_cast<std::uint8_t>(terms_.log2_ring_size)};
  return OutgoingMessage{message};
}

Result<std::optional<OutgoingMessage>> ServerHandshake::on_message(const Message& message,
                                                                   std::vector<UniqueFd> descriptors) {
  const bool wants_descriptor =
      message.type == MessageType::kAddRegion || message.type == MessageType::kAddRing;
  if (message.type == MessageType::kDisconnect)
    return unavailable("the peer disconnects: " + reason_of(message.disconnect));
  if (descriptors.size() != (wants_descriptor ? 1u : 0u)) {
    return invalid("message: " + std::to_string(descriptors.size()) + " descriptors came, expected " +
                   (wants_descriptor ? "1" : "0"));
  }
  if (complete_ || initialised_ == (message.type == MessageType::kInit))
    return invalid("message: type " + std::to_string(static_cast<unsigned>(message.type)) +
                   " is not expected now");
  Message reply;
  reply.type = MessageType::kAck;
  switch (message.type) {
    case MessageType::kInit:
      PODWIRE_CHECK(on_init(message.init));
      break;
    case MessageType::kAddRegion:
      PODWIRE_CHECK(on_add_region(message.add_region, descriptors.front()));
      break;
    case MessageType::kAddRing:
      PODWIRE_CHECK(on_add_ring(message.add_ring, std::move(descriptors.front())));
      break;
    case MessageType::kConnect:
      PODWIRE_CHECK(on_connect(message.connect));
      reply.type = MessageType::kConnected;
      reply.connected = {to_field<32>(terms_.interface)};
      break;
    default:
      return invalid("message: type " + std::to_string(static_cast<unsigned>(message.type)) +
                     " is not for a server");
  }
  return std::optional(OutgoingMessage{reply});
}

Result<void> ServerHandshake::on_init(const Init& init) {
  if (init.version != kVersion) return denied("version: 2.0 is spoken here");
  if (init.id != terms_.id) return denied("id: " + std::to_string(init.id) + " is not here");
  if (init.mode != InterfaceMode::kEthernet) return denied("mode: only Ethernet is spoken here");
  if (!terms_.secret.empty() && !same_secret(init.secret, terms_.secret))
    return denied("secret: it is not the one that is configured here");
  link_->peer.name = to_text(init.name);
  link_->peer.version = init.version;
  initialised_ = true;
  return {};
}

Result<void> ServerHandshake::on_add_region(const AddRegion& added, const UniqueFd& file) {
  auto& regions = link_->regions;
  if (added.index != regions.size() || added.index >= kMaxRegions) {
    return invalid("region: index " + std::to_string(added.index) + " came, expected " +
                   std::to_string(regions.size()) + " of at most " + std::to_string(kMaxRegions));
  }
  const std::uint64_t announced = added.bytes;
  PODWIRE_TRY(auto region, Region::of_peer(file, announced, link_->condemned));
  auto& sum = region.huge() ? huge_bytes_ : plain_bytes_;
  const auto most = region.huge() ? kMaxHugeBytes : kMaxPlainBytes;
  if (announced > most - sum) {
    return invalid("region: all together have more than " + std::to_string(most >> 20) + " MiB of " +
                   (region.huge() ? "huge" : "plain") + " pages");
  }
  sum += announced;
  regions.push_back(std::move(region));
  return {};
}

Result<void> ServerHandshake::on_add_ring(const AddRing& added, UniqueFd signal) {
  if ((added.flags & ~AddRing::kToServer) != 0) return invalid("ring: unknown flags");
  auto& rings = (added.flags & AddRing::kToServer) != 0 ? to_server_ : to_client_;
  if (added.index >= rings.size()) {
    return invalid("ring: index " + std::to_string(added.index) + " came, there are at most " +
                   std::to_string(rings.size()) + " each way");
  }
  if (rings[added.index]) return invalid("ring: index " + std::to_string(added.index) + " came twice");
  if (added.log2_ring_size < 1 || added.log2_ring_size > terms_.log2_ring_size) {
    return invalid("ring: its size is 2^" + std::to_string(added.log2_ring_size) + ", must be 2^1 to 2^" +
                   std::to_string(terms_.log2_ring_size));
  }
  if (added.private_header_bytes != 0) return invalid("ring: private headers are not spoken here");
  PODWIRE_CHECK(check_signal(signal));
  PODWIRE_CHECK(build_ring(added));
  rings[added.index] = AnnouncedRing{added, std::move(signal)};
  return {};
}

Result<Ring> ServerHandshake::build_ring(const AddRing& added) const {
  if (added.region >= link_->regions.size())
    return invalid("ring: region " + std::to_string(added.region) + " is not there");
  if (added.offset % alignof(std::uint64_t) != 0)
    return invalid("ring: its offset " + std::to_string(added.offset) + " is not a multiple of 8");
  const Region& region = link_->regions[added.region];
  if (added.offset + std::uint64_t{ring_bytes(added.log2_ring_size)} > region.bytes())
    return invalid("ring: it does not lie within its region");
  const Ring ring(region.data() + added.offset, added.log2_ring_size);
  const auto cookie = ring.cookie();
  if (link_->condemned.load(std::memory_order_acquire)) return invalid(text(RingFault::kMemoryLost));
  if (cookie != kCookie) return invalid("ring: its cookie is wrong");
  return ring;
}

Buffers ServerHandshake::buffers() const {
  Buffers buffers;
  buffers.role = Role::kServer;
  for (std::size_t i = 0; i < link_->regions.size(); ++i) {
    buffers.regions.spans[i] = {link_->regions[i].data(), link_->regions[i].bytes()};
  }
  return buffers;
}

Result<void> ServerHandshake::on_connect(const Connect& connect) {
  const auto count = [](const auto& rings) {
    return std::find_if(rings.begin(), rings.end(), [](const auto& ring) { return !ring; }) - rings.begin();
  };
  const auto any_behind = [](const auto& rings, std::ptrdiff_t from) {
    return std::any_of(rings.begin() + from, rings.end(), [](const auto& ring) { return ring.has_value(); });
  };
  const auto in = count(to_server_), out = count(to_client_);
  if (in == 0 || out == 0) return invalid("ring: there is none in one direction");
  if (any_behind(to_server_, in) || any_behind(to_client_, out))
    return invalid("ring: the indices have a gap");
  link_->peer.interface = to_text(connect.interface);
  link_->role = Role::kServer;
  for (std::ptrdiff_t i = 0; i < in; ++i) {
    auto& announced = *to_server_[static_cast<std::size_t>(i)];
    PODWIRE_TRY(auto ring, build_ring(announced.ring));
    ring.set_tail(0);
    ring.set_masked(false);  // the queue's worker may be asleep
    link_->incoming.push_back({IncomingRing(ring, buffers()), std::move(announced.signal)});
  }
  for (std::ptrdiff_t i = 0; i < out; ++i) {
    auto& announced = *to_client_[static_cast<std::size_t>(i)];
    PODWIRE_TRY(auto ring, build_ring(announced.ring));
    ring.set_tail(0);
    link_->outgoing.push_back({OutgoingRing(ring, buffers()), std::move(announced.signal)});
  }
  complete_ = true;
  return {};
}

}  // namespace

std::unique_ptr<Handshake> make_server_handshake(Terms terms) {
  return std::make_unique<ServerHandshake>(std::move(terms));
}

}  // namespace podwire::engine::memif
