// A memif peer for tests, in either role: speaks the protocol well, or as a test makes it. It shares the
// test's thread with the port under test, which it drives by calling `pump` whenever it waits.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/base/unique_fd.hpp"
#include "dataplane/ports/memif_protocol.hpp"

namespace podwire::test {

namespace memif = engine::memif;
using Bytes = std::vector<unsigned char>;

struct MemifShape {
  unsigned to_server = 1, to_client = 1;  // rings
  unsigned log2_ring_size = 4;
  std::uint32_t buffer_bytes = 2048;
  std::uint32_t id = 0;
  std::string secret{};
  unsigned memory_flags = 2;  // of memfd_create: MFD_ALLOW_SEALING
};

class MemifPeer {
 public:
  // What a message turns into before it is sent, with its descriptors.
  using Tamper = std::function<void(memif::Message&, std::vector<int>&)>;
  using Pump = std::function<void()>;

  explicit MemifPeer(Pump pump, MemifShape shape = {}) : pump_(std::move(pump)), shape_(std::move(shape)) {}
  MemifPeer(const MemifPeer&) = delete;
  MemifPeer& operator=(const MemifPeer&) = delete;
  ~MemifPeer();

  // As client: connects; then the handshake, whole or message by message.
  bool connect(const std::string& path);
  bool shake_hands(const Tamper& tamper = {});
  std::optional<memif::Message> ask(memif::Message message, std::vector<int> descriptors = {});  // the answer
  void make_memory();
  memif::Message init() const;
  memif::Message add_region() const;
  memif::Message add_ring(bool to_server, unsigned index) const;
  static memif::Message of_type(memif::MessageType type);
  int region_file() const { return file_.get(); }
  int ring_signal(bool to_server, unsigned index) const {
    return rings_[number(to_server, index)].signal.get();
  }

  // As server: listens; then takes a client's handshake up to its CONNECT and answers it.
  bool listen(const std::string& path);
  bool accept();
  memif::Message hello() const;
  bool serve_handshake(const Tamper& tamper = {});

  void send(const memif::Message& message, const std::vector<int>& descriptors = {});
  void send_bytes(const void* data, std::size_t size);
  // The next message; empty when the connection ended, or nothing came for two seconds.
  std::optional<memif::Message> receive();
  // Waits for the port to end the connection; what it says, or "closed" without a word.
  std::string await_disconnect();
  void close() { socket_.reset(); }

  // The rings, once there is memory. `incoming`: as this peer sees it.
  memif::RingHeader& ring(bool incoming, unsigned index = 0);
  memif::Descriptor& descriptor(bool incoming, unsigned index, unsigned slot);
  std::byte* buffer(const memif::Descriptor& descriptor) { return memory_ + descriptor.offset; }
  // Puts a frame into our outgoing ring, in buffers' worth of at most `piece` bytes; false: no room.
  bool put(const Bytes& frame, std::size_t piece = 65536, unsigned index = 0);
  // Takes a frame out of our incoming ring; empty: there is none.
  Bytes take(unsigned index = 0);
  // As client: offers all empty buffers.
  void offer_all();
  // Asks for signals, or not; whether one came since the last call.
  void ask_signals(bool wanted, unsigned index = 0);
  bool signalled(unsigned index = 0);

 private:
  struct RingPlace {
    std::uint64_t offset = 0, buffers = 0;
    UniqueFd signal;
    std::uint16_t next = 0;  // first slot we have not taken, or filled
    bool offered = false;
  };
  std::size_t number(bool to_server, unsigned index) const {
    return to_server ? index : shape_.to_server + index;
  }
  RingPlace& place(bool incoming, unsigned index) { return rings_[number(incoming == server_, index)]; }
  unsigned slots() const { return 1u << shape_.log2_ring_size; }

  Pump pump_;
  MemifShape shape_;
  bool server_ = false;
  UniqueFd socket_, listener_;
  std::string path_;
  UniqueFd file_;
  std::byte* memory_ = nullptr;
  std::size_t memory_bytes_ = 0;
  std::vector<RingPlace> rings_;
};

}  // namespace podwire::test
