// RoutedPrefixes: which domain an address belongs to among those that are reached without tunnels
// (api::Domain::routed). Immutable once it is published; the main thread builds a new one when domains
// change. Their subnets do not overlap, so at most one length matches.
#pragma once

#include <cstdint>
#include <vector>

#include "dataplane/base/ids.hpp"
#include "dataplane/tables/snapshot.hpp"

namespace podwire::engine {

class RoutedPrefixes {
 public:
  explicit RoutedPrefixes(std::size_t prefixes) : v4_(prefixes), v6_(prefixes) {}

  // Main thread, before it is published. `subnet` has its host bits cleared.
  void add(const IpPrefix& subnet, DomainId domain) {
    const auto length = static_cast<std::size_t>(subnet.length);
    if (subnet.address.is_v4()) {
      lengths4_ |= std::uint64_t{1} << length;
      v4_.put(fib4_key(kUnderlayDomain, subnet.address.v4().to_u32(), subnet.length), domain.value());
    } else {
      if (!lengths6_[length]) lengths6_list_.push_back(subnet.length);
      lengths6_.set(length);
      v6_.put(fib6_key(kUnderlayDomain, subnet.address.v6(), subnet.length), domain.value());
    }
  }

  // 0: nobody's.
  DomainId find(const Ipv4& address) const noexcept {
    const std::uint32_t ip = address.to_u32();
    for (std::uint64_t lengths = lengths4_; lengths != 0;) {
      const int length = 63 - __builtin_clzll(lengths);
      lengths &= ~(std::uint64_t{1} << length);
      const std::uint32_t mask = length == 0 ? 0 : ~std::uint32_t{0} << (32 - length);
      if (const auto id = v4_.find(fib4_key(kUnderlayDomain, ip & mask, length)))
        return DomainId(static_cast<std::uint16_t>(id));
    }
    return {};
  }
  DomainId find(const Ipv6& address) const noexcept {
    for (const int length : lengths6_list_) {
      if (const auto id = v6_.find(fib6_key(kUnderlayDomain, mask_address(address, length), length)))
        return DomainId(static_cast<std::uint16_t>(id));
    }
    return {};
  }
  DomainId find(const IpAddr& address) const noexcept {
    return address.is_v4() ? find(address.v4()) : find(address.v6());
  }

 private:
  std::uint64_t lengths4_ = 0;  // bit L: there is a subnet of length L
  std::bitset<129> lengths6_;
  std::vector<int> lengths6_list_;
  LookupTable<Key64> v4_;
  LookupTable<Key192> v6_;
};

}  // namespace podwire::engine
