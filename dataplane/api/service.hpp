// Service: an address and port that stands for others. One object serves ClusterIPs, NodePorts, external
// addresses and published ports: it is a set of frontends with the backends that connections to them go to.
// Masquerade: the addresses that connections from a domain to the world outside appear to come from. No DPDK
// in here.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "dataplane/api/rules.hpp"
#include "dataplane/base/ids.hpp"

namespace podwire::api {

enum class ServiceProtocol { kTcp, kUdp, kSctp };
extern const std::vector<std::string> kServiceProtocolNames;

struct ServiceFrontend {
  // Where packets to it come from: the service's own domain (its pods), or the underlay (the world outside
  // and the node itself).
  DomainId domain;
  std::optional<IpAddr> address;  // none: every address of the node; underlay only
  ServiceProtocol protocol = ServiceProtocol::kTcp;
  std::uint16_t port = 0;  // 1..65535
  // Underlay only, with an address: for the node's own programs, so what arrives by the uplink never finds
  // it.
  bool from_host = false;
  // With an address, and without from_host: clients who may connect, of its family; empty: all. Others are
  // dropped.
  std::vector<IpPrefix> sources{};
  bool operator==(const ServiceFrontend&) const = default;
};

struct ServiceBackend {
  IpAddr address;            // in the service's domain
  std::uint16_t port = 0;    // 1..65535
  std::uint16_t weight = 1;  // 1..256, new connections in proportion
  bool draining = false;     // gets no new connections, keeps those that it has
  bool operator==(const ServiceBackend&) const = default;
};

struct Service {
  ServiceId id;
  std::string name;  // 1..255 characters
  DomainId domain;   // of the backends; stateful
  std::vector<ServiceFrontend> frontends;
  // Of the frontend's family each; without one, connections are rejected (TCP reset, ICMP port unreachable).
  std::vector<ServiceBackend> backends;
  // Connections of one client go to the same backend for so long after its last one began. 0: no affinity.
  std::uint32_t affinity_s = 0;
  // Clients outside appear to the backend as the domain's gateway, so that its answers come back through this
  // node wherever it runs.
  bool hide_clients = false;

  bool operator==(const Service&) const = default;
};

inline constexpr std::size_t kMaxFrontends = 64;    // of one service
inline constexpr std::size_t kMaxSources = 256;     // of one frontend
inline constexpr std::size_t kMaxBackends = 4'096;  // of one service

struct Masquerade {
  std::vector<IpAddr> addresses;  // of the node; at most one a family
  PortRange ports{16384, 29999};  // that connections appear to come from
  std::vector<IpPrefix> except;   // destinations that see the endpoint's own address
  bool operator==(const Masquerade&) const = default;
};

Result<void> read_value(const Json& value, const std::string& path, ServiceFrontend& out);
Result<void> read_value(const Json& value, const std::string& path, ServiceBackend& out);
Result<void> read_value(const Json& value, const std::string& path, Service& out);
Result<void> read_value(const Json& value, const std::string& path, Masquerade& out);
Json to_json(const ServiceFrontend&);
Json to_json(const ServiceBackend&);
Json to_json(const Service&);
Json to_json(const Masquerade&);

}  // namespace podwire::api
