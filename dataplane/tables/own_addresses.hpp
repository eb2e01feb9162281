// OwnAddresses: the node's own addresses, as workers ask whether a packet from the uplink claims to be from
// one of them. Which they are: node_addresses() in tables/services.hpp. Immutable: the main thread makes
// another one when they change, workers read it through their snapshot.
#pragma once

#include <algorithm>
#include <cstring>
#include <vector>

#include "dataplane/base/addresses.hpp"

namespace podwire::engine {

class OwnAddresses {
 public:
  explicit OwnAddresses(std::vector<IpAddr> sorted) : all_(std::move(sorted)) {
    for (const auto& address : all_) {
      if (address.is_v4()) filter4_ |= bit_of(raw(address.v4()));
    }
  }
  const std::vector<IpAddr>& all() const noexcept { return all_; }
  bool contains(const IpAddr& address) const noexcept {
    return std::binary_search(all_.begin(), all_.end(), address);
  }
  // By the four bytes as they lie in a packet: false means that it is none; one that is not is rarely taken
  // for one.
  bool may_contain4(std::uint32_t raw_address) const noexcept {
    return (filter4_ & bit_of(raw_address)) != 0;
  }

 private:
  static std::uint64_t bit_of(std::uint32_t raw_address) noexcept {
    return std::uint64_t{1} << (raw_address * 0x9e3779b1u >> 26);
  }
  static std::uint32_t raw(const Ipv4& address) noexcept {
    std::uint32_t word;
    std::memcpy(&word, address.bytes.data(), sizeof word);
    return word;
  }

  std::vector<IpAddr> all_;
  std::uint64_t filter4_ = 0;
};

}  // namespace podwire::engine
