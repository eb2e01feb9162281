#include "bench/trafficgen/exchange.hpp"

#include <rte_cycles.h>
#include <rte_ethdev.h>
#include <rte_mbuf.h>
#include <sys/resource.h>

#include <chrono>
#include <optional>
#include <thread>
#include <utility>

#include "bench/trafficgen/eal.hpp"
#include "bench/trafficgen/pacer.hpp"
#include "bench/trafficgen/sequence.hpp"

namespace podwire::trafficgen {
namespace {

constexpr unsigned kReceiveBurst = 32;
constexpr unsigned kMaxBurst = 64;
// How late a frame may leave before it is struck off the schedule. A turn of the loop that takes so long has
// been interrupted, or its driver calls the system.
constexpr double kPatienceSeconds = 100e-6;

// How often another program was given our CPU while we wanted it.
long interruptions() {
  rusage usage{};
  ::getrusage(RUSAGE_THREAD, &usage);
  return usage.ru_nivcsw;
}

}  // namespace

// What goes one way: the frames to send in turn, their schedule, and what is seen of them on the other side.
struct Exchange::Way {
  Way(const Settings& settings, unsigned index, FrameSize size, std::uint32_t flows, std::uint8_t trial,
      const TrialPlan& plan, bool is_active)
      : pacer(plan.rate, static_cast<double>(rte_get_tsc_hz()), kPatienceSeconds, settings.burst),
        from(index),
        flow_count(flows) {
    const auto conversation = conversation_of(settings, index, flows);
    for (const auto bytes : sizes_in_turn(size, settings.ipv6()))
      writers.emplace_back(conversation, bytes - kFcsBytes, trial, static_cast<std::uint8_t>(index));
    result.active = is_active;
    if (plan.latency && is_active) result.latency.emplace();
  }

  std::vector<FrameWriter> writers;
  Pacer pacer;
  SequenceTracker tracker;
  DirectionResult result;
  unsigned from;
  std::uint32_t flow_count;
  std::uint32_t flow = 0;
  std::size_t writer = 0;
  std::uint32_t number = 0;
  std::uint16_t queue = 0;
};

Exchange::Exchange(const Settings& settings, const std::array<Port*, 2>& ports, rte_mempool* pool)
    : settings_(settings), ports_(ports), pool_(pool) {}

void Exchange::set_traffic(FrameSize size, std::uint32_t flows) {
  size_ = size;
  flows_ = flows;
}

void Exchange::send(Way& way, unsigned frames, std::uint64_t now) {
  std::array<rte_mbuf*, kMaxBurst> mbufs;
  unsigned sent = 0;
  if (rte_pktmbuf_alloc_bulk(pool_, mbufs.data(), frames) == 0) {
    for (unsigned i = 0; i < frames; ++i) {
      const auto& writer = way.writers[way.writer];
      if (++way.writer == way.writers.size()) way.writer = 0;
      mbufs[i]->data_len = static_cast<std::uint16_t>(writer.frame_bytes());
      mbufs[i]->pkt_len = mbufs[i]->data_len;
      writer.write(rte_pktmbuf_mtod(mbufs[i], std::uint8_t*), way.flow, way.number + i, now);
      if (++way.flow == way.flow_count) way.flow = 0;
    }
    const auto& port = *ports_[way.from];
    sent = rte_eth_tx_burst(port.id(), way.queue, mbufs.data(), static_cast<std::uint16_t>(frames));
    if (++way.queue == port.queues()) way.queue = 0;
    if (sent < frames) rte_pktmbuf_free_bulk(mbufs.data() + sent, frames - sent);
  }
  // A frame for which there was no room is lost: its number is not used again.
  way.number += frames;
  way.result.sent += sent;
  way.result.refused += frames - sent;
}

unsigned Exchange::receive(std::array<Way, 2>& ways, unsigned port, std::uint64_t& foreign) {
  std::array<rte_mbuf*, kReceiveBurst> mbufs;
  auto& way = ways[1 - port];
  const bool ipv6 = settings_.ipv6();
  unsigned total = 0;
  for (std::uint16_t queue = 0; queue < ports_[port]->queues(); ++queue) {
    const unsigned count = rte_eth_rx_burst(ports_[port]->id(), queue, mbufs.data(), kReceiveBurst);
    if (count == 0) continue;
    const auto now = rte_rdtsc();
    for (unsigned i = 0; i < count; ++i) rte_prefetch0(rte_pktmbuf_mtod(mbufs[i], void*));
    for (unsigned i = 0; i < count; ++i) {
      const auto signature =
          read_signature({rte_pktmbuf_mtod(mbufs[i], const std::uint8_t*), mbufs[i]->data_len}, ipv6);
      if (!signature || signature->trial != trial_ || signature->direction != way.from) {
        ++foreign;
        continue;
      }
      way.tracker.record(signature->number);
      if (way.result.latency) way.result.latency->add(now - signature->time);
    }
    rte_pktmbuf_free_bulk(mbufs.data(), count);
    total += count;
  }
  return total;
}

void Exchange::exchange(std::array<Way, 2>& ways, TrialResult& result) {
  const auto cycles_per_second = static_cast<double>(rte_get_tsc_hz());
  const auto start = rte_rdtsc();
  const auto end = start + static_cast<std::uint64_t>(result.plan.seconds * cycles_per_second);
  std::uint64_t now = start, longest = 0, held_up = 0;
  const auto stall = static_cast<std::uint64_t>(kPatienceSeconds * cycles_per_second);
  long before = interruptions();
  const auto was_interrupted = [&] {
    const long earlier = std::exchange(before, interruptions());
    return before != earlier;
  };
  for (auto& way : ways) way.pacer.start(start);
  while (now < end && !interrupted()) {
    for (auto& way : ways) {
      if (!way.result.active) continue;
      if (const unsigned frames = way.pacer.take(now); frames != 0) send(way, frames, rte_rdtsc());
    }
    for (unsigned port = 0; port < 2; ++port) {
      // A full burst says that more may wait; but sending must go on.
      for (unsigned rounds = 0; rounds < 2; ++rounds) {
        if (receive(ways, port, result.foreign) < kReceiveBurst) break;
      }
    }
    const auto after = rte_rdtsc();
    longest = std::max(longest, after - now);
    if (after - now > stall && was_interrupted()) {
      held_up += after - now;
      for (auto& way : ways) way.pacer.skip(after - now);
    }
    now = after;
  }
  result.seconds = static_cast<double>(now - start - held_up) / cycles_per_second;
  result.held_up =
      static_cast<double>(held_up) / static_cast<double>(std::max<std::uint64_t>(now - start, 1));
  const double stall_seconds = static_cast<double>(longest) / cycles_per_second;
  result.longest_stall_us = stall_seconds * 1e6;
  result.disturbed = stall_seconds * result.plan.rate > settings_.descriptors / 2.0;
}

void Exchange::settle(std::array<Way, 2>& ways, TrialResult& result) {
  const auto end = rte_rdtsc() + static_cast<std::uint64_t>(settings_.settle_seconds *
                                                            static_cast<double>(rte_get_tsc_hz()));
  const auto all_there = [&] {
    return ways[0].tracker.unique() == ways[0].result.sent && ways[1].tracker.unique() == ways[1].result.sent;
  };
  while (!all_there() && rte_rdtsc() < end && !interrupted()) {
    for (unsigned port = 0; port < 2; ++port) receive(ways, port, result.foreign);
  }
}

Result<TrialResult> Exchange::run(const TrialPlan& plan, std::array<bool, 2> active) {
  if (settings_.pause_seconds > 0)
    std::this_thread::sleep_for(std::chrono::duration<double>(settings_.pause_seconds));
  ++trial_;
  TrialResult result;
  result.plan = plan;
  std::array<Way, 2> ways{Way(settings_, 0, size_, flows_, trial_, plan, active[0]),
                          Way(settings_, 1, size_, flows_, trial_, plan, active[1])};
  {
    const auto& sides = settings_.sides;
    const SharedMemoryInUse guard(!sides[0].device.socket.empty() || !sides[1].device.socket.empty());
    const Realtime realtime(settings_.realtime);
    exchange(ways, result);
    settle(ways, result);
  }
  if (interrupted()) return unavailable("interrupted; nothing is reported");
  for (const auto* port : ports_) {
    if (!port->is_up()) return port->link_lost();
  }
  for (unsigned i = 0; i < 2; ++i) {
    auto& direction = ways[i].result;
    direction.received = ways[i].tracker.unique();
    direction.reordered = ways[i].tracker.reordered();
    direction.duplicated = ways[i].tracker.duplicated();
    direction.stale = ways[i].tracker.stale();
    result.behind = std::max(result.behind, ways[i].pacer.behind());
    result.direction[i] = std::move(direction);
  }
  return result;
}

Result<TrialResult> Exchange::run(const TrialPlan& plan) {
  return run(plan, {settings_.is_active(0), settings_.is_active(1)});
}

Result<TrialResult> Exchange::learn(const TrialPlan& plan) {
  return run(plan, {true, true});
}

}  // namespace podwire::trafficgen
