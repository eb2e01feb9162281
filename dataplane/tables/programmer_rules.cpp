// The programmer's part in rules: a domain's are compiled before anything else of a change is done, since
// that is what may fail, and only when they have changed: connections are checked again when they are.
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

}  // namespace podwire::engine
