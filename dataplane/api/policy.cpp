#include "dataplane/api/policy.hpp"

namespace podwire::api {

Result<void> read_value(const Json& value, const std::string& path, PolicyBlock& out) {
  ObjectReader r(value, path);
  r.required("prefix", out.prefix);
  r.optional("except", out.except);
  PODWIRE_CHECK(r.finish());
  PODWIRE_CHECK(check_network(path + ".prefix", out.prefix));
  for (const auto& hole : out.except) {
    PODWIRE_CHECK(check_network(path + ".except", hole));
    if (hole.length < out.prefix.length || !out.prefix.contains(hole.address))
      return invalid(path + ".except: " + to_string(hole) + " does not lie in " + to_string(out.prefix));
  }
  return {};
}

Json to_json(const PolicyBlock& block) {
  Json j{{"prefix", to_string(block.prefix)}};
  for (const auto& hole : block.except) j["except"].push_back(to_string(hole));
  return j;
}

Result<void> read_value(const Json& value, const std::string& path, PolicyRule& out) {
  ObjectReader r(value, path);
  r.optional("any_peer", out.any_peer);
  r.optional("identities", out.identities);
  r.optional("blocks", out.blocks);
  r.choice("protocol", out.protocol, kRuleProtocolNames);
  r.keep(read_range(r, "ports", out.ports));
  PODWIRE_CHECK(r.finish());
  if (out.any_peer && !(out.identities.empty() && out.blocks.empty()))
    return invalid(path + ": any_peer allows everybody; leave out identities and blocks");
  if (out.ports != PortRange{} && !has_ports(out.protocol))
    return invalid(path + ": ports are for protocol tcp, udp or sctp");
  return {};
}

Json to_json(const PolicyRule& rule) {
  Json j = Json::object();
  if (rule.any_peer) j["any_peer"] = true;
  for (const auto identity : rule.identities) j["identities"].push_back(identity.value());
  for (const auto& block : rule.blocks) j["blocks"].push_back(to_json(block));
  if (rule.protocol != RuleProtocol::kAny)
    j["protocol"] = kRuleProtocolNames[static_cast<std::size_t>(rule.protocol)];
  put_range(j, "ports", rule.ports);
  return j;
}

Result<void> read_value(const Json& value, const std::string& path, PolicySide& out) {
  ObjectReader r(value, path);
  r.optional("rules", out.rules);
  PODWIRE_CHECK(r.finish());
  std::size_t peers = 0;
  for (const auto& rule : out.rules) peers += rule.identities.size() + rule.blocks.size();
  const auto refuse = [&](std::size_t there, const char* what, std::size_t most) {
    return invalid(path + ".rules has " + std::to_string(there) + " " + what + ", at most " +
                   std::to_string(most) + " are possible");
  };
  if (out.rules.size() > kMaxPolicyRules) return refuse(out.rules.size(), "entries", kMaxPolicyRules);
  if (peers > kMaxPolicyPeers) return refuse(peers, "identities and blocks", kMaxPolicyPeers);
  return {};
}

Json to_json(const PolicySide& side) {
  Json rules = Json::array();
  for (const auto& rule : side.rules) rules.push_back(to_json(rule));
  return {{"rules", rules}};
}

Result<void> read_value(const Json& value, const std::string& path, Policy& out) {
  ObjectReader r(value, path);
  r.required("id", out.id);
  r.required("name", out.name);
  r.optional("ingress", out.ingress);
  r.optional("egress", out.egress);
  PODWIRE_CHECK(r.finish());
  if (out.name.empty() || out.name.size() > 255) return invalid(path + ".name must have 1 to 255 characters");
  return {};
}

Json to_json(const Policy& policy) {
  Json j{{"id", policy.id.value()}, {"name", policy.name}};
  if (policy.ingress) j["ingress"] = to_json(*policy.ingress);
  if (policy.egress) j["egress"] = to_json(*policy.egress);
  return j;
}

}  // namespace podwire::api
