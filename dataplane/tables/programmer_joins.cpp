// The programmer's part in joined domains once a change is in force: connections that a route into another
// domain led which is there no more are forgotten, and those that one leads now: they began without the other
// domain's rules. On one node both directions remember their way, which nothing else would take from them.
// The same where a route or endpoint of the domain's own comes before such a route, or does no more. What
// their ends send next is asked about anew, and begins nothing where there is no route. Of clients outside,
// who came by a service's address, the service tells which domain's routes led to the backend. Nothing is
// missed: see programmer_policies.cpp.
#include <algorithm>
#include <set>
#include <unordered_set>

#include "dataplane/tables/flow_table.hpp"
#include "dataplane/tables/programmer_state.hpp"

namespace podwire::engine {

namespace {

class PrefixesOfDomains {
 public:
  void add(const DomainPrefix& one) {
    all_.insert(one);
    lengths_.insert(one.prefix.length);
  }
  bool empty() const { return all_.empty(); }
  bool cover(DomainId domain, const IpAddr& address) const {
    return std::any_of(lengths_.begin(), lengths_.end(), [&](int length) {
      return length <= address.bits() && all_.contains({domain, IpPrefix{address, length}.network()});
    });
  }

 private:
  std::unordered_set<DomainPrefix, DomainHash> all_;
  std::set<int> lengths_;
};

// The prefixes of routes into other domains that are gone, new, or lead elsewhere now.
PrefixesOfDomains parted_by(const Changes& changes) {
  PrefixesOfDomains parted;
  for (const auto& change : changes.routes) {
    if (change.before == change.after) continue;
    for (const auto* route : {&change.before, &change.after}) {
      if (*route && Intent::leads_into_domain(**route)) parted.add({(*route)->domain, (*route)->prefix});
    }
  }
  return parted;
}

std::vector<DomainPrefix> own_prefixes(const std::optional<api::Route>& route) {
  if (!route || Intent::leads_into_domain(*route)) return {};
  return {{route->domain, route->prefix}};
}

std::vector<DomainPrefix> own_prefixes(const std::optional<api::Endpoint>& endpoint) {
  std::vector<DomainPrefix> all;
  if (!endpoint) return all;
  for (const auto& address : endpoint->addresses) all.push_back(host_prefix(endpoint->domain, address));
  return all;
}

// A domain's own prefixes that are new or gone, where its routes into other domains are about the same.
template <class Object>
void add_changed(const std::vector<Change<Object>>& changes, const Intent& intent, PrefixesOfDomains& out) {
  for (const auto& change : changes) {
    const auto before = own_prefixes(change.before), after = own_prefixes(change.after);
    const auto add_those_of = [&](const auto& some, const auto& others) {
      for (const auto& one : some) {
        const bool same = std::ranges::find(others, one) != others.end();
        if (!same && intent.shares_with_others(one)) out.add(one);
      }
    };
    add_those_of(before, after);
    add_those_of(after, before);
  }
}

// Whether the ends of a connection are in the domains that it was noted with.
bool is_at_home(const Snapshot& tables, const FlowKey& original, const FlowKey& reply) {
  const auto from = original.domain(), to = reply.domain();
  if (from == kUnderlayDomain || to == kUnderlayDomain || is_foreign(original, reply)) return true;
  return home_of(tables, from, reply.source()) == to && home_of(tables, to, original.source()) == from;
}

// Whether the service that a connection asked for, if any, leads to the domain of the end that answers. A
// domain's own clients have that domain in both keys where the backend is behind a tunnel, and what is
// masqueraded answers from the underlay.
bool is_led_there(const Snapshot& tables, const FlowKey& original, const FlowKey& reply) {
  const auto backend = reply.source();
  if (tables.services == nullptr || original.destination() == backend || reply.domain() == kUnderlayDomain)
    return true;
  bool asks = false;
  for (const bool from_host : {false, true}) {
    const auto* service = tables.services->find_for(original, from_host);
    if (service == nullptr) continue;
    if (original.domain() == service->domain && reply.domain() == service->domain) return true;
    if (home_of(tables, service->domain, backend) == reply.domain()) return true;
    asks = true;
  }
  return !asks;
}

}  // namespace

void Programmer::State::sweep_joins(const Changes& changes) {
  if (environment_.flows == nullptr) return;
  const auto parted = parted_by(changes);
  PrefixesOfDomains own;
  add_changed(changes.routes, intent_, own);
  add_changed(changes.endpoints, intent_, own);
  if (parted.empty() && own.empty()) return;
  const auto& tables = *environment_.publisher->current_for_main();
  using Judgement = FlowTable::Judgement;
  const auto judge = [&](const FlowKey& original, const FlowKey& reply, FlowState, PortId) {
    if (parted.cover(original.domain(), original.destination()) ||
        parted.cover(reply.domain(), reply.destination()) || !is_led_there(tables, original, reply))
      return Judgement::kRemove;
    if (!own.cover(original.domain(), reply.source()) && !own.cover(reply.domain(), original.source()))
      return Judgement::kKeep;
    return is_at_home(tables, original, reply) ? Judgement::kLookUp : Judgement::kRemove;
  };
  const auto found = environment_.flows->review(1, environment_.flows->capacity(), judge);
  environment_.counters->flows.removed.add(found.removed);
}

}  // namespace podwire::engine
