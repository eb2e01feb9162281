// memif 2.0 on the wire and in shared memory: the layouts of libmemif's and VPP's memif.h (version 2.0),
// which DPDK's net_memif shares. Everything is in the byte order of the machine; both sides are on it. No
// DPDK in here, no behaviour.
//
// The client (once "slave") owns the memory: it makes the regions, lays rings and buffers out in them and
// announces both over a SOCK_SEQPACKET connection, one 128-byte message a packet. Rings go in two directions:
//   to server ("S2M"): the client fills buffers and advances head; the server empties them and advances tail.
//   to client ("M2S"): the client offers empty buffers by advancing head; the server fills them and advances
//                      tail.
// So the client writes head, the server tail, whatever the direction. Both run freely over 16 bits.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <type_traits>

namespace podwire::engine::memif {

inline constexpr std::uint16_t kVersion = 2 << 8 | 0;
inline constexpr std::uint32_t kCookie = 0x3E31F20;
inline constexpr std::size_t kSecretBytes = 24;

using Name = std::array<char, 32>;  // ends at its first zero, or with the array

enum class MessageType : std::uint16_t {
  kNone,
  kAck,
  kHello,
  kInit,
  kAddRegion,
  kAddRing,
  kConnect,
  kConnected,
  kDisconnect,
};

#pragma pack(push, 1)

// Server to client, first.
struct Hello {
  Name name;
  std::uint16_t min_version, max_version;
  std::uint16_t max_region;          // greatest index
  std::uint16_t max_to_client_ring;  // greatest index
  std::uint16_t max_to_server_ring;  // greatest index
  std::uint8_t max_log2_ring_size;
};

enum class InterfaceMode : std::uint8_t { kEthernet, kIp, kPuntInject };

struct Init {
  std::uint16_t version;
  std::uint32_t id;
  InterfaceMode mode;
  std::array<char, kSecretBytes> secret;
  Name name;
};

// With the descriptor of a memory file.
struct AddRegion {
  std::uint16_t index;
  std::uint64_t bytes;
};

// With an eventfd that the ring's producer writes to unless the ring's kMaskInterrupt is set.
struct AddRing {
  static constexpr std::uint16_t kToServer = 1;
  std::uint16_t flags;
  std::uint16_t index;   // within its direction
  std::uint16_t region;  // where the ring lies
  std::uint32_t offset;
  std::uint8_t log2_ring_size;
  std::uint16_t private_header_bytes;
};

struct Connect {
  Name interface;
};
struct Connected {
  Name interface;
};

struct Disconnect {
  std::uint32_t code;
  std::array<char, 96> reason;  // ends at its first zero, or with the array
};

struct Message {
  MessageType type{};
  union {
    std::array<std::byte, 126> bytes{};
    Hello hello;
    Init init;
    AddRegion add_region;
    AddRing add_ring;
    Connect connect;
    Connected connected;
    Disconnect disconnect;
  };
};

#pragma pack(pop)

static_assert(sizeof(Hello) == 43 && offsetof(Hello, max_log2_ring_size) == 42);
static_assert(sizeof(Init) == 63 && offsetof(Init, id) == 2 && offsetof(Init, mode) == 6 &&
              offsetof(Init, secret) == 7 && offsetof(Init, name) == 31);
static_assert(sizeof(AddRegion) == 10 && offsetof(AddRegion, bytes) == 2);
static_assert(sizeof(AddRing) == 13 && offsetof(AddRing, region) == 4 && offsetof(AddRing, offset) == 6 &&
              offsetof(AddRing, log2_ring_size) == 10);
static_assert(sizeof(Connect) == 32 && sizeof(Connected) == 32);
static_assert(sizeof(Disconnect) == 100 && offsetof(Disconnect, reason) == 4);
static_assert(sizeof(Message) == 128 && offsetof(Message, hello) == 2 &&
              std::is_trivially_copyable_v<Message>);

// In shared memory. The peer may change any of it at any time.

struct RingHeader {
  static constexpr std::uint16_t kMaskInterrupt = 1;
  std::uint32_t cookie;
  std::uint16_t flags;
  std::uint16_t head;
  std::array<std::byte, 56> padding;
  std::uint16_t tail;
  std::array<std::byte, 62> padding2;
  // The descriptors follow.
};
static_assert(sizeof(RingHeader) == 128 && offsetof(RingHeader, flags) == 4 &&
              offsetof(RingHeader, head) == 6 && offsetof(RingHeader, tail) == 64);

struct Descriptor {
  static constexpr std::uint16_t kNext = 1;  // the frame goes on in the next descriptor
  std::uint16_t flags;
  std::uint16_t region;
  std::uint32_t length;  // of the data, or of the empty buffer
  std::uint32_t offset;  // of the buffer in its region
  std::uint32_t metadata;
};
static_assert(sizeof(Descriptor) == 16 && offsetof(Descriptor, length) == 4 &&
              offsetof(Descriptor, offset) == 8);

inline constexpr unsigned kMaxLog2RingSize = 14;  // the greatest that libmemif and net_memif offer
inline constexpr std::size_t ring_bytes(unsigned log2_size) {
  return sizeof(RingHeader) + (sizeof(Descriptor) << log2_size);
}

}  // namespace podwire::engine::memif
