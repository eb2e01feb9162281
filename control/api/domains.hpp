// The verbs domain_add, domain_del, domain_assign and domain_unassign: tenants that come and go while
// podwired runs, and which namespaces' pods are theirs. Kept over restarts of daemon, engine and machine.
// Thread-safe; one change at a time, each all or nothing.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "control/config.hpp"
#include "control/state/desired.hpp"
#include "dataplane/base/json.hpp"

namespace podwire::control {

struct Daemon;

class Domains {
 public:
  // Both must outlive it. `config` is the daemon's own, to which nobody else writes; `configured`: the names
  // of those that podwired.json has; `problems`: what add_kept_domains told.
  Domains(Daemon& daemon, Config& config, std::set<std::string> configured, std::vector<std::string> problems)
      : daemon_(daemon),
        config_(config),
        configured_(std::move(configured)),
        problems_(std::move(problems)) {}

  // A domain as in podwired.json, with {peers: {NAME: [PREFIX]}}. Replies {name, id} when pods can join it.
  // kConflict: the name, VNI or prefix is taken.
  Result<Json> add(const Json& params);
  // {name}. Replies {deleted}: false when there was none. kConflict: it is podwired.json's, or pods,
  // namespaces or joins keep it.
  Result<Json> remove(const Json& params);
  // {name, domain}: pods of namespace `name` that are added from now on. Replies {name, domain}.
  Result<Json> assign(const Json& params);
  // {name}. Replies {name, domain}, null when nobody had assigned it.
  Result<Json> unassign(const Json& params);

  bool is_added(const std::string& name) const { return !configured_.contains(name); }
  std::vector<std::string> problems() const;

 private:
  Result<void> commit(const Config& before, const Config& next);
  Result<void> change_engine(const Config& next);
  void publish(const Config& next);
  void tell_host_services(const DomainConfig& changed);
  Result<void> check_joins(const Config& next) const;
  Result<void> check_unused(const std::string& name, const Config& config) const;
  Result<bool> forget_left_out(const std::string& name);

  Daemon& daemon_;
  Config& config_;
  const std::set<std::string> configured_;
  std::vector<std::string> problems_;  // under the daemon's domain_mutex
};

}  // namespace podwire::control
