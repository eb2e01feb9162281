// A small cluster of pods for policy tests, and an evaluator of the engine's policies that shares no code
// with the daemon's.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <sstream>

#include "control/manifest/manifest.hpp"
#include "control/policy/model.hpp"

namespace podwire::control {

class PolicyCluster {
 public:
  PolicyCluster() {
    apply(R"(
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {team: a, stage: prod}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: other, labels: {team: b}}}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: web, labels: {app: web, tier: front}}
spec: {containers: [{ports: [{name: http, containerPort: 80}, {name: dns, containerPort: 53, protocol: UDP}]}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: db, labels: {app: db}}
spec: {containers: [{}, {ports: [{name: pg, containerPort: 5432}, {name: http, containerPort: 8080}, {containerPort: 9}]}]}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: bare}}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: other, name: web, labels: {app: web}}}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: other, name: mon, labels: {app: mon, tier: front}}}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: plain, name: x, labels: {app: x}}}
---
apiVersion: v1
kind: Pod
metadata: {namespace: other, name: far, labels: {app: far}}
status: {phase: Running, podIP: 10.9.0.7, podIPs: [{ip: 10.9.0.7}, {ip: "fd09::7"}]}
)");
    compile();
  }

  // What a manifest says, put into the model.
  void apply(const std::string& yaml) {
    const auto manifests = read_manifests(yaml, "test");
    ASSERT_TRUE(manifests) << manifests.error().message;
    for (const auto& manifest : *manifests) {
      const auto object = read_policy_manifest(manifest);
      ASSERT_TRUE(object) << object.error().message;
      const auto done = put(*object);
      ASSERT_TRUE(done) << done.error().message;
    }
  }
  void apply_spec(const std::string& space, const std::string& name, const std::string& spec) {
    apply("{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {namespace: " + space +
          ", name: " + name + "}, spec: " + spec + "}");
  }
  void compile() {
    auto compiled = model.compile([this](const std::string& noun, const std::vector<std::string>& names) {
      std::vector<std::uint32_t> out;
      for (const auto& name : names) {
        const auto [at, added] =
            ids.try_emplace(noun + ":" + name, static_cast<std::uint32_t>(ids.size() + 1));
        out.push_back(at->second);
      }
      return Result<std::vector<std::uint32_t>>(out);
    });
    ASSERT_TRUE(compiled) << compiled.error().message;
    snapshot = *compiled;
  }

  // "other/web>shop/web:tcp/80": whether it may connect. An end is a pod or an address; pods of the cluster
  // have 10.0.0.N and fd00::N, by name. Protocols: tcp, udp, sctp, icmp.
  bool may(const std::string& probe) const {
    const auto arrow = probe.find('>'), colon = probe.rfind(':'), slash = probe.rfind('/');
    const End from = end_of(probe.substr(0, arrow)), to = end_of(probe.substr(arrow + 1, colon - arrow - 1));
    const auto protocol = probe.substr(colon + 1, slash - colon - 1);
    const int port = std::stoi(probe.substr(slash + 1));
    for (const auto& source : from.addresses) {
      for (const auto& target : to.addresses) {
        if (source.is_v4() != target.is_v4()) continue;
        const bool passes = side(from, true, {to.identity, target}, protocol, port) &&
                            side(to, false, {from.identity, source}, protocol, port);
        if (passes != passes_v4(from, to, protocol, port)) ADD_FAILURE() << probe << ": the families differ";
      }
    }
    return passes_v4(from, to, protocol, port);
  }

  PolicyMarks marks(const std::string& pod) const {
    const auto slash = pod.find('/');
    return snapshot->marks_of({pod.substr(0, slash), pod.substr(slash + 1)}, "");
  }

  PolicyModel model;
  std::map<std::string, std::uint32_t> ids;
  std::shared_ptr<const PolicySnapshot> snapshot;

 private:
  struct End {
    IdentityId identity;
    PolicyId policy;
    std::vector<IpAddr> addresses;
  };
  struct Peer {
    IdentityId identity;
    IpAddr address;
  };

  Result<void> put(const PolicyManifest& object) {
    if (object.kind == "Namespace") {
      PODWIRE_TRY(auto facts, read_namespace(object));
      model.put(std::move(facts));
    } else if (object.kind == "Pod") {
      PODWIRE_TRY(auto pod, read_pod(object));
      model.put(std::move(pod));
    } else {
      PODWIRE_TRY(auto policy, read_network_policy(object));
      model.put(std::move(policy));
    }
    return {};
  }

  End end_of(const std::string& name) const {
    if (const auto address = parse_ip(name)) return {{}, {}, {*address}};
    const auto m = marks(name);
    static const std::vector<std::string> kNames{"shop/web",  "shop/db",   "shop/bare",
                                                 "other/web", "other/mon", "plain/x"};
    const auto at = std::find(kNames.begin(), kNames.end(), name);
    const auto number = std::to_string(at - kNames.begin() + 1);
    return {m.identity, m.policy, {*parse_ip("10.0.0." + number), *parse_ip("fd00::" + number)}};
  }

  bool passes_v4(const End& from, const End& to, const std::string& protocol, int port) const {
    return side(from, true, {to.identity, to.addresses[0]}, protocol, port) &&
           side(to, false, {from.identity, from.addresses[0]}, protocol, port);
  }

  bool side(const End& of, bool egress, const Peer& peer, const std::string& protocol, int port) const {
    if (!of.policy) return true;
    const auto& policy = *snapshot->policies.at(of.policy);
    const auto& rules = egress ? policy.egress : policy.ingress;
    if (!rules) return true;
    for (const auto& rule : rules->rules) {
      const auto name = api::kRuleProtocolNames[static_cast<std::size_t>(rule.protocol)];
      if (name != "any" && name != protocol) continue;
      if (name != "any" && (port < rule.ports.first || port > rule.ports.last)) continue;
      bool named = rule.any_peer;
      for (const auto id : rule.identities) named |= id == peer.identity;
      for (const auto& block : rule.blocks) {
        bool inside = block.prefix.contains(peer.address);
        for (const auto& hole : block.except) inside &= !hole.contains(peer.address);
        named |= inside;
      }
      if (named) return true;
    }
    return false;
  }
};

}  // namespace podwire::control
