// Intent's rules about endpoints of the underlay: hosts on link whose MAC somebody knows for certain, so that
// nobody is asked. They have a port, a MAC and addresses, nothing else.
#include "dataplane/tables/intent.hpp"

namespace podwire::engine {

void Intent::insert_neighbor(const api::Endpoint& endpoint) {
  endpoints_[endpoint.id] = endpoint;
  for (const auto& address : endpoint.addresses) addresses_[{endpoint.domain, address}] = endpoint.id;
  neighbor_addresses_ += endpoint.addresses.size();
  neighbors_on_port_[endpoint.port].insert(endpoint.id);
}

void Intent::erase_neighbor(const api::Endpoint& endpoint) {
  for (const auto& address : endpoint.addresses) addresses_.erase({endpoint.domain, address});
  neighbor_addresses_ -= endpoint.addresses.size();
  const auto it = neighbors_on_port_.find(endpoint.port);
  it->second.erase(endpoint.id);
  if (it->second.empty()) neighbors_on_port_.erase(it);
  endpoints_.erase(endpoint.id);
}

Result<void> Intent::check_room_for_neighbor(const api::Endpoint& endpoint) const {
  if (neighbor_addresses_ + endpoint.addresses.size() <= kMaxPermanentNeighbors) return {};
  return Error{ErrorCode::kExhausted, label(endpoint) + ": there are " + std::to_string(neighbor_addresses_) +
                                          " permanent neighbours (addresses of endpoints in domain 1), and " +
                                          std::to_string(kMaxPermanentNeighbors) +
                                          " are the most there can be; delete some"};
}

Result<void> Intent::check_neighbor(const api::Endpoint& endpoint) const {
  const auto who = label(endpoint) +
                   ": domain is 1, the underlay, where endpoints are permanent neighbours behind an uplink; ";
  if (!endpoint.port)
    return invalid(who + "it is behind " + label(vteps_.at(endpoint.vtep)) + ": use an uplink's port");
  const auto& on = ports_.at(endpoint.port);
  if (on.role != api::PortRole::kUplink) {
    return invalid(who + label(on) + " has the role " +
                   api::kPortRoleNames[static_cast<std::size_t>(on.role)] + ": use an uplink's port");
  }
  if (endpoint.addresses.empty()) return invalid(who + "addresses is empty: list at least one");
  const bool more = !endpoint.allowed_pairs.empty() || endpoint.dhcp || !endpoint.hostname.empty() ||
                    endpoint.policy || endpoint.identity || !endpoint.egress.empty() ||
                    !endpoint.floating.empty();
  if (!more) return {};
  return invalid(who + "they have a port, a MAC and addresses only: leave allowed_pairs, dhcp, hostname, " +
                 "policy, identity, egress and floating out");
}

}  // namespace podwire::engine
