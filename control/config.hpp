// podwired.json as validated values. Read once at start, so any thread may read it. Immutable but for its
// domains, and the peers' prefixes in them, which podwirectl may add to (control/api/domains.hpp): readers go
// by what there was when they began.
// What only the kernel knows (the device's addresses, MTU) is not here but in control/node/underlay.hpp.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/shared_list.hpp"
#include "dataplane/api/objects.hpp"
#include "dataplane/base/addresses.hpp"
#include "dataplane/base/result.hpp"

namespace podwire::control {

inline constexpr const char* kDefaultConfigPath = "/etc/podwire/podwired.json";
// The gateway of every domain on every node, so that a pod keeps its neighbour entry wherever it runs.
inline constexpr MacAddr kGatewayMac{{0x02, 0x70, 0x77, 0x00, 0x00, 0x01}};

struct EngineConfig {
  std::string socket = "/run/podwire/engine.sock";
  bool spawn = false;  // start and restart the engine ourselves (no systemd)
  std::string binary = "podwire-engine";
  std::string config = "/etc/podwire/engine.json";
};

enum class UnderlayDriver { kAfXdp, kAfPacket };
extern const std::vector<std::string> kUnderlayDriverNames;  // index = UnderlayDriver

struct UnderlayConfig {
  std::string device;  // kernel interface whose addresses move to the host interface; else devargs is set
  UnderlayDriver driver = UnderlayDriver::kAfXdp;
  std::string devargs;
  std::vector<IpPrefix> addresses;  // with device: empty means what the kernel has
  std::vector<IpAddr> gateways;     // default gateways, at most one a family
  std::uint16_t vlan = 0;
  std::optional<std::uint16_t> mtu;  // IP bytes
  std::optional<std::string> host_interface = "podwire0";
};

struct VxlanConfig {
  std::uint16_t port = 4789;
  std::optional<MacAddr> mac;
};

struct AddressRange {
  IpAddr start, end;  // both included, same family
};

// Connections to the world outside appear to come from this node.
struct MasqueradeConfig {
  std::vector<IpAddr> addresses;  // of this node, at most one a family; empty: its first of each
  api::PortRange ports = api::Masquerade{}.ports;
  std::vector<IpPrefix> except;  // beside all that is known to be pods'
};

// How packets to the pods of other nodes travel; named as in transport_names().
enum class DomainTransport {
  kTunnel,  // VXLAN
  kRouted,  // plain, by the routes that the node's kernel has (a BGP daemon's); l3 and no overlapping
            // addresses
  kSubnet,  // plain to nodes of the node's own subnet, VXLAN to others
};

const std::vector<std::string>& transport_names();

// What a routing daemon on the node learns of pods that are reached without tunnels; named as in
// announce_names().
enum class DomainAnnounce {
  kPrefix,  // the node's prefixes
  kPods,    // every address of a pod by itself
  kBoth,
};

const std::vector<std::string>& announce_names();

struct DomainConfig {
  std::string name;
  Vni vni;
  api::DomainMode mode = api::DomainMode::kL3;
  std::vector<IpPrefix> prefixes;  // at most one a family
  std::vector<IpAddr> gateways;    // one for each prefix, same order
  std::vector<AddressRange> ranges;
  std::vector<IpPrefix> exclude;
  std::optional<std::uint16_t> mtu;
  bool learning = false;
  bool flood_peers = true;
  bool host_access = false;
  bool global = false;  // every other domain reaches it, and it reaches them
  DomainTransport transport = DomainTransport::kTunnel;
  DomainAnnounce announce = DomainAnnounce::kPrefix;  // another only with a transport other than kTunnel
  // Etcd and Flannel: the node's prefixes are leased from `prefixes`, so long each.
  std::optional<std::uint8_t> lease_v4, lease_v6;
  // What they were before the node's own lease took their place: where all nodes have pods. Of l3 domains
  // with a store; not read from the file.
  std::vector<IpPrefix> cluster_prefixes;
  std::optional<std::uint8_t> dscp;  // as api::Domain has it
  bool trust_dscp = true;
  std::uint32_t flow_limit = 0;  // of every pod's port, as api::Port has it
  // Connections are tracked: policy, services and published ports need it. A masquerade implies it.
  bool stateful = false;
  // Nobody but the node reaches pods here that no policy lets in; stateful domains only.
  bool isolates_pods = false;
  std::optional<MasqueradeConfig> masquerade;
  // What DHCP and router advertisements tell.
  std::vector<IpAddr> dns_servers;
  std::vector<std::string> search_domains;
};

// Addresses by which the node's own programs meet services: what they send to a published or node port is
// rewritten to one of these, which the kernel routes to the engine. Nobody else sees them.
struct HostServicesConfig {
  bool enabled = true;  // false also without a host interface
  // At most one a family, networks of 62 addresses or more.
  std::vector<IpPrefix> prefixes{
      {IpAddr(Ipv4{{169, 254, 112, 0}}), 26},
      {IpAddr(Ipv6{{0xfd, 0x70, 0x6f, 0x64, 0x77, 0x69, 0x72, 0x65}}), 64},
  };
};

// Where the sockets of memif and vhost-user pods lie, and whose they are.
struct PodSocketsConfig {
  std::string directory = "/run/podwire/pods";  // a directory a pod in there
  std::uint32_t group = 0;                      // of directories and sockets
  std::uint16_t mode = 0660;                    // of the sockets that the engine makes
};

enum class ClusterMode { kLocal, kEtcd, kFlannel };

// What the engine and the node's routing daemon learn from each other by way of the kernel's routes.
struct RoutingConfig {
  // Whose routes over the host interface the engine follows; an earlier one has precedence. 1..4294967295.
  std::vector<std::uint32_t> tables{254};
  // Where the prefixes of pods that are reached without tunnels stand beside the main table; 0: only there.
  std::uint32_t announce_table = 0;
};

// A TLS client's files, PEM. Without `ca`: the system's.
struct TlsConfig {
  std::string ca, certificate, key;
};

// Where the cluster's state is; not with kLocal.
struct ClusterConfig {
  ClusterMode mode = ClusterMode::kLocal;
  std::vector<std::string> endpoints;  // http://HOST:PORT or https://HOST:PORT, tried in turn
  TlsConfig tls;
  std::string user, password_file;                      // of etcd's own authentication; empty: none
  std::string subnet_file = "/run/flannel/subnet.env";  // kFlannel: written for those who look for Flannel's
  std::string prefix;  // of every key; empty: the mode's default ("/podwire", "/coreos.com/network")
  // Some node of the store can be reached by IPv6 only, though this one has both; not read from the file.
  bool has_v6_tunnels = false;
};

struct PeerConfig {
  std::string name;
  IpAddr address;
  std::optional<std::uint16_t> udp_port;
  std::optional<MacAddr> mac;                            // absent: a Podwire node
  std::map<std::string, std::vector<IpPrefix>> domains;  // domain name → the peer's prefixes in it
};

struct Config {
  std::string node;
  std::string state_dir = "/var/lib/podwire";
  std::string control_socket = "/run/podwire/control.sock";
  std::string log_level = "info";
  EngineConfig engine;
  UnderlayConfig underlay;
  VxlanConfig vxlan;
  PodSocketsConfig pod_sockets;
  HostServicesConfig host_services;
  SharedList<DomainConfig> domains;
  SharedList<PeerConfig> peers;
  std::map<std::string, std::string> namespaces;  // of pods → the domain that they join unless told
  ClusterConfig cluster;
  RoutingConfig routing;

  // Null: there is none.
  std::shared_ptr<const DomainConfig> find_domain(const std::string& name) const;
  // Of pods of which nobody says otherwise: the one called "default", else the first.
  std::shared_ptr<const DomainConfig> default_domain() const;
  // What there is instead, for messages.
  std::string domains_like(const std::string& name) const;
  // Whether pods of some domain are reached without tunnels.
  bool has_routed_domains() const;
};

// `what` names the document in messages.
Result<Config> parse_config(const Json& document, const std::string& what);
Result<Config> read_config(const std::string& path);

// Cross-checks that need more than one field; parse_config calls it.
Result<void> check_config(const Config& config);
// What of it is about one domain alone, which `path` names in messages.
Result<void> check_domain(const Config& config, const DomainConfig& domain, const std::string& path);

// The first address of `prefix` that a host may have.
IpAddr first_usable(const IpPrefix& prefix);

}  // namespace podwire::control
