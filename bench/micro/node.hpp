// BenchNode: the node that the benchmarks run on, without workers: the real Programmer's tables over ports
// that only record, with 100,000 remote endpoints on 16 resolved VTEPs, and frames of up to 100,000 flows for
// every way through the pipeline. One for the whole program; one thread.
#pragma once

#include <map>
#include <memory>
#include <vector>

#include "dataplane/pipeline/pipeline.hpp"
#include "dataplane/tables/flow_table.hpp"
#include "dataplane/tables/programmer.hpp"
#include "dataplane/telemetry/counter_set.hpp"

namespace podwire::engine::bench {

inline constexpr unsigned kRemoteEndpoints = 100'000, kRemoteVteps = 16, kMaxFlows = 100'000;
inline constexpr unsigned kPoolPackets = 300'000;  // with those that sit in the pool's cache
// A pool hands out what was given back longest ago: so few that all of them stay in the second-level cache.
inline constexpr unsigned kWarmPoolPackets = 1023;
inline constexpr std::uint16_t kFrameRoom = 256;

// Ways through the pipeline. Frames are of 60 bytes (64 on the wire), inner ones too, if not said otherwise.
enum class Traffic {
  kLocal,     // pod to pod, routed
  kBridge,    // pod to a remote endpoint's MAC: switched, encapsulated
  kEncap,     // pod to a remote endpoint, IPv4
  kEncap6,    // the same, IPv6 (78 bytes)
  kDecap,     // remote endpoint to pod
  kDecapTcp,  // the same, trains of eight TCP segments of 100 bytes, to be joined for a tap
  kHost,      // underlay to the node itself
  kArp,       // pod asks for its gateway
  kFlood,     // broadcast in an L2 domain: one port and two VTEPs
  kChecksum,  // encap, with the UDP checksum left to the switch
  kTracked,   // encap in a stateful domain, connections that have been answered
  kCount,
};
const char* name_of(Traffic traffic);

struct FrameSet {
  std::uint16_t length = 0;
  PortId ingress;
  bool partial_checksum = false;
  std::vector<std::uint8_t> bytes;  // frame i at i * length
  std::size_t count() const { return bytes.size() / length; }
};

// Keeps what is sent, so that freeing it is not measured.
struct Kept {
  std::vector<rte_mbuf*> mbufs;
  void free();
};

class BenchNode final : private EventSink, private Injector {
 public:
  static BenchNode& get();  // made at first use, after EAL's start

  // Connections of kTracked are established with it.
  const FrameSet& frames(Traffic traffic);
  // Fresh packets of flows first.. in `burst`, as a worker receives them; `flows` of them take turns. `cold`:
  // of the large pool.
  void receive(const FrameSet& frames, std::size_t first, std::size_t flows, unsigned count, bool cold,
               Burst& burst);
  Context& context() { return ctx_; }
  const WorkerCounters& counters() { return counters_.worker(0); }
  WorkerCounters& own_counters() { return counters_.worker(0); }
  Kept& kept() { return kept_; }
  Publisher& publisher() { return publisher_; }
  // Moves remote endpoint `index` to another VTEP and back: what a patch of one endpoint costs.
  void move_endpoint(unsigned index);

 private:
  BenchNode();
  bool push(const Event& event) noexcept override;
  bool inject(rte_mbuf* mbuf, const PacketMeta& meta) override;
  void resolve_vteps();
  void establish(const FrameSet& frames);

  rte_mempool *pool_, *warm_pool_;
  CounterSet counters_{1};
  Publisher publisher_{1};
  Context ctx_;
  Kept kept_;
  std::unique_ptr<Programmer> programmer_;
  FlowTable flows_;
  std::map<Traffic, FrameSet> frames_;
  std::uint64_t now_ms_ = 1000;
  unsigned moves_ = 0;
};

}  // namespace podwire::engine::bench
