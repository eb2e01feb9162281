// A node with two IPv4 addresses and one IPv6 address, and services for its own programs.
#pragma once

#include <gtest/gtest.h>

#include "control/config.hpp"
#include "control/state/published_ports.hpp"

namespace podwire::control::host_testing {

inline NodeObjects small_node() {
  NodeObjects node;
  for (const char* const address : {"192.168.100.1", "192.168.100.2", "fd00:100::1"})
    node.addresses.push_back(*parse_ip(address));
  api::Domain domain;
  domain.id = node.domains["default"] = DomainId(2);
  domain.name = "default";
  domain.stateful = true;
  node.objects.domains.push_back(domain);
  add_host_services(HostServicesConfig{}, node);
  return node;
}

// With a domain that tracks connections.
inline Config small_config() {
  Config config;
  DomainConfig domain;
  domain.name = "default";
  domain.stateful = true;
  config.domains.push_back(domain);
  return config;
}

inline Attachment publishing_pod(std::uint16_t port, std::vector<PublishedPort> ports) {
  Attachment pod;
  pod.key = {"podnet", "c" + std::to_string(port), "eth0"};
  pod.port = PortId(port);
  pod.domain = "default";
  pod.pod_namespace = "shop";
  pod.pod_name = "pod-" + std::to_string(port);
  pod.addresses = {*parse_prefix("10.244.1.10/24"), *parse_prefix("fd00:10:244:1::10/64")};
  for (std::size_t i = 0; i < ports.size(); ++i)
    ports[i].service = ServiceId(static_cast<std::uint32_t>(port * 100u + i));
  pod.published_ports = std::move(ports);
  return pod;
}

inline PublishedPort published(std::uint16_t host_port, const char* host_ip = "",
                               api::ServiceProtocol protocol = api::ServiceProtocol::kTcp) {
  PublishedPort port;
  if (*host_ip != 0) port.host_ip = *parse_ip(host_ip);
  port.protocol = protocol;
  port.host_port = host_port;
  port.container_port = 80;
  return port;
}

// With a cluster IP and a node port, as the plan of a Service has them.
inline api::Service node_port_service(const NodeObjects& node, std::uint16_t node_port,
                                      const char* cluster_ip = "10.96.0.10") {
  api::Service service;
  service.id = ServiceId(kLastPublished + 1);
  service.name = "shop/web:http";
  service.domain = DomainId(2);
  service.frontends = {{DomainId(2), *parse_ip(cluster_ip), api::ServiceProtocol::kTcp, 80},
                       {kUnderlayDomain, *parse_ip(cluster_ip), api::ServiceProtocol::kTcp, 80, true}};
  for (const bool v4 : {true, false}) {
    if (node_port == 0) break;
    service.frontends.push_back(
        *host_frontend(node, v4, std::nullopt, api::ServiceProtocol::kTcp, node_port));
  }
  return service;
}

}  // namespace podwire::control::host_testing
