// The engine's objects as they stand on the wire: ports, VTEPs, domains, endpoints, routes; policies and
// services have headers of their own. One struct a noun, read strictly and written in full. No DPDK in here;
// control and engine share it. Cross-object rules (a domain that does not exist, an address used twice) are
// the engine's to check when it applies them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/api/policy.hpp"
#include "dataplane/api/rules.hpp"
#include "dataplane/api/service.hpp"
#include "dataplane/base/json.hpp"

namespace podwire::api {

enum class PortKind { kPhysical, kTap, kMemif, kVhost };
enum class PortRole {
  kPod,     // source-guarded, belongs to one domain
  kUplink,  // carries VXLAN and the node's own traffic; belongs to the underlay domain
  kHost,    // the node's own interface: what arrives on the uplink and is not ours goes here and back
};
// Who makes the UNIX socket of a memif or vhost port and who connects to it.
enum class SocketMode {
  kServer,  // the engine listens
  kClient,  // the peer does; the engine connects, and again whenever the connection ends
};
extern const std::vector<std::string> kPortKindNames;    // index = PortKind
extern const std::vector<std::string> kSocketModeNames;  // index = SocketMode
extern const std::vector<std::string> kPortRoleNames;

// How much may pass a port in one direction: Ethernet frames without their check sequence, as they are after
// segmentation.
struct RateLimit {
  std::uint64_t rate_bps = 0;     // bits a second, 1,000 to 10^12
  std::uint64_t burst_bytes = 0;  // that may pass at once after a pause; 0: what the engine thinks right
  bool operator==(const RateLimit&) const = default;
};

struct Port {
  PortId id;
  std::string name;  // 1..63 characters, unique
  PortKind kind = PortKind::kTap;
  PortRole role = PortRole::kPod;
  DomainId domain;  // pod ports: required. uplink, host: the underlay domain, set by the reader
  MacAddr
      mac;  // of the interface behind the port (pod's eth0, host tap, NIC). physical: zero = the device's own
  std::uint16_t mtu = 0;  // IP bytes; 68..65535. physical: 0 = the device's own
  // 1..16. physical: receive queues asked for; tap: number of descriptors; memif: rings each way at most;
  // vhost: queue pairs at most
  std::uint16_t queues = 1;
  std::string devargs;     // physical only: "net_af_xdp0,iface=eth0", "0000:01:00.0"
  std::uint16_t vlan = 0;  // uplink only: 802.1Q id 1..4094 of the underlay, 0 = untagged
  // Connections that packets from here may have begun at a time, in stateful domains; at most 16777216. 0:
  // FlowTable::default_limit() of a pod, no limit of an uplink or host port.
  std::uint32_t flow_limit = 0;
  // How many of this message's descriptors are this port's (taken in order). 0 for a tap that the engine has
  // already: it keeps its queues.
  std::uint16_t descriptors = 0;

  // Pod ports only. From the pod: it waits; towards the pod: a bounded queue does.
  std::optional<RateLimit> from_pod, to_pod;

  // memif and vhost only.
  std::string socket;  // absolute path, at most 107 characters
  SocketMode socket_mode = SocketMode::kServer;
  // Of the socket, when the engine makes it.
  std::uint32_t socket_group = 0;
  std::uint16_t socket_permissions = 0600;  // 0..0777
  // memif only.
  std::uint32_t memif_id = 0;      // both sides name the same
  std::string secret;              // at most 24 characters; empty: none
  std::uint16_t ring_size = 1024;  // descriptors a ring, a power of two from 2 to 16384: the most as a server
                                   // (the client chooses), what is asked for as a client
  std::uint32_t buffer_size = 2048;  // bytes, 128..65536; client: of its region; server: the peer decides
  // vhost only.
  bool iommu = false;  // offer VIRTIO_F_IOMMU_PLATFORM: the guest maps what the engine may touch

  // Whether the engine makes the port's socket.
  bool listens() const { return !socket.empty() && socket_mode == SocketMode::kServer; }
  bool operator==(const Port&) const = default;
};

struct Vtep {
  VtepId id;
  std::string name;
  bool local = false;
  IpAddr address;  // local: ours; remote: the peer's
  std::uint16_t udp_port =
      4789;     // local: listens here; remote: sent there, from the local VTEP of same family and port
  MacAddr mac;  // inner destination MAC that routes towards this VTEP use, or that a local one accepts

  bool operator==(const Vtep&) const = default;
};

enum class DomainMode {
  kL2,  // unknown and broadcast frames are flooded
  kL3,  // nothing is flooded; ARP/ND is answered from what is known
};
extern const std::vector<std::string> kDomainModeNames;

struct Domain {
  DomainId id;  // 2..65535 (1 is the underlay)
  std::string name;
  Vni vni;
  DomainMode mode = DomainMode::kL3;
  MacAddr gateway_mac;             // anycast: the same on every node
  std::vector<IpPrefix> gateways;  // the gateway's own addresses with the length of the on-link subnet
  std::uint16_t mtu = 1450;        // IP bytes
  bool learning = false;           // learn MACs from ports and unknown VTEPs (l2 only)
  std::vector<VtepId> flood;       // remote VTEPs that flooded frames go to (l2 only)
  bool host_access =
      false;  // the node itself may talk to this domain through the host port; at most one domain
  // Its pods are reached without tunnels too (l3 only): what arrives on an uplink or the host port for the
  // subnet of one of its gateways is for it, and what it has no route for itself leaves by the underlay's. No
  // two such domains have overlapping subnets.
  bool routed = false;
  std::uint32_t fdb_limit = 4096;  // learned MACs at most
  std::uint32_t fdb_ageing_s = 300;
  // What endpoints with dhcp are told.
  std::vector<IpAddr> dns_servers;          // at most 8
  std::vector<std::string> search_domains;  // at most 8, of 1..253 characters
  bool stateful = false;                    // connections are tracked
  // Of IPv4 and IPv6 packets from its endpoints here (RFC 2474): `dscp` is what they leave with; without it
  // they keep theirs when it is trusted, else they leave with 0. The tunnel's header has the same.
  std::optional<std::uint8_t> dscp;  // 0..63
  bool trust_dscp = true;
  bool strict_tcp = false;  // stateful only: a TCP connection begins with a SYN; otherwise one is picked up
  std::optional<Masquerade> masquerade;  // stateful only
  // Stateful only: the first that matches a connection's first packet decides on the connection. None that
  // matches: allowed. At most kMaxRules.
  std::vector<Rule> rules;

  bool operator==(const Domain&) const = default;
};

struct AddressPair {
  IpPrefix address;
  MacAddr mac;  // zero: the endpoint's own
  bool operator==(const AddressPair&) const = default;
};

// Of domain 1, the underlay: a permanent neighbour, for as long as it is there. Its port is an uplink, it has
// addresses, and nothing else is set; several may have one MAC. At most 4,096 addresses in all.
struct Endpoint {
  EndpointId id;
  std::string name;
  DomainId domain;
  PortId port;  // exactly one of port and vtep
  VtepId vtep;
  MacAddr mac;
  std::vector<IpAddr> addresses;
  std::vector<AddressPair> allowed_pairs;  // local only: more sources that the guard lets pass
  // Local only: the engine answers this endpoint's DHCPv4 and DHCPv6 questions and router solicitations with
  // its addresses, the domain's gateways, MTU and DNS.
  bool dhcp = false;
  std::string hostname;  // told by DHCP; at most 63 characters; empty: none
  // In stateful domains; without them it is in no policy's selection and nobody's named peer.
  PolicyId policy;  // what applies to its connections; local only
  IdentityId identity;
  // Local only, in domains with a masquerade; of the node, at most one a family each. `egress`: connections
  // to the world outside appear to come from there, not from the masquerade's addresses. `floating`: the same
  // with the port that they have, and what arrives for that address and nobody else is the endpoint's (1:1).
  std::vector<IpAddr> egress, floating;

  bool operator==(const Endpoint&) const = default;
};

struct NextHop {
  VtepId vtep;  // exactly one of vtep, port and into
  PortId port;
  DomainId into;   // go on with what this domain has for the destination, which is no other such next hop
  MacAddr mac;     // vtep: inner destination MAC; zero = the VTEP's own
  IpAddr address;  // port: the gateway's address; zero of either family = the destination is on link
  std::uint16_t weight = 1;  // 1..256
  bool operator==(const NextHop&) const = default;
};

struct Route {
  RouteId id;
  DomainId domain;
  IpPrefix prefix;  // host bits must be zero
  std::vector<NextHop> next_hops;
  bool blackhole = false;  // then no next hops

  bool operator==(const Route&) const = default;
};

// Any number of objects of every noun, as in `put`.
struct ObjectSet {
  std::vector<Port> ports;
  std::vector<Vtep> vteps;
  std::vector<Domain> domains;
  std::vector<Endpoint> endpoints;
  std::vector<Route> routes;
  std::vector<Policy> policies;
  std::vector<Service> services;

  bool empty() const {
    return ports.empty() && vteps.empty() && domains.empty() && endpoints.empty() && routes.empty() &&
           policies.empty() && services.empty();
  }
};

// Ids of every noun, as in `delete`.
struct IdSet {
  std::vector<PortId> ports;
  std::vector<VtepId> vteps;
  std::vector<DomainId> domains;
  std::vector<EndpointId> endpoints;
  std::vector<RouteId> routes;
  std::vector<PolicyId> policies;
  std::vector<ServiceId> services;
};

Result<void> read_value(const Json& value, const std::string& path, RateLimit& out);
Result<void> read_value(const Json& value, const std::string& path, Port& out);
Result<void> read_value(const Json& value, const std::string& path, Vtep& out);
Result<void> read_value(const Json& value, const std::string& path, Domain& out);
Result<void> read_value(const Json& value, const std::string& path, AddressPair& out);
Result<void> read_value(const Json& value, const std::string& path, Endpoint& out);
Result<void> read_value(const Json& value, const std::string& path, NextHop& out);
Result<void> read_value(const Json& value, const std::string& path, Route& out);
Result<void> read_value(const Json& value, const std::string& path, ObjectSet& out);
Result<void> read_value(const Json& value, const std::string& path, IdSet& out);

Json to_json(const RateLimit&);
Json to_json(const Port&);
Json to_json(const Vtep&);
Json to_json(const Domain&);
Json to_json(const Endpoint&);
Json to_json(const NextHop&);
Json to_json(const Route&);
Json to_json(const ObjectSet&);  // empty nouns left out
Json to_json(const IdSet&);

}  // namespace podwire::api
