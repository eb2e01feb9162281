// ServiceTable: which service a connection's first packet asks for, and the backend that it gets. Immutable:
// the main thread builds one for every change of services or node addresses (tables/services.hpp), workers
// read it through their snapshot. Entries of services that have not changed are shared between tables.
// Translates nothing and knows no connection: established ones do not come here (tables/flow_table.hpp), and
// neither do packets without ports (ICMP to a service's address is not the service's).
//
// The choice is consistent hashing as in Maglev (Eisenbud et al., NSDI 2016, section 3.4): every node that
// knows the same backends chooses alike, in whatever order it was told of them, and a backend that comes or
// goes leaves most clients where they are. Most, unless their number passes 2, 20 or 163: then the size of
// the hash table is another one, and new connections are dealt out afresh.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "dataplane/api/service.hpp"
#include "dataplane/tables/flow_key.hpp"
#include "dataplane/tables/lookup_table.hpp"

namespace podwire::engine {

// Which backend a client had last, for services with affinity, so that backends that come move none of the
// clients that are there. A bounded cache that workers write: of two clients that fall on one slot the later
// one is remembered, and the other gets what consistent hashing says, which is what it had unless backends
// have changed. Lives as long as its service, whatever its backends do, and not beyond the engine's process.
class AffinityMemory {
 public:
  static constexpr std::size_t kSlots = 4096;
  static constexpr std::uint32_t kSecondBits = 17;  // times wrap after 36 hours; affinity is 24 at most

  // The mark of the backend remembered for a client, 0 when there is none or `affinity_s` are over.
  std::uint32_t find(std::uint64_t client_hash, std::uint32_t now_s, std::uint32_t affinity_s) const noexcept;
  void remember(std::uint64_t client_hash, std::uint32_t mark, std::uint32_t now_s) noexcept;

 private:
  // From the top: 32 bits of the backend's mark, 15 of the client's hash, 17 of the time. 0: empty.
  std::array<std::atomic<std::uint64_t>, kSlots> slots_{};
};

// The backends of one family that get new connections.
class BackendSet {
 public:
  struct Backend {
    IpAddr address;
    std::uint16_t port = 0;
    std::uint64_t hash = 0;  // of both; the same on every node
    std::uint32_t mark() const noexcept { return static_cast<std::uint32_t>(hash >> 32) | 1; }
  };
  BackendSet() = default;
  // Those of `all` that are of the family and not draining.
  BackendSet(std::span<const api::ServiceBackend> all, bool v4);

  bool empty() const noexcept { return backends_.empty(); }
  // By any well mixed number; not empty() only.
  const Backend& at(std::uint64_t hash) const noexcept;
  const Backend* find(std::uint32_t mark) const noexcept;
  std::size_t bytes() const noexcept { return slots_.size() * sizeof(std::uint16_t); }

 private:
  void fill(std::span<const std::uint16_t> weights, std::size_t size);

  std::vector<Backend> backends_;     // by mark
  std::vector<std::uint16_t> slots_;  // indices of backends; empty with one backend
};

struct ServiceEntry {
  ServiceId id;
  std::string name;
  DomainId domain;  // of the backends
  bool hide_clients = false;
  std::uint32_t affinity_s = 0;
  BackendSet v4, v6;
  std::vector<api::ServiceBackend> backends;  // all of them, sorted by address and port
  std::shared_ptr<AffinityMemory> affinity;   // null without affinity

  // Whether a connection to this backend may go on: it is one still, draining or not.
  bool serves(const IpAddr& address, std::uint16_t port) const noexcept;
};

// Keeps the affinity memory of `before`, the same service as it was; null when it is new.
std::shared_ptr<const ServiceEntry> make_service_entry(const api::Service& service,
                                                       const ServiceEntry* before);

class ServiceTable {
 public:
  struct Choice {
    enum class Kind : std::uint8_t {
      kReject,  // no backend of the key's family takes new connections
      kBackend,
    };
    Kind kind = Kind::kReject;
    IpAddr address;
    std::uint16_t port = 0;
    bool operator==(const Choice&) const = default;
  };

  // `service` tells the frontends, `entry` is made of it. `node_addresses`: what a frontend without address
  // stands for.
  struct Item {
    const api::Service* service;
    std::shared_ptr<const ServiceEntry> entry;
  };
  ServiceTable(const std::vector<Item>& items, std::vector<IpAddr> node_addresses);

  // By domain, destination address, protocol and destination port of a connection's first packet; null: no
  // service. In the underlay a frontend without address is found for every address of the node, unless
  // another service has that very address. What counts as the node's: addresses of local VTEPs, addresses
  // that domains masquerade with, and what /32 and /128 routes lead to through the host port, in whatever
  // domain. Loopback and link-local addresses are not among them: they come to no uplink. `from_host`: the
  // packet came by the host port; frontends for the node's own programs are found then, and only then, before
  // any other.
  const ServiceEntry* find(const FlowKey& key, bool from_host = false) const noexcept;
  bool is_node_address(const IpAddr& address) const noexcept;
  // Whether some frontend for the node's own programs has it: then nobody else does.
  bool is_for_host(const IpAddr& address) const noexcept;
  // The same for pods' packets too, which meet the node's own ports as the world outside does.
  const ServiceEntry* find_for(const FlowKey& key, bool from_host) const noexcept {
    if (const auto* own = find(key, from_host)) return own;
    if (key.domain() == kUnderlayDomain || !is_node_address(key.destination())) return nullptr;
    FlowKey outside = key;
    outside.set_domain(kUnderlayDomain);
    return find(outside);
  }

  // Whether `client`, as the service sees it, may connect to the address that a connection's first packet
  // asks for. It may where nothing is said of clients, and where there is no service.
  bool admits(const FlowKey& key, const IpAddr& client) const noexcept;
  // The same of a connection that is there: to a service of another domain its client is who it appears as.
  bool admits(const FlowKey& original, const FlowKey& reply) const noexcept;

  // The backend for a connection that begins with `key`, which find() led here with. Without affinity by
  // addresses, ports and protocol; with affinity by the client's address alone, and as before as long as
  // affinity lasts and the backend takes connections. `now_s`: monotonic seconds. Any worker.
  static Choice choose(const ServiceEntry& service, const FlowKey& key, std::uint32_t now_s) noexcept;

 private:
  std::vector<std::shared_ptr<const ServiceEntry>> entries_;  // a value in by_frontend_ is index + 1
  std::vector<IpAddr> node_addresses_;                        // sorted
  LookupTable<Key192> by_frontend_;
  std::vector<std::vector<IpPrefix>> sources_;  // of frontends; a value in restricted_ is index + 1
  LookupTable<Key192> restricted_;
  bool any_address_ = false;   // some frontend has no address
  bool any_for_host_ = false;  // some frontend is for the node's own programs
};

}  // namespace podwire::engine
