// Rules of a domain: read strictly, written without what is the default.
#include "dataplane/api/rules.hpp"

namespace podwire::api {

const std::vector<std::string> kRuleActionNames{"allow", "deny"};
const std::vector<std::string> kRuleProtocolNames{"any", "tcp", "udp", "sctp", "icmp", "icmpv6"};

Result<void> read_range(ObjectReader& reader, const char* key, PortRange& out) {
  std::vector<std::uint16_t> bounds;
  if (!reader.optional(key, bounds)) return {};
  if (bounds.size() != 2 || bounds[0] > bounds[1])
    return invalid(reader.child(key) + " must be two ports, [first, last] with first <= last");
  out = {bounds[0], bounds[1]};
  return {};
}

void put_range(Json& json, const char* key, const PortRange& range) {
  if (range != PortRange{}) json[key] = {range.first, range.last};
}

Result<void> check_network(const std::string& path, const IpPrefix& prefix) {
  if (prefix == prefix.network()) return {};
  return invalid(path + " is " + to_string(prefix) + ", has host bits set; did you mean " +
                 to_string(prefix.network()) + "?");
}

bool has_ports(RuleProtocol protocol) {
  return protocol == RuleProtocol::kTcp || protocol == RuleProtocol::kUdp || protocol == RuleProtocol::kSctp;
}

Result<void> read_value(const Json& value, const std::string& path, Rule& out) {
  ObjectReader r(value, path);
  const bool has_action = r.choice("action", out.action, kRuleActionNames);
  r.choice("protocol", out.protocol, kRuleProtocolNames);
  r.optional("source", out.source);
  r.optional("destination", out.destination);
  r.keep(read_range(r, "source_ports", out.source_ports));
  r.keep(read_range(r, "destination_ports", out.destination_ports));
  PODWIRE_CHECK(r.finish());
  if (!has_action) return invalid(path + ".action is missing; it is allow or deny");
  if (out.source) PODWIRE_CHECK(check_network(path + ".source", *out.source));
  if (out.destination) PODWIRE_CHECK(check_network(path + ".destination", *out.destination));
  if (out.source && out.destination && out.source->address.is_v4() != out.destination->address.is_v4())
    return invalid(path + ": source and destination are of different families; no packet is both");
  const bool names_ports = out.source_ports != PortRange{} || out.destination_ports != PortRange{};
  if (names_ports && !has_ports(out.protocol))
    return invalid(path + ": source_ports and destination_ports are for protocol tcp, udp or sctp");
  return {};
}

Json to_json(const Rule& rule) {
  Json j{{"action", kRuleActionNames[static_cast<std::size_t>(rule.action)]}};
  if (rule.protocol != RuleProtocol::kAny)
    j["protocol"] = kRuleProtocolNames[static_cast<std::size_t>(rule.protocol)];
  if (rule.source) j["source"] = to_string(*rule.source);
  if (rule.destination) j["destination"] = to_string(*rule.destination);
  put_range(j, "source_ports", rule.source_ports);
  put_range(j, "destination_ports", rule.destination_ports);
  return j;
}

}  // namespace podwire::api
