#include "dataplane/tables/flow_views.hpp"

#include <charconv>
#include <optional>

namespace podwire::engine {
namespace {

constexpr std::uint32_t kMaxLooked = 1u << 16;
constexpr std::size_t kMaxLimit = 1000;  // of some 400 bytes each; a reply has 1 MiB

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

struct Filter {
  std::optional<DomainId> domain;
  std::vector<IpPrefix> addresses;
  std::optional<std::uint8_t> protocol;
  std::optional<std::uint16_t> port;
  std::optional<FlowState> state;

  bool empty() const { return !domain && addresses.empty() && !protocol && !port && !state; }
  bool has_address(const IpAddr& address) const {
    return std::any_of(addresses.begin(), addresses.end(),
                       [&](const IpPrefix& prefix) { return prefix.contains(address); });
  }
  bool matches(const FlowKey& key) const {
    if (domain && key.domain() != *domain) return false;
    if (protocol && key.protocol() != *protocol) return false;
    if (port && key.source_port() != *port && key.destination_port() != *port) return false;
    return addresses.empty() || has_address(key.source()) || has_address(key.destination());
  }
  bool matches(const FlowView& original, const FlowView& reply) const {
    if (state && original.phase.state != *state) return false;
    return matches(original.key) || (!is_blank(reply.key) && matches(reply.key));
  }
  // Of a connection with itself, which has one direction.
  static bool is_blank(const FlowKey& key) { return key.words[0] == 0; }
};

struct Wanted {
  Filter filter;
  std::uint32_t after = 0;
};

Result<Wanted> read_wanted(ObjectReader& r) {
  static const std::vector<std::string> kStates(kFlowStateNames.begin() + 1, kFlowStateNames.end());
  Wanted wanted;
  auto& filter = wanted.filter;
  std::optional<std::string> protocol;
  std::size_t state = 0;
  r.optional("domain", filter.domain);
  r.optional("addresses", filter.addresses);
  r.optional("protocol", protocol);
  r.optional("port", filter.port);
  if (r.choice("state", state, kStates)) filter.state = static_cast<FlowState>(state + 1);
  r.optional("after_id", wanted.after);
  PODWIRE_CHECK(r.finish());
  if (protocol) {
    PODWIRE_TRY(filter.protocol, read_protocol(*protocol));
  }
  return wanted;
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

Json flow_json(std::uint32_t id, PortId owner, const FlowView& original, const FlowView& reply,
               std::uint32_t now_s) {
  Json flow{{"id", id}, {"protocol", protocol_json(original.key.protocol())}};
  put_tuple(original.key, flow);
  if (!Filter::is_blank(reply.key) && !(reply.key == original.key.reversed())) {
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

Json next_json(std::uint32_t next) {
  return next == 0 ? Json() : Json(next);
}

}  // namespace

Result<Json> list_flows(const FlowTable& table, const Json& params, std::uint32_t now_s) {
  std::size_t limit = kMaxLimit;
  ObjectReader r(params, "params");
  r.optional_in("limit", limit, 1, kMaxLimit);
  PODWIRE_TRY(const auto wanted, read_wanted(r));
  Json flows = Json::array();
  const auto next = table.scan(
      wanted.after, kMaxLooked, [&](std::uint32_t id, const FlowView& original, const FlowView& reply) {
        if (wanted.filter.matches(original, reply))
          flows.push_back(flow_json(id, table.owner_of({id * 2, 0}), original, reply, now_s));
        return flows.size() < limit;
      });
  return Json{{"flows", std::move(flows)}, {"next_after_id", next_json(next)}};
}

Result<Json> flush_flows(FlowTable& table, const Json& params) {
  bool all = false;
  ObjectReader r(params, "params");
  r.optional("all", all);
  PODWIRE_TRY(const auto wanted, read_wanted(r));
  if (all && !wanted.filter.empty()) return invalid("params has all and filters; it takes one or the other");
  if (!all && wanted.filter.empty()) {
    return invalid(
        "params names no connections; give domain, addresses, protocol, port or state, or {\"all\": true}");
  }
  std::uint64_t flushed = 0;
  const auto next = table.scan(wanted.after, kMaxLooked,
                               [&](std::uint32_t, const FlowView& original, const FlowView& reply) {
                                 // By its key: the entry may be another's by now.
                                 if (wanted.filter.matches(original, reply))
                                   flushed += table.remove(table.find(original.key)) ? 1 : 0;
                                 return true;
                               });
  return Json{{"flushed", flushed}, {"next_after_id", next_json(next)}};
}

}  // namespace podwire::engine
