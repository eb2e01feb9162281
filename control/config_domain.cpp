// Which domains there are, and whose pods join which.
#include <algorithm>

#include "control/config.hpp"
#include "control/config_domain.hpp"
#include "control/policy/labels.hpp"

namespace podwire::control {

const std::vector<std::string>& transport_names() {
  static const std::vector<std::string> kNames{"tunnel", "routed", "subnet"};
  return kNames;
}

const std::vector<std::string>& announce_names() {
  static const std::vector<std::string> kNames{"prefix", "pods", "both"};
  return kNames;
}

Result<void> read_namespaces(const Json& value, const std::string& path,
                             std::map<std::string, std::string>& out) {
  if (value.is_null()) return {};
  if (!value.is_object())
    return invalid(path + " must be an object such as {\"shop\": \"tenant-a\"}, not " +
                   json_type_name(value));
  for (const auto& [space, domain] : value.items()) {
    PODWIRE_CHECK(check_dns_name("a key of " + path, space, true));
    PODWIRE_CHECK(podwire::read_value(domain, path + "." + space, out[space]));
  }
  return {};
}

Result<void> check_namespaces(const Config& config) {
  for (const auto& [space, domain] : config.namespaces) {
    if (config.find_domain(domain) != nullptr) continue;
    return invalid("namespaces." + space + " is \"" + domain.substr(0, 64) +
                   "\", which is no domain of this " + "node; " + config.domains_like(domain));
  }
  return {};
}

bool Config::has_routed_domains() const {
  return std::any_of(domains.begin(), domains.end(),
                     [](const auto& d) { return d.transport != DomainTransport::kTunnel; });
}

std::shared_ptr<const DomainConfig> Config::find_domain(const std::string& name) const {
  const auto all = domains.items();
  const auto it = std::find_if(all->begin(), all->end(), [&](const auto& d) { return d.name == name; });
  if (it == all->end()) return nullptr;
  return {all, &*it};
}

std::shared_ptr<const DomainConfig> Config::default_domain() const {
  if (auto named = find_domain("default")) return named;
  const auto all = domains.items();
  if (all->empty()) return nullptr;
  return {all, &all->front()};
}

std::string Config::domains_like(const std::string& name) const {
  constexpr std::size_t kShown = 20;
  std::vector<std::string> names;
  for (const auto& domain : domains) names.push_back(domain.name);
  const auto near = closest_match(name, names);
  std::string out = near.empty() ? "there are: " : "did you mean \"" + near + "\"? there are: ";
  for (std::size_t i = 0; i < std::min(names.size(), kShown); ++i) out += (i == 0 ? "" : ", ") + names[i];
  return out + (names.size() > kShown ? ", ... (podwirectl domain)" : "");
}

}  // namespace podwire::control
