#include "control/api/domains.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "control/api/daemon.hpp"
#include "control/api/name_param.hpp"
#include "control/state/stored_domains.hpp"

namespace podwire::control {
namespace {

// The first few, for a message.
std::string shown(const std::vector<std::string>& names) {
  constexpr std::size_t kShown = 3;
  std::string out;
  for (std::size_t i = 0; i < std::min(names.size(), kShown); ++i) out += (i == 0 ? "" : ", ") + names[i];
  return out + (names.size() > kShown ? " and " + std::to_string(names.size() - kShown) + " more" : "");
}

}  // namespace

// What has been wrong already keeps nobody from changing something else.
Result<void> Domains::check_joins(const Config& next) const {
  PODWIRE_TRY(const auto groups, load_groups(daemon_.store, next));
  const auto known = plan_joins(config_, groups).problems;
  for (const auto& problem : plan_joins(next, groups).problems) {
    if (std::find(known.begin(), known.end(), problem) == known.end()) return conflict(problem);
  }
  return {};
}

Result<void> Domains::change_engine(const Config& next) {
  PODWIRE_TRY(auto objects, node_objects(next, daemon_.underlay.node(), daemon_.store));
  return daemon_.reconciler.set_domains(std::move(objects));
}

void Domains::publish(const Config& next) {
  config_.peers = next.peers;
  config_.domains = next.domains;
  daemon_.store.set_domains(domain_pools(config_, daemon_.underlay.node()));
}

// Policies before the domains, which may need them to keep others out.
Result<void> Domains::commit(const Config& before, const Config& next) {
  auto done = daemon_.policies.rebuild(next);
  if (done) done = change_engine(next);
  if (done) {
    publish(next);
    return {};
  }
  // Ids go and come with the objects, so they too are put back.
  auto undone = change_engine(before);
  if (auto rebuilt = daemon_.policies.follow_domains(before); undone) undone = std::move(rebuilt);
  if (undone || undone.error().code == ErrorCode::kUnavailable) return done;
  return Error{done.error().code, done.error().message + "; undoing it: " + undone.error().message};
}

// The node's own programs reach services of domains that track connections.
void Domains::tell_host_services(const DomainConfig& changed) {
  if (daemon_.host_services == nullptr || !changed.stateful) return;
  daemon_.host_services->set_node(daemon_.reconciler.node(), daemon_.underlay.node());
  daemon_.host_services->restore();
}

Result<Json> Domains::add(const Json& params) {
  PODWIRE_TRY(const auto added, read_added_domain(params, "params"));
  const auto& name = added.domain.name;
  const std::lock_guard lock(daemon_.domain_mutex);
  const Config before = config_;
  Config next = config_;
  PODWIRE_CHECK(add_domain(added, next));
  PODWIRE_CHECK(check_joins(next));
  PODWIRE_CHECK(commit(before, next));
  if (auto kept = keep_domain(daemon_.store, added); !kept) {
    if (auto undone = commit(next, before); !undone)
      return Error{kept.error().code, kept.error().message + "; undoing it: " + undone.error().message};
    return kept.error();
  }
  tell_host_services(added.domain);
  spdlog::info("domain {} was added, with VNI {}", name, added.domain.vni.value());
  return Json{{"name", name}, {"id", daemon_.reconciler.node().domains.at(name).value()}};
}

Result<void> Domains::check_unused(const std::string& name, const Config& config) const {
  PODWIRE_TRY(const auto groups, load_groups(daemon_.store, config));
  if (groups.contains(name))
    return conflict("domain \"" + name + "\" is joined with others; first type: podwirectl domain isolate " +
                    name);
  const auto spaces = daemon_.namespaces->namespaces_of(name);
  if (!spaces.empty()) {
    return conflict("pods of namespaces that are assigned to domain \"" + name + "\" (" + shown(spaces) +
                    ") could not be added any more; first type: podwirectl domain unassign " +
                    spaces.front());
  }
  PODWIRE_TRY(const auto attachments, daemon_.store.list());
  std::vector<std::string> pods;
  for (const auto& a : attachments) {
    if (a.domain == name) pods.push_back(endpoint_name(a));
  }
  if (pods.empty()) return {};
  return conflict("domain \"" + name + "\" has " + std::to_string(pods.size()) + " pods or ports here (" +
                  shown(pods) + "); delete them first");
}

// One that is kept but not in force. False: there is none.
Result<bool> Domains::forget_left_out(const std::string& name) {
  PODWIRE_TRY(const auto kept, kept_domain_names(daemon_.store));
  if (!kept.contains(name)) return false;
  PODWIRE_CHECK(forget_domain(daemon_.store, name));
  std::erase_if(problems_, [&](const std::string& problem) {
    return problem.find("\"" + name + "\"") != std::string::npos;
  });
  return true;
}

Result<Json> Domains::remove(const Json& params) {
  PODWIRE_TRY(const auto name, read_name(params));
  const std::lock_guard lock(daemon_.domain_mutex);
  if (configured_.contains(name) || config_.find_domain(name) == nullptr) {
    PODWIRE_TRY(const bool forgotten, forget_left_out(name));
    if (forgotten || !configured_.contains(name)) return Json{{"deleted", forgotten}};
    return conflict("domain \"" + name + "\" is podwired.json's; take it out there and restart podwired");
  }
  const Config before = config_;
  const auto gone = config_.find_domain(name);
  Config next = config_;
  remove_domain(name, next);
  PODWIRE_CHECK(check_unused(name, before));
  publish(next);                           // no pod can begin to join it from here on
  auto done = check_unused(name, before);  // one may have begun meanwhile
  if (done) done = commit(before, next);
  if (!done) {
    publish(before);
    return done.error();
  }
  if (auto forgotten = forget_domain(daemon_.store, name); !forgotten) {
    if (auto undone = commit(next, before); !undone)
      return Error{forgotten.error().code,
                   forgotten.error().message + "; undoing it: " + undone.error().message};
    return forgotten.error();
  }
  tell_host_services(*gone);
  spdlog::info("domain {} was deleted", name);
  return Json{{"deleted", true}};
}

Result<Json> Domains::assign(const Json& params) {
  std::string space, domain;
  ObjectReader r(params, "params");
  r.required("name", space);
  r.required("domain", domain);
  PODWIRE_CHECK(r.finish());
  const std::lock_guard lock(daemon_.domain_mutex);
  PODWIRE_CHECK(daemon_.namespaces->assign(space, domain));
  if (auto rebuilt = daemon_.policies.follow_domains(config_); !rebuilt)
    spdlog::warn("policies do not know yet that namespace {} is in domain {}: {}", space, domain,
                 rebuilt.error().message);
  return Json{{"name", space}, {"domain", domain}};
}

Result<Json> Domains::unassign(const Json& params) {
  PODWIRE_TRY(const auto space, read_name(params));
  const std::lock_guard lock(daemon_.domain_mutex);
  PODWIRE_TRY(const auto former, daemon_.namespaces->unassign(space));
  if (auto rebuilt = daemon_.policies.follow_domains(config_); !rebuilt)
    spdlog::warn("policies do not know yet that namespace {} is in no domain of its own: {}", space,
                 rebuilt.error().message);
  return Json{{"name", space}, {"domain", former ? Json(*former) : Json()}};
}

std::vector<std::string> Domains::problems() const {
  const std::lock_guard lock(daemon_.domain_mutex);
  auto all = problems_;
  const auto spaces = daemon_.namespaces->problems();
  all.insert(all.end(), spaces.begin(), spaces.end());
  return all;
}

}  // namespace podwire::control
