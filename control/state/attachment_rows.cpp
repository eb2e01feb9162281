#include "control/state/attachment_rows.hpp"

#include <algorithm>
#include <array>

#include "control/state/published_ports.hpp"
#include "dataplane/base/json.hpp"

namespace podwire::control {
namespace {

constexpr std::array kStateTexts{"adding", "ready", "deleting"};
// How many released addresses are remembered; beyond it the oldest are forgotten.
constexpr std::int64_t kFormerAddresses = 16384;

constexpr const char* kSelect =
    "SELECT port, endpoint, network, container_id, ifname, state, netns_path, netns_device, netns_inode, "
    "domain, mac,"
    " gateways, mtu, queues, ipam_type, config_json, pod_namespace, pod_name, pod_uid, kind, socket, "
    "pod_directory,"
    " options FROM attachment ";

Error damaged(const std::string& what) {
  return {ErrorCode::kInternal,
          "state database: " + what + " is unreadable; move the database away and re-create the node's pods"};
}

Json to_json(const EndpointOptions& options) {
  Json json = Json::object();
  if (options.dhcp) json["dhcp"] = true;
  if (!options.hostname.empty()) json["hostname"] = options.hostname;
  for (const auto& pair : options.allowed_pairs) {
    Json entry{{"address", to_string(pair.address)}};
    if (!pair.mac.is_zero()) entry["mac"] = to_string(pair.mac);
    json["allowed_pairs"].push_back(entry);
  }
  return json;
}

void read_options(ObjectReader& r, EndpointOptions& out) {
  r.optional("dhcp", out.dhcp);
  r.optional("hostname", out.hostname);
  r.optional("allowed_pairs", out.allowed_pairs);
}

// What is in the column `options` of an attachment: the paths have columns of their own.
Json options_json(const Attachment& a) {
  Json json = to_json(a.options);
  if (!a.device_info.empty()) json["device_info"] = a.device_info;
  if (a.limits.from_pod) json["from_pod"] = api::to_json(*a.limits.from_pod);
  if (a.limits.to_pod) json["to_pod"] = api::to_json(*a.limits.to_pod);
  if (a.kind == api::PortKind::kTap) return json;
  const auto& s = a.socket;
  json["socket_mode"] = api::kSocketModeNames[static_cast<std::size_t>(s.mode)];
  json["socket_group"] = s.group;
  json["socket_permissions"] = s.permissions;
  json["memif_id"] = s.memif_id;
  json["secret"] = s.secret;
  json["ring_size"] = s.ring_size;
  json["buffer_size"] = s.buffer_size;
  json["iommu"] = s.iommu;
  return json;
}

Result<void> read_options(const std::string& text, Attachment& a) {
  PODWIRE_TRY(const Json json, parse_json(text, "options"));
  ObjectReader r(json, "options");
  read_options(r, a.options);
  r.optional("device_info", a.device_info);
  r.optional("from_pod", a.limits.from_pod);
  r.optional("to_pod", a.limits.to_pod);
  r.choice("socket_mode", a.socket.mode, api::kSocketModeNames);
  r.optional("socket_group", a.socket.group);
  r.optional("socket_permissions", a.socket.permissions);
  r.optional("memif_id", a.socket.memif_id);
  r.optional("secret", a.socket.secret);
  r.optional("ring_size", a.socket.ring_size);
  r.optional("buffer_size", a.socket.buffer_size);
  r.optional("iommu", a.socket.iommu);
  return r.finish();
}

// Those of the attachment's own endpoint have the endpoint 0.
Result<std::vector<IpPrefix>> read_addresses(Database& database, const Attachment& a, EndpointId endpoint) {
  Query query(database,
              "SELECT address, length FROM address WHERE port = ? AND endpoint = ? ORDER BY position");
  query.bind(a.port.value()).bind(endpoint.value());
  std::vector<IpPrefix> addresses;
  for (;;) {
    PODWIRE_TRY(const bool more, query.step());
    if (!more) return addresses;
    auto address = parse_ip(query.text(0));
    if (!address) return damaged(describe(a.key));
    addresses.push_back({*address, static_cast<int>(query.integer(1))});
  }
}

Result<void> insert_addresses(Database& database, const Attachment& a, EndpointId endpoint,
                              const std::vector<IpPrefix>& addresses) {
  for (std::size_t i = 0; i < addresses.size(); ++i) {
    Query address(
        database,
        "INSERT INTO address(domain, address, length, port, position, endpoint) VALUES(?,?,?,?,?,?)");
    address.bind(a.domain).bind(to_string(addresses[i].address)).bind(addresses[i].length);
    address.bind(a.port.value()).bind(static_cast<std::int64_t>(i)).bind(endpoint.value());
    PODWIRE_CHECK(address.run());
  }
  return {};
}

Result<void> read_extra_endpoints(Database& database, Attachment& a) {
  Query query(database, "SELECT id, name, mac, options FROM extra_endpoint WHERE port = ? ORDER BY id");
  query.bind(a.port.value());
  for (;;) {
    PODWIRE_TRY(const bool more, query.step());
    if (!more) break;
    ExtraEndpoint e;
    e.id = EndpointId(static_cast<std::uint32_t>(query.integer(0)));
    e.name = query.text(1);
    const auto mac = parse_mac(query.text(2));
    const auto options = parse_json(query.text(3), "options");
    if (!mac || !options) return damaged("endpoint " + e.name);
    e.mac = *mac;
    ObjectReader r(*options, "options");
    read_options(r, e.options);
    if (!r.finish()) return damaged("endpoint " + e.name);
    a.extra_endpoints.push_back(std::move(e));
  }
  for (auto& e : a.extra_endpoints) {
    PODWIRE_TRY(e.addresses, read_addresses(database, a, e.id));
  }
  return {};
}

Result<Attachment> read_row(Database& database, const Query& row) {
  Attachment a;
  a.port = PortId(static_cast<std::uint16_t>(row.integer(0)));
  a.endpoint = EndpointId(static_cast<std::uint32_t>(row.integer(1)));
  a.key = {row.text(2), row.text(3), row.text(4)};
  const auto state = std::find(kStateTexts.begin(), kStateTexts.end(), row.text(5));
  a.state = static_cast<AttachmentState>(state - kStateTexts.begin());
  a.netns_path = row.text(6);
  a.netns_device = static_cast<std::uint64_t>(row.integer(7));
  a.netns_inode = static_cast<std::uint64_t>(row.integer(8));
  a.domain = row.text(9);
  auto mac = parse_mac(row.text(10));
  auto gateways = parse_json(row.text(11), "gateways");
  if (!mac || !gateways || !read_value(*gateways, "gateways", a.gateways)) return damaged(describe(a.key));
  a.mac = *mac;
  a.mtu = static_cast<std::uint16_t>(row.integer(12));
  a.queues = static_cast<std::uint16_t>(row.integer(13));
  a.ipam_type = row.text(14);
  a.config_json = row.text(15);
  a.pod_namespace = row.text(16);
  a.pod_name = row.text(17);
  a.pod_uid = row.text(18);
  const auto& kinds = api::kPortKindNames;
  a.kind = static_cast<api::PortKind>(std::find(kinds.begin(), kinds.end(), row.text(19)) - kinds.begin());
  a.socket.path = row.text(20);
  a.pod_directory = row.text(21);
  if (!read_options(row.text(22), a)) return damaged(describe(a.key));
  PODWIRE_TRY(a.addresses, read_addresses(database, a, EndpointId()));
  PODWIRE_CHECK(read_extra_endpoints(database, a));
  PODWIRE_TRY(a.published_ports, read_published_ports(database, a.port));
  return a;
}

// The name under which an extra endpoint's id is recorded.
std::string id_name(const ExtraEndpoint& endpoint) {
  return "extra/" + endpoint.name;
}

}  // namespace

const char* to_text(AttachmentState state) {
  return kStateTexts[static_cast<std::size_t>(state)];
}

std::string id_name(const AttachmentKey& key) {
  // '/' occurs in no container id and no interface name, so this is unique.
  return "attachment/" + key.container_id + "/" + key.ifname + "/" + key.network;
}

std::string describe(const AttachmentKey& key) {
  if (key.is_named_port()) return "port " + key.container_id;
  return "interface " + key.ifname + " of container " + key.container_id + " (network " + key.network + ")";
}

std::string deletion_of(const AttachmentKey& key) {
  return key.is_named_port() ? "podwirectl port del " + key.container_id : "CNI DEL";
}

Result<std::optional<Attachment>> load_attachment(Database& database, const AttachmentKey& key) {
  static const std::string sql =
      std::string(kSelect) + "WHERE network = ? AND container_id = ? AND ifname = ?";
  Query row(database, sql.c_str());
  row.bind(key.network).bind(key.container_id).bind(key.ifname);
  PODWIRE_TRY(const bool found, row.step());
  if (!found) return std::optional<Attachment>();
  PODWIRE_TRY(Attachment attachment, read_row(database, row));
  return std::optional<Attachment>(std::move(attachment));
}

Result<std::vector<Attachment>> load_attachments(Database& database) {
  static const std::string sql = std::string(kSelect) + "ORDER BY port";
  Query row(database, sql.c_str());
  std::vector<Attachment> all;
  for (;;) {
    PODWIRE_TRY(const bool more, row.step());
    if (!more) return all;
    PODWIRE_TRY(Attachment attachment, read_row(database, row));
    all.push_back(std::move(attachment));
  }
}

Result<void> insert_attachment(Database& database, const Attachment& a) {
  Json gateways = Json::array();
  for (const auto& g : a.gateways) gateways.push_back(to_string(g));
  Query insert(database, "INSERT INTO attachment VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)");
  insert.bind(a.port.value())
      .bind(a.endpoint.value())
      .bind(a.key.network)
      .bind(a.key.container_id)
      .bind(a.key.ifname);
  insert.bind(std::string_view(to_text(a.state))).bind(a.netns_path);
  insert.bind(static_cast<std::int64_t>(a.netns_device)).bind(static_cast<std::int64_t>(a.netns_inode));
  insert.bind(a.domain)
      .bind(to_string(a.mac))
      .bind(gateways.dump())
      .bind(a.mtu)
      .bind(a.queues)
      .bind(a.ipam_type);
  insert.bind(a.config_json).bind(a.pod_namespace).bind(a.pod_name).bind(a.pod_uid);
  insert.bind(api::kPortKindNames[static_cast<std::size_t>(a.kind)]).bind(a.socket.path);
  insert.bind(a.pod_directory).bind(options_json(a).dump());
  PODWIRE_CHECK(insert.run());
  return insert_addresses(database, a, EndpointId(), a.addresses);
}

Result<void> insert_endpoint(Database& database, const Attachment& attachment,
                             const ExtraEndpoint& endpoint) {
  PODWIRE_TRY(const auto id, allot_id(database, "endpoint", id_name(endpoint), 1, 0x7fffffff));
  Query insert(database,
               "INSERT INTO extra_endpoint(id, port, name, domain, mac, options) VALUES(?,?,?,?,?,?)");
  insert.bind(id).bind(attachment.port.value()).bind(endpoint.name).bind(attachment.domain);
  PODWIRE_CHECK(insert.bind(to_string(endpoint.mac)).bind(to_json(endpoint.options).dump()).run());
  return insert_addresses(database, attachment, EndpointId(id), endpoint.addresses);
}

Result<void> remove_endpoint_rows(Database& database, const ExtraEndpoint& endpoint) {
  PODWIRE_CHECK(Query(database, "DELETE FROM address WHERE endpoint = ?").bind(endpoint.id.value()).run());
  PODWIRE_CHECK(Query(database, "DELETE FROM extra_endpoint WHERE id = ?").bind(endpoint.id.value()).run());
  return Query(database, "DELETE FROM ids WHERE noun = 'endpoint' AND name = ?")
      .bind(id_name(endpoint))
      .run();
}

Result<void> set_attachment_state(Database& database, const AttachmentKey& key, AttachmentState state) {
  Query update(database,
               "UPDATE attachment SET state = ? WHERE network = ? AND container_id = ? AND ifname = ?");
  update.bind(std::string_view(to_text(state))).bind(key.network).bind(key.container_id).bind(key.ifname);
  return update.run();
}

Result<void> remove_attachment(Database& database, const Attachment& a) {
  for (const auto& endpoint : a.extra_endpoints) PODWIRE_CHECK(remove_endpoint_rows(database, endpoint));
  PODWIRE_CHECK(remove_published_ports(database, a));
  for (const auto& address : a.addresses) {
    if (!a.ipam_type.empty()) break;  // a delegated plugin remembers its own
    Query remember(database,
                   "INSERT OR REPLACE INTO former_address(domain, network, container_id, ifname, address) "
                   "VALUES(?,?,?,?,?)");
    remember.bind(a.domain)
        .bind(a.key.network)
        .bind(a.key.container_id)
        .bind(a.key.ifname)
        .bind(to_string(address.address));
    PODWIRE_CHECK(remember.run());
  }
  Query prune(database,
              "DELETE FROM former_address WHERE sequence <= (SELECT max(sequence) FROM former_address) - ?");
  PODWIRE_CHECK(prune.bind(kFormerAddresses).run());
  Query addresses(database, "DELETE FROM address WHERE port = ?");
  PODWIRE_CHECK(addresses.bind(a.port.value()).run());
  Query attachment(database, "DELETE FROM attachment WHERE port = ?");
  PODWIRE_CHECK(attachment.bind(a.port.value()).run());
  Query ids(database, "DELETE FROM ids WHERE noun IN ('port', 'endpoint') AND name = ?");
  return ids.bind(id_name(a.key)).run();
}

Result<std::uint32_t> allot_id(Database& database, const std::string& noun, const std::string& name,
                               std::uint32_t first, std::uint32_t last) {
  Query lowest(database,
               "SELECT CASE WHEN NOT EXISTS (SELECT 1 FROM ids WHERE noun = ?1 AND id = ?2) THEN ?2 ELSE"
               " (SELECT a.id + 1 FROM ids a WHERE a.noun = ?1 AND a.id >= ?2"
               "  AND NOT EXISTS (SELECT 1 FROM ids b WHERE b.noun = ?1 AND b.id = a.id + 1) ORDER BY a.id "
               "LIMIT 1) END");
  lowest.bind(noun).bind(first);
  PODWIRE_CHECK(lowest.step());
  const auto id = lowest.integer(0);
  if (id > last) {
    return Error{ErrorCode::kExhausted, "no " + noun + " id is left for \"" + name + "\": all from " +
                                            std::to_string(first) + " to " + std::to_string(last) +
                                            " are in use; remove some first"};
  }
  Query insert(database, "INSERT INTO ids(noun, name, id) VALUES(?,?,?)");
  PODWIRE_CHECK(insert.bind(noun).bind(name).bind(id).run());
  return static_cast<std::uint32_t>(id);
}

}  // namespace podwire::control
