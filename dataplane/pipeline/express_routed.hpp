// Plain frames (packet/plain_frame.hpp) of pods that are reached without tunnels, and paths of equal cost, as
// the express lane meets them. Decides as routing.hpp and the host stage do. Called by workers.
#pragma once

#include "dataplane/packet/flow_hash.hpp"
#include "dataplane/packet/plain_frame.hpp"
#include "dataplane/pipeline/express_connections.hpp"
#include "dataplane/pipeline/routing.hpp"
#include "dataplane/tables/own_addresses.hpp"
#include "dataplane/tables/routed_prefixes.hpp"

namespace podwire::engine {

inline Ipv4 plain_destination(const std::uint8_t* frame) noexcept {
  Ipv4 address;
  std::memcpy(address.bytes.data(), frame + plain::kDestination, sizeof address);
  return address;
}

// Whether a frame from the uplink claims to be the node's; the stages drop it.
inline bool is_martian(const Snapshot& tables, const std::uint8_t* frame) noexcept {
  std::uint32_t source;
  std::memcpy(&source, frame + plain::kSource, sizeof source);
  if (tables.own == nullptr || !tables.own->may_contain4(source)) return false;
  Ipv4 address;
  std::memcpy(address.bytes.data(), &source, sizeof source);
  return tables.own->contains(IpAddr(address));
}

// The domain of the pod that a frame from the uplink is for; null: no such pod's, or not for us to route, or
// from an address that is here.
inline const DomainEntry* plain_entry(const Snapshot& tables, const std::uint8_t* frame,
                                      const MacAddr& own) noexcept {
  if (tables.routed == nullptr || reinterpret_cast<const EtherHeader*>(frame)->destination != own)
    return nullptr;
  const auto* domain = tables.domain(tables.routed->find(plain_destination(frame)));
  if (domain == nullptr) return nullptr;
  Ipv4 source;
  std::memcpy(source.bytes.data(), frame + plain::kSource, sizeof source);
  return is_from_here(tables, find_route(tables, *domain, source)) ? nullptr : domain;
}

// Where such a frame goes in a domain without connections; 0: for the stages.
inline std::uint32_t plain_entry_slot(const Snapshot& tables, const DomainEntry& domain,
                                      const std::uint8_t* frame) noexcept {
  const auto address = plain_destination(frame);
  if (frame[plain::kTtl] <= 1 || !is_plain_address(address.to_u32()) ||
      !is_plain_address(load_be32(frame + plain::kSource)))
    return 0;
  return find_route(tables, domain, address);
}

// The length of `key`, a fib4_key() of `domain`, did not match, nor does any longer one. It has the address
// as far as that length goes.
[[gnu::noinline]] inline std::uint32_t shorter_match(const Snapshot& tables, const DomainEntry& domain,
                                                     std::uint64_t key) noexcept {
  const auto length = key >> 40 & 0xff;
  const std::uint32_t word = __builtin_bswap32(static_cast<std::uint32_t>(key));
  Ipv4 address;
  std::memcpy(address.bytes.data(), &word, sizeof word);
  const auto shorter = domain.fib4_lengths & ((std::uint64_t{1} << length) - 1);
  const auto slot = find_route(tables, domain, address, shorter);
  if (slot != 0 || !domain.routed || length != 32) return slot;
  return find_route(tables, *tables.domain(kUnderlayDomain), address);
}

// The path of a group that the frame takes, as choose_path() does.
[[gnu::noinline]] inline const Adjacency& path_of(const Snapshot& tables, const Adjacency& group,
                                                  const std::uint8_t* frame) noexcept {
  if (group.paths_count == 0) return group;
  return tables.adjacencies[tables.paths[group.paths_first + plain_hash(frame) % group.paths_count]];
}

}  // namespace podwire::engine
