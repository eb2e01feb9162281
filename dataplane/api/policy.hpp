// Policy: which connections may begin or end at the endpoints that carry it. Allow lists only: a side that is
// there refuses what none of its rules allows, a side that is not allows everything. What Kubernetes'
// NetworkPolicies select comes as one policy for each set of them that applies to a pod together (their
// union). Peers are known by identity or address. No DPDK in here.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "dataplane/api/rules.hpp"
#include "dataplane/base/ids.hpp"

namespace podwire::api {

// A block of addresses with holes.
struct PolicyBlock {
  IpPrefix prefix;
  std::vector<IpPrefix> except;  // inside of `prefix`
  bool operator==(const PolicyBlock&) const = default;
};

// Allows connections whose other end is one of `identities` or lies in one of `blocks`.
struct PolicyRule {
  bool any_peer = false;  // then the two are empty
  std::vector<IdentityId> identities;
  std::vector<PolicyBlock> blocks;
  RuleProtocol protocol = RuleProtocol::kAny;
  PortRange ports;  // of the connection's destination; other than all ports: with tcp, udp or sctp only
  bool operator==(const PolicyRule&) const = default;
};

struct PolicySide {
  std::vector<PolicyRule> rules;
  bool operator==(const PolicySide&) const = default;
};

inline constexpr std::size_t kMaxPolicyRules = 65'536;   // of one side
inline constexpr std::size_t kMaxPolicyPeers = 524'288;  // identities and blocks of one side together

struct Policy {
  PolicyId id;
  std::string name;  // told with denials; 1..255 characters
  // Of connections to the endpoint, and from it. The node itself (through the host port) may always reach its
  // endpoints.
  std::optional<PolicySide> ingress, egress;
  bool operator==(const Policy&) const = default;
};

Result<void> read_value(const Json& value, const std::string& path, PolicyBlock& out);
Result<void> read_value(const Json& value, const std::string& path, PolicyRule& out);
Result<void> read_value(const Json& value, const std::string& path, PolicySide& out);
Result<void> read_value(const Json& value, const std::string& path, Policy& out);
Json to_json(const PolicyBlock&);
Json to_json(const PolicyRule&);
Json to_json(const PolicySide&);
Json to_json(const Policy&);

}  // namespace podwire::api
