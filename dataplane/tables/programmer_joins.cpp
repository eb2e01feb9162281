// The programmer's part in joined domains once a change is in force: connections that a route into another
// domain led which is there no more are forgotten, and those that one leads now: they began without the other
// domain's rules. On one node both directions remember their way, which
// nothing else would take from them. What their ends send next begins nothing: there is no route. Nothing is
// missed: see programmer_policies.cpp.
#include <algorithm>
#include <set>
#include <unordered_set>

#include "dataplane/tables/flow_table.hpp"
#include "dataplane/tables/programmer_state.hpp"

namespace podwire::engine {

namespace {

// The prefixes of routes into other domains that are gone, new, or lead elsewhere now.
class PartedPrefixes {
 public:
  explicit PartedPrefixes(const Changes& changes) {
    for (const auto& change : changes.routes) {
      if (change.before == change.after) continue;
      for (const auto* route : {&change.before, &change.after}) {
        if (!*route || !Intent::leads_into_domain(**route)) continue;
        all_.insert({(*route)->domain, (*route)->prefix});
        lengths_.insert((*route)->prefix.length);
      }
    }
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

}  // namespace

void Programmer::State::sweep_joins(const Changes& changes) {
  const PartedPrefixes parted(changes);
  if (environment_.flows == nullptr || parted.empty()) return;
  using Judgement = FlowTable::Judgement;
  const auto judge = [&](const FlowKey& original, const FlowKey& reply, FlowState, PortId) {
    const bool is_parted = parted.cover(original.domain(), original.destination()) ||
                           parted.cover(reply.domain(), reply.destination());
    return is_parted ? Judgement::kRemove : Judgement::kKeep;
  };
  const auto found = environment_.flows->review(1, environment_.flows->capacity(), judge);
  environment_.counters->flows.removed.add(found.removed);
}

}  // namespace podwire::engine
