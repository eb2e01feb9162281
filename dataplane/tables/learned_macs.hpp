// LearnedMacs: which MAC addresses were seen where, by domain, oldest first for ageing. A plain container:
// what is learned and what it means to workers is decided in forwarding.cpp. Main thread only.
#pragma once

#include <cstdint>
#include <list>
#include <unordered_map>

#include "dataplane/base/addresses.hpp"
#include "dataplane/base/ids.hpp"
#include "dataplane/tables/lookup_table.hpp"

namespace podwire::engine {

struct LearnedMac {
  DomainId domain;
  MacAddr mac;
  PortId port;             // behind this port, or
  std::uint32_t vtep = 0;  // behind this VTEP slot
  std::uint32_t slot = 0;  // its adjacency
  std::uint64_t seen_ms = 0;
};

class LearnedMacs {
 public:
  static constexpr std::size_t kInAll = 262'144;  // beside every domain's own limit
  using List = std::list<LearnedMac>;

  LearnedMac* find(DomainId domain, const MacAddr& mac) {
    const auto it = index_.find(fdb_key(domain, mac).word);
    return it == index_.end() ? nullptr : &*it->second;
  }
  void add(const LearnedMac& entry) {
    auto& list = domains_[entry.domain];
    list.push_back(entry);
    index_[fdb_key(entry.domain, entry.mac).word] = std::prev(list.end());
    if (entry.vtep != 0) ++on_vtep_[entry.vtep];
  }
  void refresh(DomainId domain, const MacAddr& mac, std::uint64_t now_ms) {
    const auto it = index_.find(fdb_key(domain, mac).word);
    if (it == index_.end()) return;
    it->second->seen_ms = now_ms;
    auto& list = domains_[domain];
    list.splice(list.end(), list, it->second);
  }
  void erase(DomainId domain, const MacAddr& mac) {
    const auto it = index_.find(fdb_key(domain, mac).word);
    if (it == index_.end()) return;
    const auto entry = it->second;
    if (entry->vtep != 0 && --on_vtep_[entry->vtep] == 0) on_vtep_.erase(entry->vtep);
    auto& list = domains_[domain];
    list.erase(entry);
    if (list.empty()) domains_.erase(domain);
    index_.erase(it);
  }
  // The entries of `domain`, the one not seen for longest first.
  const List& in(DomainId domain) const {
    static const List kNone;
    const auto it = domains_.find(domain);
    return it == domains_.end() ? kNone : it->second;
  }
  const std::unordered_map<DomainId, List>& all() const { return domains_; }
  std::size_t size() const { return index_.size(); }
  std::size_t on_vtep(std::uint32_t vtep) const {
    const auto it = on_vtep_.find(vtep);
    return it == on_vtep_.end() ? 0 : it->second;
  }

 private:
  std::unordered_map<DomainId, List> domains_;
  std::unordered_map<std::uint64_t, List::iterator> index_;  // by fdb_key word
  std::unordered_map<std::uint32_t, std::size_t> on_vtep_;
};

}  // namespace podwire::engine
