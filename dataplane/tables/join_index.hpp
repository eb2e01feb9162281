// JoinIndex: the routes whose next hop is another domain, by a domain and their prefix, so that thousands of
// them can be asked which one overlaps with another. Main thread only.
#pragma once

#include <set>
#include <tuple>

#include "dataplane/base/addresses.hpp"
#include "dataplane/base/ids.hpp"

namespace podwire::engine {

class JoinIndex {
 public:
  void insert(DomainId domain, const IpPrefix& prefix, RouteId route) {
    routes_.insert({domain, prefix.address.is_v4(), prefix, route});
  }
  void erase(DomainId domain, const IpPrefix& prefix, RouteId route) {
    routes_.erase({domain, prefix.address.is_v4(), prefix, route});
  }
  // One of `domain` that overlaps with `prefix`; 0: none does.
  RouteId overlapping(DomainId domain, const IpPrefix& prefix) const {
    for (int length = 0; length < prefix.length; ++length) {
      const auto wider = IpPrefix{prefix.address, length}.network();
      const auto at = first(domain, wider);
      if (is_of(at, domain, wider) && std::get<IpPrefix>(*at) == wider) return std::get<RouteId>(*at);
    }
    // Those inside it follow it.
    const auto at = first(domain, prefix);
    return is_of(at, domain, prefix) && prefix.contains(std::get<IpPrefix>(*at).address)
               ? std::get<RouteId>(*at)
               : RouteId();
  }

 private:
  using Routes = std::set<std::tuple<DomainId, bool, IpPrefix, RouteId>>;
  Routes::const_iterator first(DomainId domain, const IpPrefix& prefix) const {
    return routes_.lower_bound({domain, prefix.address.is_v4(), prefix, RouteId()});
  }
  bool is_of(Routes::const_iterator at, DomainId domain, const IpPrefix& prefix) const {
    return at != routes_.end() && std::get<DomainId>(*at) == domain &&
           std::get<bool>(*at) == prefix.address.is_v4();
  }

  Routes routes_;
};

}  // namespace podwire::engine
