#include "control/cli/changes.hpp"

#include <algorithm>
#include <charconv>

#include "dataplane/base/addresses.hpp"

namespace podwire::control::cli {
namespace {

using Given = std::map<std::string, std::vector<std::string>>;

enum class Kind { kText, kNumber, kFlag, kNoFlag, kAddresses, kPairs, kRate, kPrefixes, kPeers };
struct Parameter {
  const char* option;
  const char* key;
  Kind kind;
};
constexpr Parameter kParameters[] = {
    {"kind", "kind", Kind::kText},
    {"socket", "socket", Kind::kText},
    {"socket-mode", "socket_mode", Kind::kText},
    {"domain", "domain", Kind::kText},
    {"port", "port", Kind::kText},
    {"mac", "mac", Kind::kText},
    {"mtu", "mtu", Kind::kNumber},
    {"queues", "queues", Kind::kNumber},
    {"address", "addresses", Kind::kAddresses},
    {"hostname", "hostname", Kind::kText},
    {"dhcp", "dhcp", Kind::kFlag},
    {"no-dhcp", "dhcp", Kind::kNoFlag},
    {"allowed-pair", "allowed_pairs", Kind::kPairs},
    {"ring-size", "ring_size", Kind::kNumber},
    {"buffer-size", "buffer_size", Kind::kNumber},
    {"secret", "secret", Kind::kText},
    {"memif-id", "memif_id", Kind::kNumber},
    {"iommu", "iommu", Kind::kFlag},
    {"namespace", "namespace", Kind::kText},
    {"pod", "pod", Kind::kText},
    {"from-pod-rate", "from_pod", Kind::kRate},
    {"to-pod-rate", "to_pod", Kind::kRate},
    {"vni", "vni", Kind::kNumber},
    {"mode", "mode", Kind::kText},
    {"prefix", "prefixes", Kind::kPrefixes},
    {"peer", "peers", Kind::kPeers},
    {"stateful", "stateful", Kind::kFlag},
    {"masquerade", "masquerade", Kind::kFlag},
    {"policy-default", "policy_default", Kind::kText},
};

struct Required {
  const char *verb, *option, *key, *example;
};
constexpr const char* kPortExample = "podwirectl port add vm1 --kind vhost --socket /run/vms/vm1.sock";
constexpr const char* kDomainExample = "podwirectl domain add tenant-a --vni 100 --prefix 10.1.1.0/24";
constexpr Required kRequired[] = {
    {"port", "kind", "kind", kPortExample},
    {"port", "socket", "socket", kPortExample},
    {"endpoint", "port", "port", "podwirectl endpoint add vm1-vip --port vm1 --address 10.244.1.60"},
    {"domain", "vni", "vni", kDomainExample},
    {"domain", "prefix", "prefixes", kDomainExample},
};

Error bad(const std::string& option, const std::string& value, const char* wanted) {
  return invalid("--" + option + " " + value + ": must be " + wanted);
}

Result<Json> read_number(const std::string& option, const std::string& text) {
  std::uint32_t n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error != std::errc{} || end != text.data() + text.size()) return bad(option, text, "a whole number");
  return Json(n);
}

// Bits a second: 100M, 2500k, 1G.
Result<Json> read_rate(const std::string& option, const std::string& text) {
  std::uint64_t n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  const std::string unit(end, text.data() + text.size());
  const std::uint64_t factor = unit.empty()                 ? 1
                               : unit == "k" || unit == "K" ? 1'000
                               : unit == "M"                ? 1'000'000
                               : unit == "G"                ? 1'000'000'000
                                                            : 0;
  if (error != std::errc{} || factor == 0 || n > 1'000'000'000'000 / factor)
    return bad(option, text, "bits a second, such as 100M or 2500k");
  return Json{{"rate_bps", n * factor}};
}

Result<Json> read_addresses(const std::string& option, const std::vector<std::string>& texts) {
  Json list = Json::array();
  for (const auto& text : texts) {
    if (!parse_ip(text)) return bad(option, text, "an IPv4 or IPv6 address, such as 10.244.1.50");
    list.push_back(text);
  }
  return list;
}

// PREFIX[,MAC]; an address alone is a prefix of its full length.
Result<Json> read_pairs(const std::string& option, const std::vector<std::string>& texts) {
  Json list = Json::array();
  for (const auto& text : texts) {
    const auto comma = text.find(',');
    auto prefix = text.substr(0, comma);
    if (const auto address = parse_ip(prefix)) prefix += "/" + std::to_string(address->bits());
    const bool has_mac = comma != text.npos;
    if (!parse_prefix(prefix) || (has_mac && !parse_mac(text.substr(comma + 1))))
      return bad(option, text, "PREFIX or PREFIX,MAC, such as 10.0.0.0/24,02:00:00:00:00:01");
    Json pair{{"address", prefix}};
    if (has_mac) pair["mac"] = text.substr(comma + 1);
    list.push_back(std::move(pair));
  }
  return list;
}

Result<Json> read_prefixes(const std::string& option, const std::vector<std::string>& texts) {
  Json list = Json::array();
  for (const auto& text : texts) {
    if (!parse_prefix(text)) return bad(option, text, "a prefix, such as 10.1.1.0/24 or fd00:1:1::/64");
    list.push_back(text);
  }
  return list;
}

// NAME or NAME=PREFIX, which several may say of one name.
Result<Json> read_peers(const std::string& option, const std::vector<std::string>& texts) {
  Json peers = Json::object();
  for (const auto& text : texts) {
    const auto equals = text.find('=');
    auto& prefixes = peers[text.substr(0, equals)];
    if (prefixes.is_null()) prefixes = Json::array();
    if (equals == text.npos) continue;
    if (!parse_prefix(text.substr(equals + 1)))
      return bad(option, text, "NAME or NAME=PREFIX, such as node2=10.1.2.0/24");
    prefixes.push_back(text.substr(equals + 1));
  }
  return peers;
}

Result<Json> read_parameter(const Parameter& parameter, const std::vector<std::string>& values) {
  switch (parameter.kind) {
    case Kind::kFlag:
      return Json(true);
    case Kind::kNoFlag:
      return Json(false);
    case Kind::kNumber:
      return read_number(parameter.option, values.front());
    case Kind::kRate:
      return read_rate(parameter.option, values.front());
    case Kind::kAddresses:
      return read_addresses(parameter.option, values);
    case Kind::kPairs:
      return read_pairs(parameter.option, values);
    case Kind::kPrefixes:
      return read_prefixes(parameter.option, values);
    case Kind::kPeers:
      return read_peers(parameter.option, values);
    case Kind::kText:
      break;
  }
  return Json(values.front());
}

// What is in the file comes with run.
Result<Json> manifest_parameters(const Verb& verb, const SubVerb& sub, const std::string& argument,
                                 const Given& given) {
  const auto value = [&](const char* option) {
    const auto at = given.find(option);
    return at == given.end() ? std::string() : at->second.front();
  };
  const bool has_file = given.contains("file");
  if (sub.name == "apply") {
    if (!has_file || value("file").empty())
      return invalid(verb.name + " apply needs a file, as in: podwirectl " + verb.name +
                     " apply -f manifests.yaml");
    return Json::object();
  }
  if (sub.name == "delete") {
    if (has_file != argument.empty()) {
      return invalid(verb.name + " delete needs either a name or a file, as in: podwirectl " + verb.name +
                     " delete shop/web, or: podwirectl " + verb.name + " delete -f manifests.yaml");
    }
    return has_file ? Json::object() : Json{{"name", argument}};
  }
  if (value("to").empty())
    return invalid(
        "policy explain needs --to, as in: podwirectl policy explain shop/web-0 --to shop/db-0 --port 80");
  Json params{{"from", argument}, {"to", value("to")}};
  if (given.contains("proto")) params["protocol"] = value("proto");
  if (given.contains("port")) {
    PODWIRE_TRY(params["port"], read_number("port", value("port")));
  }
  return params;
}

}  // namespace

Result<Json> change_parameters(const Verb& verb, const SubVerb& sub, const std::string& argument,
                               const Given& given) {
  if (verb.name == "policy" || verb.name == "service") return manifest_parameters(verb, sub, argument, given);
  Json params{{"name", argument}};
  if (verb.name == "address" && sub.name != "delete") {
    const auto at = given.find("address");
    if (at == given.end())
      return invalid("address " + sub.name + " needs --address, as in: podwirectl address " + sub.name + " " +
                     argument + " --address 192.0.2.10");
    PODWIRE_TRY(params["addresses"], read_addresses("address", at->second));
  }
  if (sub.name != "add") return params;
  if (given.contains("dhcp") && given.contains("no-dhcp"))
    return invalid("--dhcp and --no-dhcp exclude each other; choose one");
  for (const auto& parameter : kParameters) {
    const auto at = given.find(parameter.option);
    if (at == given.end()) continue;
    PODWIRE_TRY(params[parameter.key], read_parameter(parameter, at->second));
  }
  for (const auto& [of, option, key, example] : kRequired) {
    if (verb.name == of && !params.contains(key))
      return invalid(verb.name + " add needs --" + option + "; as in: " + example);
  }
  return params;
}

}  // namespace podwire::control::cli
