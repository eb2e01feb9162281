// Snapshot: what workers read. The engine's main thread builds it (tables/programmer.hpp) and publishes it
// (tables/publisher.hpp); workers load the pointer once a burst. Small configuration (ports, domains, VTEPs)
// is immutable behind the snapshot's pointers; the large tables (FDB, FIB) behind it change in place,
// lock-free for readers. What a table value points to (an Adjacency slot) is written before the value and not
// reused until every worker has been quiescent.
#pragma once

#include <array>
#include <bitset>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <vector>

#include "dataplane/api/objects.hpp"
#include "dataplane/base/addresses.hpp"
#include "dataplane/base/be.hpp"
#include "dataplane/packet/lease.hpp"
#include "dataplane/ports/port.hpp"
#include "dataplane/tables/long_prefixes.hpp"
#include "dataplane/tables/lookup_table.hpp"

namespace podwire::engine {

// How often a slot has changed its meaning, so that who remembers the slot (a connection) notices. Written by
// the main thread, read by workers.
class SlotGeneration {
 public:
  SlotGeneration() = default;
  // It belongs to the slot, not to what is in it: another adjacency in the same slot leaves it alone.
  SlotGeneration(const SlotGeneration&) noexcept {}
  SlotGeneration& operator=(const SlotGeneration&) noexcept { return *this; }
  std::uint32_t get() const noexcept { return __atomic_load_n(&value_, __ATOMIC_ACQUIRE); }
  void advance() noexcept { __atomic_store_n(&value_, value_ + 1, __ATOMIC_RELEASE); }
  // Says nothing about what the slot means now.
  bool operator==(const SlotGeneration&) const noexcept { return true; }

 private:
  std::uint32_t value_ = 0;
};

// One place a packet may go. Slot 0 is never used; its generation advances before any other's does.
struct alignas(32) Adjacency {
  enum class Kind : std::uint8_t {
    kNone,
    kPort,      // out of `port` with `mac` as destination
    kVtep,      // through `vtep` with `mac` as inner destination
    kUnderlay,  // to the next hop `vtep` of the underlay, without a tunnel
    kGateway,   // an address of the domain's gateway: ours
    kBlackhole,
    kMultipath,  // one of `paths_count` adjacencies at Snapshot::paths[paths_first], by flow hash
    kOnLink,     // in a subnet of the domain, but nobody has the address (L3: unreachable)
    kInto,       // what the domain into() has for the destination decides, unless that is another such
  };
  Kind kind = Kind::kNone;
  bool learned = false;  // from traffic, not from control
  PortId port;
  std::uint32_t vtep = 0;  // slot in Snapshot::vteps; kInto: the domain
  MacAddr mac;
  std::uint16_t paths_count = 0;
  std::uint32_t paths_first = 0;
  EndpointId endpoint;  // who decided: one of these, or neither (gateway)
  RouteId route;
  SlotGeneration generation;  // advances when the slot is released or no longer decides for what it did

  bool operator==(const Adjacency&) const = default;

  DomainId into() const noexcept { return DomainId(static_cast<std::uint16_t>(vtep)); }
  // Kind, port and VTEP in one word, as they lie; never 0 but for kNone.
  std::uint64_t place() const noexcept {
    std::uint64_t word;
    std::memcpy(&word, static_cast<const void*>(this), sizeof word);
    return word & ~std::uint64_t{0xff00};
  }
};
static_assert(offsetof(Adjacency, learned) == 1 && offsetof(Adjacency, port) == 2 &&
              offsetof(Adjacency, vtep) == 4);

// A source that a pod may use.
struct AllowedSource {
  MacAddr mac;
  IpPrefix address;
  bool operator==(const AllowedSource&) const = default;
};

// The IPv4 ones among them as the guard compares them.
struct AllowedSource4 {
  std::uint64_t mac = 0;                // MacAddr::to_u64()
  std::uint32_t network = 0, mask = 0;  // as they lie in memory, host bits cleared
  bool operator==(const AllowedSource4&) const = default;
};

class RateLimiter;  // tables/rate_limiter.hpp

// One port as workers see it.
struct PortEntry {
  PortId id;
  Port* device = nullptr;  // lives until the snapshots that name it are gone
  api::PortRole role = api::PortRole::kPod;
  DomainId domain;
  MacAddr mac;  // of the interface behind the port
  std::uint16_t mtu = 0;
  std::uint16_t vlan = 0;
  std::uint32_t flow_limit = 0;  // as api::Port has it
  bool answers_for_host =
      false;  // uplink without a host port: the engine answers ARP/ND for local VTEP addresses
  // Source guard. Empty `sources` with a non-zero count of macs means: MAC only (endpoint without addresses).
  std::vector<MacAddr> macs;
  std::vector<AllowedSource> sources;
  std::vector<AllowedSource4> sources4;
  // Whether a pod may speak as DHCP server or router here: only where nothing guards its sources, or where it
  // has allowed_pairs, which are given to those that stand for others.
  bool may_configure_hosts = false;
  std::vector<Lease> leases;                      // of the endpoints with dhcp
  std::shared_ptr<RateLimiter> from_pod, to_pod;  // null: no limit
  bool cut_segments = false;  // segmentation packets towards it are cut here, whatever the device can do

  const Lease* lease(const MacAddr& mac_of_endpoint) const noexcept {
    for (const auto& one : leases) {
      if (one.mac == mac_of_endpoint) return &one;
    }
    return nullptr;
  }
  bool operator==(const PortEntry&) const = default;
};

class RuleSet;         // tables/rule_set.hpp
class ServiceTable;    // tables/service_table.hpp
struct PolicyView;     // tables/policy_view.hpp
class RoutedPrefixes;  // tables/routed_prefixes.hpp
class OutsideTable;    // tables/outside_table.hpp
class OwnAddresses;    // tables/own_addresses.hpp
class ProbeWindow;     // tables/probe_window.hpp

// What connections from a domain to the world outside appear to come from.
struct MasqueradeEntry {
  IpAddr v4, v6;         // the node's; zero: none of that family
  api::PortRange ports;  // and ICMP echo identifiers
  std::vector<IpPrefix> except;

  const IpAddr& address(bool of_v4) const noexcept { return of_v4 ? v4 : v6; }
  bool operator==(const MasqueradeEntry&) const = default;
};

struct DomainEntry {
  DomainId id;
  Vni vni;
  bool flood = false;  // mode l2
  bool learning = false;
  bool host_access = false;
  bool routed = false;  // what it has no route for leaves by the underlay's
  std::uint16_t mtu = 0;
  MacAddr gateway_mac;
  std::vector<Ipv4> gateways4;
  std::vector<Ipv6> gateways6;  // the link-local address of gateway_mac included
  std::vector<PortId> flood_ports;
  std::vector<std::uint32_t> flood_vteps;  // slots
  std::uint64_t fib4_lengths = 0;          // bit L: some route of this domain has length L (hosts: 32)
  std::bitset<129> fib6_lengths;
  std::vector<std::uint8_t> fib6_lengths_descending;
  bool stateful = false;
  bool strict_tcp = false;
  bool joined = false;  // some of its routes lead into other domains
  // Packets from pods leave with DSCP and ECN `byte & dscp_kept | dscp_set` (packet/marking.hpp); 0xff: as
  // they came.
  std::uint8_t dscp_kept = 0xff;
  std::uint8_t dscp_set = 0;
  std::uint32_t rules_generation = 0;    // of `rules`; no two of any domain are the same
  std::shared_ptr<const RuleSet> rules;  // stateful only, then never null
  std::optional<MasqueradeEntry> masquerade;

  bool marks() const noexcept { return dscp_kept != 0xff; }
  bool operator==(const DomainEntry&) const = default;
};

// A tunnel end of ours: UDP to it is decapsulated. Matched linearly; there are a handful.
struct LocalVtep {
  IpAddr address;
  std::uint16_t udp_port = 0;
  MacAddr mac;  // inner destination MAC that routes to us, beside the gateway's
  bool operator==(const LocalVtep&) const = default;
};

// A remote VTEP with its ready-made outer headers: Ethernet, VLAN if any, IP, UDP, VXLAN. Per packet only
// lengths, IPv4 checksum, UDP source port, VNI (and the UDP checksum over IPv6) are filled in. Or a next hop
// of the underlay for packets without a tunnel (`direct`), whose header ends before the Ethernet type.
struct alignas(64) VtepEntry {
  std::array<std::uint8_t, 80> header{};
  std::uint8_t header_bytes = 0;
  std::uint8_t l3_offset = 0;  // of the outer IP header: 14 or 18
  bool v6 = false;
  bool resolved = false;    // the next hop's MAC is known
  bool has_source = false;  // a local VTEP of this family and UDP port exists
  bool known = false;       // false: an empty slot
  bool direct = false;      // a next hop at `address`; zero: whoever is on link behind `egress`
  PortId egress;            // uplink
  std::uint16_t mtu = 0;    // largest inner IP packet: underlay MTU less overhead; 0: not known, no limit
  std::uint32_t checksum_base =
      0;  // IPv4: sum of the header's 16-bit words as stored, lengths and checksum zero
  VtepId id;
  IpAddr address;
  std::uint16_t udp_port = 0;
  MacAddr mac;

  bool operator==(const VtepEntry&) const = default;
};

struct Snapshot {
  std::uint64_t generation = 0;
  std::uint64_t ports_generation = 0;       // changes when a worker must look at its polled queues anew
  bool stateful = false;                    // some domain is
  bool translates = false;                  // and some connections have other ends outside
  std::vector<const PortEntry*> ports;      // by PortId; null where there is none
  std::vector<const DomainEntry*> domains;  // by DomainId
  std::vector<VtepEntry> vteps;             // by slot; slot 0 unused
  std::vector<LocalVtep> local_vteps;
  std::vector<IpAddr> outside_addresses;  // that domains masquerade with, and those of single endpoints
  PortId host_port;                       // 0: none
  DomainId host_domain;                   // the domain with host_access, 0: none
  std::vector<PortId> uplinks;
  std::vector<std::uint32_t> paths;  // adjacency slots of multipath groups

  const LookupTable<Key64>* vni_to_domain = nullptr;  // key: VNI; value: DomainId
  const LookupTable<Key64>* vtep4 = nullptr;          // vtep4_key → slot
  const LookupTable<Key192>* vtep6 = nullptr;
  const LookupTable<Key64>* fdb = nullptr;   // fdb_key → adjacency
  const LookupTable<Key64>* fib4 = nullptr;  // fib4_key → adjacency
  const LookupTable<Key192>* fib6 = nullptr;
  const LongPrefixes* long_prefixes = nullptr;  // of fib4
  const Adjacency* adjacencies = nullptr;       // stable base address; index < capacity
  const ServiceTable* services = nullptr;       // null: there are none
  const RoutedPrefixes* routed = nullptr;  // of the domains that are reached without tunnels; null: none is
  const PolicyView* policies = nullptr;    // null: there are none, everything is allowed
  const OutsideTable* outside = nullptr;   // null: no endpoint has an address of its own outside
  const ProbeWindow* probes = nullptr;     // null: nobody probes
  const OwnAddresses* own = nullptr;       // the node's; null: none is known

  const PortEntry* port(PortId id) const noexcept {
    return id.value() < ports.size() ? ports[id.value()] : nullptr;
  }
  const DomainEntry* domain(DomainId id) const noexcept {
    return id.value() < domains.size() ? domains[id.value()] : nullptr;
  }
};

// Longest-prefix match in `domain` among these lengths; 0 when nothing matches.
inline std::uint32_t find_route(const Snapshot& tables, const DomainEntry& domain, const Ipv4& address,
                                std::uint64_t lengths) noexcept {
  const std::uint32_t ip = address.to_u32();
  while (lengths != 0) {
    const int length = 63 - __builtin_clzll(lengths);
    lengths &= ~(std::uint64_t{1} << length);
    const std::uint32_t mask = length == 0 ? 0 : ~std::uint32_t{0} << (32 - length);
    if (const auto slot = tables.fib4->find(fib4_key(domain.id, ip & mask, length))) return slot;
  }
  return 0;
}

inline std::uint32_t find_route(const Snapshot& tables, const DomainEntry& domain,
                                const Ipv4& address) noexcept {
  return find_route(tables, domain, address, domain.fib4_lengths);
}

inline Ipv6 mask_address(const Ipv6& address, int length) noexcept {
  Ipv6 masked;
  for (int i = 0; i < 16; ++i) {
    const int keep = length - i * 8;
    const auto at = static_cast<std::size_t>(i);
    if (keep >= 8)
      masked.bytes[at] = address.bytes[at];
    else if (keep > 0)
      masked.bytes[at] = static_cast<std::uint8_t>(address.bytes[at] & (0xff << (8 - keep)));
  }
  return masked;
}

inline std::uint32_t find_route(const Snapshot& tables, const DomainEntry& domain,
                                const Ipv6& address) noexcept {
  for (const auto length : domain.fib6_lengths_descending) {
    if (const auto slot = tables.fib6->find(fib6_key(domain.id, mask_address(address, length), length)))
      return slot;
  }
  return 0;
}

}  // namespace podwire::engine
