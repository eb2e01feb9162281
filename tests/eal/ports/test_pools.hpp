// Packet pools for a test; its end asserts that every mbuf has come back.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <span>
#include <vector>

#include "dataplane/worker/pools.hpp"

namespace podwire::test {

class TestPools {
 public:
  explicit TestPools(unsigned packets = 4095, unsigned jumbos = 127) {
    auto made = engine::PacketPools::create(packets, jumbos, 3);
    if (!made) throw std::runtime_error(made.error().message);
    pools_ = std::make_unique<engine::PacketPools>(std::move(*made));
  }
  ~TestPools() { expect_full(); }
  void expect_full() const {
    const auto occupancy = pools_->occupancy();
    EXPECT_EQ(occupancy.in_use, 0u) << "packet mbufs leaked";
    EXPECT_EQ(occupancy.jumbo_in_use, 0u) << "jumbo mbufs leaked";
  }
  const engine::Pools& get() const { return pools_->get(); }
  engine::PoolOccupancy occupancy() const { return pools_->occupancy(); }

  // An mbuf with these bytes, in segments of at most `segment_bytes`.
  rte_mbuf* packet(std::span<const unsigned char> bytes, std::size_t segment_bytes = 2048) const {
    rte_mbuf* head = rte_pktmbuf_alloc(get().packets);
    rte_mbuf* tail = head;
    for (std::size_t at = 0; at < bytes.size();) {
      const auto n = std::min(segment_bytes, bytes.size() - at);
      if (at != 0) {
        tail->next = rte_pktmbuf_alloc(get().packets);
        tail = tail->next;
        ++head->nb_segs;
      }
      std::memcpy(rte_pktmbuf_mtod(tail, char*), bytes.data() + at, n);
      tail->data_len = static_cast<std::uint16_t>(n);
      at += n;
    }
    head->pkt_len = static_cast<std::uint32_t>(bytes.size());
    return head;
  }
  static std::vector<unsigned char> bytes(const rte_mbuf* packet) {
    std::vector<unsigned char> all;
    for (const auto* segment = packet; segment != nullptr; segment = segment->next) {
      const auto* data = rte_pktmbuf_mtod(segment, const unsigned char*);
      all.insert(all.end(), data, data + segment->data_len);
    }
    return all;
  }

 private:
  std::unique_ptr<engine::PacketPools> pools_;
};

}  // namespace podwire::test
