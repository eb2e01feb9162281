#include "dataplane/tables/flow_filter.hpp"

#include <algorithm>
#include <charconv>

namespace podwire::engine {
namespace {

struct ProtocolName {
  const char* name;
  std::uint8_t number;
};
constexpr ProtocolName kProtocols[] = {{"icmp", ip_proto::kIcmp},
                                       {"tcp", ip_proto::kTcp},
                                       {"udp", ip_proto::kUdp},
                                       {"icmp6", ip_proto::kIcmpv6},
                                       {"sctp", ip_proto::kSctp}};

Result<std::uint8_t> read_protocol(const std::string& text) {
  for (const auto& known : kProtocols) {
    if (text == known.name) return known.number;
  }
  std::uint8_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error == std::errc{} && end == text.data() + text.size() && !text.empty()) return number;
  return invalid("params.protocol is \"" + text.substr(0, 32) +
                 "\", must be icmp, icmp6, tcp, udp, sctp or a number from 0 to 255");
}

Json protocol_json(std::uint8_t number) {
  for (const auto& known : kProtocols) {
    if (number == known.number) return known.name;
  }
  return std::to_string(number);
}

// Of a connection with itself, which has one direction.
bool is_blank_key(const FlowKey& key) {
  return key.words[0] == 0;
}

void put_tuple(const FlowKey& key, Json& out) {
  out["domain"] = key.domain().value();
  out["source"] = to_string(key.source());
  out["destination"] = to_string(key.destination());
  const bool echo = key.protocol() == ip_proto::kIcmp || key.protocol() == ip_proto::kIcmpv6;
  if (echo) {
    out["icmp_id"] = key.source_port();
  } else if (key.ports() != 0) {
    out["source_port"] = key.source_port();
    out["destination_port"] = key.destination_port();
  }
}

}  // namespace

bool FlowFilter::matches(const FlowKey& key) const {
  if (domain && key.domain() != *domain) return false;
  if (protocol && key.protocol() != *protocol) return false;
  if (port && key.source_port() != *port && key.destination_port() != *port) return false;
  const auto source = key.source(), destination = key.destination();
  return addresses.empty() || std::any_of(addresses.begin(), addresses.end(), [&](const IpPrefix& prefix) {
           return prefix.contains(source) || prefix.contains(destination);
         });
}

bool FlowFilter::matches(const FlowView& original, const FlowView& reply) const {
  if (state && original.phase.state != *state) return false;
  return matches(original.key) || (!is_blank_key(reply.key) && matches(reply.key));
}

Result<FlowFilter> read_flow_filter(ObjectReader& r) {
  static const std::vector<std::string> kStates(kFlowStateNames.begin() + 1, kFlowStateNames.end());
  FlowFilter filter;
  std::optional<std::string> protocol;
  std::size_t state = 0;
  r.optional("domain", filter.domain);
  r.optional("addresses", filter.addresses);
  r.optional("protocol", protocol);
  r.optional("port", filter.port);
  if (r.choice("state", state, kStates)) filter.state = static_cast<FlowState>(state + 1);
  PODWIRE_CHECK(r.finish());
  if (protocol) {
    PODWIRE_TRY(filter.protocol, read_protocol(*protocol));
  }
  return filter;
}

Json flow_key_json(const FlowKey& key) {
  Json out{{"protocol", protocol_json(key.protocol())}};
  put_tuple(key, out);
  return out;
}

Json flow_json(std::uint32_t id, PortId owner, const FlowView& original, const FlowView& reply,
               std::uint32_t now_s) {
  Json flow{{"id", id}};
  flow.update(flow_key_json(original.key));
  if (!is_blank_key(reply.key) && !(reply.key == original.key.reversed())) {
    flow["reply"] = Json::object();
    put_tuple(reply.key, flow["reply"]);
  }
  const auto idle = std::min(now_s - original.last_seen, now_s - reply.last_seen);
  // A worker's clock may be a second ahead.
  const auto idle_s = static_cast<std::int32_t>(idle) < 0 ? 0u : idle;
  const auto timeout = timeout_of(original.phase.state);
  flow["state"] = name_of(original.phase.state);
  flow["idle_s"] = idle_s;
  flow["expires_s"] = timeout > idle_s ? timeout - idle_s : 0;
  flow["port"] = owner ? Json(owner.value()) : Json();
  return flow;
}

}  // namespace podwire::engine
