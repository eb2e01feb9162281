#include "control/policy/evaluate.hpp"

#include <algorithm>

namespace podwire::control {
namespace {

bool covers(const api::PolicyBlock& block, const IpAddr& address) {
  return block.prefix.contains(address) &&
         std::none_of(block.except.begin(), block.except.end(),
                      [&](const IpPrefix& hole) { return hole.contains(address); });
}

bool names(const api::PolicyRule& rule, const PolicyEnd& peer) {
  if (rule.any_peer) return true;
  const auto& ids = rule.identities;
  if (peer.identity && std::find(ids.begin(), ids.end(), peer.identity) != ids.end()) return true;
  return std::any_of(rule.blocks.begin(), rule.blocks.end(), [&](const api::PolicyBlock& block) {
    return std::any_of(peer.addresses.begin(), peer.addresses.end(),
                       [&](const IpAddr& address) { return covers(block, address); });
  });
}

}  // namespace

bool allows(const std::optional<api::PolicySide>& side, const PolicyEnd& peer, api::RuleProtocol protocol,
            std::uint16_t port) {
  if (!side) return true;
  return std::any_of(side->rules.begin(), side->rules.end(), [&](const api::PolicyRule& rule) {
    if (rule.protocol != api::RuleProtocol::kAny) {
      if (rule.protocol != protocol) return false;
      if (port < rule.ports.first || port > rule.ports.last) return false;
    }
    return names(rule, peer);
  });
}

}  // namespace podwire::control
