#include "bench/trafficgen/session.hpp"

#include <rte_cycles.h>
#include <rte_eal.h>
#include <rte_mbuf.h>
#include <rte_version.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <ctime>
#include <fstream>

#include "bench/trafficgen/eal.hpp"
#include "bench/trafficgen/exchange.hpp"

namespace podwire::trafficgen {
namespace {

// Until frames get through: how fast and how long at a time.
constexpr TrialPlan kFirstFrames{1000, 0.1, false};
constexpr unsigned kCache = 256;
// Under way, and what drivers hold beyond their queues (net_af_xdp: 2,048 a queue, whatever its descriptors).
constexpr unsigned kSpareBuffers = 4096;

struct PoolFree {
  void operator()(rte_mempool* pool) const { rte_mempool_free(pool); }
};
using Pool = std::unique_ptr<rte_mempool, PoolFree>;

unsigned largest_frame(const Settings& settings) {
  unsigned largest = 0;
  for (const auto size : settings.sizes)
    largest = std::max(largest, largest_size(size, settings.ipv6()) - kFcsBytes);
  return largest;
}

void clear_buffer(rte_mempool*, void*, void* object, unsigned) {
  auto* mbuf = static_cast<rte_mbuf*>(object);
  std::memset(mbuf->buf_addr, 0, mbuf->buf_len);
}

// As many buffers as both ports' queues can hold, of room for the largest frame, all zero.
Result<Pool> make_pool(const char* name, const Settings& settings) {
  const unsigned count = 2 * settings.queues * settings.descriptors + kSpareBuffers;
  const unsigned room = RTE_PKTMBUF_HEADROOM + std::max(largest_frame(settings), 2048u);
  Pool pool(rte_pktmbuf_pool_create(name, count, kCache, 0, static_cast<std::uint16_t>(room), SOCKET_ID_ANY));
  if (!pool)
    return Error{ErrorCode::kExhausted, "--memory " + std::to_string(settings.memory_mib) +
                                            " has no room for twice " + std::to_string(count) +
                                            " buffers of " + std::to_string(room) +
                                            " bytes; give more, or fewer --descriptors"};
  rte_mempool_obj_iter(pool.get(), clear_buffer, nullptr);
  return pool;
}

std::string way_text(unsigned index) {
  return index == 0 ? "A to B" : "B to A";
}

// Sends little until frames of every direction that is measured get through.
Result<void> wait_for_path(Exchange& exchange, const Settings& settings) {
  const auto deadline =
      std::chrono::steady_clock::now() + std::chrono::duration<double>(settings.link_seconds);
  std::array<std::uint64_t, 2> sent{}, received{};
  while (true) {
    PODWIRE_TRY(const TrialResult trial, exchange.learn(kFirstFrames));
    bool good = true;
    for (unsigned i = 0; i < 2; ++i) {
      sent[i] += trial.direction[i].sent;
      received[i] += trial.direction[i].received;
      good = good && (trial.direction[i].received != 0 || !settings.is_active(i));
    }
    if (good) return {};
    if (std::chrono::steady_clock::now() > deadline) break;
  }
  const unsigned silent = settings.is_active(0) && received[0] == 0 ? 0 : 1;
  const auto &from = settings.sides[silent], &to = settings.sides[1 - silent];
  return unavailable(
      "of " + std::to_string(sent[silent]) + " frames from " + way_text(silent) +
      " none arrived, although both links are up; is the switch forwarding, and does it know " +
      to_string(from.mac) + " " + to_string(from.address) + " and " + to_string(to.mac) + " " +
      to_string(to.address) + "? --mac, --destination-mac and --address change them");
}

std::string cpu_model() {
  std::ifstream facts("/proc/cpuinfo");
  for (std::string line; std::getline(facts, line);) {
    if (line.starts_with("model name")) return line.substr(line.find(':') + 2);
  }
  return "unknown CPU";
}

std::string now_text() {
  char text[32];
  const auto now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

}  // namespace

Result<Report> run_session(const Settings& settings, const Tell& tell) {
  PODWIRE_TRY(const Pool receive_pool, make_pool("received", settings));
  PODWIRE_TRY(const Pool send_pool, make_pool("sent", settings));
  std::array<std::unique_ptr<Port>, 2> ports;
  for (unsigned i = 0; i < 2; ++i) {
    const PortConfig config{i == 0 ? "A" : "B",   settings.sides[i].device, settings.queues,
                            settings.descriptors, largest_frame(settings),  settings.link_seconds};
    PODWIRE_TRY(ports[i], Port::open(config, receive_pool.get()));
  }
  for (const auto& port : ports) PODWIRE_CHECK(port->wait_up(settings.link_seconds));

  Report report;
  report.settings = settings;
  report.drivers = {ports[0]->driver(), ports[1]->driver()};
  report.date = now_text();
  report.machine = cpu_model();
  report.dpdk = rte_version();
  report.hugepages = rte_eal_has_hugepages() != 0;
  report.cycles_per_second = static_cast<double>(rte_get_tsc_hz());
  Exchange exchange(settings, {ports[0].get(), ports[1].get()}, send_pool.get());
  for (const auto size : settings.sizes) {
    for (const auto flows : settings.flows) {
      exchange.set_traffic(size, flows);
      tell("size " + to_string(size) + ", " + std::to_string(flows) + (flows == 1 ? " flow" : " flows"));
      PODWIRE_CHECK(wait_for_path(exchange, settings));
      PODWIRE_TRY(Cell cell, measure(
                                 settings.method, size, flows,
                                 [&](const TrialPlan& plan) { return exchange.run(plan); }, tell));
      report.cells.push_back(std::move(cell));
    }
  }
  return report;
}

}  // namespace podwire::trafficgen
