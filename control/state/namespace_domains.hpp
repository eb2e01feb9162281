// Which domain the pods of a namespace join when their network configuration names none: said by
// podwired.json, or by podwirectl and then kept in the store. The two never say different things of one
// namespace, but for a podwired.json that was changed since; that counts then, and problems() tells.
// Thread-safe.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "control/config.hpp"
#include "control/state/store.hpp"

namespace podwire::control {

class NamespaceDomains {
 public:
  // Both must outlive it.
  NamespaceDomains(const Config& config, Store& store) : config_(config), store_(store) {}
  // An assignment that cannot be read leads to no domain, and problems() tells.
  Result<void> load();

  // The domain's name, whether or not there is such a domain; none: nobody said.
  std::optional<std::string> domain_of(const std::string& space) const;
  // What a pod of `space` (may be empty) joins when its network names `wanted` (may be empty), in this order:
  // that, the namespace's, the node's default. kNotFound: there is no such domain.
  Result<std::shared_ptr<const DomainConfig>> domain_for(const std::string& wanted,
                                                         const std::string& space) const;
  // Those that lead to this domain, sorted.
  std::vector<std::string> namespaces_of(const std::string& domain) const;
  std::map<std::string, std::vector<std::string>> by_domain() const;

  // kConflict: podwired.json says otherwise, or the store does (`unassign` first); kNotFound: no such domain.
  Result<void> assign(const std::string& space, const std::string& domain);
  // The domain that it led to; none: nobody had assigned it. kConflict: podwired.json says it.
  Result<std::optional<std::string>> unassign(const std::string& space);

  // A sentence each, with what to do; for `status`.
  std::vector<std::string> problems() const;

 private:
  const Config& config_;
  Store& store_;
  mutable std::mutex mutex_;
  std::map<std::string, std::string> assigned_;  // by podwirectl
};

}  // namespace podwire::control
