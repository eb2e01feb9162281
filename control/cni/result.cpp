#include "control/cni/result.hpp"

#include "control/cni/version.hpp"

namespace podwire::control {
namespace {

constexpr std::size_t kMaxEntries = 256;  // of each list; a pod has a handful

bool is_absent(const Json& value) {
  return value.is_null() || (value.is_structured() && value.empty());
}

// Calls `each(element, path)` for the array under `key`; absent and null are empty.
template <class Each>
Result<void> for_each_in(const Json& object, const char* key, const std::string& path, Each each) {
  const auto it = object.find(key);
  if (it == object.end() || it->is_null()) return {};
  const auto where = path + "." + key;
  if (!it->is_array()) return invalid(where + " must be an array, not " + json_type_name(*it));
  if (it->size() > kMaxEntries) {
    return invalid(where + " has " + std::to_string(it->size()) + " entries, at most " +
                   std::to_string(kMaxEntries));
  }
  for (std::size_t i = 0; i < it->size(); ++i) {
    const auto element_path = where + "[" + std::to_string(i) + "]";
    if (!(*it)[i].is_object())
      return invalid(element_path + " must be an object, not " + json_type_name((*it)[i]));
    PODWIRE_CHECK(each((*it)[i], element_path));
  }
  return {};
}

Result<ResultInterface> read_interface(const Json& value, const std::string& path) {
  ResultInterface interface;
  ObjectReader r(value, path);
  r.ignore_unknown();
  r.required("name", interface.name);
  r.optional("mac", interface.mac);
  r.optional("mtu", interface.mtu);
  r.optional("sandbox", interface.sandbox);
  r.optional("socketPath", interface.socket_path);
  PODWIRE_CHECK(r.finish());
  return interface;
}

Result<ResultIp> read_ip(const Json& value, const std::string& path) {
  ResultIp ip;
  std::optional<std::int64_t> interface;
  std::optional<std::string> gateway;
  ObjectReader r(value, path);
  r.ignore_unknown();
  r.required("address", ip.address);
  r.optional("gateway", gateway);
  r.optional("interface", interface);
  PODWIRE_CHECK(r.finish());
  if (gateway && !gateway->empty()) {
    PODWIRE_TRY(ip.gateway, parse_ip(*gateway));
    if (ip.gateway->is_v4() != ip.address.address.is_v4()) {
      return invalid(path + ".gateway is " + *gateway + ", not of the family of " + to_string(ip.address));
    }
  }
  // -1 is Go's "no interface".
  if (interface && *interface >= 0) ip.interface = static_cast<std::size_t>(*interface);
  return ip;
}

Json ip_json(const std::string& version, const ResultIp& ip) {
  Json json = Json::object();
  if (has_feature(version, CniFeature::kIpVersionField))
    json["version"] = ip.address.address.is_v4() ? "4" : "6";
  if (ip.interface) json["interface"] = *ip.interface;
  json["address"] = to_string(ip.address);
  if (ip.gateway) json["gateway"] = to_string(*ip.gateway);
  return json;
}

Json route_json(const std::string& version, const ResultRoute& route) {
  Json json{{"dst", to_string(route.destination)}};
  if (route.gateway) json["gw"] = to_string(*route.gateway);
  if (!has_feature(version, CniFeature::kLinkMtu)) return json;
  if (route.mtu != 0) json["mtu"] = route.mtu;
  if (route.priority != 0) json["priority"] = route.priority;
  if (route.table != 0) json["table"] = route.table;
  if (route.scope) json["scope"] = *route.scope;
  return json;
}

// Earlier plugins of the chain may have answered in another version; ips[].version is all that our four
// differ in among the fields that were there before.
void convert_ips(const std::string& version, Json& result) {
  const auto ips = result.find("ips");
  if (ips == result.end() || !ips->is_array()) return;
  for (auto& ip : *ips) {
    if (!has_feature(version, CniFeature::kIpVersionField)) {
      ip.erase("version");
    } else if (!ip.contains("version")) {
      ip["version"] = ip.value("address", "").find(':') == std::string::npos ? "4" : "6";
    }
  }
}

Json& list_in(Json& result, const char* key) {
  auto& list = result[key];
  if (!list.is_array()) list = Json::array();
  return list;
}

}  // namespace

Result<ResultRoute> read_route(const Json& value, const std::string& path) {
  ResultRoute route;
  std::optional<std::string> gateway;
  Json advmss;
  ObjectReader r(value, path);
  r.required("dst", route.destination);
  r.optional("gw", gateway);
  r.optional_in("mtu", route.mtu, 0, 65535);
  r.optional("priority", route.priority);
  r.optional("table", route.table);
  r.optional("scope", route.scope);
  r.optional("advmss", advmss);
  PODWIRE_CHECK(r.finish());
  if (!is_absent(advmss) && advmss != 0) {
    return Error{ErrorCode::kUnsupported,
                 path + ".advmss is " + advmss.dump() + ", which is not supported; leave it out"};
  }
  if (gateway && !gateway->empty()) {
    PODWIRE_TRY(route.gateway, parse_ip(*gateway));
    if (route.gateway->is_v4() != route.destination.address.is_v4()) {
      return invalid(path + ".gw is " + *gateway + ", not of the family of " + to_string(route.destination));
    }
  }
  route.destination = route.destination.network();
  return route;
}

Result<Json> read_dns(const Json& value, const std::string& path) {
  if (is_absent(value)) return Json();
  std::vector<std::string> nameservers, search, options;
  std::string domain;
  ObjectReader r(value, path);
  r.optional("nameservers", nameservers);
  r.optional("domain", domain);
  r.optional("search", search);
  r.optional("options", options);
  PODWIRE_CHECK(r.finish());
  Json dns = Json::object();
  if (!nameservers.empty()) dns["nameservers"] = nameservers;
  if (!domain.empty()) dns["domain"] = domain;
  if (!search.empty()) dns["search"] = search;
  if (!options.empty()) dns["options"] = options;
  return dns.empty() ? Json() : dns;
}

CniResult<Chained> read_result(const Json& value, const std::string& path) {
  if (!value.is_object()) return invalid(path + " must be an object, not " + json_type_name(value));
  if (const auto version = value.find("cniVersion"); version != value.end()) {
    if (!version->is_string() || !is_supported(version->get<std::string>())) {
      return CniError(CniCode::kIncompatibleVersion,
                      path + ".cniVersion is " + version->dump() + ", which is not supported");
    }
  }
  Chained result;
  PODWIRE_CHECK(for_each_in(value, "interfaces", path,
                            [&](const Json& element, const std::string& where) -> Result<void> {
                              PODWIRE_TRY(auto interface, read_interface(element, where));
                              result.interfaces.push_back(std::move(interface));
                              return {};
                            }));
  PODWIRE_CHECK(
      for_each_in(value, "ips", path, [&](const Json& element, const std::string& where) -> Result<void> {
        PODWIRE_TRY(auto ip, read_ip(element, where));
        if (ip.interface && *ip.interface >= result.interfaces.size()) {
          return invalid(where + ".interface is " + std::to_string(*ip.interface) + ", but there are " +
                         std::to_string(result.interfaces.size()) + " interfaces");
        }
        result.ips.push_back(std::move(ip));
        return {};
      }));
  PODWIRE_CHECK(
      for_each_in(value, "routes", path, [&](const Json& element, const std::string& where) -> Result<void> {
        PODWIRE_TRY(auto route, read_route(element, where));
        result.routes.push_back(std::move(route));
        return {};
      }));
  if (const auto dns = value.find("dns"); dns != value.end()) {
    PODWIRE_TRY(result.dns, read_dns(*dns, path + ".dns"));
  }
  return result;
}

Json make_add_result(const std::string& version, const Json& previous, const AddedInterface& added) {
  Json result = {{"cniVersion", version}};
  if (previous.is_object()) {
    result.update(previous);
    result["cniVersion"] = version;
    convert_ips(version, result);
  }
  auto& interfaces = list_in(result, "interfaces");
  interfaces.push_back({{"name", added.port_name}});
  const std::size_t pod_side = interfaces.size();
  Json pod{{"name", added.ifname}, {"mac", to_string(added.mac)}};
  if (has_feature(version, CniFeature::kLinkMtu)) pod["mtu"] = added.mtu;
  pod["sandbox"] = added.netns;
  if (has_feature(version, CniFeature::kLinkMtu) && !added.socket_path.empty())
    pod["socketPath"] = added.socket_path;
  interfaces.push_back(std::move(pod));

  auto& ips = list_in(result, "ips");
  for (auto ip : added.ips) {
    ip.interface = pod_side;
    ips.push_back(ip_json(version, ip));
  }
  auto& routes = list_in(result, "routes");
  for (const auto& route : added.routes) routes.push_back(route_json(version, route));
  const bool has_dns = result.contains("dns") && !is_absent(result["dns"]);
  if (!has_dns) {
    result.erase("dns");
    if (!is_absent(added.dns)) result["dns"] = added.dns;
  }
  return result;
}

}  // namespace podwire::control
