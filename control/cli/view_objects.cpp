// The lists of ports, domains, endpoints, routes and peers.
#include <algorithm>

#include "control/cli/fields.hpp"
#include "control/cli/table.hpp"
#include "control/cli/views.hpp"

namespace podwire::control::cli {
namespace {

struct AttachmentRow {
  Label container_id, ifname;
  PodLabel pod;
};

Result<void> read_value(const Json& value, const std::string& path, AttachmentRow& out) {
  ObjectReader r(value, path);
  r.ignore_unknown();
  r.optional("container_id", out.container_id);
  r.optional("ifname", out.ifname);
  PODWIRE_CHECK(r.finish());
  return podwire::control::cli::read_value(value, path, out.pod);
}

struct PortRow {
  Label id;
  std::string name, kind, role;
  Label domain, mac, mtu, link, last_error;
  Amount queues;
  std::optional<AttachmentRow> attachment;
};

Result<void> read_value(const Json& value, const std::string& path, PortRow& out) {
  ObjectReader r(value, path);
  r.ignore_unknown();
  r.required("id", out.id);
  r.required("name", out.name);
  r.required("kind", out.kind);
  r.required("role", out.role);
  r.optional("domain", out.domain);
  r.optional("mac", out.mac);
  r.optional("mtu", out.mtu);
  r.optional("queues", out.queues);
  r.optional("link", out.link);
  r.optional("last_error", out.last_error);
  r.optional("attachment", out.attachment);
  return r.finish();
}

struct DomainRow {
  Label id;
  std::string name;
  Label vni, mode, mtu;
  Labels prefixes, gateways, reaches, namespaces;
  bool global = false;
  Amount used, free;
};

Result<void> read_value(const Json& value, const std::string& path, DomainRow& out) {
  ObjectReader r(value, path);
  r.ignore_unknown();
  r.optional("id", out.id);
  r.required("name", out.name);
  r.required("vni", out.vni);
  r.optional("mode", out.mode);
  r.optional("mtu", out.mtu);
  r.optional("prefixes", out.prefixes);
  r.optional("gateways", out.gateways);
  r.optional("reaches", out.reaches);
  r.optional("global", out.global);
  r.optional("namespaces", out.namespaces);
  r.optional("addresses_used", out.used);
  r.optional("addresses_free", out.free);
  return r.finish();
}

// What joining left of a domain's apartness.
struct JoinedRow {
  std::string name;
  Labels reaches;
  bool global = false;
};

Result<void> read_value(const Json& value, const std::string& path, JoinedRow& out) {
  ObjectReader r(value, path);
  r.ignore_unknown();
  r.required("name", out.name);
  r.optional("reaches", out.reaches);
  r.optional("global", out.global);
  return r.finish();
}

struct PolicyRow {
  std::string name, selector, directions;
  Amount here;
};

Result<void> read_value(const Json& value, const std::string& path, PolicyRow& out) {
  ObjectReader r(value, path);
  r.ignore_unknown();
  r.required("name", out.name);
  r.required("pod_selector", out.selector);
  r.required("directions", out.directions);
  r.optional("pods_here", out.here);
  return r.finish();
}

struct EndpointRow {
  std::string name;
  Label domain, where, mac, container_id, ifname;
  Labels addresses;
  PodLabel pod;
};

Result<void> read_value(const Json& value, const std::string& path, EndpointRow& out) {
  ObjectReader r(value, path);
  r.ignore_unknown();
  r.required("name", out.name);
  r.required("domain", out.domain);
  r.required("where", out.where);
  r.optional("mac", out.mac);
  r.required("addresses", out.addresses);
  r.optional("container_id", out.container_id);
  r.optional("ifname", out.ifname);
  r.optional("pod", out.pod);
  return r.finish();
}

struct NextHopRow {
  Label peer, port, into, address;
  std::int64_t weight = 1;
};

Result<void> read_value(const Json& value, const std::string& path, NextHopRow& out) {
  ObjectReader r(value, path);
  r.ignore_unknown();
  r.optional("peer", out.peer);
  r.optional("port", out.port);
  r.optional("into", out.into);
  r.optional("address", out.address);
  r.optional("weight", out.weight);
  return r.finish();
}

struct RouteRow {
  std::string prefix;
  Label domain, source;
  std::vector<NextHopRow> next_hops;
  bool blackhole = false;
};

Result<void> read_value(const Json& value, const std::string& path, RouteRow& out) {
  ObjectReader r(value, path);
  r.ignore_unknown();
  r.required("prefix", out.prefix);
  r.required("domain", out.domain);
  r.optional("next_hops", out.next_hops);
  r.optional("blackhole", out.blackhole);
  r.optional("source", out.source);
  return r.finish();
}

struct PeerRow {
  std::string name;
  Label address, udp_port, mac, state, neighbor_mac;
  Json domains = Json::object();
};

Result<void> read_value(const Json& value, const std::string& path, PeerRow& out) {
  ObjectReader r(value, path);
  r.ignore_unknown();
  r.required("name", out.name);
  r.required("address", out.address);
  r.optional("udp_port", out.udp_port);
  r.optional("mac", out.mac);
  r.optional("domains", out.domains);
  r.optional("neighbor_state", out.state);
  r.optional("neighbor_mac", out.neighbor_mac);
  return r.finish();
}

std::string pod_or_container(const AttachmentRow& attachment) {
  return attachment.pod.text.empty() ? short_id(attachment.container_id.text) : attachment.pod.text;
}

std::string hop_text(const NextHopRow& hop, bool several) {
  std::string text = !hop.peer.text.empty()   ? "peer " + hop.peer.text
                     : !hop.port.text.empty() ? "port " + hop.port.text
                     : !hop.into.text.empty() ? "domain " + hop.into.text
                                              : "(nowhere)";
  if (hop.peer.text.empty() && !hop.address.text.empty()) text += " via " + hop.address.text;
  return several ? text + " x" + std::to_string(hop.weight) : text;
}

// "default: 10.244.2.0/24, fd00::/64; blue: ..." of a peer's domains.
Result<std::string> prefixes_text(const PeerRow& peer) {
  if (peer.domains.is_null()) return std::string();
  if (!peer.domains.is_object()) {
    return invalid("domains of peer " + peer.name + " must be an object, not " +
                   json_type_name(peer.domains));
  }
  std::vector<std::string> parts;
  for (const auto& [name, domain] : peer.domains.items()) {
    Labels prefixes;
    ObjectReader r(domain, "domain " + name + " of peer " + peer.name);
    r.ignore_unknown();
    r.optional("prefixes", prefixes);
    PODWIRE_CHECK(r.finish());
    parts.push_back(name + ": " + (prefixes.text.empty() ? "-" : prefixes.text));
  }
  return join(parts, "; ");
}

Tone link_tone(const std::string& link) {
  return link == "up" ? Tone::kGood : link == "down" ? Tone::kBad : Tone::kPlain;
}

Tone neighbor_tone(const std::string& state) {
  const bool known = state == "reachable" || state == "stale" || state == "permanent" || state == "probe";
  return known ? Tone::kGood : state == "failed" ? Tone::kBad : Tone::kPlain;
}

std::string or_none(const Table& table, const char* noun, const Style& style) {
  return table.empty() ? std::string("There are no ") + noun + ".\n" : table.text(style);
}

}  // namespace

Result<std::string> ports_view(const Json& reply, const Style& style) {
  PODWIRE_TRY(const auto rows, read_list<PortRow>(reply, "ports"));
  Table table({{"ID", Align::kRight},
               {"NAME"},
               {"KIND"},
               {"ROLE"},
               {"DOMAIN"},
               {"MAC"},
               {"MTU", Align::kRight},
               {"QUEUES", Align::kRight},
               {"LINK"},
               {"POD"}});
  std::string errors;
  for (const auto& row : rows) {
    table.add({row.id.text, row.name, row.kind, row.role, row.domain.text, row.mac.text, row.mtu.text,
               row.queues.text, Cell(row.link.text, link_tone(row.link.text)),
               row.attachment ? pod_or_container(*row.attachment) : ""});
    if (!row.last_error.text.empty()) {
      errors +=
          painted("port " + printable(row.name) + ": " + printable(row.last_error.text), Tone::kBad, style) +
          "\n";
    }
  }
  return or_none(table, "ports", style) + (errors.empty() ? "" : "\n" + errors);
}

Result<std::string> domains_view(const Json& reply, const Style& style) {
  PODWIRE_TRY(const auto rows, read_list<DomainRow>(reply, "domains"));
  // Most nodes have no use for it.
  const bool mapped = std::any_of(rows.begin(), rows.end(),
                                  [](const DomainRow& row) { return !row.namespaces.text.empty(); });
  std::vector<Column> columns{{"ID", Align::kRight},  {"NAME"},     {"VNI", Align::kRight}, {"MODE"},
                              {"MTU", Align::kRight}, {"PREFIXES"}, {"GATEWAYS"},           {"REACHES"}};
  if (mapped) columns.push_back({"NAMESPACES"});
  columns.push_back({"USED", Align::kRight});
  columns.push_back({"FREE", Align::kRight});
  Table table(columns);
  for (const auto& row : rows) {
    std::vector<Cell> cells{
        row.id.text,  row.name,          row.vni.text,      row.mode.text,
        row.mtu.text, row.prefixes.text, row.gateways.text, row.global ? "all" : row.reaches.text};
    if (mapped) cells.emplace_back(row.namespaces.text);
    cells.emplace_back(row.used.text);
    cells.emplace_back(row.free.text, row.free.text == "0" ? Tone::kBad : Tone::kPlain);
    table.add(std::move(cells));
  }
  return or_none(table, "domains", style);
}

std::string joined_view(const Json& reply) {
  const auto rows = read_list<JoinedRow>(reply, "domains");
  if (!rows) return "Done; see: podwirectl domain\n";
  std::string out;
  for (const auto& row : *rows) {
    out += "Domain " + printable(row.name) +
           (row.global                 ? " is global: all reach it, and it reaches all.\n"
            : row.reaches.text.empty() ? " reaches no other.\n"
                                       : " reaches " + printable(row.reaches.text) + ".\n");
  }
  return out;
}

std::string domain_change_view(const std::string& sub, const std::string& name, const Json& reply) {
  const auto shown = printable(name);
  const auto value = [&](const char* key) {
    const auto at = reply.is_object() ? reply.find(key) : reply.end();
    return at != reply.end() && at->is_string() ? printable(at->get_ref<const std::string&>())
                                                : std::string();
  };
  if (sub == "add") return "Domain " + shown + " was added.\n";
  if (sub == "del") {
    const bool deleted = reply.is_object() && reply.value("deleted", false);
    return deleted ? "Domain " + shown + " was deleted.\n" : "There is no domain " + shown + ".\n";
  }
  if (sub == "assign") return "New pods of namespace " + shown + " join domain " + value("domain") + ".\n";
  if (sub == "unassign") {
    return value("domain").empty() ? "Namespace " + shown + " was assigned to no domain.\n"
                                   : "New pods of namespace " + shown + " join the default domain.\n";
  }
  return joined_view(reply);
}

Result<std::string> endpoints_view(const Json& reply, const Style& style) {
  PODWIRE_TRY(const auto rows, read_list<EndpointRow>(reply, "endpoints"));
  Table table({{"NAME"}, {"DOMAIN"}, {"WHERE"}, {"MAC"}, {"ADDRESSES"}, {"CONTAINER"}, {"POD"}});
  for (const auto& row : rows) {
    const auto container = short_id(row.container_id.text);
    table.add({row.name, row.domain.text, row.where.text, row.mac.text, row.addresses.text,
               container.empty() || row.ifname.text.empty() ? container : container + " " + row.ifname.text,
               row.pod.text});
  }
  return or_none(table, "endpoints", style);
}

Result<std::string> routes_view(const Json& reply, const Style& style) {
  PODWIRE_TRY(const auto rows, read_list<RouteRow>(reply, "routes"));
  Table table({{"DOMAIN"}, {"PREFIX"}, {"NEXT HOPS"}, {"SOURCE"}});
  for (const auto& row : rows) {
    std::vector<std::string> hops;
    for (const auto& hop : row.next_hops) hops.push_back(hop_text(hop, row.next_hops.size() > 1));
    table.add({row.domain.text, row.prefix, row.blackhole ? "blackhole" : join(hops, ", "), row.source.text});
  }
  return or_none(table, "routes", style);
}

Result<std::string> policies_view(const Json& reply, const Style& style) {
  PODWIRE_TRY(const auto rows, read_list<PolicyRow>(reply, "policies"));
  Table table({{"NAME"}, {"PODS"}, {"DIRECTIONS"}, {"PODS HERE", Align::kRight}});
  for (const auto& row : rows) table.add({row.name, row.selector, row.directions, row.here.text});
  return or_none(table, "policies", style);
}

Result<std::string> peers_view(const Json& reply, const Style& style) {
  PODWIRE_TRY(const auto rows, read_list<PeerRow>(reply, "peers"));
  Table table(
      {{"NAME"}, {"ADDRESS"}, {"UDP PORT", Align::kRight}, {"NEIGHBOR"}, {"NEIGHBOR MAC"}, {"PREFIXES"}});
  for (const auto& row : rows) {
    PODWIRE_TRY(std::string prefixes, prefixes_text(row));
    table.add({row.name, row.address.text, row.udp_port.text,
               Cell(row.state.text, neighbor_tone(row.state.text)), row.neighbor_mac.text, prefixes});
  }
  return or_none(table, "peers", style);
}

}  // namespace podwire::control::cli
