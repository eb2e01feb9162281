// What the engine should hold: configuration, node facts and attachments as api objects with their persistent
// ids. Functions only; the reconciler keeps what they return. Remote endpoints are not among it: an l3 domain
// reaches them by prefix routes, an l2 domain by what other nodes tell (remote_objects.hpp) or by flooding
// and learning.
#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "control/config.hpp"
#include "control/state/joins.hpp"
#include "control/state/store.hpp"
#include "dataplane/api/objects.hpp"

namespace podwire::control {

// The node's side of the underlay as it is in effect: from the configuration or read from the kernel.
struct UnderlayRoute {
  IpPrefix prefix;
  std::optional<IpAddr> gateway;  // none: on link
  bool operator==(const UnderlayRoute&) const = default;
};
struct NodeUnderlay {
  const IpPrefix* first_of_family(bool v4) const;  // not a link-local one; null: there is none
  std::vector<IpAddr> own_addresses() const;       // without link-local ones

  std::string devargs;       // what the engine opens
  std::uint16_t queues = 1;  // receive queues of the uplink
  MacAddr mac;               // of the NIC; zero: not known yet, then there is no host port
  std::uint16_t mtu = 1500;  // IP bytes
  std::vector<IpPrefix> addresses;
  std::vector<UnderlayRoute> routes;  // beside the connected ones
  bool from_kernel = false;           // addresses and routes were read from the device
};

enum class RouteSource { kConfig, kPeer, kKernel, kBuiltin, kJoin };
const char* to_text(RouteSource source);

struct NodeObjects {
  std::uint32_t flow_limit(DomainId domain) const {
    const auto at = flow_limits.find(domain);
    return at == flow_limits.end() ? 0 : at->second;
  }

  // Null: there is none.
  const api::Domain* find_domain(DomainId id) const;

  api::ObjectSet objects;  // everything but attachments' ports and endpoints; domains by id
  std::map<std::string, DomainId> domains;
  std::map<DomainId, std::uint32_t> flow_limits;  // of pods' ports, where the configuration names one
  std::set<DomainId> isolating;                   // domains with DomainConfig::isolates_pods
  std::map<RouteId, RouteSource> route_sources;
  std::map<std::string, VtepId> peers;
  std::vector<IpAddr> addresses;  // the node's own on the underlay, without link-local ones
  // By which the node's own programs ask the engine for services (HostServicesConfig); none: they do not. The
  // first ones, at most one a family, stand for all addresses of the node, the others each for one of them.
  std::vector<IpAddr> host_services;
  std::map<IpAddr, IpAddr> host_aliases;                    // by the node's address
  std::map<std::string, std::vector<std::string>> reaches;  // as JoinPlan has them
  std::vector<std::string> join_problems;
  PortId uplink;
  PortId host;  // 0: no host interface
};

// Of a VTEP, the same on every start: a hash of node and address, unicast and locally administered.
MacAddr derived_mac(const std::string& node, const IpAddr& address);
// IP bytes that fit a frame of this domain through the underlay, or the configured value.
std::uint16_t domain_mtu(const DomainConfig& domain, const Config& config, const NodeUnderlay& underlay);
// The UDP ports on which the node receives VXLAN.
std::vector<std::uint16_t> vxlan_ports(const Config& config);
std::vector<DomainPools> domain_pools(const Config& config, const NodeUnderlay& underlay);

// Allots ids on first use and frees those of objects that left the configuration. `groups`: in place of those
// that the store has.
Result<NodeObjects> node_objects(const Config& config, const NodeUnderlay& underlay, Store& store,
                                 const DomainGroups* groups = nullptr);

// Fills `host_services` and `host_aliases` of the families that `node` has addresses of.
void add_host_services(const HostServicesConfig& config, NodeObjects& node);
// How the node's own programs reach `port` of `address`, one of the node's, or of all of them (none), of one
// family. None: they do not.
std::optional<api::ServiceFrontend> host_frontend(const NodeObjects& node, bool v4,
                                                  const std::optional<IpAddr>& address,
                                                  api::ServiceProtocol protocol, std::uint16_t port);

std::string port_name(const Attachment& attachment);      // unique
std::string endpoint_name(const Attachment& attachment);  // for people; the pod's name where it is known
// `flow_limit` as api::Port has it.
api::Port port_of(const Attachment& attachment, DomainId domain, std::uint32_t flow_limit = 0);
api::Endpoint endpoint_of(const Attachment& attachment, DomainId domain);                // its own
std::vector<api::Endpoint> endpoints_of(const Attachment& attachment, DomainId domain);  // all of it
// Its published ports; those that cannot be, because the domain is not stateful or the node has lost the
// address, are left out and told in `problem` (unless null).
std::vector<api::Service> services_of(const Attachment& attachment, const NodeObjects& node,
                                      std::string* problem = nullptr);

}  // namespace podwire::control
