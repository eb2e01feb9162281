#include "dataplane/ports/vhost.hpp"

#include <rte_cycles.h>
#include <rte_vhost.h>

#include <algorithm>
#include <atomic>
#include <bit>

#include "dataplane/packet/checksum.hpp"
#include "dataplane/packet/linearize.hpp"
#include "dataplane/packet/offload.hpp"
#include "dataplane/packet/plain_mbufs.hpp"
#include "dataplane/ports/buffer_budget.hpp"
#include "dataplane/ports/refused_frame.hpp"
#include "dataplane/ports/vhost_driver.hpp"
#include "dataplane/ports/vhost_relay.hpp"
#include "dataplane/ports/vhost_waiting.hpp"
#include "dataplane/ports/vnet_header.hpp"
#include "dataplane/telemetry/counters.hpp"

namespace podwire::engine {
namespace {

constexpr std::uint16_t kLibraryBurst = 32;  // what librte_vhost takes and gives at once
constexpr std::uint64_t kChecksum = feature_bits(VirtioFeature::kGuestChecksum);
constexpr std::uint64_t kSegmentation =
    kChecksum | feature_bits(VirtioFeature::kGuestTso4, VirtioFeature::kGuestTso6);
constexpr std::uint64_t kTranslated = feature_bits(VirtioFeature::kAccessPlatform);
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
  if (std::has_single_bit(mask)) return static_cast<unsigned>(std::countr_zero(mask));
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

// Keeps of a frame that is longer than any may be, checksums and segments to come included, its length only.
[[gnu::cold, gnu::noinline]] void refuse_frame(rte_mbuf* packet) noexcept {
  const std::uint32_t bytes = packet->pkt_len;
  truncate(packet, 0);
  packet->ol_flags = 0;
  refuse_too_big(packet, bytes);
}

class VhostPort final : public Port {
 public:
  VhostPort(const api::Port& config, const PortEnvironment& environment, std::shared_ptr<BufferBudget> budget,
            std::unique_ptr<VhostDriver> driver, std::unique_ptr<VhostRelay> relay)
      : id_(config.id),
        pool_(environment.pools.packets),
        budget_(std::move(budget)),
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
    for (unsigned queue = 0; config.iommu && queue < config.queues; ++queue)
      send_[receiver(static_cast<std::uint16_t>(queue))].waiting.reserve();
  }

  std::uint16_t rx_burst(std::uint16_t queue, std::span<rte_mbuf*> out) noexcept override;
  std::uint16_t tx_burst(std::uint16_t queue, std::span<rte_mbuf*> in) noexcept override;
  TxStop tx_stop(std::uint16_t queue) const noexcept override { return send_[queue].stop; }
  int poll_fd(std::uint16_t queue) const noexcept override { return driver_->kick_fd(queue); }
  bool arm(std::uint16_t queue) noexcept override;
  void disarm(std::uint16_t queue) noexcept override;
  bool go_on(std::uint16_t queue) noexcept override;
  std::uint16_t rx_queues() const noexcept override { return static_cast<std::uint16_t>(receive_.size()); }
  std::uint16_t tx_queues() const noexcept override { return static_cast<std::uint16_t>(send_.size()); }
  const PortCapabilities& capabilities() const noexcept override;

  bool link_up() const override { return driver_->vid() >= 0; }
  QueueCounters queue_counters(std::uint16_t queue) const override;
  Json describe() const override;
  std::string last_error() const override { return relay_->last_error(); }

 private:
  struct alignas(64) ReceiveState {
    Counter packets, bytes, oversized, without_buffers, held;
    bool armed = false;
  };
  struct alignas(64) SendState {
    Counter packets, bytes, refused, untranslated;
    TxStop stop = TxStop::kFull;
    // Only workers that come back here by themselves, to receive, have room in it.
    WaitingPackets waiting;
  };
  // The worker that receives from `queue` (worker/poll_list.hpp).
  std::uint16_t receiver(std::uint16_t queue) const noexcept {
    return static_cast<std::uint16_t>((id_.value() + queue) % send_.size());
  }
  std::uint16_t take_frames(int vid, std::uint16_t queue, std::span<rte_mbuf*> out) noexcept;
  std::uint16_t count_sendable(std::span<rte_mbuf*> in, std::uint64_t features,
                               std::uint64_t& bytes) const noexcept;
  std::uint16_t enqueue(int vid, std::uint16_t worker, std::span<rte_mbuf*> in) noexcept;
  bool send_waiting(int vid, std::uint16_t worker) noexcept;
  TxStop stop_for(int vid, std::uint16_t worker, std::uint64_t features) const noexcept;
  bool make_sendable(rte_mbuf*& packet, std::uint64_t features) const noexcept;
  void add_counters(Json& ring) const;

  const PortId id_;
  rte_mempool* const pool_;
  const std::shared_ptr<BufferBudget> budget_;
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

// The library takes frames out of the ring for as long as there are buffers, and loses the one for which
// there are no more. So it is asked for as many as the poll's share suffices for, however long they are; what
// it loses then is a frame that breaks all bounds.
std::uint16_t VhostPort::take_frames(int vid, std::uint16_t queue, std::span<rte_mbuf*> out) noexcept {
  const std::uint16_t ring = ring_from_guest(queue);
  std::uint16_t count = 0, asked, got;
  BufferBudget::allow(budget_->share(send_.size()));
  do {
    const auto room = std::min<std::size_t>(out.size() - count, kLibraryBurst);
    const std::size_t affordable = BufferBudget::left() / kFrameBuffers;
    asked = static_cast<std::uint16_t>(std::min(room, affordable));
    got = asked == 0 ? std::uint16_t{0}
                     : rte_vhost_dequeue_burst(vid, ring, budget_->pool(), out.data() + count, asked);
    count = static_cast<std::uint16_t>(count + got);
    if (affordable < room && got == asked) receive_[queue].held.add(1);
  } while (got == kLibraryBurst && count < out.size());
  if (BufferBudget::found_none()) [[unlikely]]
    receive_[queue].without_buffers.add(1);
  if (BufferBudget::exceeded()) [[unlikely]] {
    receive_[queue].oversized.add(1);
    if (rte_mbuf* lost = rte_pktmbuf_alloc(pool_); lost != nullptr) {
      refuse_too_big(lost, kLongestFrameBytes + 1);  // at least
      out[count++] = lost;
    }
  }
  return count;
}

std::uint16_t VhostPort::rx_burst(std::uint16_t queue, std::span<rte_mbuf*> out) noexcept {
  const int vid = driver_->vid();
  go_on(queue);
  if (vid < 0 || (driver_->receiving() >> queue & 1) == 0) return 0;
  const std::uint16_t count = take_frames(vid, queue, out);
  if (count == 0) return 0;
  driver_->interrupt(ring_from_guest(queue), receiver(queue));
  std::uint64_t bytes = 0;
  for (rte_mbuf* packet : out.first(count)) {
    bytes += packet->pkt_len;
    if (packet->pkt_len > kLongestFrameBytes) [[unlikely]] {
      if ((packet->ol_flags & kBadOffloadFlag) != 0) continue;
      receive_[queue].oversized.add(1);
      refuse_frame(packet);
    } else if (packet->ol_flags != 0) {
      take_offloads(packet);
    }
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

// How many of the first packets may be sent; `bytes`: of all, if all may. One pass where there is nothing to
// do.
std::uint16_t VhostPort::count_sendable(std::span<rte_mbuf*> in, std::uint64_t features,
                                        std::uint64_t& bytes) const noexcept {
  std::uint64_t flags = 0;
  bytes = 0;
  for (const rte_mbuf* packet : in) {
    flags |= packet->ol_flags;
    bytes += packet->pkt_len;
  }
  if ((flags & RTE_MBUF_F_TX_L4_MASK) == 0) [[likely]]
    return static_cast<std::uint16_t>(in.size());
  std::uint16_t count = 0;
  while (count < in.size() && (!needs_l4_checksum(in[count]) || make_sendable(in[count], features))) ++count;
  return count;
}

// How many the guest's ring took; they are the caller's to free.
std::uint16_t VhostPort::enqueue(int vid, std::uint16_t worker, std::span<rte_mbuf*> in) noexcept {
  const std::uint32_t rings = driver_->sending();
  if (rings == 0) return 0;
  const std::uint16_t ring = ring_to_guest(pick_bit(rings, worker));
  std::uint16_t count = 0, asked = 0, took = 0;
  while (count < in.size() && took == asked) {
    asked = static_cast<std::uint16_t>(std::min<std::size_t>(in.size() - count, kLibraryBurst));
    took = rte_vhost_enqueue_burst(vid, ring, in.data() + count, asked);
    count = static_cast<std::uint16_t>(count + took);
  }
  driver_->interrupt(ring, worker);
  return count;
}

// Whether none waits any more.
bool VhostPort::send_waiting(int vid, std::uint16_t worker) noexcept {
  SendState& state = send_[worker];
  const auto given_up = state.waiting.send(vid < 0 ? 0 : driver_->run(), [&](std::span<rte_mbuf*> packets) {
    return enqueue(vid, worker, packets);
  });
  if (given_up != 0) state.untranslated.add(given_up);
  return state.waiting.empty();
}

bool VhostPort::go_on(std::uint16_t queue) noexcept {
  const auto worker = receiver(queue);
  return send_[worker].waiting.empty() || send_waiting(driver_->vid(), worker);
}

// Why a packet that may be sent was not. With buffers left, a guest that does not merge them has none that it
// fits.
TxStop VhostPort::stop_for(int vid, std::uint16_t worker, std::uint64_t features) const noexcept {
  const std::uint32_t rings = driver_->sending();
  if (rings == 0) return TxStop::kDown;
  const bool left = (features & kMergeable) == 0 &&
                    rte_vhost_avail_entries(vid, ring_to_guest(pick_bit(rings, worker))) != 0;
  return left ? TxStop::kRejected : TxStop::kFull;
}

std::uint16_t VhostPort::tx_burst(std::uint16_t queue, std::span<rte_mbuf*> in) noexcept {
  SendState& state = send_[queue];
  const int vid = driver_->vid();
  const auto features = driver_->features();
  const bool translated = (features & kTranslated) != 0;
  if (vid < 0 || (driver_->sending() == 0 && !translated)) {
    state.stop = TxStop::kDown;
    return 0;
  }
  std::uint64_t bytes;
  const std::uint16_t sendable = count_sendable(in, features, bytes);
  std::uint16_t count = 0;
  if (state.waiting.empty() || send_waiting(vid, queue)) count = enqueue(vid, queue, in.first(sendable));
  if (count != 0) free_packets(in.first(count));
  if (count < sendable && translated) [[unlikely]]
    count = static_cast<std::uint16_t>(
        count + state.waiting.add(driver_->run(), in.subspan(count, sendable - count)));
  state.stop = count < sendable ? stop_for(vid, queue, features) : TxStop::kRejected;
  if (count < sendable && state.stop == TxStop::kFull) state.refused.add(in.size() - count);
  if (count == 0) return 0;
  for (const rte_mbuf* packet : in.subspan(count)) bytes -= packet->pkt_len;
  state.packets.add(count);
  state.bytes.add(bytes);
  return count;
}

bool VhostPort::arm(std::uint16_t queue) noexcept {
  if (!send_[receiver(queue)].waiting.empty()) return false;
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

// Since the port was opened. Which worker sends on which ring depends on what the guest has enabled: it is
// told as it is now.
void VhostPort::add_counters(Json& ring) const {
  const auto queue = ring["queue"].get<unsigned>();
  const auto rings = driver_->sending();
  std::uint64_t packets = 0, bytes = 0, refused = 0;
  for (unsigned worker = 0; rings != 0 && worker < send_.size(); ++worker) {
    if (pick_bit(rings, worker) != queue) continue;
    packets += send_[worker].packets.get();
    bytes += send_[worker].bytes.get();
    refused += send_[worker].refused.get();
  }
  ring.update({{"received_packets", receive_[queue].packets.get()},
               {"received_bytes", receive_[queue].bytes.get()},
               {"sent_packets", packets},
               {"sent_bytes", bytes},
               {"refused", refused}});
}

Json VhostPort::describe() const {
  std::uint64_t oversized = 0, without_buffers = 0, held = 0;
  for (const auto& state : receive_) {
    oversized += state.oversized.get();
    without_buffers += state.without_buffers.get();
    held += state.held.get();
  }
  std::uint64_t untranslated = 0;
  for (const auto& state : send_) untranslated += state.untranslated.get();
  Json facts = relay_->describe();
  facts.update(driver_->describe());
  for (auto& ring : facts["rings"]) add_counters(ring);
  facts.update({{"oversized", oversized},
                {"receive_without_buffers", without_buffers},
                {"receive_held", held},
                {"sent_untranslated", untranslated}});
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
  PODWIRE_TRY(auto budget, BufferBudget::shared(environment.pools.packets));
  PODWIRE_TRY(auto driver, VhostDriver::create(config, environment.workers, environment.wait_quiescent));
  PODWIRE_TRY(auto relay, VhostRelay::open(config, *environment.reactor, *driver));
  return std::unique_ptr<Port>(std::make_unique<VhostPort>(config, environment, std::move(budget),
                                                           std::move(driver), std::move(relay)));
}

}  // namespace podwire::engine
