#include "control/policy/rendering.hpp"

#include <algorithm>
#include <tuple>

namespace podwire::control {
namespace {

struct PortKey {
  api::RuleProtocol protocol = api::RuleProtocol::kAny;
  std::uint16_t first = 0, last = 65535;
  auto operator<=>(const PortKey&) const = default;
};

struct BlockLess {
  bool operator()(const api::PolicyBlock& a, const api::PolicyBlock& b) const {
    return std::tie(a.prefix, a.except) < std::tie(b.prefix, b.except);
  }
};

// Everybody who is allowed to the same ports is one rule.
class Side {
 public:
  void add(const PortKey& key, const PolicyPeers& peers) {
    if (!peers.any && peers.identities.empty() && peers.blocks.empty()) return;
    auto& merged = merged_[key];
    merged.any |= peers.any;
    for (const auto& identity : peers.identities) add(merged, *identity);
    merged.blocks.insert(peers.blocks.begin(), peers.blocks.end());
  }
  void add(const PortKey& key, const PolicyIdentity& identity) { add(merged_[key], identity); }

  api::PolicySide rules() const {
    api::PolicySide side;
    for (const auto& [key, merged] : merged_) {
      api::PolicyRule rule;
      rule.protocol = key.protocol;
      rule.ports = {key.first, key.last};
      rule.any_peer = merged.any;
      if (!merged.any) {
        rule.identities.assign(merged.identities.begin(), merged.identities.end());
        rule.blocks.assign(merged.blocks.begin(), merged.blocks.end());
      }
      side.rules.push_back(std::move(rule));
    }
    return side;
  }

 private:
  struct Merged {
    bool any = false;
    std::set<IdentityId> identities;
    std::set<api::PolicyBlock, BlockLess> blocks;
  };

  static void add(Merged& merged, const PolicyIdentity& identity) {
    merged.identities.insert(identity.id);
    for (const auto& [address, claims] : identity.addresses)
      merged.blocks.insert({.prefix = {address, address.bits()}, .except = {}});
  }

  std::map<PortKey, Merged> merged_;
};

PortKey key_of(const PolicyPort& port) {
  return {port.protocol, port.range.first, port.range.last};
}

const PodPort* find_port(const std::vector<PodPort>& ports, const PolicyPort& wanted) {
  const auto at = std::find_if(ports.begin(), ports.end(), [&](const PodPort& p) {
    return p.name == wanted.name && p.protocol == wanted.protocol;
  });
  return at == ports.end() ? nullptr : &*at;
}

void add_ingress(const ResolvedRule& rule, const std::vector<PodPort>& own, Side& side) {
  if (rule.ports.empty()) side.add({}, rule.peers);
  for (const auto& port : rule.ports) {
    if (port.name.empty()) {
      side.add(key_of(port), rule.peers);
    } else if (const auto* named = find_port(own, port)) {
      side.add({named->protocol, named->port, named->port}, rule.peers);
    }
  }
}

void add_egress(const ResolvedRule& rule, const ResolvedPolicy& policy, Side& side) {
  if (rule.ports.empty()) side.add({}, rule.peers);
  for (const auto& port : rule.ports) {
    if (port.name.empty()) {
      side.add(key_of(port), rule.peers);
      continue;
    }
    for (const auto& identity : rule.peers.any ? policy.all_named : rule.peers.identities) {
      if (const auto* named = find_port(identity->ports, port))
        side.add({named->protocol, named->port, named->port}, *identity);
    }
  }
}

}  // namespace

bool has_named_ports(const std::optional<std::vector<PeerRule>>& rules) {
  const auto named = [](const PolicyPort& port) { return !port.name.empty(); };
  return rules && std::any_of(rules->begin(), rules->end(), [&](const PeerRule& rule) {
           return std::any_of(rule.ports.begin(), rule.ports.end(), named);
         });
}

api::Policy render_policy(PolicyId id, std::string name,
                          const std::vector<std::shared_ptr<const ResolvedPolicy>>& members,
                          const std::vector<PodPort>& ports) {
  api::Policy out;
  out.id = id;
  out.name = std::move(name);
  Side ingress, egress;
  bool has_ingress = false, has_egress = false;
  for (const auto& member : members) {
    has_ingress |= member->ingress.has_value();
    has_egress |= member->egress.has_value();
    if (member->ingress) {
      for (const auto& rule : *member->ingress) add_ingress(rule, ports, ingress);
    }
    if (member->egress) {
      for (const auto& rule : *member->egress) add_egress(rule, *member, egress);
    }
  }
  if (has_ingress) out.ingress = ingress.rules();
  if (has_egress) out.egress = egress.rules();
  return out;
}

Result<void> check_size(const api::Policy& policy) {
  // What a line to the engine takes, with room for what surrounds it; a number has at most 11 characters, a
  // prefix at most 44 with its quotes.
  constexpr std::size_t kBytes = 900'000, kRule = 128, kIdentity = 11, kPrefix = 60;
  std::size_t bytes = 512;
  for (const auto* side : {&policy.ingress, &policy.egress}) {
    if (!*side) continue;
    for (const auto& rule : (*side)->rules) {
      bytes += kRule + rule.identities.size() * kIdentity;
      for (const auto& block : rule.blocks) bytes += (block.except.size() + 1) * kPrefix;
    }
  }
  if (bytes <= kBytes) return {};
  return Error{ErrorCode::kExhausted,
               "the policies " + policy.name + " come to about " + std::to_string(bytes) +
                   " bytes of rules for one pod, more than " + std::to_string(kBytes) +
                   "; select peers by fewer ports, or with an empty from or to where everybody is meant"};
}

}  // namespace podwire::control
