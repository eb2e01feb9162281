// Mbufs for EAL tests: a pool like the engine's that knows when one of its mbufs was leaked, and the way from
// bytes to mbufs (also chained in any way) and back.
#pragma once

#include <gtest/gtest.h>
#include <rte_mbuf.h>

#include <string>
#include <vector>

#include "dataplane/packet/meta.hpp"
#include "tests/support/packet_builder.hpp"

namespace podwire::engine::tests {

class TestPool {
 public:
  explicit TestPool(unsigned size = 4096, std::uint16_t room = 2048);
  TestPool(const TestPool&) = delete;
  TestPool& operator=(const TestPool&) = delete;
  // Fails the test when an mbuf is missing.
  ~TestPool();

  rte_mempool* get() const { return pool_; }
  unsigned in_use() const { return rte_mempool_in_use_count(pool_); }

 private:
  rte_mempool* pool_ = nullptr;
};

// The bytes in one mbuf. They must fit.
rte_mbuf* to_mbuf(rte_mempool* pool, const Bytes& bytes);

// The bytes in a chain: cut at every position of `cuts` (ascending), and wherever an mbuf is full.
rte_mbuf* to_chain(rte_mempool* pool, const Bytes& bytes, const std::vector<std::size_t>& cuts);

// What the chain holds. Also checks that its lengths and count agree.
Bytes to_bytes(const rte_mbuf* mbuf);

// Metadata as parse leaves it for an Ethernet frame without tag (or with `l2_bytes` of tags); IPv6 chain
// walked.
PacketMeta meta_of(rte_mbuf* mbuf, std::uint16_t l2_bytes = 14);

// Makes the packet's TCP or UDP checksum partial, as a pod's kernel leaves it (packet/offload.hpp).
void make_partial(rte_mbuf* mbuf, const PacketMeta& meta);

// The same, and announces segmentation to `segment` bytes of payload.
void make_tso(rte_mbuf* mbuf, const PacketMeta& meta, std::uint16_t segment);

}  // namespace podwire::engine::tests
