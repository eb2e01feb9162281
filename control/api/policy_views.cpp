// The verbs that look at network policies.
#include <algorithm>

#include "control/api/paging.hpp"
#include "control/api/policies.hpp"
#include "control/policy/evaluate.hpp"

namespace podwire::control {
namespace {

std::string peer_text(const PolicyPeer& peer, const std::string& home) {
  if (peer.block) {
    std::string text = to_string(peer.block->prefix);
    for (const auto& hole : peer.block->except) text += " except " + to_string(hole);
    return text;
  }
  const auto pods = "pods " + (peer.pods ? to_text(*peer.pods) : std::string("all"));
  return pods + (peer.namespaces ? " of namespaces " + to_text(*peer.namespaces) : " of namespace " + home);
}

std::string port_text(const PolicyPort& port) {
  std::string text = api::kRuleProtocolNames[static_cast<std::size_t>(port.protocol)];
  if (!port.name.empty()) return text + " \"" + port.name + "\"";
  if (port.range == api::PortRange{}) return text;
  text += " " + std::to_string(port.range.first);
  return port.range.first == port.range.last ? text : text + "-" + std::to_string(port.range.last);
}

Json rules_json(const std::vector<PeerRule>& rules, const char* peers_key, const std::string& home) {
  if (rules.empty()) return "nothing";
  Json out = Json::array();
  for (const auto& rule : rules) {
    Json peers = Json::array(), ports = Json::array();
    for (const auto& peer : rule.peers) peers.push_back(peer_text(peer, home));
    for (const auto& port : rule.ports) ports.push_back(port_text(port));
    if (peers.empty()) peers.push_back("anybody");
    if (ports.empty()) ports.push_back("all");
    out.push_back({{peers_key, peers}, {"ports", ports}});
  }
  return out;
}

// A pod of the question.
struct Asked {
  std::string name;
  PolicyEnd end;
  const api::Policy* policy = nullptr;
};

Json side_json(const Asked& of, const std::optional<api::PolicySide> api::Policy::*side, const Asked& peer,
               api::RuleProtocol protocol, std::uint16_t port) {
  const bool restricted = of.policy != nullptr && (of.policy->*side).has_value();
  return {{"allowed", !restricted || allows(of.policy->*side, peer.end, protocol, port)},
          {"pod", of.name},
          {"policies", restricted ? Json(of.policy->name) : Json("none: everything is allowed")}};
}

}  // namespace

Json to_json(const NetworkPolicy& policy) {
  const auto& home = policy.key.first;
  std::string directions = policy.ingress ? "ingress" : "";
  if (policy.egress) directions += directions.empty() ? "egress" : ", egress";
  Json json{
      {"name", to_text(policy.key)}, {"pod_selector", to_text(policy.pods)}, {"directions", directions}};
  if (policy.ingress) json["ingress"] = rules_json(*policy.ingress, "from", home);
  if (policy.egress) json["egress"] = rules_json(*policy.egress, "to", home);
  return json;
}

Result<Json> Policies::list(const Json& params) {
  PODWIRE_TRY(const auto page, read_page(params));
  PODWIRE_TRY(const auto attachments, store_.list());
  const std::lock_guard lock(mutex_);
  std::map<ObjectKey, std::set<std::string>> here;  // by policy
  for (const auto& a : attachments) {
    if (a.state != AttachmentState::kReady || a.pod_name.empty()) continue;
    const ObjectKey pod{a.pod_namespace, a.pod_name};
    for (const auto& name : model_.selecting(pod)) here[{pod.first, name}].insert(to_text(pod));
  }
  Json policies = Json::array();
  for (const auto& policy : model_.policies()) {
    Json entry = to_json(*policy);
    entry["pods_here"] = here[policy->key];
    policies.push_back(std::move(entry));
  }
  return make_page("policies", std::move(policies), page);
}

Result<Json> Policies::explain(const Json& params) {
  std::string from, to;
  std::size_t protocol = 0;
  std::uint16_t port = 0;
  ObjectReader r(params, "params");
  r.required("from", from);
  r.required("to", to);
  static const std::vector<std::string> kProtocols{"tcp", "udp", "sctp", "any"};
  r.choice("protocol", protocol, kProtocols);
  r.optional("port", port);
  PODWIRE_CHECK(r.finish());
  PODWIRE_TRY(const auto attachments, store_.list());
  const std::lock_guard lock(mutex_);
  const auto find = [&](const std::string& name) -> Result<Asked> {
    const auto slash = name.find('/');
    const ObjectKey key = slash == name.npos ? ObjectKey{"default", name}
                                             : ObjectKey{name.substr(0, slash), name.substr(slash + 1)};
    Asked asked{to_text(key), {}, nullptr};
    std::string uid;
    bool known = false, isolated = false;
    for (const auto& a : attachments) {
      if (a.pod_namespace != key.first || a.pod_name != key.second) continue;
      known = true;
      uid = a.pod_uid;
      const auto domain = config_.find_domain(a.domain);
      isolated = domain != nullptr && domain->isolates_pods;
      for (const auto& address : a.addresses) asked.end.addresses.push_back(address.address);
    }
    if (const auto pod = model_.find_pod(key)) {
      if (!known) asked.end.addresses = pod->addresses;
      known = true;
    }
    if (!known)
      return not_found("there is no pod " + asked.name + " here, nor a manifest of it; see: podwirectl port");
    const auto marks = snapshot_->marks_of(key, uid);
    asked.end.identity = marks.identity;
    const auto policy = isolated ? snapshot_->isolating(marks.policy) : marks.policy;
    if (policy) asked.policy = snapshot_->policies.at(policy).get();
    return asked;
  };
  PODWIRE_TRY(const auto sender, find(from));
  PODWIRE_TRY(const auto receiver, find(to));
  constexpr api::RuleProtocol kMeant[] = {api::RuleProtocol::kTcp, api::RuleProtocol::kUdp,
                                          api::RuleProtocol::kSctp, api::RuleProtocol::kAny};
  const auto egress = side_json(sender, &api::Policy::egress, receiver, kMeant[protocol], port);
  const auto ingress = side_json(receiver, &api::Policy::ingress, sender, kMeant[protocol], port);
  return Json{{"allowed", egress["allowed"] == true && ingress["allowed"] == true},
              {"egress", egress},
              {"ingress", ingress}};
}

}  // namespace podwire::control
