// LongPrefixes: which /24 networks have IPv4 prefixes longer than /24 in them, hosts mostly, so that a
// look-up of an address elsewhere, behind a peer as a rule, need not ask for any first. One bit for all
// networks of the same hash: "none" is exact, "some" may be wrong. Written by the main thread: a bit is set
// before the first such prefix is in the table and cleared after the last one has gone. Read by workers.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "dataplane/base/ids.hpp"

namespace podwire::engine {

class LongPrefixes {
 public:
  static constexpr int kShort = 24;  // the longest length that is not kept here

  // `address` in host order.
  bool may_have(DomainId domain, std::uint32_t address) const noexcept {
    const auto bit = bit_of(domain, address);
    return (words_[bit / 64].load(std::memory_order_acquire) >> bit % 64 & 1) != 0;
  }

  void add(DomainId domain, std::uint32_t address) noexcept {
    const auto bit = bit_of(domain, address);
    if (counts_[bit]++ == 0) flip(bit);
  }
  void remove(DomainId domain, std::uint32_t address) noexcept {
    const auto bit = bit_of(domain, address);
    if (--counts_[bit] == 0) flip(bit);
  }

 private:
  static constexpr unsigned kBits = 13;

  static std::uint32_t bit_of(DomainId domain, std::uint32_t address) noexcept {
    return ((address >> 8) + domain.value() * 0x85ebca6bu) * 0x9e3779b1u >> (32 - kBits);
  }
  void flip(std::uint32_t bit) noexcept {
    words_[bit / 64].fetch_xor(std::uint64_t{1} << bit % 64, std::memory_order_acq_rel);
  }

  std::array<std::atomic<std::uint64_t>, (1u << kBits) / 64> words_{};
  std::array<std::uint32_t, 1u << kBits> counts_{};  // prefixes of a bit
};

}  // namespace podwire::engine
