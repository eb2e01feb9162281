// The Kubernetes objects that services are made of: Service (v1) and EndpointSlice (discovery.k8s.io/v1), as
// manifests. Read strictly: what a spec says and we do not know is refused, never skipped; what says nothing
// of where packets go (selectors, target ports, which slices have resolved) is taken and not looked at. Pure.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "control/policy/objects.hpp"
#include "dataplane/api/service.hpp"

namespace podwire::control {

inline constexpr const char* kDomainAnnotation = "podwire.io/domain";  // of a Service; default: the node's
inline constexpr const char* kWeightAnnotation = "podwire.io/weight";  // of an EndpointSlice; 1 to 256

struct ClusterPort {
  std::string name;  // may be empty
  api::ServiceProtocol protocol = api::ServiceProtocol::kTcp;
  std::uint16_t port = 0;
  std::uint16_t node_port = 0;  // 0: none; of an EndpointSlice always
  bool operator==(const ClusterPort&) const = default;
};

struct ClusterService {
  ObjectKey key;
  std::string type;                     // ClusterIP, NodePort, LoadBalancer or ExternalName
  std::string domain;                   // empty: the node's default
  std::vector<IpAddr> cluster_ips;      // none of headless ones
  std::vector<IpAddr> outside_ips;      // externalIPs and those of the load balancer's ingress
  std::vector<IpAddr> balancer_ips;     // those of the ingress, among outside_ips
  std::vector<IpPrefix> source_ranges;  // who may connect to balancer_ips; of a family with none: all
  std::vector<ClusterPort> ports;
  std::uint32_t affinity_s = 0;  // 0: no affinity
  // Whether only endpoints of this node are used, for what comes from outside and to the cluster's addresses.
  bool external_local = false;
  bool internal_local = false;
};

struct ClusterEndpoint {
  IpAddr address;
  bool ready = true;
  bool serving = true;
  bool terminating = false;
  std::string node;  // empty: not known
};

struct ClusterSlice {
  ObjectKey key;
  std::string service;  // in the same namespace
  std::uint16_t weight = 1;
  std::vector<ClusterPort> ports;
  std::vector<ClusterEndpoint> endpoints;
};

// A manifest of one of these kinds in the form that is kept: without what we do not read.
struct ServiceManifest {
  std::string kind;  // Service or EndpointSlice
  ObjectKey key;
  Json body;
};

// kInvalid for another kind or version; nothing of the spec is read.
Result<ServiceManifest> read_service_manifest(const Json& manifest);
Result<ClusterService> read_cluster_service(const ServiceManifest& manifest);
Result<ClusterSlice> read_cluster_slice(const ServiceManifest& manifest);

std::string to_text(const ServiceManifest& manifest);  // "Service shop/web"

}  // namespace podwire::control
