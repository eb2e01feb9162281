// What endpoints are told apart by within a domain: a MAC, and each address. As keys of large tables.
#pragma once

#include <cstring>
#include <random>
#include <utility>

#include "dataplane/base/addresses.hpp"
#include "dataplane/base/ids.hpp"

namespace podwire::control {

using MacKey = std::pair<DomainId, MacAddr>;
using AddressKey = std::pair<DomainId, IpAddr>;

struct EndpointKeyHash {
  std::size_t operator()(const MacKey& key) const noexcept { return mixed(key.second.to_u64(), key.first); }
  std::size_t operator()(const AddressKey& key) const noexcept {
    std::uint64_t words[2];
    std::memcpy(words, key.second.bytes().data(), sizeof words);
    return mixed(mixed(words[0], key.first) ^ words[1], key.first);
  }

 private:
  static constexpr std::uint64_t kOdd = 0x9e3779b97f4a7c15;
  // Of the process: other nodes choose the keys, and shall not choose who shares a bucket.
  static inline const std::uint64_t kSeed = std::random_device{}() | std::uint64_t{std::random_device{}()}
                                                                         << 32;
  static std::size_t mixed(std::uint64_t word, DomainId domain) noexcept {
    word = (word ^ std::uint64_t{domain.value()} << 48 ^ kSeed) * kOdd;
    word = (word ^ word >> 32 ^ kSeed) * kOdd;
    return word ^ word >> 32;
  }
};

}  // namespace podwire::control
