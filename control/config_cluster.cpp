#include "control/config_cluster.hpp"

#include <algorithm>

#include "control/cluster/endpoint.hpp"

namespace podwire::control {
namespace {

constexpr std::size_t kMostEndpoints = 16;
constexpr std::size_t kLongestPrefix = 128;

const std::vector<std::string> kModeNames{"local", "etcd", "flannel"};

Result<void> read_tls(const Json& value, const std::string& path, TlsConfig& out) {
  ObjectReader r(value, path);
  r.optional("ca", out.ca);
  r.optional("certificate", out.certificate);
  r.optional("key", out.key);
  PODWIRE_CHECK(r.finish());
  for (const auto& [key, file] :
       {std::pair{"ca", &out.ca}, std::pair{"certificate", &out.certificate}, std::pair{"key", &out.key}}) {
    if (file->empty() || file->front() == '/') continue;
    return invalid(path + "." + key + " is \"" + *file + "\", must be an absolute path");
  }
  if (out.certificate.empty() == out.key.empty()) return {};
  return invalid(path + "." + (out.key.empty() ? "key" : "certificate") +
                 " is missing: a client certificate and its key go together");
}

Result<void> check_endpoints(const ClusterConfig& cluster, const std::string& path) {
  if (cluster.endpoints.empty() || cluster.endpoints.size() > kMostEndpoints) {
    return invalid(path + ".endpoints has " + std::to_string(cluster.endpoints.size()) +
                   " entries, must have 1 to " + std::to_string(kMostEndpoints) +
                   ", such as \"http://192.168.100.9:2379\"");
  }
  bool any_tls = false;
  for (std::size_t i = 0; i < cluster.endpoints.size(); ++i) {
    auto endpoint = parse_endpoint(cluster.endpoints[i]);
    if (!endpoint)
      return invalid(path + ".endpoints[" + std::to_string(i) + "]: " + endpoint.error().message);
    any_tls |= endpoint->tls;
  }
  const bool has_files = !cluster.tls.ca.empty() || !cluster.tls.certificate.empty();
  if (!has_files || any_tls) return {};
  return invalid(path + ".tls is for https:// endpoints, and none of endpoints is one");
}

Result<void> check_prefix(const std::string& prefix, const std::string& path) {
  const bool plain = std::all_of(prefix.begin(), prefix.end(), [](char c) { return c > ' ' && c < 0x7f; });
  const bool ends_well = prefix.size() > 1 && prefix.front() == '/' && prefix.back() != '/';
  if (plain && ends_well && prefix.size() <= kLongestPrefix) return {};
  return invalid(path + ".prefix is \"" + prefix.substr(0, 64) +
                 "\", must begin with a slash, not end with one, and " + "have 2 to " +
                 std::to_string(kLongestPrefix) + " printable characters, such as /podwire");
}

Result<void> check_leases(const DomainConfig& d, const std::string& path) {
  for (std::size_t i = 0; i < d.prefixes.size(); ++i) {
    const auto& range = d.prefixes[i];
    const bool v4 = range.address.is_v4();
    const auto where = path + (v4 ? ".lease_v4" : ".lease_v6");
    const int length = lease_length(d, range);
    const int longest = range.address.bits() - (d.mode == api::DomainMode::kL3 ? 2 : 0);
    if (length < range.length || length > longest) {
      return invalid(where + " is " + std::to_string(length) + ", must be " + std::to_string(range.length) +
                     " to " + std::to_string(longest) + ": the nodes' prefixes are parts of " +
                     to_string(range));
    }
    if (length - range.length > 32) {
      return invalid(where + " is " + std::to_string(length) + ", must be at most " +
                     std::to_string(range.length + 32) + ": more than 2^32 prefixes of " + to_string(range) +
                     " are not looked through");
    }
    if (d.mode == api::DomainMode::kL3 && d.gateways[i] != first_usable(range)) {
      return invalid(path +
                     ".gateways goes without cluster mode \"etcd\": a leased prefix has its first usable " +
                     "address for a gateway");
    }
  }
  for (const bool v4 : {true, false}) {
    const bool has_range = std::any_of(d.prefixes.begin(), d.prefixes.end(),
                                       [v4](const IpPrefix& p) { return p.address.is_v4() == v4; });
    if ((v4 ? d.lease_v4 : d.lease_v6) && !has_range) {
      return invalid(path + (v4 ? ".lease_v4" : ".lease_v6") + " is given, but prefixes has none of IPv" +
                     (v4 ? "4" : "6"));
    }
  }
  if (d.ranges.empty()) return {};
  return invalid(path +
                 ".ranges goes without cluster mode \"etcd\": pods' addresses are those of the leased " +
                 "prefix; exclude takes some out");
}

// The rest of what it says is compared with Flannel's configuration when that has been read.
Result<void> check_flannel(const Config& config) {
  if (config.domains.size() != 1 || config.domains.front().mode != api::DomainMode::kL3) {
    return invalid("domains has " + std::to_string(config.domains.size()) +
                   " entries; cluster mode \"flannel\" has one domain, of mode l3");
  }
  const auto& d = config.domains.front();
  if (d.transport != DomainTransport::kTunnel) {
    return invalid(
        "domains[0].transport goes without cluster mode \"flannel\": DirectRouting in Flannel's "
        "configuration "
        "says whether neighbours are reached without tunnels");
  }
  if (!d.ranges.empty()) {
    return invalid(
        "domains[0].ranges goes without cluster mode \"flannel\": pods' addresses are those of "
        "the leased subnet; exclude takes some out");
  }
  for (std::size_t i = 0; i < d.prefixes.size(); ++i) {
    if (d.gateways[i] == first_usable(d.prefixes[i])) continue;
    return invalid(
        "domains[0].gateways goes without cluster mode \"flannel\": a leased subnet has its first "
        "usable address for a gateway");
  }
  return {};
}

}  // namespace

Result<void> read_cluster(const Json& value, const std::string& path, ClusterConfig& out) {
  if (value.is_string()) {
    const auto& mode = value.get_ref<const std::string&>();
    if (mode == "local") return {};
    if (mode == "etcd" || mode == "flannel")
      return invalid(path + " is \"" + mode + "\", which needs to know where: {\"mode\": \"" + mode +
                     "\", \"endpoints\": [\"http://HOST:2379\"]}");
    return invalid(path + " is \"" + mode.substr(0, 64) +
                   "\", must be \"local\" or an object with mode \"etcd\" or \"flannel\"");
  }
  ObjectReader r(value, path);
  r.choice("mode", out.mode, kModeNames);
  r.optional("endpoints", out.endpoints);
  const Json* tls = r.find("tls");
  r.optional("user", out.user);
  r.optional("password_file", out.password_file);
  r.optional("prefix", out.prefix);
  const bool has_file = r.optional("subnet_file", out.subnet_file);
  PODWIRE_CHECK(r.finish());
  if (out.mode == ClusterMode::kLocal) {
    if (value.size() <= 1) return {};
    return invalid(path + ".mode is \"local\", which has no other keys; \"etcd\" and \"flannel\" have");
  }
  if (tls != nullptr && !tls->is_null()) PODWIRE_CHECK(read_tls(*tls, path + ".tls", out.tls));
  const bool flannel = out.mode == ClusterMode::kFlannel;
  if (has_file && !flannel) return invalid(path + ".subnet_file goes with mode \"flannel\"");
  if (out.subnet_file.empty() || out.subnet_file.front() != '/')
    return invalid(path + ".subnet_file is \"" + out.subnet_file + "\", must be an absolute path");
  if (out.prefix.empty()) out.prefix = flannel ? "/coreos.com/network" : "/podwire";
  PODWIRE_CHECK(check_prefix(out.prefix, path));
  PODWIRE_CHECK(check_endpoints(out, path));
  if (out.user.empty() != out.password_file.empty())
    return invalid(path + "." + (out.user.empty() ? "user" : "password_file") +
                   " is missing: user and password_file go together");
  if (out.password_file.empty() || out.password_file.front() == '/') return {};
  return invalid(path + ".password_file is \"" + out.password_file + "\", must be an absolute path");
}

void read_lease_lengths(ObjectReader& r, DomainConfig& out) {
  const auto read = [&r](const char* key, std::optional<std::uint8_t>& length, std::int64_t longest) {
    const Json* value = r.find(key);
    if (value == nullptr || value->is_null()) return;
    auto n = read_integer(*value, r.child(key), 1, longest);
    if (n) length = static_cast<std::uint8_t>(*n);
    if (!n) r.keep(n.error());
  };
  read("lease_v4", out.lease_v4, 32);
  read("lease_v6", out.lease_v6, 128);
}

Result<void> check_cluster(const Config& config) {
  if (config.cluster.mode == ClusterMode::kFlannel) PODWIRE_CHECK(check_flannel(config));
  for (std::size_t i = 0; i < config.domains.size(); ++i) {
    const auto& d = config.domains[i];
    const auto path = "domains[" + std::to_string(i) + "]";
    if (config.cluster.mode == ClusterMode::kEtcd) {
      PODWIRE_CHECK(check_leases(d, path));
    } else if (d.lease_v4 || d.lease_v6) {
      return invalid(path + (d.lease_v4 ? ".lease_v4" : ".lease_v6") +
                     " goes with cluster mode \"etcd\"; now the node has all of prefixes");
    }
  }
  return {};
}

int lease_length(const DomainConfig& domain, const IpPrefix& range) {
  const bool v4 = range.address.is_v4();
  if (const auto& given = v4 ? domain.lease_v4 : domain.lease_v6) return *given;
  const int usual = v4 ? 24 : 64;
  constexpr int kMoreBits = 4;
  return usual > range.length ? usual : range.length + kMoreBits;
}

}  // namespace podwire::control
