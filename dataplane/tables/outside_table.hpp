// OutsideTable: addresses outside that single endpoints have for themselves: what their connections to the
// world appear to come from, and whose a packet for a floating address is. Asked for a connection's first
// packet only. Immutable: the main thread builds one for every change (tables/outside_addresses.hpp), workers
// read it through their snapshot.
#pragma once

#include <cstring>
#include <vector>

#include "dataplane/api/objects.hpp"
#include "dataplane/tables/flow_key.hpp"
#include "dataplane/tables/lookup_table.hpp"
#include "dataplane/tables/snapshot.hpp"

namespace podwire::engine {

class Intent;

class OutsideTable {
 public:
  struct Source {
    IpAddr address;
    bool floating = false;  // ports stay as they are
  };
  struct Inside {
    DomainId domain;
    IpAddr address;
  };
  // Of every endpoint in `intent` that has any.
  explicit OutsideTable(const Intent& intent);

  // What the endpoint with the address `inside` of `domain` has of its family; null: nothing.
  const Source* of(DomainId domain, const IpAddr& inside) const noexcept {
    const auto index = by_inside_.find(key_of(domain, inside));
    return index == 0 ? nullptr : &sources_[index - 1];
  }
  // Who is behind this floating address; null: it is none.
  const Inside* behind(const IpAddr& floating) const noexcept {
    const auto index = by_floating_.find(key_of(kUnderlayDomain, floating));
    return index == 0 ? nullptr : &insides_[index - 1];
  }
  // All of them, of both kinds; some may be there twice.
  const std::vector<IpAddr>& addresses() const noexcept { return addresses_; }

 private:
  static Key192 key_of(DomainId domain, const IpAddr& address) noexcept {
    Key192 key{{0, 0, std::uint64_t{domain.value()} << 8 | (address.is_v4() ? 4u : 6u)}};
    std::memcpy(&key.words[0], address.bytes().data(), 16);
    return key;
  }
  void add(const api::Endpoint& endpoint, bool v4);

  std::vector<Source> sources_;
  std::vector<Inside> insides_;
  std::vector<IpAddr> addresses_;
  LookupTable<Key192> by_inside_, by_floating_;  // to index + 1
};

// Where a connection that begins with `key` appears to come from outside: the endpoint's own address, else
// that of its domain's masquerade.
struct OutsideEnds {
  IpAddr address;        // zero: nowhere
  api::PortRange ports;  // source ports and echo identifiers that it may have there
};
inline OutsideEnds outside_ends(const Snapshot& tables, const FlowKey& key) noexcept {
  const auto* domain = tables.domain(key.domain());
  if (domain == nullptr || !domain->masquerade) return {};
  const auto* own = tables.outside != nullptr ? tables.outside->of(key.domain(), key.source()) : nullptr;
  if (own == nullptr) return {domain->masquerade->address(key.is_v4()), domain->masquerade->ports};
  if (!own->floating) return {own->address, domain->masquerade->ports};
  return {own->address, {key.source_port(), key.source_port()}};
}

}  // namespace podwire::engine
