#include "dataplane/ports/physical_setup.hpp"

#include <linux/if_packet.h>
#include <net/if.h>
#include <rte_mbuf.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <thread>

namespace podwire::engine {
namespace {

constexpr std::uint16_t kRing = 1024;         // descriptors a queue where the driver has no opinion
constexpr std::uint16_t kEtherOverhead = 18;  // Ethernet header and one 802.1Q tag
constexpr std::uint16_t kSharedRoom = 2048;   // of the engine's packet pool
// AF_XDP keeps 2048 mbufs a queue for the kernel to fill and up to as many being sent; the rest is on its way
// through the engine.
constexpr unsigned kXdpMbufsPerQueue = 6143;
// A umem frame, which holds the mbuf with all that belongs to it, is at most one page; this is what is left
// for data beside XDP's own headroom.
constexpr unsigned kXdpLargestRoom = 4096 - 64 - 128 - 64 - RTE_PKTMBUF_HEADROOM;
constexpr unsigned kXdpHeadroom = 256;
constexpr std::uint64_t kRxOffloads = RTE_ETH_RX_OFFLOAD_CHECKSUM;
constexpr std::uint64_t kTxChecksums =
    RTE_ETH_TX_OFFLOAD_IPV4_CKSUM | RTE_ETH_TX_OFFLOAD_TCP_CKSUM | RTE_ETH_TX_OFFLOAD_UDP_CKSUM;

// AF_PACKET's frames, each a block of its own, in whole pages; a frame's bytes go to one mbuf, whose room
// with its headroom is a 16-bit number.
constexpr unsigned kPacketFrameUnit = 4096;
constexpr unsigned kPacketLargestFrame = 15 * kPacketFrameUnit;
constexpr unsigned kPacketFrameOverhead = 256;  // of the frame: the kernel's header, Ethernet, 802.1Q
static_assert(kPacketLargestFrame + RTE_PKTMBUF_HEADROOM <= 65535);

constexpr int kBusyAttempts = 6;  // after the first: 20, 40, 80, ... 640 ms later

class Setup {
 public:
  Setup(const api::Port& config, const Pools& pools, std::uint16_t workers)
      : config_(config), pools_(pools), workers_(workers), devargs_(Devargs::parse(config.devargs)) {}

  Result<PhysicalDevice> run();
  // After a failure: an AF_XDP queue was refused, which may pass.
  bool queue_was_busy() const { return queue_was_busy_; }

 private:
  Error refused(const std::string& why) const {
    return invalid("port " + config_.name + ": " + devargs_.text() + ": " + why);
  }
  Result<void> choose_options();
  Result<void> choose_packet_frames();
  void choose_queues();
  Result<void> choose_mtu();
  Result<void> make_pool();
  Result<void> configure();
  Result<void> set_up_queues();
  Result<void> apply_mtu();
  Result<void> start();
  void find_descriptors(const std::set<int>& before);
  Result<void> set_up(const std::set<int>& sockets_before);

  const api::Port& config_;
  const Pools& pools_;
  const std::uint16_t workers_;
  Devargs devargs_;
  bool xdp_ = false, packet_ = false;
  bool queue_was_busy_ = false;
  rte_eth_dev_info info_{};
  std::uint64_t tx_offloads_ = 0;
  PhysicalDevice out_;
};

// What the driver must be told before it is probed.
Result<void> Setup::choose_options() {
  xdp_ = devargs_.is_driver("net_af_xdp");
  packet_ = devargs_.is_driver("net_af_packet");
  const std::string interface = devargs_.option("iface").value_or("");
  out_.mtu =
      static_cast<std::uint16_t>(config_.mtu != 0 ? config_.mtu : std::min(interface_mtu(interface), 65535u));
  if (xdp_) devargs_.set_default("queue_count", std::to_string(interface_channels(interface)));
  if (packet_) {
    devargs_.set_default("qpairs", std::to_string(std::clamp<unsigned>(config_.queues, 1, workers_)));
    return choose_packet_frames();
  }
  return {};
}

Result<void> Setup::choose_packet_frames() {
  if (const auto given = devargs_.option("framesz")) {
    const bool number = given->find_first_not_of("0123456789") == std::string::npos && !given->empty();
    if (!number || given->size() > 6 || std::stoul(*given) > kPacketLargestFrame) {
      return refused("framesz must be a number of bytes, at most " + std::to_string(kPacketLargestFrame));
    }
    return {};
  }
  // Default frames hold 2048 bytes less some 100 of their header.
  if (out_.mtu <= 1900) return {};
  constexpr unsigned kLargestMtu = kPacketLargestFrame - kPacketFrameOverhead;
  if (out_.mtu > kLargestMtu) {
    return refused("MTU " + std::to_string(out_.mtu) +
                   " is too large for net_af_packet, which takes at most " + std::to_string(kLargestMtu) +
                   "; set the port's mtu to that or less");
  }
  const unsigned bytes = out_.mtu + kPacketFrameOverhead;
  const auto frame = std::to_string((bytes + kPacketFrameUnit - 1) / kPacketFrameUnit * kPacketFrameUnit);
  devargs_.set_default("framesz", frame);
  devargs_.set_default("blocksz", frame);
  return {};
}

void Setup::choose_queues() {
  const auto most_rx = std::max<std::uint16_t>(info_.max_rx_queues, 1);
  const auto most_tx = std::max<std::uint16_t>(info_.max_tx_queues, 1);
  out_.rx_queues = xdp_ ? most_rx : std::min({std::max<std::uint16_t>(config_.queues, 1), most_rx, workers_});
  out_.tx_queues = xdp_ ? out_.rx_queues : std::min(most_tx, workers_);  // AF_XDP pairs them
}

Result<void> Setup::choose_mtu() {
  if (out_.mtu == 0) {
    rte_eth_dev_get_mtu(out_.ethdev->id(), &out_.mtu);
    if (out_.mtu == 0) out_.mtu = RTE_ETHER_MTU;
  }
  unsigned most = info_.max_mtu != 0 ? info_.max_mtu : 65535u;
  if (xdp_) most = std::min(most, kXdpLargestRoom - kXdpHeadroom - kEtherOverhead);
  if (out_.mtu >= info_.min_mtu && out_.mtu <= most) return {};
  return refused("MTU " + std::to_string(out_.mtu) + " is outside what the device takes: " +
                 std::to_string(info_.min_mtu) + " to " + std::to_string(most));
}

Result<void> Setup::make_pool() {
  const unsigned frame = out_.mtu + unsigned{kEtherOverhead};
  if (xdp_) {
    const auto room = static_cast<std::uint16_t>(std::max<unsigned>(kSharedRoom, frame + kXdpHeadroom));
    PODWIRE_TRY(out_.pool, DevicePool::create(config_.name, kXdpMbufsPerQueue * out_.rx_queues, room));
  } else if (packet_ && frame > kSharedRoom - 64u) {
    const auto room = static_cast<std::uint16_t>(std::stoul(devargs_.option("framesz").value_or("4096")));
    PODWIRE_TRY(out_.pool, DevicePool::create(config_.name, 1023, room));
  }
  return {};
}

Result<void> Setup::configure() {
  rte_eth_conf conf{};
  // net_af_packet says 1500 is its most, but it takes what its frames hold.
  conf.rxmode.mtu = packet_ ? std::min<std::uint16_t>(out_.mtu, RTE_ETHER_MTU) : out_.mtu;
  // A virtio card that may leave checksums to us says of those that its host's senders left unfinished that
  // they are no good and the data are. Unless it may, its host finishes them.
  const bool virtio = std::string_view(info_.driver_name).starts_with("net_virtio");
  conf.rxmode.offloads = virtio ? 0 : info_.rx_offload_capa & kRxOffloads;
  if (out_.mtu + kEtherOverhead > kSharedRoom && (info_.rx_offload_capa & RTE_ETH_RX_OFFLOAD_SCATTER) != 0) {
    conf.rxmode.offloads |= RTE_ETH_RX_OFFLOAD_SCATTER;
  }
  if (out_.rx_queues > 1 && info_.flow_type_rss_offloads != 0) {
    conf.rxmode.mq_mode = RTE_ETH_MQ_RX_RSS;
    conf.rx_adv_conf.rss_conf.rss_hf =
        info_.flow_type_rss_offloads & (RTE_ETH_RSS_IP | RTE_ETH_RSS_TCP | RTE_ETH_RSS_UDP);
  }
  const auto available = info_.tx_offload_capa;
  tx_offloads_ = available & RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
  if ((available & kTxChecksums) == kTxChecksums) tx_offloads_ |= kTxChecksums;
  if ((tx_offloads_ & kTxChecksums) != 0 && (tx_offloads_ & RTE_ETH_TX_OFFLOAD_MULTI_SEGS) != 0) {
    tx_offloads_ |= available & RTE_ETH_TX_OFFLOAD_TCP_TSO;
  }
  conf.txmode.offloads = tx_offloads_;
  out_.capabilities = {
      .l4_checksum = (tx_offloads_ & RTE_ETH_TX_OFFLOAD_TCP_CKSUM) != 0,
      .segmentation = (tx_offloads_ & RTE_ETH_TX_OFFLOAD_TCP_TSO) != 0,
      .multi_segment = (tx_offloads_ & RTE_ETH_TX_OFFLOAD_MULTI_SEGS) != 0,
      .max_frame = static_cast<std::uint16_t>(std::min(65535, out_.mtu + 14 + (config_.vlan != 0 ? 4 : 0)))};
  return out_.ethdev->step("cannot be configured", [&] {
    return rte_eth_dev_configure(out_.ethdev->id(), out_.rx_queues, out_.tx_queues, &conf);
  });
}

Result<void> Setup::set_up_queues() {
  const std::uint16_t id = out_.ethdev->id();
  std::uint16_t rx_ring =
      info_.default_rxportconf.ring_size != 0 ? info_.default_rxportconf.ring_size : kRing;
  std::uint16_t tx_ring =
      info_.default_txportconf.ring_size != 0 ? info_.default_txportconf.ring_size : kRing;
  PODWIRE_CHECK(out_.ethdev->step("ring sizes are refused",
                                  [&] { return rte_eth_dev_adjust_nb_rx_tx_desc(id, &rx_ring, &tx_ring); }));
  // Transmit first: AF_XDP's receive side looks at its pair.
  rte_eth_txconf tx = info_.default_txconf;
  tx.offloads = tx_offloads_;
  for (std::uint16_t queue = 0; queue < out_.tx_queues; ++queue) {
    PODWIRE_CHECK(out_.ethdev->step("transmit queue cannot be set up", [&] {
      return rte_eth_tx_queue_setup(id, queue, tx_ring, SOCKET_ID_ANY, &tx);
    }));
  }
  rte_mempool* pool = out_.pool != nullptr ? out_.pool->get() : pools_.packets;
  for (std::uint16_t queue = 0; queue < out_.rx_queues; ++queue) {
    const auto before = packet_sockets();
    queue_was_busy_ = xdp_;
    PODWIRE_CHECK(out_.ethdev->step("receive queue cannot be set up", [&] {
      return rte_eth_rx_queue_setup(id, queue, rx_ring, SOCKET_ID_ANY, nullptr, pool);
    }));
    queue_was_busy_ = false;
    if (!xdp_) continue;
    for (const int fd : packet_sockets()) {
      if (before.contains(fd)) continue;
      out_.poll_fds[queue] = fd;
      out_.ethdev->remember_socket(fd);
    }
  }
  return {};
}

Result<void> Setup::apply_mtu() {
  const std::string interface = out_.ethdev->interface();
  if (!interface.empty()) {
    if (interface_mtu(interface) == out_.mtu) return {};
    const auto set = set_interface_mtu(interface, out_.mtu);
    return set ? set : refused(set.error().message);
  }
  LogCapture log;
  const int code = rte_eth_dev_set_mtu(out_.ethdev->id(), out_.mtu);
  if (code == 0 || code == -ENOTSUP) return {};
  return refused("MTU " + std::to_string(out_.mtu) + " cannot be set: " + std::strerror(-code));
}

Result<void> Setup::start() {
  const std::uint16_t id = out_.ethdev->id();
  PODWIRE_CHECK(out_.ethdev->step("cannot be started", [&] { return rte_eth_dev_start(id); }));
  rte_ether_addr address{};
  rte_eth_macaddr_get(id, &address);
  std::memcpy(out_.mac.bytes.data(), address.addr_bytes, out_.mac.bytes.size());
  const bool pod = config_.role == api::PortRole::kPod;
  if (!pod && (config_.mac.is_zero() || config_.mac == out_.mac)) return {};
  // Frames for a MAC that is not the device's own: what a pod sends is for the gateway or another pod.
  const int code = rte_eth_promiscuous_enable(id);
  if (code == 0 || code == -ENOTSUP) return {};
  const std::string why = pod ? "a pod sends to other MACs than the device's "
                              : "MAC " + to_string(config_.mac) + " is not the device's ";
  return refused(why + to_string(out_.mac) + ", and promiscuous mode is refused: " + std::strerror(-code));
}

// AF_PACKET opens one socket a queue pair, in order, when it is probed.
void Setup::find_descriptors(const std::set<int>& before) {
  std::uint16_t queue = 0;
  for (const int fd : packet_sockets()) {
    if (before.contains(fd) || queue == out_.poll_fds.size()) continue;
    out_.poll_fds[queue++] = fd;
    // What this node's kernel sends on the interface is not for the engine.
    const int on = 1;
    ::setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof on);
  }
}

Result<void> Setup::set_up(const std::set<int>& sockets_before) {
  devargs_ = out_.ethdev->devargs();
  info_ = out_.ethdev->info();
  choose_queues();
  PODWIRE_CHECK(choose_mtu());
  out_.poll_fds.assign(out_.rx_queues, -1);
  PODWIRE_CHECK(make_pool());
  PODWIRE_CHECK(configure());
  PODWIRE_CHECK(set_up_queues());
  PODWIRE_CHECK(apply_mtu());
  PODWIRE_CHECK(start());
  if (packet_) find_descriptors(sockets_before);
  return {};
}

Result<PhysicalDevice> Setup::run() {
  PODWIRE_CHECK(choose_options());
  const auto sockets_before = packet_sockets();
  const auto bpf_before = bpf_descriptors();
  PODWIRE_TRY(out_.ethdev, Ethdev::probe(config_.name, devargs_));
  const auto done = set_up(sockets_before);
  // Also after a failure: a queue that is busy is tried again and again.
  for (const auto& one : bpf_descriptors()) {
    if (!bpf_before.contains(one)) out_.ethdev->remember_bpf(one);
  }
  PODWIRE_CHECK(done);
  return std::move(out_);
}

}  // namespace

// The kernel gives up an AF_XDP queue some time after its socket was closed (by us, or by an engine that was
// here before), and says EBUSY until then.
Result<PhysicalDevice> set_up_device(const api::Port& config, const Pools& pools, std::uint16_t workers) {
  std::chrono::milliseconds pause(20);
  for (int attempt = 0;; ++attempt, pause *= 2) {
    Setup setup(config, pools, workers);
    auto device = setup.run();
    if (device || !setup.queue_was_busy() || attempt == kBusyAttempts) return device;
    std::this_thread::sleep_for(pause);
  }
}

}  // namespace podwire::engine
