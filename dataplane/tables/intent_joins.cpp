// Intent's rules about routes whose next hop is another domain.
#include <algorithm>

#include "dataplane/tables/intent.hpp"

namespace podwire::engine {

bool Intent::leads_into_domain(const api::Route& route) {
  return std::any_of(route.next_hops.begin(), route.next_hops.end(),
                     [](const api::NextHop& hop) { return static_cast<bool>(hop.into); });
}

Result<void> Intent::check_into(const api::Route& route, DomainId into) const {
  const auto where = label(route) + ": next hop into domain " + std::to_string(into.value());
  if (route.domain == kUnderlayDomain || into == kUnderlayDomain)
    return invalid(where + ": the underlay (domain 1) cannot be joined with a domain; use two others");
  const auto* from = domain(route.domain);
  const auto* to = domain(into);
  if (to == nullptr) return not_found(where + " does not exist; add it in the same change or before");
  if (into == route.domain)
    return invalid(where + ", which is the route's own; leave the route out, or name another domain");
  if (route.next_hops.size() != 1)
    return invalid(where + " must be the route's only one, of " + std::to_string(route.next_hops.size()) +
                   "; leave the others to that domain");
  for (const auto* one : {from, to}) {
    if (one->mode != api::DomainMode::kL3)
      return invalid(where + ": " + label(*one) + " is of mode l2; only l3 domains can be joined");
  }
  if (from->stateful != to->stateful) {
    const auto& tracking = from->stateful ? *from : *to;
    const auto& other = from->stateful ? *to : *from;
    return invalid(where + ": " + label(tracking) + " is stateful and " + label(other) +
                   " is not, so what comes from there would pass unchecked; set stateful in both or in "
                   "neither");
  }
  return check_no_chain(route, into);
}

// Packets go on into another domain once.
Result<void> Intent::check_no_chain(const api::Route& route, DomainId into) const {
  const auto further = joins_out_of_.overlapping(into, route.prefix);
  const auto earlier = joins_into_.overlapping(route.domain, route.prefix);
  const auto other = further ? further : earlier;
  if (!other) return {};
  const auto& first = further ? route : routes_.at(other);
  const auto& second = further ? routes_.at(other) : route;
  return conflict(label(first) + " leads into " + label(domains_.at(second.domain)) + ", and " +
                  label(second) +
                  " there leads on into another domain; a packet goes into one other "
                  "domain only: give the first that next hop itself");
}

Result<void> Intent::check_joins_of(const Change<api::Domain>& change) const {
  const auto id = change.before->id;
  const auto& into = routes_into(id);
  if (!change.after) {
    if (into.empty()) return {};
    return conflict(label(*change.before) + " cannot be deleted: " + label(routes_.at(*into.begin())) +
                    " leads into it; delete that too");
  }
  if (change.after->stateful == change.before->stateful && change.after->mode == change.before->mode)
    return {};
  for (const auto& routes : {into, routes_out_of(id)}) {
    for (const auto route : routes) PODWIRE_CHECK(check_references(routes_.at(route)));
  }
  return {};
}

}  // namespace podwire::engine
