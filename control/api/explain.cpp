// `explain`: turns names into what the engine's verb wants.
#include <algorithm>
#include <optional>

#include "control/api/daemon.hpp"

namespace podwire::control {
namespace {

// Where the packet starts.
struct Origin {
  PortId port;
  std::vector<IpAddr> addresses;
  std::string name;
};

Origin origin_of(const Attachment& attachment) {
  Origin origin{attachment.port, {}, endpoint_name(attachment)};
  for (const auto& a : attachment.addresses) origin.addresses.push_back(a.address);
  return origin;
}

bool is_named(const Attachment& a, const std::string& from) {
  return from == endpoint_name(a) || from == port_name(a) || from == a.key.container_id ||
         from == pod_of(a) || from == a.pod_name;
}

// A prefix of the container id, as people copy it from a runtime's list.
bool is_abbreviated(const Attachment& a, const std::string& from) {
  constexpr std::size_t kShortest = 4;
  return from.size() >= kShortest && a.key.container_id.starts_with(from);
}

Result<Origin> find_origin(Daemon& daemon, const std::string& from) {
  const auto node = daemon.reconciler.node();
  const auto& underlay = daemon.underlay.node();
  if (from == "uplink") return Origin{node.uplink, {}, "uplink"};
  if (from == "host" || from == daemon.config.underlay.host_interface) {
    if (!node.host) return not_found("this node has no host interface (underlay.host_interface is null)");
    Origin origin{node.host, {}, "host"};
    for (const auto& a : underlay.addresses) origin.addresses.push_back(a.address);
    return origin;
  }
  PODWIRE_TRY(const auto attachments, daemon.store.list());
  const auto address = parse_ip(from);
  std::vector<const Attachment*> matches;
  for (const auto& a : attachments) {
    const bool has_address = address && std::any_of(a.addresses.begin(), a.addresses.end(),
                                                    [&](const IpPrefix& p) { return p.address == *address; });
    if (has_address || is_named(a, from)) matches.push_back(&a);
  }
  if (matches.empty()) {
    for (const auto& a : attachments) {
      if (is_abbreviated(a, from)) matches.push_back(&a);
    }
  }
  if (matches.size() == 1) return origin_of(*matches.front());
  if (matches.empty()) {
    return not_found("from: no endpoint, pod address, container or port of this node is \"" +
                     from.substr(0, 128) + "\"; see podwirectl endpoint");
  }
  std::string list;
  for (const auto* a : matches) list += (list.empty() ? "" : ", ") + port_name(*a);
  return conflict("from: \"" + from + "\" is ambiguous; name one of the ports " + list);
}

}  // namespace

Result<Json> explain(Daemon& daemon, const Json& params) {
  std::string from;
  IpAddr to;
  std::optional<std::string> protocol;
  std::optional<std::uint16_t> dport, sport, size;
  std::optional<std::uint8_t> ttl;
  ObjectReader r(params, "params");
  r.required("from", from);
  r.required("to", to);
  r.optional("protocol", protocol);
  r.optional("dport", dport);
  r.optional("sport", sport);
  r.optional("ttl", ttl);
  r.optional("size", size);
  PODWIRE_CHECK(r.finish());
  PODWIRE_TRY(const auto origin, find_origin(daemon, from));
  Json question{{"port", origin.port.value()}, {"destination", to_string(to)}};
  const auto source = std::find_if(origin.addresses.begin(), origin.addresses.end(),
                                   [&](const IpAddr& a) { return a.is_v4() == to.is_v4(); });
  if (source != origin.addresses.end()) {
    question["source"] = to_string(*source);
  } else if (!origin.addresses.empty()) {
    return invalid("to: " + origin.name + " has no " + (to.is_v4() ? "IPv4" : "IPv6") +
                   " address to send to " + to_string(to) + " from");
  }
  if (protocol) question["protocol"] = *protocol;
  if (sport) question["source_port"] = *sport;
  if (dport) question["destination_port"] = *dport;
  if (ttl) question["ttl"] = *ttl;
  if (size) question["size"] = *size;
  PODWIRE_TRY(Json reply, daemon.reconciler.query("explain", question));
  reply["from"] = {{"name", origin.name}, {"port", origin.port.value()}};
  return reply;
}

}  // namespace podwire::control
