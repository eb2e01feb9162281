#include "dataplane/ports/physical.hpp"

#include <rte_ethdev.h>
#include <rte_net.h>

#include <algorithm>
#include <atomic>

#include "dataplane/headers/headers.hpp"
#include "dataplane/packet/access.hpp"
#include "dataplane/packet/offload.hpp"
#include "dataplane/ports/physical_setup.hpp"
#include "dataplane/telemetry/counters.hpp"

namespace podwire::engine {
namespace {

// What a driver's flags may tell the pipeline.
constexpr std::uint64_t kReceiveFlags = RTE_MBUF_F_RX_IP_CKSUM_MASK | RTE_MBUF_F_RX_L4_CKSUM_MASK;

// Moves bytes of later segments into the first until it holds kMinContiguous (or all, or is full).
void pull_up(rte_mbuf* packet) noexcept {
  while (packet->next != nullptr && packet->data_len < kMinContiguous) {
    rte_mbuf* next = packet->next;
    const auto missing = static_cast<std::uint16_t>(kMinContiguous - packet->data_len);
    const auto moved = std::min({missing, next->data_len, rte_pktmbuf_tailroom(packet)});
    if (moved == 0 && next->data_len != 0) return;
    std::memcpy(rte_pktmbuf_mtod_offset(packet, char*, packet->data_len), rte_pktmbuf_mtod(next, char*),
                moved);
    packet->data_len = static_cast<std::uint16_t>(packet->data_len + moved);
    next->data_off = static_cast<std::uint16_t>(next->data_off + moved);
    next->data_len = static_cast<std::uint16_t>(next->data_len - moved);
    if (next->data_len != 0) continue;
    packet->next = next->next;
    packet->nb_segs = static_cast<std::uint16_t>(packet->nb_segs - 1);
    next->next = nullptr;
    next->nb_segs = 1;
    rte_pktmbuf_free_seg(next);
  }
}

// From packet/offload.hpp's meaning to DPDK's: the checksum field gets the pseudo-header sum that devices
// expect (for TSO without the length), the IPv4 header checksum is the device's to fill in for every segment.
bool prepare_offload(rte_mbuf* packet) noexcept {
  if (needs_segmentation(packet) && (packet->ol_flags & RTE_MBUF_F_TX_IPV4) != 0) {
    packet->ol_flags |= RTE_MBUF_F_TX_IP_CKSUM;
  }
  return rte_net_intel_cksum_prepare(packet) == 0;
}

struct alignas(64) QueueState {
  Counter packets, bytes;
  TxStop stop = TxStop::kFull;  // of a transmit queue
};

class PhysicalPort final : public Port {
 public:
  PhysicalPort(const api::Port& config, PhysicalDevice device)
      : name_(config.name),
        device_(std::move(device)),
        id_(device_.ethdev->id()),
        interface_(device_.ethdev->interface()),
        received_(device_.rx_queues),
        sent_(device_.tx_queues) {
    capabilities_ = device_.capabilities;
    mac_ = device_.mac;
    mtu_ = device_.mtu;
  }
  ~PhysicalPort() override;

  std::uint16_t rx_burst(std::uint16_t queue, std::span<rte_mbuf*> out) noexcept override;
  std::uint16_t tx_burst(std::uint16_t queue, std::span<rte_mbuf*> in) noexcept override;
  TxStop tx_stop(std::uint16_t queue) const noexcept override { return sent_[queue].stop; }
  int poll_fd(std::uint16_t queue) const noexcept override { return device_.poll_fds[queue]; }
  std::uint16_t rx_queues() const noexcept override { return device_.rx_queues; }
  std::uint16_t tx_queues() const noexcept override { return device_.tx_queues; }

  bool link_up() const override;
  QueueCounters queue_counters(std::uint16_t queue) const override;
  Json describe() const override;
  std::string last_error() const override;

 private:
  std::uint16_t prepare(std::uint16_t queue, std::span<rte_mbuf*> in) noexcept;

  const std::string name_;
  PhysicalDevice device_;
  const std::uint16_t id_;
  const std::string interface_;
  std::vector<QueueState> received_, sent_;
};

PhysicalPort::~PhysicalPort() {
  auto pool = std::move(device_.pool);
  device_.ethdev.reset();
  if (pool != nullptr) retire_device_pool(std::move(pool));
}

std::uint16_t PhysicalPort::rx_burst(std::uint16_t queue, std::span<rte_mbuf*> out) noexcept {
  const std::uint16_t count =
      rte_eth_rx_burst(id_, queue, out.data(), static_cast<std::uint16_t>(out.size()));
  if (count == 0) return 0;
  std::uint64_t bytes = 0;
  for (rte_mbuf* packet : out.first(count)) {
    packet->port = id_;  // see DevicePool::packets_in_use
    packet->ol_flags &= kReceiveFlags;
    packet->tx_offload = 0;
    bytes += packet->pkt_len;
    if (packet->nb_segs > 1 && packet->data_len < kMinContiguous) [[unlikely]]
      pull_up(packet);
  }
  received_[queue].packets.add(count);
  received_[queue].bytes.add(bytes);
  return count;
}

// How many packets from the front the device can be given.
std::uint16_t PhysicalPort::prepare(std::uint16_t queue, std::span<rte_mbuf*> in) noexcept {
  const auto count = static_cast<std::uint16_t>(in.size());
  if (device_.pool != nullptr) {
    for (rte_mbuf* packet : in) {
      if (packet->pool == device_.pool->get()) packet->port = RTE_MBUF_PORT_INVALID;
    }
  }
  if (!capabilities_.l4_checksum) return count;  // finalize has left no work
  bool any = false;
  for (std::uint16_t i = 0; i < count; ++i) {
    if (!needs_l4_checksum(in[i])) continue;
    any = true;
    if (!prepare_offload(in[i])) return i;
  }
  return any ? rte_eth_tx_prepare(id_, queue, in.data(), count) : count;
}

std::uint16_t PhysicalPort::tx_burst(std::uint16_t queue, std::span<rte_mbuf*> in) noexcept {
  QueueState& state = sent_[queue];
  const std::uint16_t sendable = prepare(queue, in);
  state.stop = sendable < in.size() ? TxStop::kRejected : TxStop::kFull;
  // Bytes first: what the device has taken may be gone. Drivers take at most a batch a call, so go on while
  // they take something, and once more for one that first had to reclaim what it had sent.
  std::uint64_t bytes = 0;
  for (std::uint16_t i = 0; i < sendable; ++i) bytes += in[i]->pkt_len;
  std::uint16_t sent = 0;
  for (int attempts = 0; sent < sendable && attempts < 2;) {
    const std::uint16_t taken =
        rte_eth_tx_burst(id_, queue, in.data() + sent, static_cast<std::uint16_t>(sendable - sent));
    attempts = taken == 0 ? attempts + 1 : 0;
    sent = static_cast<std::uint16_t>(sent + taken);
  }
  for (std::uint16_t i = sent; i < sendable; ++i) bytes -= in[i]->pkt_len;
  state.bytes.add(bytes);
  state.packets.add(sent);
  if (sent < sendable) {
    rte_eth_link link{};
    const bool down = rte_eth_link_get_nowait(id_, &link) == 0 && link.link_status == RTE_ETH_LINK_DOWN;
    state.stop = down ? TxStop::kDown : TxStop::kFull;
  }
  return sent;
}

bool PhysicalPort::link_up() const {
  if (!interface_.empty()) return interface_running(interface_);  // those drivers always say up
  rte_eth_link link{};
  return rte_eth_link_get_nowait(id_, &link) == 0 && link.link_status == RTE_ETH_LINK_UP;
}

QueueCounters PhysicalPort::queue_counters(std::uint16_t queue) const {
  QueueCounters counters;
  if (queue < received_.size()) {
    counters.received_packets = received_[queue].packets.get();
    counters.received_bytes = received_[queue].bytes.get();
  }
  if (queue < sent_.size()) {
    counters.sent_packets = sent_[queue].packets.get();
    counters.sent_bytes = sent_[queue].bytes.get();
  }
  return counters;
}

Json PhysicalPort::describe() const {
  Json offloads = Json::array();
  if (capabilities_.l4_checksum) offloads.push_back("checksum");
  if (capabilities_.segmentation) offloads.push_back("tso");
  if (capabilities_.multi_segment) offloads.push_back("multi_segment");
  Json facts{{"driver", device_.ethdev->driver()},
             {"devargs", device_.ethdev->devargs().text()},
             {"rx_queues", device_.rx_queues},
             {"tx_queues", device_.tx_queues},
             {"sleeps_on_descriptor", device_.poll_fds.front() >= 0},
             {"own_pool", device_.pool != nullptr},
             {"offloads", std::move(offloads)}};
  rte_eth_stats stats{};
  if (rte_eth_stats_get(id_, &stats) == 0) {
    facts["missed"] = stats.imissed;
    facts["receive_errors"] = stats.ierrors;
    facts["send_errors"] = stats.oerrors;
    facts["receive_without_buffers"] = stats.rx_nombuf;
  }
  return facts;
}

std::string PhysicalPort::last_error() const {
  if (interface_.empty() || interface_mtu(interface_) != 0) return {};
  return "interface " + interface_ +
         " is gone from the engine's network namespace; delete the port, or bring the " +
         "interface back and add the port again";
}

}  // namespace

Result<std::unique_ptr<Port>> open_physical_port(const api::Port& config, std::vector<UniqueFd> descriptors,
                                                 const PortEnvironment& environment) {
  if (!descriptors.empty()) {
    return invalid("port " + config.name + ": descriptors are for taps; a physical port has devargs");
  }
  PODWIRE_TRY(auto device, set_up_device(config, environment.pools, environment.workers));
  return std::unique_ptr<Port>(std::make_unique<PhysicalPort>(config, std::move(device)));
}

}  // namespace podwire::engine
