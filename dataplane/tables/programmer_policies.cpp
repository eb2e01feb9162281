// The programmer's part in policies once a change is in force: connections that they no longer allow are cut.
//
// Nothing is missed. A worker decides on a connection and notes it within one burst, between two reports of
// quiescence. sweep() begins when every worker has reported since the new tables were there, so whoever
// decided by the former ones has noted the connection by then, where the walk finds it; whoever notes one
// while the walk is under way has decided by the new ones. What a worker reads in the midst of a change
// (members change in place, one by one) was read before that report too.
#include "dataplane/tables/address_filter.hpp"
#include "dataplane/tables/flow_table.hpp"
#include "dataplane/tables/led.hpp"
#include "dataplane/tables/programmer_state.hpp"

namespace podwire::engine {

// By which the connections are known that a change may concern: former and present addresses of the endpoints
// that changed, and of those whose policy did.
std::vector<DomainPrefix> Programmer::State::addresses_concerned(const Changes& changes) const {
  std::vector<DomainPrefix> all;
  const auto add = [&](const api::Endpoint& endpoint) {
    const auto keys = PolicyTables::addresses_of(endpoint);
    all.insert(all.end(), keys.begin(), keys.end());
  };
  for (const auto& change : changes.endpoints) {
    if (change.before && change.after && PolicyTables::same_to_policies(*change.before, *change.after))
      continue;
    if (change.before) add(*change.before);
    if (change.after) add(*change.after);
  }
  for (const auto& change : changes.policies) {
    if (!change.before || !change.after || PolicyTables::same_rules(*change.before, *change.after)) continue;
    for (const auto id : intent_.endpoints_with(change.after->id)) add(*intent_.endpoint(id));
  }
  return all;
}

// Of a connection that the rules of its domain have cut, policies alone cannot say that it may go on.
bool Programmer::State::rules_allow(const FlowKey& original, const FlowKey& reply) const {
  const auto ruling = reply.domain() == kUnderlayDomain ? original.domain() : reply.domain();
  const auto rules = rule_sets_.find(ruling);
  return (rules == rule_sets_.end() || rules->second->allows(ruled_key(original, reply))) &&
         senders_rules_allow(original, reply);
}

bool Programmer::State::policies_allow(const FlowKey& original, const FlowKey& reply, PortId owner) const {
  const auto& tables = *environment_.publisher->current_for_main();
  return tables.policies == nullptr ||
         ask_policies(tables, original, reply, owner && owner == tables.host_port).allowed;
}

bool Programmer::State::may_go_on(const FlowKey& original, const FlowKey& reply, PortId owner) const {
  const auto* services = services_.table();
  return (services == nullptr || services->admits(original, reply)) &&
         is_led_to_backend(*environment_.publisher->current_for_main(), original, reply) &&
         rules_allow(original, reply) && policies_allow(original, reply, owner);
}

void Programmer::State::sweep(const Changes& changes) {
  const auto& tables = *environment_.publisher->current_for_main();
  if (environment_.flows == nullptr || (tables.policies == nullptr && changes.policies.empty())) return;
  const auto concerned = addresses_concerned(changes);
  if (concerned.empty()) return;
  const AddressFilter filter(concerned);
  using Judgement = FlowTable::Judgement;
  const auto judge = [&](const FlowKey& original, const FlowKey& reply, FlowState state, PortId owner) {
    const auto source = original.source(), destination = reply.source();
    if (!filter.may_contain(home_of(tables, original.domain(), source), source) &&
        !filter.may_contain(home_of(tables, reply.domain(), destination), destination))
      return Judgement::kKeep;
    const bool was_cut = state == FlowState::kCut;
    if (was_cut) return may_go_on(original, reply, owner) ? Judgement::kRestore : Judgement::kKeep;
    return policies_allow(original, reply, owner) ? Judgement::kKeep : Judgement::kCut;
  };
  const auto found = environment_.flows->review(1, environment_.flows->capacity(), judge);
  environment_.counters->flows.cut.add(found.cut);
}

}  // namespace podwire::engine
