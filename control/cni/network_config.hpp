// The network configuration that a runtime passes on stdin, as validated values.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "control/cni/environment.hpp"
#include "control/cni/result.hpp"
#include "control/state/store.hpp"

namespace podwire::control {

struct RequestedIp {
  IpAddr address;
  std::optional<int> length;  // when it was asked for with a prefix length
};

struct ContainerInterface {
  std::string container_id;
  std::string ifname;
  auto operator<=>(const ContainerInterface&) const = default;
};

struct NetworkConfig {
  std::string version;    // cniVersion; a served one
  std::string name;       // of the network
  std::string domain;     // empty: the node's default
  std::uint16_t mtu = 0;  // 0: the domain's
  std::uint16_t queues = 1;
  api::PortKind kind = api::PortKind::kTap;
  SocketSpec socket;        // of memif and vhostuser; path, group and permissions are the node's to set
  bool dhcp = false;        // of memif and vhostuser
  std::string device_info;  // runtimeConfig.CNIDeviceInfoFile
  PortLimits limits;        // runtimeConfig.bandwidth, else bandwidth
  std::string ipam_type;    // empty: built in
  std::vector<ResultRoute> routes;               // of the built-in IPAM: instead of a default route
  std::vector<RequestedIp> ips;                  // runtimeConfig, else args.cni, else CNI_ARGS
  std::optional<MacAddr> mac;                    // likewise
  std::vector<PublishedPort> published_ports;    // runtimeConfig.portMappings
  std::string pod_namespace, pod_name, pod_uid;  // args.cni, else CNI_ARGS
  Json dns;                                      // object or null
  Json prev_result;                              // object or null; as it came
  std::optional<std::vector<ContainerInterface>> valid_attachments;  // GC; nothing: the key is absent
  Json document;                                                     // the whole of it
};

// Who can be refused: an ADD or STATUS for anything it does not understand; DEL, CHECK and GC only for what
// they need themselves, so that a container can be deleted whatever became of its configuration.
CniResult<NetworkConfig> read_network_config(const std::string& text, const CniEnvironment& environment);

}  // namespace podwire::control
