// The memif handshake as a state machine: messages and descriptors in, messages out, a Link at the end. It
// knows no socket and no time. One object a connection, in either role; main thread only. Whatever the peer
// says is checked here: types and order of messages, versions, id, secret, indices, sizes, offsets, kinds of
// descriptors. No DPDK in here.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/base/result.hpp"
#include "dataplane/ports/memif_link.hpp"

namespace podwire::engine::memif {

// Our side of the bargain.
struct Terms {
  std::string name;       // of this program; at most 32 characters are sent
  std::string interface;  // of the port
  std::uint32_t id = 0;
  std::string secret;                 // empty: none is asked for
  std::uint16_t queues = 1;           // rings each way at most, 1..16
  unsigned log2_ring_size = 10;       // server: at most; client: asked for. 1..kMaxLog2RingSize
  std::uint32_t buffer_bytes = 2048;  // client
};

struct OutgoingMessage {
  Message message;
  int descriptor = -1;  // sent along; stays the sender's
};

// An error of kDenied means that the two sides do not fit together (id, secret, version, mode), of kInvalid
// that the peer broke the protocol, of kUnavailable that it took its leave, anything else is our own trouble.
// Its message goes to the peer as the reason.
class Handshake {
 public:
  virtual ~Handshake() = default;
  // What to say first, if anything.
  virtual std::optional<OutgoingMessage> begin() { return {}; }
  // What to say next, if anything.
  virtual Result<std::optional<OutgoingMessage>> on_message(const Message& message,
                                                            std::vector<UniqueFd> descriptors) = 0;
  // After the last message of the handshake: the link, once.
  std::unique_ptr<Link> take_link() { return complete_ ? std::move(link_) : nullptr; }
  bool complete() const { return complete_; }

 protected:
  explicit Handshake(Terms terms) : terms_(std::move(terms)) {}
  const Terms terms_;
  std::unique_ptr<Link> link_ = std::make_unique<Link>();
  bool complete_ = false;
};

std::unique_ptr<Handshake> make_server_handshake(Terms terms);
std::unique_ptr<Handshake> make_client_handshake(Terms terms);

Message make_disconnect(const std::string& reason);
// What the peer's DISCONNECT says; printable.
std::string reason_of(const Disconnect& disconnect);
// Bytes that a client's region needs for `rings` rings in all.
std::uint64_t client_region_bytes(unsigned rings, unsigned log2_ring_size, std::uint32_t buffer_bytes);

}  // namespace podwire::engine::memif
