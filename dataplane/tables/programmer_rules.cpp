// The programmer's part in rules: a domain's are compiled before anything else of a change is done, since
// that is what may fail, and only when they have changed: connections are checked again when they are. By
// workers, in the domain whose rules they obey (pipeline/nat.hpp); what comes from another domain by an
// address outside obeys the sender's rules too, which are asked again here once a change is in force. Nothing
// is missed: see programmer_policies.cpp.
#include <set>

#include "dataplane/tables/flow_table.hpp"
#include "dataplane/tables/programmer_state.hpp"

namespace podwire::engine {

Result<Programmer::State::RuleSets> Programmer::State::compile_rules(const Changes& changes) {
  RuleSets fresh;
  for (const auto& change : changes.domains) {
    if (!change.after || !change.after->stateful) continue;
    const auto& domain = *change.after;
    if (change.before && change.before->stateful && change.before->rules == domain.rules) continue;
    auto compiled = RuleSet::compile(domain.rules, ++rules_generation_);
    if (!compiled) {
      auto error = compiled.error();
      error.message = label(domain) + ": " + error.message;
      return error;
    }
    fresh[domain.id] = std::move(*compiled);
  }
  return fresh;
}

// The sets that workers still read live on in their domain entries.
void Programmer::State::install_rules(const Changes& changes, RuleSets fresh) {
  for (const auto& change : changes.domains) {
    if (change.before && !(change.after && change.after->stateful)) rule_sets_.erase(change.before->id);
  }
  for (auto& [id, rules] : fresh) rule_sets_[id] = std::move(rules);
}

bool Programmer::State::senders_rules_allow(const FlowKey& original, const FlowKey& reply) const {
  if (!is_foreign(original, reply)) return true;
  const auto rules = rule_sets_.find(original.domain());
  return rules == rule_sets_.end() || rules->second->allows(original);
}

void Programmer::State::sweep_rules(const Changes& changes) {
  if (environment_.flows == nullptr) return;
  std::set<DomainId> changed;
  for (const auto& change : changes.domains) {
    if (!change.before || !change.after) continue;
    if (change.before->stateful != change.after->stateful || !(change.before->rules == change.after->rules))
      changed.insert(change.after->id);
  }
  if (changed.empty()) return;
  using Judgement = FlowTable::Judgement;
  const auto judge = [&](const FlowKey& original, const FlowKey& reply, FlowState state, PortId owner) {
    if (!is_foreign(original, reply) || !changed.contains(original.domain())) return Judgement::kKeep;
    if (state == FlowState::kCut)
      return may_go_on(original, reply, owner) ? Judgement::kRestore : Judgement::kKeep;
    return senders_rules_allow(original, reply) ? Judgement::kKeep : Judgement::kCut;
  };
  const auto found = environment_.flows->review(1, environment_.flows->capacity(), judge);
  environment_.counters->flows.cut.add(found.cut);
}

}  // namespace podwire::engine
