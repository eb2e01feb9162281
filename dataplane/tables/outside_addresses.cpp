#include "dataplane/tables/outside_addresses.hpp"

#include <algorithm>

namespace podwire::engine {
namespace {

bool has_own_outside(const std::optional<api::Endpoint>& endpoint) {
  return endpoint && !(endpoint->egress.empty() && endpoint->floating.empty());
}

}  // namespace

bool changes_outside(const Change<api::Endpoint>& change) {
  if (!has_own_outside(change.before) && !has_own_outside(change.after)) return false;
  if (!change.before || !change.after) return true;
  const auto& before = *change.before;
  const auto& after = *change.after;
  return before.domain != after.domain || before.addresses != after.addresses ||
         before.egress != after.egress || before.floating != after.floating;
}

bool OutsideAddresses::update(const Intent& intent, const Changes& changes, Garbage& garbage) {
  if (std::none_of(changes.endpoints.begin(), changes.endpoints.end(), changes_outside)) return false;
  auto next = intent.endpoints_outside().empty() ? nullptr : std::make_unique<const OutsideTable>(intent);
  discard(garbage, std::exchange(table_, std::move(next)));
  return true;
}

}  // namespace podwire::engine
