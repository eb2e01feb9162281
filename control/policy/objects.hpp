// The Kubernetes objects that policy is made of: NetworkPolicy (networking.k8s.io/v1), and of Namespace and
// Pod what selectors and named ports look at. Read from manifests strictly: what a policy says and we do not
// know is refused, never skipped. Defaults are filled in by the readers, so that an object says what is in
// effect. Pure.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "control/policy/labels.hpp"
#include "dataplane/api/policy.hpp"

namespace podwire::control {

// Of a namespaced object: namespace, name.
using ObjectKey = std::pair<std::string, std::string>;
std::string to_text(const ObjectKey& key);  // "namespace/name"

struct NamespaceFacts {
  std::string name;
  Labels labels;  // with kubernetes.io/metadata.name
  bool operator==(const NamespaceFacts&) const = default;
};
// What a namespace that nobody described has.
NamespaceFacts implied_namespace(const std::string& name);

struct PodPort {
  std::string name;
  api::RuleProtocol protocol = api::RuleProtocol::kTcp;
  std::uint16_t port = 0;
  auto operator<=>(const PodPort&) const = default;
};

struct PodFacts {
  ObjectKey key;
  std::string uid;  // may be empty
  Labels labels;
  std::vector<PodPort> ports;  // the named ones, sorted
  // From its status: how it is met when it is on another node. None while it has none, and none of a pod that
  // has ended or shares its node's network.
  std::vector<IpAddr> addresses;
  bool host_network = false;  // then it is nobody's peer
  bool operator==(const PodFacts&) const = default;
};

struct PolicyPort {
  api::RuleProtocol protocol = api::RuleProtocol::kTcp;
  std::string name;      // not empty: a port of the destination pod
  api::PortRange range;  // else these
  bool operator==(const PolicyPort&) const = default;
};

// Either a block or selectors. Only `pods`: of the policy's own namespace; only `namespaces`: all their pods.
struct PolicyPeer {
  std::optional<Selector> pods, namespaces;
  std::optional<api::PolicyBlock> block;
  bool operator==(const PolicyPeer&) const = default;
};

struct PeerRule {
  std::vector<PolicyPeer> peers;  // none: anybody
  std::vector<PolicyPort> ports;  // none: everything
  bool operator==(const PeerRule&) const = default;
};

struct NetworkPolicy {
  ObjectKey key;
  Selector pods;
  // Absent: the policy says nothing of that direction. No rules: it allows nothing.
  std::optional<std::vector<PeerRule>> ingress, egress;
  bool operator==(const NetworkPolicy&) const = default;
};

// A manifest of one of these kinds in the form that is kept: what is read of it and no more.
struct PolicyManifest {
  std::string kind;  // NetworkPolicy, Namespace or Pod
  ObjectKey key;     // a Namespace has no namespace
  Json body;
};

// kInvalid for another kind or version; nothing of the spec is read.
Result<PolicyManifest> read_policy_manifest(const Json& manifest);
Result<NamespaceFacts> read_namespace(const PolicyManifest& manifest);
Result<PodFacts> read_pod(const PolicyManifest& manifest);
Result<NetworkPolicy> read_network_policy(const PolicyManifest& manifest);

std::string to_text(const PolicyManifest& manifest);  // "NetworkPolicy shop/web"

}  // namespace podwire::control
