#include "dataplane/ports/vhost.hpp"

#include <rte_vhost.h>

#include <algorithm>
#include <atomic>
#include <bit>

#include "dataplane/packet/checksum.hpp"
#include "dataplane/packet/linearize.hpp"
#include "dataplane/packet/offload.hpp"
#include "dataplane/ports/vhost_driver.hpp"
#include "dataplane/ports/vhost_relay.hpp"
#include "dataplane/ports/vnet_header.hpp"
#include "dataplane/telemetry/counters.hpp"

namespace podwire::engine {
namespace {

constexpr std::uint16_t kLibraryBurst = 32;  // what librte_vhost takes and gives at once
constexpr std::uint64_t kChecksum = feature_bits(VirtioFeature::kGuestChecksum);
constexpr std::uint64_t kSegmentation =
    kChecksum | feature_bits(VirtioFeature::kGuestTso4, VirtioFeature::kGuestTso6);
constexpr std::uint64_t kMergeable = feature_bits(VirtioFeature::kMergeableBuffers);

// virtio 1.1 section 5.1.2: receiveq1, transmitq1, receiveq2, ..., as the guest sees them.
constexpr std::uint16_t ring_to_guest(unsigned queue) {
  return static_cast<std::uint16_t>(2 * queue);
}
constexpr std::uint16_t ring_from_guest(unsigned queue) {
  return static_cast<std::uint16_t>(2 * queue + 1);
}

// The number of the `index`-th set bit, counted round.
unsigned pick_bit(std::uint32_t mask, unsigned index) noexcept {
  for (index %= static_cast<unsigned>(std::popcount(mask)); index != 0; --index) mask &= mask - 1;
  return static_cast<unsigned>(std::countr_zero(mask));
}

// What librte_vhost made of the guest's virtio header, in the terms of packet/offload.hpp. It completes
// checksums of anything but the packet's own TCP or UDP header itself.
void take_offloads(rte_mbuf* packet) noexcept {
  const std::uint64_t flags = packet->ol_flags;
  const std::uint16_t segment_bytes = (flags & RTE_MBUF_F_RX_LRO) != 0 ? packet->tso_segsz : std::uint16_t{0};
  packet->ol_flags = 0;
  packet->tx_offload = 0;
  packet->packet_type = 0;
  const bool partial = (flags & RTE_MBUF_F_RX_L4_CKSUM_MASK) == RTE_MBUF_F_RX_L4_CKSUM_NONE;
  if (partial && !apply_own_offload(segment_bytes, packet)) packet->ol_flags |= kBadOffloadFlag;
}

class VhostPort final : public Port {
 public:
  VhostPort(const api::Port& config, const PortEnvironment& environment, std::unique_ptr<VhostDriver> driver,
            std::unique_ptr<VhostRelay> relay)
      : id_(config.id),
        pool_(environment.pools.packets),
        driver_(std::move(driver)),
        relay_(std::move(relay)),
        receive_(config.queues),
        send_(environment.workers) {
    capabilities_.multi_segment = true;
    capabilities_.max_frame = static_cast<std::uint16_t>(std::min(65535, config.mtu + 14));
    checksum_ = capabilities_;
    checksum_.l4_checksum = true;
    segmentation_ = checksum_;
    segmentation_.segmentation = true;
    mac_ = config.mac;
    mtu_ = config.mtu;
  }

  std::uint16_t rx_burst(std::uint16_t queue, std::span<rte_mbuf*> out) noexcept override;
  std::uint16_t tx_burst(std::uint16_t queue, std::span<rte_mbuf*> in) noexcept override;
  TxStop tx_stop(std::uint16_t queue) const noexcept override { return send_[queue].stop; }
  int poll_fd(std::uint16_t queue) const noexcept override { return driver_->kick_fd(queue); }
  bool arm(std::uint16_t queue) noexcept override;
  void disarm(std::uint16_t queue) noexcept override;
  std::uint16_t rx_queues() const noexcept override { return static_cast<std::uint16_t>(receive_.size()); }
  std::uint16_t tx_queues() const noexcept override { return static_cast<std::uint16_t>(send_.size()); }
  const PortCapabilities& capabilities() const noexcept override;

  bool link_up() const override { return driver_->vid() >= 0; }
  QueueCounters queue_counters(std::uint16_t queue) const override;
  Json describe() const override;
  std::string last_error() const override { return relay_->last_error(); }

 private:
  struct alignas(64) ReceiveState {
    Counter packets, bytes;
    bool armed = false;
  };
  struct alignas(64) SendState {
    Counter packets, bytes;
    TxStop stop = TxStop::kFull;
  };
  // The worker that receives from `queue` (worker/poll_list.hpp).
  std::uint16_t receiver(std::uint16_t queue) const noexcept {
    return static_cast<std::uint16_t>((id_.value() + queue) % send_.size());
  }
  std::uint16_t count_sendable(std::span<rte_mbuf*> in, std::uint64_t features) const noexcept;
  bool make_sendable(rte_mbuf*& packet, std::uint64_t features) const noexcept;

  const PortId id_;
  rte_mempool* const pool_;
  const std::unique_ptr<VhostDriver> driver_;
  const std::unique_ptr<VhostRelay> relay_;   // ends before the driver does
  PortCapabilities checksum_, segmentation_;  // beside capabilities_, which is a guest's without offloads
  std::vector<ReceiveState> receive_;         // by queue
  std::vector<SendState> send_;               // by worker
};

// Without a guest nothing is worth any work.
const PortCapabilities& VhostPort::capabilities() const noexcept {
  if (driver_->vid() < 0) return segmentation_;
  const auto features = driver_->features();
  if ((features & kSegmentation) == kSegmentation) return segmentation_;
  return (features & kChecksum) != 0 ? checksum_ : capabilities_;
}

std::uint16_t VhostPort::rx_burst(std::uint16_t queue, std::span<rte_mbuf*> out) noexcept {
  const int vid = driver_->vid();
  if (vid < 0 || (driver_->receiving() >> queue & 1) == 0) return 0;
  std::uint16_t count = 0, got;
  do {
    const auto room = static_cast<std::uint16_t>(std::min<std::size_t>(out.size() - count, kLibraryBurst));
    got = rte_vhost_dequeue_burst(vid, ring_from_guest(queue), pool_, out.data() + count, room);
    count = static_cast<std::uint16_t>(count + got);
  } while (got == kLibraryBurst && count < out.size());
  if (count == 0) return 0;
  driver_->interrupt(ring_from_guest(queue), receiver(queue));
  std::uint64_t bytes = 0;
  for (rte_mbuf* packet : out.first(count)) {
    bytes += packet->pkt_len;
    if (packet->ol_flags != 0) take_offloads(packet);
  }
  receive_[queue].packets.add(count);
  receive_[queue].bytes.add(bytes);
  return count;
}

// librte_vhost writes the pseudo-header's sum into the packet that it sends with a partial checksum, so its
// bytes must be its own; for IPv6 with extension headers it would write a wrong one. What the guest does not
// take was completed before, unless the guest is another one since.
bool VhostPort::make_sendable(rte_mbuf*& packet, std::uint64_t features) const noexcept {
  const bool segments = needs_segmentation(packet);
  if (segments && (features & kSegmentation) != kSegmentation) return false;
  if (!exclusively_owned(packet)) {
    rte_mbuf* copy = rte_pktmbuf_copy(packet, pool_, 0, packet->pkt_len);
    if (copy == nullptr) return false;
    rte_pktmbuf_free(packet);
    packet = copy;
  }
  const bool extended = (packet->ol_flags & RTE_MBUF_F_TX_IPV6) != 0 && packet->l3_len != sizeof(Ipv6Header);
  if (segments || ((features & kChecksum) != 0 && !extended)) return true;
  return complete_l4(packet);
}

std::uint16_t VhostPort::count_sendable(std::span<rte_mbuf*> in, std::uint64_t features) const noexcept {
  std::uint16_t count = 0;
  while (count < in.size() && (!needs_l4_checksum(in[count]) || make_sendable(in[count], features))) ++count;
  return count;
}

std::uint16_t VhostPort::tx_burst(std::uint16_t queue, std::span<rte_mbuf*> in) noexcept {
  SendState& state = send_[queue];
  const int vid = driver_->vid();
  const std::uint32_t rings = driver_->sending();
  if (vid < 0 || rings == 0) {
    state.stop = TxStop::kDown;
    return 0;
  }
  const auto features = driver_->features();
  const std::uint16_t ring = ring_to_guest(pick_bit(rings, queue));
  const std::uint16_t sendable = count_sendable(in, features);
  std::uint16_t count = 0, asked = 0, took = 0;
  while (count < sendable && took == asked) {
    asked = static_cast<std::uint16_t>(std::min<int>(sendable - count, kLibraryBurst));
    took = rte_vhost_enqueue_burst(vid, ring, in.data() + count, asked);
    count = static_cast<std::uint16_t>(count + took);
  }
  driver_->interrupt(ring, queue);
  if (count < sendable) {
    // With buffers left, a guest that does not merge them has none that the packet fits.
    const bool too_long = (features & kMergeable) == 0 && rte_vhost_avail_entries(vid, ring) != 0;
    state.stop = too_long ? TxStop::kRejected : TxStop::kFull;
  } else {
    state.stop = TxStop::kRejected;
  }
  if (count == 0) return 0;
  std::uint64_t bytes = 0;
  for (const rte_mbuf* packet : in.first(count)) bytes += packet->pkt_len;
  rte_pktmbuf_free_bulk(in.data(), count);
  state.packets.add(count);
  state.bytes.add(bytes);
  return count;
}

bool VhostPort::arm(std::uint16_t queue) noexcept {
  const int vid = driver_->vid();
  if (vid < 0 || (driver_->receiving() >> queue & 1) == 0) return true;
  receive_[queue].armed = true;
  rte_vhost_enable_guest_notification(vid, ring_from_guest(queue), 1);
  // The guest sees that before we look for what it has sent.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return rte_vhost_rx_queue_count(vid, ring_from_guest(queue)) == 0;
}

void VhostPort::disarm(std::uint16_t queue) noexcept {
  driver_->take_kick(queue);
  if (!std::exchange(receive_[queue].armed, false)) return;
  const int vid = driver_->vid();
  if (vid >= 0) rte_vhost_enable_guest_notification(vid, ring_from_guest(queue), 0);
}

QueueCounters VhostPort::queue_counters(std::uint16_t queue) const {
  QueueCounters counters;
  if (queue >= receive_.size()) return counters;  // a worker's, counted with one of the port's
  counters.received_packets = receive_[queue].packets.get();
  counters.received_bytes = receive_[queue].bytes.get();
  for (std::size_t worker = queue; worker < send_.size(); worker += receive_.size()) {
    counters.sent_packets += send_[worker].packets.get();
    counters.sent_bytes += send_[worker].bytes.get();
  }
  return counters;
}

Json VhostPort::describe() const {
  Json facts = relay_->describe();
  facts.update(driver_->describe());
  return facts;
}

}  // namespace

Result<std::unique_ptr<Port>> open_vhost_port(const api::Port& config, std::vector<UniqueFd> descriptors,
                                              const PortEnvironment& environment) {
  if (!descriptors.empty()) {
    return invalid("port " + config.name + ": " + std::to_string(descriptors.size()) +
                   " descriptors came for a vhost port, which takes none; set \"descriptors\" to 0");
  }
  if (environment.reactor == nullptr)
    return Error{ErrorCode::kInternal,
                 "port " + config.name + ": a vhost port needs the main thread's reactor"};
  PODWIRE_TRY(auto driver, VhostDriver::create(config, environment.workers, environment.wait_quiescent));
  PODWIRE_TRY(auto relay, VhostRelay::open(config, *environment.reactor, *driver));
  return std::unique_ptr<Port>(
      std::make_unique<VhostPort>(config, environment, std::move(driver), std::move(relay)));
}

}  // namespace podwire::engine
