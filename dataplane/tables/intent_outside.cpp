// Intent's rules about the addresses that single endpoints have outside.
#include <algorithm>

#include "dataplane/tables/intent.hpp"

namespace podwire::engine {
namespace {

bool masquerades_with(const api::Domain& domain, const IpAddr& address) {
  const auto& own = domain.masquerade;
  return own && std::find(own->addresses.begin(), own->addresses.end(), address) != own->addresses.end();
}

}  // namespace

void Intent::insert_outside(const api::Endpoint& endpoint) {
  if (endpoint.egress.empty() && endpoint.floating.empty()) return;
  endpoints_outside_.insert(endpoint.id);
  for (const auto& address : endpoint.floating) floating_[address] = endpoint.id;
  for (const auto& address : endpoint.egress) egress_[address].insert(endpoint.id);
}

void Intent::erase_outside(const api::Endpoint& endpoint) {
  endpoints_outside_.erase(endpoint.id);
  for (const auto& address : endpoint.floating) floating_.erase(address);
  for (const auto& address : endpoint.egress) {
    const auto it = egress_.find(address);
    it->second.erase(endpoint.id);
    if (it->second.empty()) egress_.erase(it);
  }
}

Result<void> Intent::check_unique_outside(const api::Endpoint& endpoint) const {
  const auto taken = [&](const IpAddr& address, EndpointId other, const char* kind) {
    return conflict(label(endpoint) + ": floating address " + to_string(address) + " is the " + kind +
                    " address of " + label(endpoints_.at(other)) + " already; choose another");
  };
  for (const auto& address : endpoint.floating) {
    if (const auto it = floating_.find(address); it != floating_.end())
      return taken(address, it->second, "floating");
    if (const auto it = egress_.find(address); it != egress_.end())
      return taken(address, *it->second.begin(), "egress");
    const auto& own = endpoint.egress;
    if (std::find(own.begin(), own.end(), address) != own.end())
      return conflict(label(endpoint) + ": " + to_string(address) +
                      " is both its egress and its floating address; leave it out of one");
  }
  for (const auto& address : endpoint.egress) {
    const auto it = floating_.find(address);
    if (it == floating_.end()) continue;
    return conflict(label(endpoint) + ": egress address " + to_string(address) +
                    " is the floating address of " + label(endpoints_.at(it->second)) +
                    " already; choose another");
  }
  return {};
}

Result<void> Intent::check_outside(const api::Endpoint& endpoint) const {
  if (endpoint.egress.empty() && endpoint.floating.empty()) return {};
  const auto& home = domains_.at(endpoint.domain);
  if (!home.masquerade) {
    return invalid(label(endpoint) + ": has addresses outside, but " + label(home) +
                   " has no masquerade; set that, or leave egress and floating out");
  }
  for (const auto& address : endpoint.floating) {
    const auto& own = endpoint.addresses;
    const bool has_family = std::any_of(own.begin(), own.end(),
                                        [&](const IpAddr& one) { return one.is_v4() == address.is_v4(); });
    if (!has_family) {
      return invalid(label(endpoint) + ": floating address " + to_string(address) + " is IPv" +
                     (address.is_v4() ? "4" : "6") + ", but the endpoint has no address of that family");
    }
    for (const auto id : local_vteps_) {
      if (vteps_.at(id).address == address)
        return conflict(label(endpoint) + ": floating address " + to_string(address) + " is that of " +
                        label(vteps_.at(id)) + ", the node's own; choose another");
    }
    for (const auto& [id, domain] : domains_) {
      if (masquerades_with(domain, address))
        return conflict(label(endpoint) + ": floating address " + to_string(address) + " is one that " +
                        label(domain) + " masquerades with, the node's own; choose another");
    }
  }
  return {};
}

Result<void> Intent::check_not_floating(const std::string& who, const IpAddr& address) const {
  const auto it = floating_.find(address);
  if (it == floating_.end()) return {};
  return conflict(who + ": address " + to_string(address) + " is the floating address of " +
                  label(endpoints_.at(it->second)) + "; choose another, or take it from there first");
}

}  // namespace podwire::engine
