// AddressFilter: a set of addresses by domain that a walk over all connections can ask cheaply. It may say
// yes to one that was not added, never no to one that was. Main thread only.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

#include "dataplane/tables/flow_key.hpp"
#include "dataplane/tables/intent.hpp"

namespace podwire::engine {

class AddressFilter {
 public:
  explicit AddressFilter(const std::vector<DomainPrefix>& addresses) {
    const auto bits = std::clamp<std::size_t>(std::bit_ceil(addresses.size() * 32), 1u << 14, 1u << 23);
    words_.resize(bits / 64);
    for (const auto& one : addresses) {
      if (one.prefix.length == one.prefix.address.bits()) {
        const auto hash = hash_of(one.domain, one.prefix.address);
        words_[hash / 64 & (words_.size() - 1)] |= std::uint64_t{1} << hash % 64;
      } else {
        wide_.push_back(one);
      }
    }
    if (wide_.size() > kMaxWide) std::fill(words_.begin(), words_.end(), ~std::uint64_t{0});
  }

  bool may_contain(DomainId domain, const IpAddr& address) const noexcept {
    const auto hash = hash_of(domain, address);
    if ((words_[hash / 64 & (words_.size() - 1)] >> hash % 64 & 1) != 0) return true;
    return std::any_of(wide_.begin(), wide_.end(), [&](const DomainPrefix& one) {
      return one.domain == domain && one.prefix.contains(address);
    });
  }

 private:
  static constexpr std::size_t kMaxWide =
      16;  // prefixes; with more of them everything is taken for one of theirs

  static std::uint64_t hash_of(DomainId domain, const IpAddr& address) noexcept {
    std::uint64_t words[2];
    std::memcpy(words, address.bytes().data(), sizeof words);
    return table_hash(words[0] ^ mix(words[1]) ^ std::uint64_t{domain.value()} << 40);
  }

  std::vector<std::uint64_t> words_;
  std::vector<DomainPrefix> wide_;
};

}  // namespace podwire::engine
