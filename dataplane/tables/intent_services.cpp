// What Intent says of services: their indexes and cross-object rules.
#include <algorithm>

#include "dataplane/tables/intent.hpp"

namespace podwire::engine {
namespace {

std::string text_of(const api::ServiceFrontend& frontend) {
  const auto host = !frontend.address           ? std::string("*")
                    : frontend.address->is_v4() ? to_string(*frontend.address)
                                                : "[" + to_string(*frontend.address) + "]";
  return api::kServiceProtocolNames[static_cast<std::size_t>(frontend.protocol)] + " " + host + ":" +
         std::to_string(frontend.port) + " of domain " + std::to_string(frontend.domain.value()) +
         (frontend.from_host ? " for the node's own programs" : "");
}

}  // namespace

std::string label(const api::Service& service) {
  return "service " + std::to_string(service.id.value()) + " \"" + service.name.substr(0, 80) + "\"";
}

void Intent::insert(const api::Service& service) {
  services_[service.id] = service;
  for (const auto& frontend : service.frontends) frontends_[claim_of(frontend)] = service.id;
  services_in_domain_[service.domain].insert(service.id);
  service_backends_ += service.backends.size();
}

void Intent::erase(const api::Service& service) {
  for (const auto& frontend : service.frontends) frontends_.erase(claim_of(frontend));
  const auto it = services_in_domain_.find(service.domain);
  it->second.erase(service.id);
  if (it->second.empty()) services_in_domain_.erase(it);
  service_backends_ -= service.backends.size();
  services_.erase(service.id);
}

Intent::Claim Intent::claim_of(const api::ServiceFrontend& frontend) {
  // Those for the node's own programs are found apart from all others.
  const auto domain = frontend.from_host ? DomainId() : frontend.domain;
  return {domain, frontend.address, frontend.protocol, frontend.port};
}

Result<void> Intent::check_unique(const api::Service& service) const {
  if (services_.size() >= kMaxServices || frontends_.size() + service.frontends.size() > kMaxAllFrontends ||
      service_backends_ + service.backends.size() > kMaxAllBackends) {
    return Error{ErrorCode::kExhausted, label(service) + ": there can be " + std::to_string(kMaxServices) +
                                            " services with " + std::to_string(kMaxAllFrontends) +
                                            " frontends and " + std::to_string(kMaxAllBackends) +
                                            " backends in all; delete some"};
  }
  std::set<Claim> own;
  for (const auto& frontend : service.frontends) {
    if (!own.insert(claim_of(frontend)).second) {
      return conflict(label(service) + ": frontend " + text_of(frontend) + " is listed twice; list it once");
    }
    if (const auto it = frontends_.find(claim_of(frontend)); it != frontends_.end()) {
      return conflict(label(service) + ": frontend " + text_of(frontend) + " is " +
                      label(services_.at(it->second)) + "'s already; choose another port or address");
    }
  }
  std::set<std::pair<IpAddr, std::uint16_t>> backends;
  for (const auto& backend : service.backends) {
    const auto where = to_string(backend.address) + " port " + std::to_string(backend.port);
    if (!backends.emplace(backend.address, backend.port).second)
      return conflict(label(service) + ": backend " + where + " is listed twice; list it once");
    const bool wanted = std::ranges::any_of(service.frontends, [&](const api::ServiceFrontend& frontend) {
      return !frontend.address || frontend.address->is_v4() == backend.address.is_v4();
    });
    if (wanted) continue;
    return invalid(label(service) + ": backend " + where + " is IPv" + (backend.address.is_v4() ? "4" : "6") +
                   ", but no frontend is; leave it out, or add a frontend of that family");
  }
  return {};
}

Result<void> Intent::check_references(const api::Service& service) const {
  const auto* home = domain(service.domain);
  if (home == nullptr) {
    return not_found(label(service) + ": domain " + std::to_string(service.domain.value()) +
                     " does not exist; add it in the same change or before");
  }
  if (home->stateful) return {};
  return invalid(label(service) + ": " + label(*home) +
                 " is not stateful, so its connections cannot be translated; set \"stateful\": true there");
}

Result<void> Intent::check_services_of(const Change<api::Domain>& change) const {
  const auto& services = members(services_in_domain_, change.before->id);
  if (services.empty() || (change.after && change.after->stateful)) return {};
  const auto& first = label(services_.at(*services.begin()));
  if (!change.after) {
    return conflict(label(*change.before) + " cannot be deleted: " + first + " is in it; delete that too");
  }
  return conflict(label(*change.before) + " cannot become stateless: " + first +
                  " is in it; delete that first, or leave \"stateful\": true");
}

}  // namespace podwire::engine
