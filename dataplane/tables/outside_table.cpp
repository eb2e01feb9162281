#include "dataplane/tables/outside_table.hpp"

#include <algorithm>

#include "dataplane/tables/intent.hpp"

namespace podwire::engine {
namespace {

std::size_t inside_addresses(const Intent& intent) {
  std::size_t count = 0;
  for (const auto id : intent.endpoints_outside()) count += intent.endpoint(id)->addresses.size();
  return count;
}

const IpAddr* first_of(const std::vector<IpAddr>& addresses, bool v4) {
  const auto it =
      std::find_if(addresses.begin(), addresses.end(), [v4](const IpAddr& a) { return a.is_v4() == v4; });
  return it == addresses.end() ? nullptr : &*it;
}

}  // namespace

OutsideTable::OutsideTable(const Intent& intent)
    : by_inside_(inside_addresses(intent)), by_floating_(2 * intent.endpoints_outside().size()) {
  for (const auto id : intent.endpoints_outside()) {
    for (const bool v4 : {true, false}) add(*intent.endpoint(id), v4);
  }
}

// A floating address is one to one: it stands for the first address of its family. The others have the
// egress address, if there is one.
void OutsideTable::add(const api::Endpoint& endpoint, bool v4) {
  const auto* floating = first_of(endpoint.floating, v4);
  const auto* egress = first_of(endpoint.egress, v4);
  const auto* first = first_of(endpoint.addresses, v4);
  for (const auto* address : {floating, egress}) {
    if (address != nullptr) addresses_.push_back(*address);
  }
  if (floating != nullptr && first != nullptr) {
    insides_.push_back({endpoint.domain, *first});
    by_floating_.put(key_of(kUnderlayDomain, *floating), static_cast<std::uint32_t>(insides_.size()));
  }
  for (const auto& inside : endpoint.addresses) {
    if (inside.is_v4() != v4) continue;
    const bool is_first = floating != nullptr && inside == *first;
    if (!is_first && egress == nullptr) continue;
    sources_.push_back({is_first ? *floating : *egress, is_first});
    by_inside_.put(key_of(endpoint.domain, inside), static_cast<std::uint32_t>(sources_.size()));
  }
}

}  // namespace podwire::engine
