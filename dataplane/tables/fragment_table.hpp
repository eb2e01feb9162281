// FragmentTable: which ports the fragments of a datagram belong to, for the fragments after the first, which
// do not have them. Bounded: sets of four, where the datagram seen longest ago makes room; a pod that sends
// fragments in masses costs others some of theirs, and nothing else. Shared by all workers, a lock a set:
// fragments are few. Left out: putting datagrams together, and fragments that overlap.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <memory>

#include "dataplane/tables/flow_key.hpp"

namespace podwire::engine {

class FragmentTable {
 public:
  static constexpr std::uint32_t kLifetimeSeconds = 30;  // RFC 8200 section 4.5 gives 60, Linux 30

  // `datagram` is a FlowKey with the datagram's identification for ports, `hash` its hash.
  void note_first(const FlowKey& datagram, std::uint64_t hash, std::uint32_t ports,
                  std::uint32_t now_s) noexcept {
    auto& set = lock(hash);
    Entry* chosen = &set.entries[0];
    for (auto& entry : set.entries) {
      if (entry.datagram == datagram) {
        chosen = &entry;
        break;
      }
      if (now_s - entry.seen_s > now_s - chosen->seen_s) chosen = &entry;
    }
    *chosen = {datagram, ports, now_s};
    unlock(set);
  }

  // False: the first fragment was not seen within the lifetime.
  bool find(const FlowKey& datagram, std::uint64_t hash, std::uint32_t now_s, std::uint32_t& ports) noexcept {
    auto& set = lock(hash);
    bool found = false;
    for (const auto& entry : set.entries) {
      if (!(entry.datagram == datagram) || now_s - entry.seen_s > kLifetimeSeconds) continue;
      ports = entry.ports;
      found = true;
    }
    unlock(set);
    return found;
  }

 private:
  static constexpr std::size_t kSets = 1024;
  struct Entry {
    FlowKey datagram;  // family 0: none
    std::uint32_t ports = 0;
    std::uint32_t seen_s = 0;
  };
  struct Set {
    std::array<Entry, 4> entries;
    std::atomic<bool> locked{false};
  };

  Set& lock(std::uint64_t hash) noexcept {
    auto& set = sets_[hash % kSets];
    while (set.locked.exchange(true, std::memory_order_acquire)) __builtin_ia32_pause();
    return set;
  }
  static void unlock(Set& set) noexcept { set.locked.store(false, std::memory_order_release); }

  std::unique_ptr<Set[]> sets_ = std::make_unique<Set[]>(kSets);
};

}  // namespace podwire::engine
