// Arrival: what a translated packet came with, kept in its mbuf's private area (which nobody else uses
// between the flow stage and encapsulation) as long as PacketMeta::translated is set. Later stages need it to
// note the connection, and to answer with errors about the packet as its sender knows it. Called by workers.
#pragma once

#include "dataplane/packet/translate.hpp"
#include "dataplane/pipeline/accounting.hpp"
#include "dataplane/tables/conntrack_state.hpp"
#include "dataplane/tables/flow_key.hpp"

namespace podwire::engine {

struct Arrival {
  enum class Source : std::uint8_t {
    kOwn,         // the source keeps its address
    kGateway,     // it appears as the gateway of the domain that the packet is for
    kMasquerade,  // it appears outside as its domain's masquerade or its endpoint has it (outside_ends())
  };
  FlowKey key;              // in the domain in which it came
  std::uint32_t ports = 0;  // that it leaves with, as in a FlowKey
  FlowPhase begins;         // with FlowTask::kInsert: the connection's first phase
  bool is_error = false;    // an ICMP error: `key` is not its own
  Source source = Source::kOwn;
};
static_assert(sizeof(Arrival) <= kMbufPrivateBytes && std::is_trivially_copyable_v<Arrival>);

inline void save_arrival(rte_mbuf* mbuf, const Arrival& arrival) noexcept {
  std::memcpy(rte_mbuf_to_priv(mbuf), &arrival, sizeof arrival);
}
inline Arrival load_arrival(rte_mbuf* mbuf) noexcept {
  Arrival arrival;
  std::memcpy(static_cast<void*>(&arrival), rte_mbuf_to_priv(mbuf), sizeof arrival);
  return arrival;
}

inline PacketEnds ends_of(const FlowKey& key) noexcept {
  PacketEnds ends;
  std::memcpy(ends.addresses.data(), &key.words[1], key.is_v4() ? 8 : 32);
  ends.ports = key.ports();
  return ends;
}

// The key of a packet that leaves with `ports`: its addresses are in the packet already.
inline FlowKey leaving_key(rte_mbuf* mbuf, const PacketMeta& meta, std::uint32_t ports) noexcept {
  FlowKey key;
  const bool v4 = meta.ether_type == ether_type::kIpv4;
  if (v4) {
    std::memcpy(&key.words[1], &header_unchecked<Ipv4Header>(mbuf, meta.l3_offset)->source, 8);
  } else {
    std::memcpy(&key.words[1], &header_unchecked<Ipv6Header>(mbuf, meta.l3_offset)->source, 32);
  }
  key.set_head(meta.domain, meta.ip_proto, v4, ports);
  return key;
}

// Makes a translated packet what it was when it came. False where that cannot be (ICMP errors).
inline bool undo_translation(WorkerCounters& counters, rte_mbuf* mbuf, PacketMeta& meta) noexcept {
  const auto arrival = load_arrival(mbuf);
  if (arrival.is_error ||
      !translate(mbuf, meta, ends_of(leaving_key(mbuf, meta, arrival.ports)), ends_of(arrival.key)))
    return false;
  if (meta.domain != arrival.key.domain()) move_to_domain(counters, meta, arrival.key.domain());
  meta.translated = false;
  return true;
}

}  // namespace podwire::engine
