// Rules: what a stateful domain says of connections by protocol, address and port, and the pieces of it that
// policies share. No DPDK in here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/base/json.hpp"

namespace podwire::api {

enum class RuleAction { kAllow, kDeny };
enum class RuleProtocol { kAny, kTcp, kUdp, kSctp, kIcmp, kIcmpv6 };
extern const std::vector<std::string> kRuleActionNames;
extern const std::vector<std::string> kRuleProtocolNames;

struct PortRange {
  std::uint16_t first = 0, last = 65535;  // both included
  bool operator==(const PortRange&) const = default;
};

// One line of a domain's rules: what it says of a connection's first packet.
struct Rule {
  RuleAction action = RuleAction::kAllow;
  RuleProtocol protocol = RuleProtocol::kAny;
  std::optional<IpPrefix> source, destination;  // none: any address of either family
  PortRange source_ports, destination_ports;    // other than all ports: with tcp, udp or sctp only

  bool operator==(const Rule&) const = default;
};

inline constexpr std::size_t kMaxRules = 4096;  // of one domain

Result<void> read_value(const Json& value, const std::string& path, Rule& out);
Json to_json(const Rule&);

// [80, 80] or [1024, 65535] under `key`; leaves `out` as it is when the key is absent.
Result<void> read_range(ObjectReader& reader, const char* key, PortRange& out);
void put_range(Json& json, const char* key, const PortRange& range);  // nothing for all ports
// kInvalid when host bits are set.
Result<void> check_network(const std::string& path, const IpPrefix& prefix);
// Whether a protocol has ports.
bool has_ports(RuleProtocol protocol);

}  // namespace podwire::api
