// What a stage did to one packet, in words: derived from how its metadata and headers changed, with the
// objects' names. Used by explain on the main thread.
#pragma once

#include <string>
#include <string_view>

#include "dataplane/packet/meta.hpp"
#include "dataplane/tables/intent.hpp"
#include "dataplane/tables/policy_view.hpp"
#include "dataplane/tables/snapshot.hpp"

namespace podwire::engine {

// The names of what packets meet, for people; ids where an object has gone.
struct ObjectNames {
  const Intent& intent;
  const Snapshot& tables;

  std::string port(PortId id) const;
  std::string domain(DomainId id) const;
  std::string vtep(std::uint32_t slot) const;
  std::string adjacency(std::uint32_t slot) const;  // "endpoint X", "route X"
};

// A packet before and after a stage.
struct PacketView {
  const PacketMeta& before;
  const PacketMeta& after;
  rte_mbuf* mbuf;  // null when the packet is no longer ours
};

// The adjacency of the route by which the packet went on into another domain; 0: it did not.
std::uint32_t entered_by(const PacketView& packet, const ObjectNames& names);

std::string describe(std::string_view stage, const PacketView& packet, const ObjectNames& names);

// What policies said of the connection, to follow a note; empty when none was asked.
std::string policy_text(const PolicyAnswer& answer, const ObjectNames& names);

// "IPv4 10.0.0.1 -> 10.0.0.2 TCP 40000 -> 80, TTL 64, 60 bytes", by what parse found.
std::string headers_text(rte_mbuf* mbuf, const PacketMeta& meta);

}  // namespace podwire::engine
