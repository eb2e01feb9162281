#include "control/cluster/etcd_records.hpp"

#include <algorithm>

namespace podwire::control {
namespace {

constexpr std::size_t kLongestName = 48;

bool is_name(const std::string& name) {
  return !name.empty() && name.size() <= kLongestName &&
         std::all_of(name.begin(), name.end(), [](char c) { return c > ' ' && c < 0x7f && c != '/'; });
}

Result<std::map<std::string, DomainTransport>> read_transports(const Json& value) {
  std::map<std::string, DomainTransport> out;
  if (!value.is_object()) return invalid("node record: transports is no object");
  const auto& names = transport_names();
  for (const auto& [domain, transport] : value.items()) {
    const auto at = transport.is_string()
                        ? std::find(names.begin(), names.end(), transport.get_ref<const std::string&>())
                        : names.end();
    if (at == names.end())
      return invalid("node record: the transport of domain \"" + domain.substr(0, kLongestName) +
                     "\" is none of \"tunnel\", \"routed\" and \"subnet\"");
    const auto known = static_cast<DomainTransport>(at - names.begin());
    if (known != DomainTransport::kTunnel) out[domain] = known;
  }
  return out;
}

}  // namespace

std::string EtcdKeys::prefix(const std::string& domain, const IpPrefix& prefix) const {
  return prefixes() + domain + "/" + to_string(prefix.address) + "-" + std::to_string(prefix.length);
}

std::optional<EtcdKeys::Parsed> EtcdKeys::parse(const std::string& key) const {
  if (!key.starts_with(prefix_)) return std::nullopt;
  auto rest = key.substr(prefix_.size());
  const auto slash = rest.find('/');
  if (slash == rest.npos) return std::nullopt;
  const auto section = rest.substr(0, slash);
  rest.erase(0, slash + 1);
  Parsed out;
  if (section == "nodes" || section == "alive" || section == "silent") {
    out.kind = section == "nodes" ? Kind::kNode : section == "alive" ? Kind::kAlive : Kind::kSilent;
    out.name = rest;
    return is_name(out.name) ? std::optional<Parsed>(out) : std::nullopt;
  }
  const auto second = rest.find('/');
  const auto dash = rest.rfind('-');
  if (section != "prefixes" || second == rest.npos || dash == rest.npos || dash < second) return std::nullopt;
  out.kind = Kind::kPrefix;
  out.name = rest.substr(0, second);
  auto prefix = parse_prefix(rest.substr(second + 1, dash - second - 1) + "/" + rest.substr(dash + 1));
  if (!is_name(out.name) || !prefix || *prefix != prefix->network()) return std::nullopt;
  out.prefix = *prefix;
  // A prefix has one key, not several spellings of it.
  return this->prefix(out.name, out.prefix) == key ? std::optional<Parsed>(out) : std::nullopt;
}

std::string to_value(const NodeRecord& record) {
  Json addresses = Json::array();
  for (const auto& address : record.addresses) addresses.push_back(to_string(address));
  Json out{{"addresses", addresses}, {"udp_port", record.udp_port}, {"mac", to_string(record.mac)}};
  for (const auto& [domain, transport] : record.transports)
    out["transports"][domain] = transport_names()[static_cast<std::size_t>(transport)];
  return out.dump();
}

Result<NodeRecord> parse_node_record(const std::string& value) {
  PODWIRE_TRY(const Json json, parse_json(value, "node record"));
  NodeRecord record;
  ObjectReader r(json, "node record");
  r.required("addresses", record.addresses);
  r.required("udp_port", record.udp_port);
  r.required("mac", record.mac);
  const Json* transports = r.find("transports");
  r.ignore_unknown();  // of newer versions
  PODWIRE_CHECK(r.finish());
  int families[2] = {};
  for (const auto& address : record.addresses) {
    const bool link_local = address.is_v6() && address.v6().is_link_local();
    if (address.is_zero() || address.is_multicast() || link_local || ++families[address.is_v4()] > 1)
      return invalid("node record: addresses are not one unicast address a family at most");
  }
  if (transports != nullptr) {
    PODWIRE_TRY(record.transports, read_transports(*transports));
  }
  if (record.addresses.empty() || record.udp_port == 0 || record.mac.is_zero() || record.mac.is_multicast())
    return invalid("node record: an address, a UDP port or a unicast MAC address is missing");
  return record;
}

std::string owner_value(const std::string& node) {
  return Json{{"node", node}}.dump();
}

std::string parse_owner(const std::string& value) {
  const auto json = parse_json(value, "owner");
  if (!json || !json->is_object()) return {};
  const auto at = json->find("node");
  if (at == json->end() || !at->is_string()) return {};
  auto name = at->get<std::string>();
  return is_name(name) ? name : std::string();
}

std::string silence_value(std::int64_t since_s) {
  return Json{{"since", since_s}}.dump();
}

std::optional<std::int64_t> parse_silence(const std::string& value) {
  const auto json = parse_json(value, "silence");
  if (!json || !json->is_object()) return std::nullopt;
  const auto at = json->find("since");
  if (at == json->end() || !at->is_number_integer()) return std::nullopt;
  return at->get<std::int64_t>();
}

}  // namespace podwire::control
