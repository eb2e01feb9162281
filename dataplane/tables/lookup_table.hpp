// LookupTable<Key>: exact match, one writer (the engine's main thread), any number of lock-free readers
// (workers). Open addressing with linear probing over a power of two, at most half full. A slot's value is
// published last and read first; a key never changes while readers may see its slot: erased slots stay
// tombstones until the owner builds a new table (needs_rebuild) and publishes that with the next snapshot.
// Value 0 means "not there".
#pragma once

#include <algorithm>
#include <atomic>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <random>
#include <span>

#include "dataplane/base/addresses.hpp"
#include "dataplane/base/ids.hpp"

namespace podwire::engine {

inline std::uint64_t mix(std::uint64_t h) noexcept {  // finaliser of MurmurHash3
  h ^= h >> 33;
  h *= 0xff51afd7ed558ccdULL;
  h ^= h >> 33;
  h *= 0xc4ceb9fe1a85ec53ULL;
  return h ^ (h >> 33);
}

// Of the process: keys that collide here collide nowhere else, so that nobody can choose MACs or addresses
// that do. Odd, as a multiplier must be.
inline const std::uint64_t kTableSeeds[2] = {
    std::random_device{}() | std::uint64_t{std::random_device{}()} << 32,
    std::random_device{}() | std::uint64_t{std::random_device{}()} << 32 | 1};

// Both halves of a product, which depend on all bits of `word`.
inline std::uint64_t table_hash(std::uint64_t word) noexcept {
  const auto product = static_cast<unsigned __int128>(word ^ kTableSeeds[0]) * (kTableSeeds[1]);
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

struct Key64 {
  std::uint64_t word = 0;
  bool operator==(const Key64&) const = default;
  std::uint64_t hash() const noexcept { return table_hash(word); }
};

struct Key192 {
  std::uint64_t words[3]{};
  bool operator==(const Key192&) const = default;
  std::uint64_t hash() const noexcept { return mix(words[0] ^ mix(words[1] ^ mix(words[2]))); }
};

template <class Key>
class LookupTable {
 public:
  explicit LookupTable(std::size_t expected = 16)
      : mask_(std::bit_ceil(std::max<std::size_t>(expected * 2, 16)) - 1), slots_(new Slot[mask_ + 1]) {}

  // 0 when absent. Any thread.
  std::uint32_t find(const Key& key) const noexcept { return find_hashed(key, key.hash()); }
  [[gnu::always_inline]] std::uint32_t find_hashed(const Key& key, std::uint64_t hash) const noexcept {
    for (std::size_t i = hash & mask_;; i = (i + 1) & mask_) {
      const std::uint32_t value = slots_[i].value.load(std::memory_order_acquire);
      if (value == kEmpty) return 0;
      if (slots_[i].key == key) return value == kErased ? 0 : value;
    }
  }
  void prefetch(std::uint64_t hash) const noexcept { __builtin_prefetch(&slots_[hash & mask_]); }

  // Writer only. Returns false when the table is too full: rebuild first. `value` is 1..0xfffffffe.
  bool put(const Key& key, std::uint32_t value) {
    for (std::size_t i = key.hash() & mask_;; i = (i + 1) & mask_) {
      const std::uint32_t old = slots_[i].value.load(std::memory_order_relaxed);
      if (old == kEmpty) {
        if (needs_rebuild()) return false;
        slots_[i].key = key;
        ++used_;
        ++live_;
        slots_[i].value.store(value, std::memory_order_release);
        return true;
      }
      if (slots_[i].key == key) {
        if (old == kErased) ++live_;
        slots_[i].value.store(value, std::memory_order_release);
        return true;
      }
    }
  }
  // Writer only. Returns the value that was there, 0 when none.
  std::uint32_t erase(const Key& key) {
    for (std::size_t i = key.hash() & mask_;; i = (i + 1) & mask_) {
      const std::uint32_t old = slots_[i].value.load(std::memory_order_relaxed);
      if (old == kEmpty) return 0;
      if (slots_[i].key == key) {
        if (old == kErased) return 0;
        --live_;
        slots_[i].value.store(kErased, std::memory_order_release);
        return old;
      }
    }
  }
  template <class Visit>  // visit(key, value); writer only
  void for_each(Visit visit) const {
    for (std::size_t i = 0; i <= mask_; ++i) {
      const auto value = slots_[i].value.load(std::memory_order_relaxed);
      if (value != kEmpty && value != kErased) visit(slots_[i].key, value);
    }
  }
  bool needs_rebuild() const { return room() == 0; }
  // How many new keys can be put before a rebuild is needed.
  std::size_t room() const { return (mask_ + 1) / 2 - used_; }
  std::size_t size() const { return live_; }
  std::size_t bytes() const { return (mask_ + 1) * sizeof(Slot); }

 private:
  static constexpr std::uint32_t kEmpty = 0;
  static constexpr std::uint32_t kErased = 0xffffffff;
  struct Slot {
    Key key{};
    std::atomic<std::uint32_t> value{kEmpty};
  };
  std::size_t mask_;
  std::unique_ptr<Slot[]> slots_;
  std::size_t used_ = 0;  // live and erased
  std::size_t live_ = 0;
};

// Keys. Every one has the domain. A MAC's bytes are there as they lie in memory.
inline Key64 fdb_key_of(std::uint64_t domain_bits, const std::uint8_t* mac_and_two_more) noexcept {
  std::uint64_t word;
  std::memcpy(&word, mac_and_two_more, sizeof word);
  return {domain_bits | (word & 0xffff'ffff'ffff)};
}
inline std::uint64_t fdb_domain_bits(DomainId domain) noexcept {
  return std::uint64_t{domain.value()} << 48;
}
inline Key64 fdb_key(DomainId domain, const MacAddr& mac) noexcept {
  std::uint32_t first;
  std::uint16_t last;
  std::memcpy(&first, mac.bytes.data(), sizeof first);
  std::memcpy(&last, mac.bytes.data() + sizeof first, sizeof last);
  return {fdb_domain_bits(domain) | std::uint64_t{last} << 32 | first};
}
// `network` has its host bits cleared; length 0..32.
inline Key64 fib4_key(DomainId domain, std::uint32_t network, int length) noexcept {
  return {std::uint64_t{domain.value()} << 48 | static_cast<std::uint64_t>(length) << 40 | network};
}
inline Key192 fib6_key(DomainId domain, const Ipv6& network, int length) noexcept {
  Key192 key;
  std::memcpy(&key.words[0], network.bytes.data(), 16);
  key.words[2] = std::uint64_t{domain.value()} << 16 | static_cast<std::uint64_t>(length);
  return key;
}
inline Key64 vtep4_key(const Ipv4& address, std::uint16_t udp_port) noexcept {
  return {std::uint64_t{udp_port} << 32 | address.to_u32()};
}
inline Key192 vtep6_key(const Ipv6& address, std::uint16_t udp_port) noexcept {
  Key192 key;
  std::memcpy(&key.words[0], address.bytes.data(), 16);
  key.words[2] = udp_port;
  return key;
}

}  // namespace podwire::engine
