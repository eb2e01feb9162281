// Desired state on disk: SQLite (WAL, synchronous=FULL). Every public call is thread-safe and returns after
// its change is on disk. All SQL runs on one thread of the store's own, which commits everything that is
// queued as one transaction, each caller in a savepoint: a hundred concurrent ADDs cost a few fsyncs, not
// hundreds.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/state/ipam.hpp"
#include "dataplane/api/objects.hpp"
#include "dataplane/base/addresses.hpp"
#include "dataplane/base/ids.hpp"
#include "dataplane/base/result.hpp"

namespace podwire::control {

// A container's interface, or a port that a person added by name, which no CNI network and no container has:
// then `network` and `ifname` are empty and `container_id` is the name.
struct AttachmentKey {
  std::string network;  // the CNI network's name
  std::string container_id;
  std::string ifname;
  bool is_named_port() const { return network.empty(); }
  auto operator<=>(const AttachmentKey&) const = default;
};

// How the peer of a memif or vhost port is met.
struct SocketSpec {
  std::string path;
  api::SocketMode mode = api::SocketMode::kServer;
  std::uint32_t group = 0;  // of the socket, when the engine makes it
  std::uint16_t permissions = 0600;
  std::uint32_t memif_id = 0;
  std::string secret;
  std::uint16_t ring_size = 1024;
  std::uint32_t buffer_size = 2048;
  bool iommu = false;
  bool operator==(const SocketSpec&) const = default;
};

// How much may pass a port; none: as much as there is.
struct PortLimits {
  std::optional<api::RateLimit> from_pod, to_pod;
  bool operator==(const PortLimits&) const = default;
};

// What an endpoint has beside MAC and addresses.
struct EndpointOptions {
  bool dhcp = false;     // the engine answers its DHCP questions and router solicitations
  std::string hostname;  // told by DHCP
  std::vector<api::AddressPair> allowed_pairs;
  bool operator==(const EndpointOptions&) const = default;
};

// An endpoint beside the one that every attachment has.
struct ExtraEndpoint {
  EndpointId id;
  std::string name;  // unique among these and the named ports
  MacAddr mac;
  std::vector<IpPrefix> addresses;
  EndpointOptions options;
};

// A port of the node that leads to a port of the pod.
struct PublishedPort {
  ServiceId service;              // of the api::Service that it becomes
  std::optional<IpAddr> host_ip;  // one of the node's; zero: all of its family; none: all of them
  api::ServiceProtocol protocol = api::ServiceProtocol::kTcp;
  std::uint16_t host_port = 0;  // 1..65535, as the next
  std::uint16_t container_port = 0;
  bool operator==(const PublishedPort&) const = default;
};

enum class AttachmentState { kAdding, kReady, kDeleting };

// One interface of one container, or one named port, from before it exists until after it is gone.
struct Attachment {
  AttachmentKey key;
  AttachmentState state = AttachmentState::kAdding;
  std::string netns_path;  // as the runtime gave it; may be empty
  std::uint64_t netns_device =
      0;  // st_dev and st_ino of the namespace: tells a reused path from the same namespace
  std::uint64_t netns_inode = 0;
  std::string domain;  // name
  PortId port;
  EndpointId endpoint;
  MacAddr mac;
  std::vector<IpPrefix> addresses;  // with the on-link prefix length
  std::vector<IpAddr> gateways;     // default routes, at most one a family
  std::uint16_t mtu = 0;
  std::uint16_t queues = 1;
  std::string ipam_type;    // empty: built in; else the delegated plugin
  std::string config_json;  // control/cni's own: what a delegated DEL needs of the ADD
  std::string pod_namespace, pod_name, pod_uid;
  api::PortKind kind = api::PortKind::kTap;
  SocketSpec socket;  // memif and vhost only
  std::string
      pod_directory;  // where its socket lies, shared by the container's interfaces; a named port has none
  std::string device_info;  // the CNIDeviceInfoFile that was asked for; may be empty
  PortLimits limits;
  EndpointOptions options;                     // of its own endpoint
  std::vector<ExtraEndpoint> extra_endpoints;  // by id
  std::vector<PublishedPort> published_ports;  // of its own endpoint, by service
};

// What begin_add is asked for.
struct AttachmentRequest {
  AttachmentKey key;
  std::string netns_path;
  std::uint64_t netns_device = 0;
  std::uint64_t netns_inode = 0;
  std::string domain;
  std::optional<MacAddr> mac;             // default: from the first address, by chance if that is taken
  std::vector<IpPrefix> fixed_addresses;  // from a delegated IPAM plugin: taken as they are
  std::vector<IpAddr> gateways;           // with fixed_addresses
  std::vector<IpAddr> requested_ips;      // `ips` capability: these very addresses from the built-in IPAM
  std::uint16_t mtu = 0;                  // 0: the domain's
  std::uint16_t queues = 1;
  std::string ipam_type;
  std::string config_json;
  std::string pod_namespace, pod_name, pod_uid;
  bool exact = false;  // requested_ips are all that it gets; else every prefix gives one
  api::PortKind kind = api::PortKind::kTap;
  SocketSpec socket;
  // Of the pods' directories: the container gets one in there and its socket's path is made from that.
  std::string pods_directory;
  std::string device_info;
  PortLimits limits;
  EndpointOptions options;
  std::vector<PublishedPort> published_ports;  // without their services
};

struct EndpointRequest {
  AttachmentKey port;
  std::string name;
  std::optional<MacAddr> mac;         // default: from the first address
  std::vector<IpAddr> requested_ips;  // none: one of every prefix
  EndpointOptions options;
};

// Where begin_add takes a domain's addresses from.
struct DomainPools {
  std::string name;
  std::uint16_t mtu = 1450;        // for attachments that ask for none
  std::vector<AddressPool> pools;  // one a prefix
  // Whether ports can be published, and where: the node's addresses.
  bool stateful = false;
  std::vector<IpAddr> node_addresses{};
  std::vector<std::uint16_t> vxlan_ports{};  // UDP ports of the node that nobody else can have
};

struct PoolUsage {
  std::string domain;
  IpPrefix prefix;
  std::uint64_t used = 0;  // every recorded address inside the prefix
  std::uint64_t free = 0;  // that begin_add may still hand out by itself; saturates at 2^63 - 1
};

// A Kubernetes object that a person gave us, as it is kept.
struct StoredManifest {
  std::string kind, space, name;  // space: its namespace; empty for objects that have none
  std::string body;               // JSON
};

class Store {
 public:
  // Opens or creates <state_dir>/podwire.db (and the directory), migrates it, and increments the epoch.
  // kConflict when another podwired has it open, kInvalid when the file is damaged, foreign or of a newer
  // version.
  static Result<std::unique_ptr<Store>> open(const std::string& state_dir);
  virtual ~Store() = default;

  virtual std::uint64_t epoch() const = 0;  // higher at every start of the daemon

  // Replaces the pools; begin_add knows no domain before the first call.
  virtual void set_domains(std::vector<DomainPools> domains) = 0;
  virtual Result<std::vector<PoolUsage>> usage() = 0;
  // What is remembered of the addresses of a domain that is gone: which pods had them, and which come next.
  virtual Result<void> forget_pools(const std::string& domain) = 0;

  // Allots port id, endpoint id, MAC and addresses and records the attachment in state kAdding. kConflict
  // when the key exists already (the message tells its state and what to do), kExhausted when the domain has
  // no address left, kConflict when a requested address is taken (by whom), kInvalid when it is outside the
  // domain's prefixes; of published ports kConflict when one is taken (by whom), kInvalid when the domain is
  // not stateful or the node has no such address.
  virtual Result<Attachment> begin_add(const AttachmentRequest& request) = 0;
  virtual Result<void> mark_ready(const AttachmentKey& key) = 0;
  // Returns the attachment as it was, or nothing when there is none. A second call finds it again until
  // finish_delete.
  virtual Result<std::optional<Attachment>> begin_delete(const AttachmentKey& key) = 0;
  // Forgets the attachment and frees its ids and addresses. No error when there is none.
  virtual Result<void> finish_delete(const AttachmentKey& key) = 0;
  virtual Result<std::optional<Attachment>> find(const AttachmentKey& key) = 0;
  virtual Result<std::vector<Attachment>> list() = 0;  // by port

  // Both return the attachment as it is afterwards. kNotFound: there is no such attachment; kConflict: the
  // name, MAC or an address is taken.
  virtual Result<Attachment> add_endpoint(const EndpointRequest& request) = 0;
  virtual Result<Attachment> remove_endpoint(const AttachmentKey& port, const std::string& name) = 0;

  // Small facts of the node itself (what was moved from the NIC, ...), as JSON text.
  virtual Result<std::optional<std::string>> get_fact(const std::string& name) = 0;
  virtual Result<void> set_fact(const std::string& name, const std::optional<std::string>& value) = 0;
  // A stable id for a named object ("vtep/node-b", "domain/default", "route/default/10.244.2.0/24"), allotted
  // on first use. Lowest free first; ports stay below 4096, domains from 2 to 8191.
  virtual Result<std::uint32_t> id_for(const std::string& noun, const std::string& name) = 0;
  // The same for many names, in their order, at once.
  virtual Result<std::vector<std::uint32_t>> ids_for(const std::string& noun,
                                                     const std::vector<std::string>& names) = 0;
  // Frees the ids of `noun` whose names are not in `names` (objects that left the configuration). Not for
  // ports and endpoints, whose ids go with their attachment.
  virtual Result<void> keep_ids(const std::string& noun, const std::vector<std::string>& names) = 0;

  // Those of a kind, by namespace and name.
  virtual Result<std::vector<StoredManifest>> manifests(const std::string& kind) = 0;
  // All or nothing. What is erased need not be there; its body does not matter.
  virtual Result<void> change_manifests(const std::vector<StoredManifest>& put,
                                        const std::vector<StoredManifest>& erased) = 0;
};

}  // namespace podwire::control
