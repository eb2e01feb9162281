#include "control/state/published_ports.hpp"

#include <algorithm>

#include "control/state/attachment_rows.hpp"

namespace podwire::control {
namespace {

std::string text_of(const std::optional<IpAddr>& address) {
  return address ? to_string(*address) : std::string();
}

const std::string& text_of(api::ServiceProtocol protocol) {
  return api::kServiceProtocolNames[static_cast<std::size_t>(protocol)];
}

std::string id_name(const PublishedPort& port) {
  return "published/" + text_of(port.protocol) + "/" + std::to_string(port.host_port) + "/" +
         text_of(port.host_ip);
}

std::string who(const Query& row) {
  const auto pod = row.text(5).empty() ? std::string() : "pod " + row.text(4) + "/" + row.text(5) + ", ";
  return pod + describe({row.text(1), row.text(2), row.text(3)});
}

Result<void> check_free(Database& database, const PublishedPort& port) {
  Query row(
      database,
      "SELECT p.host_ip, a.network, a.container_id, a.ifname, a.pod_namespace, a.pod_name"
      " FROM published_port p JOIN attachment a ON a.port = p.port WHERE p.protocol = ? AND p.host_port = ?");
  row.bind(text_of(port.protocol)).bind(port.host_port);
  for (;;) {
    PODWIRE_TRY(const bool more, row.step());
    if (!more) return {};
    PublishedPort other = port;
    other.host_ip.reset();
    if (!row.text(0).empty()) {
      PODWIRE_TRY(other.host_ip, parse_ip(row.text(0)));
    }
    if (!share_an_address(port.host_ip, other.host_ip)) continue;
    return conflict("host port " + describe(port) + " is taken: " + who(row) + " has " + describe(other) +
                    "; publish another host port, or delete that pod first");
  }
}

Result<void> check_address(const DomainPools& domain, const PublishedPort& port) {
  if (!port.host_ip || port.host_ip->is_zero()) return {};
  const auto& own = domain.node_addresses;
  if (std::find(own.begin(), own.end(), *port.host_ip) != own.end()) return {};
  std::string known;
  for (const auto& address : own) known += (known.empty() ? "" : ", ") + to_string(address);
  return invalid("host port " + describe(port) +
                 ": this node does not have that address; leave hostIP out, or use one of " + known);
}

Result<void> check_vxlan(const DomainPools& domain, const PublishedPort& port) {
  const auto& own = domain.vxlan_ports;
  const bool taken = port.protocol == api::ServiceProtocol::kUdp &&
                     std::find(own.begin(), own.end(), port.host_port) != own.end();
  if (!taken) return {};
  return conflict("host port " + describe(port) +
                  " carries this node's VXLAN; publish another host port, or set another vxlan.port");
}

// Every address of the node is a frontend of the service twice: for the world outside and for its own pods;
// all of a family are one more for the node's own programs.
Result<void> check_count(const DomainPools& domain) {
  constexpr std::size_t kMost = (api::kMaxFrontends - 2) / 2;
  if (domain.node_addresses.size() <= kMost) return {};
  return Error{ErrorCode::kExhausted, "this node has " + std::to_string(domain.node_addresses.size()) +
                                          " addresses, and a published port reaches at most " +
                                          std::to_string(kMost) + "; give each a hostIP"};
}

}  // namespace

bool share_an_address(const std::optional<IpAddr>& a, const std::optional<IpAddr>& b) {
  if (!a || !b) return true;
  return a->is_v4() == b->is_v4() && (*a == *b || a->is_zero() || b->is_zero());
}

std::string describe(const PublishedPort& port) {
  std::string host = "*";
  if (port.host_ip)
    host = port.host_ip->is_v4() ? to_string(*port.host_ip) : "[" + to_string(*port.host_ip) + "]";
  return text_of(port.protocol) + " " + host + ":" + std::to_string(port.host_port);
}

Result<void> allot_published_ports(Database& database, const DomainPools& domain, Attachment& attachment) {
  auto& ports = attachment.published_ports;
  if (ports.empty()) return {};
  if (!domain.stateful) {
    return invalid(
        "domain \"" + domain.name +
        "\" is not stateful, so ports cannot be published; set \"stateful\": true for it in podwired.json "
        "and restart podwired, or leave portMappings out");
  }
  for (std::size_t i = 0; i < ports.size(); ++i) {
    PODWIRE_CHECK(check_address(domain, ports[i]));
    PODWIRE_CHECK(check_vxlan(domain, ports[i]));
    if (!ports[i].host_ip) PODWIRE_CHECK(check_count(domain));
    for (std::size_t other = 0; other < i; ++other) {
      const bool same =
          ports[other].protocol == ports[i].protocol && ports[other].host_port == ports[i].host_port;
      if (same && share_an_address(ports[other].host_ip, ports[i].host_ip))
        return invalid("host port " + describe(ports[i]) + " is asked for twice; list it once");
    }
    PODWIRE_CHECK(check_free(database, ports[i]));
    PODWIRE_TRY(const auto id, allot_id(database, "service", id_name(ports[i]), 1, kLastPublished));
    ports[i].service = ServiceId(id);
  }
  return {};
}

Result<void> insert_published_ports(Database& database, const Attachment& attachment) {
  for (const auto& port : attachment.published_ports) {
    Query insert(database,
                 "INSERT INTO published_port(service, port, host_ip, protocol, host_port, container_port)"
                 " VALUES(?,?,?,?,?,?)");
    insert.bind(port.service.value()).bind(attachment.port.value()).bind(text_of(port.host_ip));
    insert.bind(text_of(port.protocol)).bind(port.host_port).bind(port.container_port);
    PODWIRE_CHECK(insert.run());
  }
  return {};
}

Result<void> remove_published_ports(Database& database, const Attachment& attachment) {
  for (const auto& port : attachment.published_ports) {
    PODWIRE_CHECK(
        Query(database, "DELETE FROM ids WHERE noun = 'service' AND name = ?").bind(id_name(port)).run());
  }
  return Query(database, "DELETE FROM published_port WHERE port = ?").bind(attachment.port.value()).run();
}

Result<std::vector<PublishedPort>> read_published_ports(Database& database, PortId port) {
  Query row(database,
            "SELECT service, host_ip, protocol, host_port, container_port FROM published_port WHERE port = ?"
            " ORDER BY rowid");
  row.bind(port.value());
  std::vector<PublishedPort> ports;
  for (;;) {
    PODWIRE_TRY(const bool more, row.step());
    if (!more) return ports;
    PublishedPort one;
    one.service = ServiceId(static_cast<std::uint32_t>(row.integer(0)));
    if (!row.text(1).empty()) {
      PODWIRE_TRY(one.host_ip, parse_ip(row.text(1)));
    }
    const auto& names = api::kServiceProtocolNames;
    one.protocol =
        static_cast<api::ServiceProtocol>(std::find(names.begin(), names.end(), row.text(2)) - names.begin());
    one.host_port = static_cast<std::uint16_t>(row.integer(3));
    one.container_port = static_cast<std::uint16_t>(row.integer(4));
    ports.push_back(one);
  }
}

}  // namespace podwire::control
