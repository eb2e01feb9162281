// What a stage needs around it, for tests of one stage or a few: a snapshot with ports and VTEPs, counters,
// and an egress that keeps what reaches it.
#pragma once

#include <memory>
#include <vector>

#include "dataplane/pipeline/context.hpp"
#include "tests/support/mbufs.hpp"
#include "tests/support/silent_port.hpp"

namespace podwire::engine::tests {

// A port that only has properties.
class FakePort : public SilentPort {
 public:
  FakePort(const PortCapabilities& capabilities, std::uint16_t mtu) {
    capabilities_ = capabilities;
    mtu_ = mtu;
  }
};

// Keeps packets until take_all().
class KeepingEgress : public EgressSink {
 public:
  ~KeepingEgress() override { clear(); }
  void take(Burst& burst) noexcept override {
    for (std::uint16_t i = 0; i < burst.count; ++i) {
      mbufs.push_back(burst.mbufs[i]);
      metas.push_back(burst.meta[i]);
    }
    burst.count = 0;
  }
  void clear() {
    for (rte_mbuf* mbuf : mbufs) rte_pktmbuf_free(mbuf);
    mbufs.clear();
    metas.clear();
  }
  std::vector<rte_mbuf*> mbufs;
  std::vector<PacketMeta> metas;
};

class FakeSwitch {
 public:
  explicit FakeSwitch(const TestPool& pool) {
    tables.ports.resize(16);
    tables.vteps.resize(4);
    ctx.tables = &tables;
    ctx.counters = counters.get();
    ctx.pool = pool.get();
    ctx.egress = &egress;
  }

  PortEntry& add_port(PortId id, const PortCapabilities& capabilities, std::uint16_t mtu) {
    devices.push_back(std::make_unique<FakePort>(capabilities, mtu));
    entries.push_back(std::make_unique<PortEntry>());
    PortEntry& entry = *entries.back();
    entry.id = id;
    entry.device = devices.back().get();
    entry.mtu = mtu;
    tables.ports[id.value()] = &entry;
    return entry;
  }

  std::uint64_t dropped(DropReason reason) const {
    return counters->drops[static_cast<std::size_t>(reason)].get();
  }
  // received (as given) + gained - gone, which is 0 when nothing was lost unbooked. The egress' packets are
  // sent.
  std::int64_t balance(std::size_t received) const {
    const auto& l = counters->engine;
    const std::uint64_t in = received + l.generated.get() + l.clones.get() + l.segments.get();
    const std::uint64_t out = egress.mbufs.size() + l.dropped.get() + l.consumed.get() + l.merged.get();
    return static_cast<std::int64_t>(in) - static_cast<std::int64_t>(out);
  }

  Snapshot tables;
  Context ctx;
  std::unique_ptr<WorkerCounters> counters = std::make_unique<WorkerCounters>();
  KeepingEgress egress;
  std::vector<std::unique_ptr<FakePort>> devices;
  std::vector<std::unique_ptr<PortEntry>> entries;
};

}  // namespace podwire::engine::tests
