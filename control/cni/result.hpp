// CNI results: the one that ADD prints, the one that an IPAM plugin prints, and the prevResult of a chain.
// Reading is strict about what we use and lets everything else of a chain pass through untouched.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "control/cni/error.hpp"
#include "dataplane/base/addresses.hpp"

namespace podwire::control {

struct ResultInterface {
  std::string name;
  std::string mac;        // as text: other plugins' interfaces need not be Ethernet
  std::uint32_t mtu = 0;  // 0: unsaid
  std::string sandbox;    // empty: on the host
  std::string socket_path;
};

struct ResultIp {
  IpPrefix address;
  std::optional<IpAddr> gateway;
  std::optional<std::size_t> interface;  // index into interfaces
};

struct ResultRoute {
  IpPrefix destination;
  std::optional<IpAddr> gateway;
  std::uint32_t mtu = 0;  // these are 1.1.0's; 0: unsaid
  std::uint32_t priority = 0;
  std::uint32_t table = 0;
  std::optional<std::uint8_t> scope;
  bool operator==(const ResultRoute&) const = default;
};

struct Chained {
  std::vector<ResultInterface> interfaces;
  std::vector<ResultIp> ips;
  std::vector<ResultRoute> routes;
  Json dns;  // object, or null
};

// Reads a result of any served version at `path` ("prevResult", "result of host-local"). kInvalidConfig.
CniResult<Chained> read_result(const Json& value, const std::string& path);
Result<ResultRoute> read_route(const Json& value, const std::string& path);
// {nameservers, domain, search, options}; null or an empty object gives null.
Result<Json> read_dns(const Json& value, const std::string& path);

// What our part of an ADD made.
struct AddedInterface {
  std::string port_name;  // of the engine; stands for the host side, which has no kernel interface
  std::string ifname;
  std::string netns;
  MacAddr mac;
  std::uint16_t mtu = 0;
  std::string socket_path;  // of memif and vhost-user; empty: a tap
  std::vector<ResultIp> ips;
  std::vector<ResultRoute> routes;
  Json dns;
};

// The result of ADD in `version`: `previous` (null when we are the first plugin; checked by read_result
// before) with ours added.
Json make_add_result(const std::string& version, const Json& previous, const AddedInterface& added);

}  // namespace podwire::control
