#include "control/cluster/flannel_records.hpp"

#include <algorithm>
#include <charconv>
#include <limits>

#include "control/config.hpp"
#include "control/state/ipam.hpp"

namespace podwire::control {
namespace {

constexpr std::int64_t kLargestVni = (1 << 24) - 1;

AddressNumber subnet_size(bool v4, int length) {
  const int bits = (v4 ? 32 : 128) - length;
  return bits >= 128 ? 0 : AddressNumber{1} << bits;  // all there is, and one more
}

// How long a subnet is where nothing is said, and what is too small to be cut (flannel:
// pkg/subnet/config.go).
struct FlannelLimits {
  int smallest_network, usual, longest;
};
constexpr FlannelLimits kV4Limits{28, 24, 30}, kV6Limits{124, 64, 126};

Result<FlannelRange> read_range(ObjectReader& r, bool v4) {
  const std::string six = v4 ? "" : "IPv6";
  const auto& limits = v4 ? kV4Limits : kV6Limits;
  FlannelRange out;
  int length = 0;
  std::optional<IpAddr> low, high;
  const auto network_key = six + "Network", length_key = six + "SubnetLen", min_key = six + "SubnetMin",
             max_key = six + "SubnetMax";
  if (!r.optional(network_key.c_str(), out.network))
    return invalid(r.child(network_key.c_str()) + " is missing");
  r.optional_in(length_key.c_str(), length, 0, limits.longest);
  r.optional(min_key.c_str(), low);
  r.optional(max_key.c_str(), high);
  const auto& network = out.network;
  const auto where = r.child(network_key.c_str());
  if (network.address.is_zero() || network.address.is_v4() != v4 || network != network.network())
    return invalid(where + " is " + to_string(network) + ", must be the start of an IPv" + (v4 ? "4" : "6") +
                   " network");
  if (length == 0) length = network.length <= limits.usual - 2 ? limits.usual : network.length + 2;
  if (network.length > limits.smallest_network || length < network.length + 2 || length > limits.longest) {
    return invalid(where + " is " + to_string(network) + " with subnets of /" + std::to_string(length) +
                   "; Flannel wants at least four subnets of a network, of at least four addresses each");
  }
  out.length = length;
  const auto size = subnet_size(v4, length);
  const auto start = to_number(network.address);
  const auto end = start + subnet_size(v4, network.length);
  // The first one is left out: its first address is the network's own.
  out.first = {from_number(start + size, v4), length};
  out.last = {from_number(end - size, v4), length};
  for (const auto& [bound, subnet, key] :
       {std::tuple{&low, &out.first, &min_key}, std::tuple{&high, &out.last, &max_key}}) {
    if (!*bound || (*bound)->is_zero()) continue;
    const IpPrefix given{**bound, length};
    if (!network.contains(**bound) || given != given.network())
      return invalid(r.child(key->c_str()) + " is " + to_string(**bound) + ", must be where a subnet of /" +
                     std::to_string(length) + " of " + to_string(network) + " begins");
    *subnet = given;
  }
  if (to_number(out.first.address) > to_number(out.last.address))
    return invalid(r.child(min_key.c_str()) + " is behind " + max_key);
  return out;
}

Result<void> read_backend(const Json& value, const std::string& path, FlannelNetwork& out) {
  std::string type = "udp";
  std::int64_t vni = 1, port = 0;
  bool gbp = false;
  ObjectReader r(value, path);
  r.ignore_unknown();
  r.optional("Type", type);
  r.optional_in("VNI", vni, 0, kLargestVni);
  r.optional_in("Port", port, 0, 65535);
  r.optional("DirectRouting", out.direct_routing);
  r.optional("GBP", gbp);
  PODWIRE_CHECK(r.finish());
  if (type != "vxlan")
    return invalid(path + ".Type is \"" + type.substr(0, 32) +
                   "\"; Podwire joins networks of type vxlan only");
  if (gbp) return invalid(path + ".GBP is true, and group policies are not supported; leave it out");
  out.vni = Vni(static_cast<std::uint32_t>(vni));
  if (port != 0) out.port = static_cast<std::uint16_t>(port);
  return {};
}

// "10.5.34.0-24"
std::optional<IpPrefix> parse_subnet(const std::string& text, bool v4) {
  const auto dash = text.rfind('-');
  if (dash == text.npos) return std::nullopt;
  const auto prefix = parse_prefix(text.substr(0, dash) + "/" + text.substr(dash + 1));
  if (!prefix || prefix->address.is_v4() != v4 || *prefix != prefix->network()) return std::nullopt;
  return *prefix;
}

std::string subnet_text(const IpPrefix& subnet) {
  return to_string(subnet.address) + "-" + std::to_string(subnet.length);
}

Result<MacAddr> read_backend_data(const Json& value, const std::string& path, Vni& vni) {
  MacAddr mac;
  ObjectReader r(value, path);
  r.ignore_unknown();
  std::int64_t number = 0;
  const bool has_vni = r.optional_in("VNI", number, 0, kLargestVni);
  r.required("VtepMAC", mac);
  PODWIRE_CHECK(r.finish());
  if (!has_vni) return invalid(path + ".VNI is missing");
  if (mac.is_zero() || mac.is_multicast())
    return invalid(path + ".VtepMAC is " + to_string(mac) + ", must be a unicast address");
  vni = Vni(static_cast<std::uint32_t>(number));
  return mac;
}

// Null and "" stand for none, as Go writes what is not set.
Result<std::optional<IpAddr>> read_public(ObjectReader& r, const char* key, bool v4) {
  const Json* value = r.find(key);
  if (value == nullptr || value->is_null() ||
      (value->is_string() && value->get_ref<const std::string&>().empty()))
    return std::optional<IpAddr>();
  IpAddr address;
  PODWIRE_CHECK(podwire::read_value(*value, r.child(key), address));
  if (address.is_v4() != v4 || address.is_zero() || address.is_multicast())
    return invalid(r.child(key) + " is " + to_string(address) + ", must be a unicast IPv" + (v4 ? "4" : "6") +
                   " address");
  return std::optional<IpAddr>(address);
}

}  // namespace

Result<FlannelNetwork> parse_flannel_network(const std::string& value, const std::string& what) {
  PODWIRE_TRY(const Json json, parse_json(value, what));
  FlannelNetwork out;
  bool v4 = true, v6 = false;
  ObjectReader r(json, what);
  r.ignore_unknown();
  r.optional("EnableIPv4", v4);
  r.optional("EnableIPv6", v6);
  const Json* backend = r.find("Backend");
  auto range4 = read_range(r, true);
  Result<FlannelRange> range6 = FlannelRange();
  if (v6) range6 = read_range(r, false);
  PODWIRE_CHECK(r.finish());
  if (!v4) return invalid(what + ".EnableIPv4 is false; subnets in etcd always have an IPv4 part");
  if (!range4) return range4.error();
  if (!range6) return range6.error();
  out.v4 = *range4;
  if (v6) out.v6 = *range6;
  static const Json kNothing = Json::object();
  PODWIRE_CHECK(
      read_backend(backend == nullptr || backend->is_null() ? kNothing : *backend, what + ".Backend", out));
  return out;
}

std::string to_key(const FlannelSubnet& subnet) {
  return subnet_text(subnet.v4) + (subnet.v6 ? "&" + subnet_text(*subnet.v6) : "");
}

std::optional<FlannelSubnet> parse_flannel_key(const std::string& key) {
  const auto both = key.find('&');
  const auto v4 = parse_subnet(key.substr(0, both), true);
  if (!v4) return std::nullopt;
  FlannelSubnet out{*v4, std::nullopt};
  if (both == key.npos) return out;
  const auto v6 = parse_subnet(key.substr(both + 1), false);
  if (!v6) return std::nullopt;
  out.v6 = *v6;
  return out;
}

std::string to_value(const FlannelLease& lease) {
  const auto data = [&](const MacAddr& mac) {
    return Json{{"VNI", lease.vni.value()}, {"VtepMAC", to_string(mac)}};
  };
  Json json{{"PublicIP", to_string(lease.public_v4)},
            {"PublicIPv6", lease.public_v6 ? Json(to_string(*lease.public_v6)) : Json()},
            {"BackendType", "vxlan"},
            {"BackendData", data(lease.mac_v4)}};
  if (lease.mac_v6) json["BackendV6Data"] = data(*lease.mac_v6);
  return json.dump();
}

Result<FlannelLease> parse_flannel_lease(const FlannelSubnet& subnet, const std::string& value) {
  const auto what = "lease " + to_key(subnet);
  PODWIRE_TRY(const Json json, parse_json(value, what));
  FlannelLease out;
  out.subnet = subnet;
  std::string type;
  ObjectReader r(json, what);
  r.ignore_unknown();
  r.optional("BackendType", type);
  const Json* data4 = r.find("BackendData");
  const Json* data6 = r.find("BackendV6Data");
  auto public4 = read_public(r, "PublicIP", true);
  auto public6 = read_public(r, "PublicIPv6", false);
  PODWIRE_CHECK(r.finish());
  if (!public4) return public4.error();
  if (!public6) return public6.error();
  if (type != "vxlan")
    return invalid(what + ".BackendType is \"" + type.substr(0, 32) + "\"; only vxlan can be reached");
  if (!*public4 || data4 == nullptr) return invalid(what + ": PublicIP or BackendData is missing");
  out.public_v4 = **public4;
  PODWIRE_TRY(out.mac_v4, read_backend_data(*data4, what + ".BackendData", out.vni));
  if (!subnet.v6) return out;
  if (!*public6 || data6 == nullptr || data6->is_null())
    return invalid(what + ": PublicIPv6 or BackendV6Data is missing");
  out.public_v6 = *public6;
  Vni vni6;
  PODWIRE_TRY(out.mac_v6, read_backend_data(*data6, what + ".BackendV6Data", vni6));
  if (vni6 != out.vni) return invalid(what + ": BackendData and BackendV6Data have different VNIs");
  return out;
}

bool is_of(const FlannelRange& range, const IpPrefix& subnet) {
  return subnet.length == range.length && subnet.address.is_v4() == range.network.address.is_v4() &&
         to_number(subnet.address) >= to_number(range.first.address) &&
         to_number(subnet.address) <= to_number(range.last.address);
}

std::optional<IpPrefix> free_subnet(const FlannelRange& range, const std::vector<IpPrefix>& taken) {
  const bool v4 = range.network.address.is_v4();
  std::vector<std::pair<AddressNumber, AddressNumber>> used;  // first, last
  for (const auto& other : taken) {
    if (other.address.is_v4() != v4) continue;
    const auto first = to_number(other.network().address);
    used.emplace_back(first, first + (subnet_size(v4, other.length) - 1));
  }
  std::sort(used.begin(), used.end());
  const auto size = subnet_size(v4, range.length);
  const auto last = to_number(range.last.address);
  auto at = to_number(range.first.address);
  for (const auto& [first, end] : used) {
    if (first > at + (size - 1)) break;
    if (end < at) continue;
    if (end >= last + (size - 1)) return std::nullopt;
    at = (end | (size - 1)) + 1;
  }
  if (at > last) return std::nullopt;
  return IpPrefix{from_number(at, v4), range.length};
}

std::vector<std::string> flannel_node_names(const FlannelSubnet& subnet) {
  std::vector<std::string> names{subnet_text(subnet.v4)};
  if (subnet.v6) names.push_back(subnet_text(*subnet.v6));
  return names;
}

std::vector<ClusterNode> flannel_nodes(const std::string& domain, const FlannelNetwork& network,
                                       const FlannelLease& lease) {
  std::map<std::string, DomainTransport> transports;
  if (network.direct_routing) transports[domain] = DomainTransport::kSubnet;
  const auto node = [&](const IpPrefix& subnet, const IpAddr& address, const MacAddr& mac) {
    return ClusterNode{subnet_text(subnet), {{address}, network.port, mac, transports}, {{domain, {subnet}}}};
  };
  const auto& subnet = lease.subnet;
  std::vector<ClusterNode> out{node(subnet.v4, lease.public_v4, lease.mac_v4)};
  if (subnet.v6) out.push_back(node(*subnet.v6, *lease.public_v6, *lease.mac_v6));
  return out;
}

std::string subnet_env(const FlannelNetwork& network, const FlannelSubnet& subnet, std::uint16_t mtu,
                       bool masquerade) {
  const auto gateway = [](const IpPrefix& prefix) {
    return to_string(first_usable(prefix)) + "/" + std::to_string(prefix.length);
  };
  auto text =
      "FLANNEL_NETWORK=" + to_string(network.v4.network) + "\nFLANNEL_SUBNET=" + gateway(subnet.v4) + "\n";
  if (network.v6 && subnet.v6) {
    text += "FLANNEL_IPV6_NETWORK=" + to_string(network.v6->network) +
            "\nFLANNEL_IPV6_SUBNET=" + gateway(*subnet.v6) + "\n";
  }
  return text + "FLANNEL_MTU=" + std::to_string(mtu) + "\nFLANNEL_IPMASQ=" + (masquerade ? "true" : "false") +
         "\n";
}

}  // namespace podwire::control
