#include "control/api/joins.hpp"

#include <algorithm>
#include <set>

#include "control/api/name_param.hpp"

namespace podwire::control {
namespace {

constexpr const char* kGlobalByConfig =
    " is global by podwired.json; take \"global\" out there and restart podwired";

// Groups of one are none.
void forget_loners(DomainGroups& groups) {
  std::map<std::uint32_t, std::size_t> members;
  for (const auto& [name, group] : groups) ++members[group];
  std::erase_if(groups,
                [&](const auto& one) { return one.second != kGlobalGroup && members[one.second] < 2; });
}

std::uint32_t free_group(const DomainGroups& groups) {
  std::set<std::uint32_t> used;
  for (const auto& [name, group] : groups) used.insert(group);
  std::uint32_t free = kGlobalGroup + 1;
  while (used.contains(free)) ++free;
  return free;
}

}  // namespace

Result<DomainJoins::Found> DomainJoins::domain_named(const std::string& name) const {
  if (auto found = config_.find_domain(name)) return found;
  return not_found("there is no domain \"" + name.substr(0, 80) + "\" on this node; " +
                   config_.domains_like(name));
}

Result<DomainJoins::Found> DomainJoins::own_domain_named(const std::string& name) const {
  PODWIRE_TRY(const auto domain, domain_named(name));
  if (domain->mode != api::DomainMode::kL3)
    return invalid("domain \"" + name + "\" is of mode l2; only l3 domains can be joined");
  if (domain->global) return conflict("domain \"" + name + "\"" + kGlobalByConfig);
  return domain;
}

Result<Json> DomainJoins::join(const Json& params) {
  std::string name;
  std::vector<std::string> others;
  ObjectReader r(params, "params");
  r.required("name", name);
  r.required("domains", others);
  PODWIRE_CHECK(r.finish());
  if (others.empty())
    return invalid("params.domains is empty; name the domains to join with \"" + name + "\"");
  const std::lock_guard lock(mutex_);
  PODWIRE_TRY(const auto groups, load_groups(store_, config_));
  PODWIRE_TRY(const auto first, own_domain_named(name));
  if (is_global(*first, groups)) {
    return conflict("domain \"" + name + "\" is global, so all reach it already; for others to reach all: " +
                    "podwirectl domain global " + others.front());
  }
  auto next = groups;
  const auto group = next.contains(name) ? next[name] : free_group(next);
  next[name] = group;
  std::vector<std::string> named{name};
  for (const auto& other : others) {
    PODWIRE_TRY(const auto domain, own_domain_named(other));
    if (other == name) return invalid("domain \"" + name + "\" cannot be joined with itself; name another");
    next[domain->name] = group;
    if (std::find(named.begin(), named.end(), other) == named.end()) named.push_back(other);
  }
  return commit(groups, std::move(next), named);
}

Result<Json> DomainJoins::isolate(const Json& params) {
  PODWIRE_TRY(const auto name, read_name(params));
  const std::lock_guard lock(mutex_);
  PODWIRE_TRY(const auto domain, domain_named(name));
  if (domain->global) return conflict("domain \"" + name + "\"" + kGlobalByConfig);
  PODWIRE_TRY(const auto groups, load_groups(store_, config_));
  auto next = groups;
  next.erase(name);
  return commit(groups, std::move(next), {name});
}

Result<Json> DomainJoins::make_global(const Json& params) {
  PODWIRE_TRY(const auto name, read_name(params));
  const std::lock_guard lock(mutex_);
  PODWIRE_TRY(const auto domain, own_domain_named(name));
  PODWIRE_TRY(const auto groups, load_groups(store_, config_));
  auto next = groups;
  next[domain->name] = kGlobalGroup;
  return commit(groups, std::move(next), {name});
}

Result<void> DomainJoins::change_engine(const DomainGroups& groups) {
  PODWIRE_TRY(auto objects, node_objects(config_, underlay_.node(), store_, &groups));
  return reconciler_.set_domains(std::move(objects));
}

// The engine first: what it refuses is not kept.
Result<Json> DomainJoins::commit(const DomainGroups& before, DomainGroups next,
                                 const std::vector<std::string>& named) {
  forget_loners(next);
  const auto plan = plan_joins(config_, next);
  const auto known = plan_joins(config_, before).problems;
  for (const auto& problem : plan.problems) {
    // What was wrong before (podwired.json has changed) keeps nobody from changing something else.
    if (std::find(known.begin(), known.end(), problem) == known.end()) return invalid(problem);
  }
  auto changed = change_engine(next);
  if (changed) changed = save_groups(store_, next);
  if (!changed) {
    // Ids of routes go and come with the objects, so they too are put back.
    if (auto undone = change_engine(before); !undone && undone.error().code != ErrorCode::kUnavailable)
      return Error{changed.error().code, changed.error().message + "; undoing it: " + undone.error().message};
    return changed.error();
  }
  Json domains = Json::array();
  for (const auto& name : named) {
    const auto at = plan.reaches.find(name);
    domains.push_back({{"name", name},
                       {"global", is_global(*config_.find_domain(name), next)},
                       {"reaches", at == plan.reaches.end() ? Json::array() : Json(at->second)}});
  }
  return Json{{"domains", std::move(domains)}};
}

}  // namespace podwire::control
