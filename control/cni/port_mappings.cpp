#include "control/cni/port_mappings.hpp"

#include <algorithm>
#include <cctype>

namespace podwire::control {
namespace {

Result<api::ServiceProtocol> read_protocol(std::string text, const std::string& path) {
  for (auto& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  const auto& names = api::kServiceProtocolNames;
  const auto at = std::find(names.begin(), names.end(), text);
  if (at != names.end()) return static_cast<api::ServiceProtocol>(at - names.begin());
  return invalid(path + " is \"" + text.substr(0, 64) + "\", must be tcp, udp or sctp");
}

Result<std::optional<IpAddr>> read_host_ip(const std::string& text, const std::string& path) {
  if (text.empty()) return std::optional<IpAddr>();
  auto address = parse_ip(text);
  if (!address) return invalid(path + ": " + address.error().message);
  const bool loopback = address->is_v4() ? address->v4().is_loopback() : address->v6().is_loopback();
  if (loopback || address->is_multicast()) {
    return invalid(
        path + " is " + text +
        ", where a port cannot be published; leave it out, or give an address of the node's network");
  }
  return std::optional<IpAddr>(*address);
}

Result<PublishedPort> read_port_mapping(const Json& value, const std::string& path) {
  PublishedPort out;
  std::string protocol = "tcp", host_ip;
  ObjectReader r(value, path);
  const bool host = r.optional_in("hostPort", out.host_port, 1, 65535);
  const bool container = r.optional_in("containerPort", out.container_port, 1, 65535);
  r.optional("protocol", protocol);
  r.optional("hostIP", host_ip);
  PODWIRE_CHECK(r.finish());
  if (!host || !container) return invalid(path + (host ? ".containerPort" : ".hostPort") + " is missing");
  PODWIRE_TRY(out.protocol, read_protocol(protocol, path + ".protocol"));
  PODWIRE_TRY(out.host_ip, read_host_ip(host_ip, path + ".hostIP"));
  return out;
}

}  // namespace

Result<std::vector<PublishedPort>> read_port_mappings(const Json& value, const std::string& path) {
  if (!value.is_array()) return invalid(path + " must be an array, not " + json_type_name(value));
  if (value.size() > kMaxPortMappings) {
    return invalid(path + " has " + std::to_string(value.size()) + " entries, at most " +
                   std::to_string(kMaxPortMappings) + " are possible");
  }
  std::vector<PublishedPort> ports;
  for (std::size_t i = 0; i < value.size(); ++i) {
    PODWIRE_TRY(auto port, read_port_mapping(value[i], path + "[" + std::to_string(i) + "]"));
    ports.push_back(std::move(port));
  }
  return ports;
}

}  // namespace podwire::control
