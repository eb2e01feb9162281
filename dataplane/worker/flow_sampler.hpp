// FlowSampler: which connections one worker's packets were of, while somebody asks for it
// (telemetry/flow_top.hpp). Of the bursts that the worker receives it looks at each one with the same chance,
// and then at all packets of it, so that a connection's share of what was looked at is its share of what
// came. The chance is 1 as long as there are few packets and falls so far that about kPacketsPerSecond are
// looked at, which costs some per cent of a core at most.
//
// A connection is told by the key that one direction of it would be looked up by: found from the frame alone,
// as it was received, so it makes no difference which way the packet takes afterwards. Packets have the size
// that they had inside of their tunnel; a segmented one counts once, with the bytes of all its frames.
//
// Bounded: kRows keys, in sets of kWays. A key that finds its set full takes the row with the fewest bytes
// over and goes on from there, remembering what was not its own (space saving: Metwally, Agrawal, El Abbadi,
// ICDT 2005): who has more than a kRows-th of the traffic or so is not lost.
//
// see() is called by the worker, everything else by the main thread, before the worker has the sampler and
// after it has given it back (Worker::sample).
#pragma once

#include <rte_mbuf.h>

#include <cstdint>
#include <span>
#include <vector>

#include "dataplane/packet/meta.hpp"
#include "dataplane/tables/flow_key.hpp"
#include "dataplane/tables/snapshot.hpp"

namespace podwire::engine {

class FlowTable;

class FlowSampler {
 public:
  static constexpr std::size_t kRows = 8192, kWays = 8;
  static constexpr std::uint32_t kPacketsPerSecond = 100'000;

  struct Row {
    FlowKey key;                           // no words: empty
    std::uint64_t packets = 0, bytes = 0;  // estimated, of this key alone
    std::uint64_t taken_over = 0;          // bytes of those that had the row before
  };
  struct Totals {
    std::uint64_t seen = 0;       // packets that were received
    std::uint64_t looked_at = 0;  // of these
    std::uint64_t estimated = 0;  // packets that those looked at stand for
    std::uint64_t not_ip = 0;     // of the estimated ones
    std::uint64_t displaced = 0;  // rows that were taken over
  };

  // `flows` keys the hash only.
  FlowSampler(const FlowTable& flows, std::uint64_t tsc_hz, std::uint64_t seed);

  // A burst as it was received: packets of which nothing is known but where they came from.
  void see(const Snapshot& tables, std::span<rte_mbuf* const> packets, const PacketMeta& first,
           std::uint64_t now_tsc) noexcept;

  const std::vector<Row>& rows() const { return rows_; }
  const Totals& totals() const { return totals_; }

 private:
  static constexpr std::uint32_t kPeriodsPerSecond = 10;
  static constexpr std::uint32_t kMaxStride = 1u << 16;

  void follow_rate(std::uint64_t now_tsc) noexcept;
  bool chosen() noexcept;
  void count(const FlowKey& key, std::uint64_t bytes) noexcept;

  const FlowTable& flows_;
  const std::uint64_t period_;  // in TSC cycles
  std::uint64_t random_;
  std::uint64_t period_end_ = 0;
  std::uint32_t stride_ = 1;  // one burst in so many
  std::uint64_t seen_in_period_ = 0, looked_at_since_ = 0;
  Totals totals_;
  std::vector<Row> rows_;
};

// The key that the packet would be looked up by among the connections, whether there is one or not; later
// fragments and what has no ports in reach have the key without ports. `bytes`: of its frames, inside of the
// tunnel. False: not IP, or no frame that could be read. The packet stays as it is.
bool key_as_received(const Snapshot& tables, const rte_mbuf* packet, const PacketMeta& first, FlowKey& key,
                     std::uint64_t& bytes) noexcept;

}  // namespace podwire::engine
