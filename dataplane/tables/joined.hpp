// Joined domains as workers and the main thread ask about them: a domain reaches another's endpoints by
// routes whose next hop is that domain (Adjacency::Kind::kInto). Its own routes come first by the longest
// match, as always. Knows no packets.
#pragma once

#include "dataplane/tables/snapshot.hpp"

namespace podwire::engine {

// The domain that packets of `domain` for `address` go on into; 0: none, its own tables decide.
inline DomainId domain_into(const Snapshot& tables, const DomainEntry& domain,
                            const IpAddr& address) noexcept {
  if (!domain.joined) return {};
  const auto slot =
      address.is_v4() ? find_route(tables, domain, address.v4()) : find_route(tables, domain, address.v6());
  const auto& adjacency = tables.adjacencies[slot];
  return adjacency.kind == Adjacency::Kind::kInto ? adjacency.into() : DomainId();
}

// Whose `address` is, as seen in `domain`: that of a domain that it is joined with, or its own.
inline DomainId home_of(const Snapshot& tables, DomainId domain, const IpAddr& address) noexcept {
  const auto* entry = tables.domain(domain);
  const auto into = entry != nullptr ? domain_into(tables, *entry, address) : DomainId();
  return into ? into : domain;
}

}  // namespace podwire::engine
