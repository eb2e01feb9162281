// PacketMeta: what the pipeline knows about one packet, kept in an array beside the burst. When a packet
// leaves its burst for a while (parked, handed over) the metadata travels in the mbuf's private area
// (save_meta/load_meta). Offload work (partial checksum, TSO) stays in the mbuf's own fields: see
// packet/offload.hpp.
#pragma once

#include <rte_mbuf.h>

#include <cstdint>
#include <cstring>

#include "dataplane/base/addresses.hpp"
#include "dataplane/base/ids.hpp"
#include "dataplane/pipeline/drop_reason.hpp"

namespace podwire::engine {

// What the stages have decided so far. A stage only looks at packets in the states it serves.
enum class Verdict : std::uint8_t {
  kUndecided,  // no stage has said where it goes
  kForward,    // to `egress`
  kTunnel,     // through `vtep`, encapsulation still to do; `egress` is set by encap
  kFlood,      // to every member of the domain (flood stage turns it into the above)
  // From here on the packet leaves the burst; the driver collects it after the stage.
  kDrop,      // `reason` says why; the driver frees it
  kConsumed,  // answered or absorbed; the driver frees it
  kParked,    // owned by somebody else now (neighbour queue)
  kTaken,     // replaced by what the stage emitted (segments, clones); the stage freed or reused it
};

// What the flow stage leaves to the track stage, once forward has decided.
enum class FlowTask : std::uint8_t {
  kNone,
  kInsert,   // a connection's first packet, allowed
  kRefresh,  // the connection is known; where its packets go is to be noted anew
};

struct alignas(64) PacketMeta {
  PortId ingress;   // never 0: generated packets carry the port that caused them
  PortId egress;    // valid with kForward
  DomainId domain;  // whose tables apply; underlay until decap or host stage say otherwise
  Verdict verdict = Verdict::kUndecided;
  DropReason reason{};

  std::uint16_t l3_offset = 0;    // from the start of the frame (inner frame after decap)
  std::uint16_t l4_offset = 0;    // 0: no L4 header is known (later fragment, not IP)
  std::uint16_t ether_type = 0;   // host order, after VLAN tags; 0 until parsed
  std::uint8_t ip_proto = 0;      // last header of the IPv6 chain
  std::uint8_t ingress_role = 0;  // api::PortRole

  bool from_tunnel = false;
  bool generated = false;  // made by the engine (replies, ICMP errors)
  bool routed = false;     // L3: rewrite sets MACs and decrements TTL
  bool is_fragment = false;
  bool resolved = false;  // leaves as it is: no MTU or TTL treatment (raw host traffic, generated)

  bool translated = false;  // it has other ends than it came with: pipeline/nat.hpp; always routed
  FlowTask flow_task = FlowTask::kNone;
  std::uint32_t flow_hash = 0;  // symmetric-free hash of the inner 5-tuple; 0 until somebody needs it
  std::uint32_t adjacency = 0;  // deciding Adjacency slot, 0 = none (for explain)
  std::uint32_t vtep = 0;  // slot in Snapshot::vteps, valid with kTunnel; after decap: the sender's slot or 0
  Vni vni;                 // valid with kTunnel
  MacAddr new_destination;  // with routed
  MacAddr new_source;       // with routed
};
static_assert(sizeof(PacketMeta) == 64);
static_assert(std::is_trivially_copyable_v<PacketMeta>);

// Private area of every mbuf of our pools.
inline constexpr std::uint16_t kMbufPrivateBytes = 64;

inline void save_meta(rte_mbuf* mbuf, const PacketMeta& meta) {
  std::memcpy(rte_mbuf_to_priv(mbuf), &meta, sizeof meta);
}
inline PacketMeta load_meta(rte_mbuf* mbuf) {
  PacketMeta meta;
  std::memcpy(&meta, rte_mbuf_to_priv(mbuf), sizeof meta);
  return meta;
}

}  // namespace podwire::engine
