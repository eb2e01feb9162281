// Burst: up to kBurstMax packets with their metadata, owned by one worker's stack. Stages walk it; the driver
// compacts it after a stage that let packets leave.
#pragma once

#include <rte_mbuf.h>

#include <array>
#include <cstdint>
#include <span>

#include "dataplane/packet/meta.hpp"

namespace podwire::engine {

inline constexpr std::uint16_t kBurstMax = 64;

struct Burst {
  std::uint16_t count = 0;
  std::uint16_t leaving = 0;  // packets whose verdict says they leave; the driver resets it
  std::array<rte_mbuf*, kBurstMax> mbufs;
  std::array<PacketMeta, kBurstMax> meta;

  bool full() const { return count == kBurstMax; }
  void push(rte_mbuf* mbuf, const PacketMeta& packet_meta) {
    mbufs[count] = mbuf;
    meta[count] = packet_meta;
    ++count;
  }
  void drop(std::uint16_t i, DropReason reason) {
    meta[i].verdict = Verdict::kDrop;
    meta[i].reason = reason;
    ++leaving;
  }
  void consume(std::uint16_t i) {
    meta[i].verdict = Verdict::kConsumed;
    ++leaving;
  }
  void leave(std::uint16_t i, Verdict verdict) {  // kParked or kTaken
    meta[i].verdict = verdict;
    ++leaving;
  }
};

}  // namespace podwire::engine
