#include "control/state/namespace_domains.hpp"

#include <set>

#include "control/policy/labels.hpp"

namespace podwire::control {
namespace {

constexpr const char* kNamespaceKind = "NamespaceDomain";
// In place of a name that cannot be read: no domain is called so, as names have no spaces. The node's default
// would be another tenant's network.
constexpr const char* kUnreadable = "that cannot be read";

StoredManifest assignment_row(const std::string& space, const std::string& domain) {
  return {kNamespaceKind, "", space, Json(domain).dump()};
}

}  // namespace

Result<void> NamespaceDomains::load() {
  PODWIRE_TRY(const auto rows, store_.manifests(kNamespaceKind));
  const std::lock_guard lock(mutex_);
  assigned_.clear();
  for (const auto& row : rows) {
    const auto what = "the stored domain of namespace " + row.name;
    auto& domain = assigned_[row.name];
    const auto body = parse_json(row.body, what);
    const bool read = body && podwire::read_value(*body, what, domain);
    if (!read || domain.empty()) domain = kUnreadable;
  }
  return {};
}

std::optional<std::string> NamespaceDomains::domain_of(const std::string& space) const {
  if (const auto at = config_.namespaces.find(space); at != config_.namespaces.end()) return at->second;
  const std::lock_guard lock(mutex_);
  const auto at = assigned_.find(space);
  return at == assigned_.end() ? std::nullopt : std::optional(at->second);
}

Result<std::shared_ptr<const DomainConfig>> NamespaceDomains::domain_for(const std::string& wanted,
                                                                         const std::string& space) const {
  const auto given = wanted.empty() && !space.empty() ? domain_of(space) : std::nullopt;
  const auto& name = given ? *given : wanted;
  auto found = name.empty() ? config_.default_domain() : config_.find_domain(name);
  if (found != nullptr) return found;
  if (given && *given == kUnreadable) {
    return not_found("the stored domain of namespace \"" + space +
                     "\" cannot be read; type: podwirectl domain unassign " + space +
                     ", and assign it again");
  }
  if (given) {
    return not_found("namespace \"" + space + "\" is assigned to domain \"" + name +
                     "\", which this node does not have; add it (podwirectl domain add " + name +
                     "), or assign the namespace to another");
  }
  if (name.empty())
    return not_found(
        "this node has no domains; add one to \"domains\" in podwired.json and restart podwired");
  return not_found("domain is \"" + name.substr(0, 64) + "\", which this node does not have; " +
                   config_.domains_like(name));
}

std::map<std::string, std::vector<std::string>> NamespaceDomains::by_domain() const {
  std::map<std::string, std::set<std::string>> sorted;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [space, domain] : assigned_) {
      if (!config_.namespaces.contains(space)) sorted[domain].insert(space);
    }
  }
  for (const auto& [space, domain] : config_.namespaces) sorted[domain].insert(space);
  std::map<std::string, std::vector<std::string>> out;
  for (const auto& [domain, spaces] : sorted) out[domain].assign(spaces.begin(), spaces.end());
  return out;
}

std::vector<std::string> NamespaceDomains::namespaces_of(const std::string& domain) const {
  const auto all = by_domain();
  const auto at = all.find(domain);
  return at == all.end() ? std::vector<std::string>{} : at->second;
}

Result<void> NamespaceDomains::assign(const std::string& space, const std::string& domain) {
  PODWIRE_CHECK(check_dns_name("namespace", space, true));
  if (config_.find_domain(domain) == nullptr) {
    return not_found("there is no domain \"" + domain.substr(0, 80) + "\" on this node; " +
                     config_.domains_like(domain));
  }
  if (const auto at = config_.namespaces.find(space);
      at != config_.namespaces.end() && at->second != domain) {
    return conflict("podwired.json says that namespace \"" + space + "\" is in domain \"" + at->second +
                    "\"; change it there (\"namespaces\") and restart podwired");
  }
  const std::lock_guard lock(mutex_);
  if (const auto at = assigned_.find(space); at != assigned_.end()) {
    if (at->second == domain) return {};
    return conflict(
        "namespace \"" + space + "\" is assigned to domain \"" + at->second +
        "\"; its pods there would be cut off from those to come, so first type: podwirectl domain " +
        "unassign " + space);
  }
  PODWIRE_CHECK(store_.change_manifests({assignment_row(space, domain)}, {}));
  assigned_[space] = domain;
  return {};
}

Result<std::optional<std::string>> NamespaceDomains::unassign(const std::string& space) {
  const std::lock_guard lock(mutex_);
  const auto at = assigned_.find(space);
  if (at == assigned_.end()) {
    if (!config_.namespaces.contains(space)) return std::optional<std::string>();
    return conflict("podwired.json says that namespace \"" + space + "\" is in domain \"" +
                    config_.namespaces.at(space) +
                    "\"; take it out there (\"namespaces\") and restart podwired");
  }
  PODWIRE_CHECK(store_.change_manifests({}, {assignment_row(space, at->second)}));
  auto former = std::optional(at->second);
  assigned_.erase(at);
  return former;
}

std::vector<std::string> NamespaceDomains::problems() const {
  std::set<std::string> known;
  for (const auto& domain : config_.domains) known.insert(domain.name);
  std::vector<std::string> out;
  const std::lock_guard lock(mutex_);
  for (const auto& [space, domain] : assigned_) {
    const auto configured = config_.namespaces.find(space);
    if (configured != config_.namespaces.end() && configured->second != domain) {
      out.push_back("podwired.json says that namespace \"" + space + "\" is in domain \"" +
                    configured->second + "\", which counts, and podwirectl assigned it to \"" + domain +
                    "\"; type: podwirectl domain unassign " + space);
    } else if (domain == kUnreadable) {
      out.push_back("the stored domain of namespace \"" + space +
                    "\" cannot be read, so its pods cannot be added; type: podwirectl domain unassign " +
                    space + ", and assign it again");
    } else if (!known.contains(domain)) {
      out.push_back(
          "namespace \"" + space + "\" is assigned to domain \"" + domain +
          "\", which this node does not have, so its pods cannot be added; type: podwirectl domain " +
          "add " + domain + ", or: podwirectl domain unassign " + space);
    }
  }
  return out;
}

}  // namespace podwire::control
