#include "dataplane/ports/tap.hpp"

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "dataplane/ports/vnet_header.hpp"
#include "dataplane/telemetry/counters.hpp"

namespace podwire::engine {
namespace {

constexpr unsigned kTunMajor = 10, kTunMinor = 200;  // Documentation/admin-guide/devices.txt
constexpr int kVnetHeaderBytes = sizeof(VnetHeader);
constexpr unsigned kOffloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
constexpr std::size_t kMaxSegments = 255;  // of a packet to send; a 64 KiB packet of merged segments has 48
// A burst ends when it holds this much: what follows would push it out of the cache before it is sent.
constexpr std::uint32_t kBurstBytes = 256 * 1024;

struct alignas(64) DirectionCounters {
  Counter packets, bytes;
};

class TapPort final : public Port {
 public:
  TapPort(const api::Port& config, std::string device, std::vector<UniqueFd> fds, const Pools& pools,
          std::uint16_t workers)
      : name_(config.name),
        device_(std::move(device)),
        fds_(std::move(fds)),
        pools_(pools),
        received_(fds_.size()),
        sent_(workers) {
    capabilities_ = {.l4_checksum = true,
                     .segmentation = true,
                     .multi_segment = true,
                     .max_frame = static_cast<std::uint16_t>(std::min(65535, config.mtu + 14))};
    mac_ = config.mac;
    mtu_ = config.mtu;
  }

  std::uint16_t rx_burst(std::uint16_t queue, std::span<rte_mbuf*> out) noexcept override;
  std::uint16_t tx_burst(std::uint16_t queue, std::span<rte_mbuf*> in) noexcept override;
  TxStop tx_stop(std::uint16_t queue) const noexcept override { return sent_[queue].stop; }
  int poll_fd(std::uint16_t queue) const noexcept override { return fds_[queue].get(); }
  bool receive_when_ready() const noexcept override { return true; }
  std::uint16_t rx_queues() const noexcept override { return static_cast<std::uint16_t>(fds_.size()); }
  std::uint16_t tx_queues() const noexcept override { return static_cast<std::uint16_t>(sent_.size()); }

  bool link_up() const override;
  QueueCounters queue_counters(std::uint16_t queue) const override;
  Json describe() const override;
  std::string last_error() const override;

 private:
  struct alignas(64) SendState {
    DirectionCounters counters;
    TxStop stop = TxStop::kFull;
  };
  // Buffers for one read: a packet mbuf, and a jumbo one for what does not fit it.
  struct Buffers {
    rte_mbuf* packet = nullptr;
    rte_mbuf* jumbo = nullptr;
  };

  bool refill(Buffers& buffers) noexcept;
  rte_mbuf* read_one(int fd, Buffers& buffers) noexcept;
  void note_error(int error) noexcept { error_.store(error, std::memory_order_relaxed); }

  const std::string name_;
  const std::string device_;
  const std::vector<UniqueFd> fds_;
  const Pools pools_;
  std::vector<DirectionCounters> received_;  // by queue
  std::vector<SendState> sent_;              // by worker
  std::atomic<int> error_{0};  // errno of the last failure that was not EAGAIN; 0 after a success
  std::atomic<std::uint64_t> no_buffers_{0};
};

bool TapPort::refill(Buffers& buffers) noexcept {
  if (buffers.packet == nullptr) buffers.packet = rte_pktmbuf_alloc(pools_.packets);
  if (buffers.jumbo == nullptr) buffers.jumbo = rte_pktmbuf_alloc(pools_.jumbo);
  if (buffers.packet != nullptr && buffers.jumbo != nullptr) return true;
  no_buffers_.fetch_add(1, std::memory_order_relaxed);
  return false;
}

// Reads one frame into `buffers` and takes what it used out of them. Null when there is none.
rte_mbuf* TapPort::read_one(int fd, Buffers& buffers) noexcept {
  VnetHeader header;
  const std::uint16_t room = rte_pktmbuf_tailroom(buffers.packet);
  buffers.jumbo->data_off = 0;
  const std::array<iovec, 3> parts{iovec{&header, sizeof header},
                                   iovec{rte_pktmbuf_mtod(buffers.packet, void*), room},
                                   iovec{rte_pktmbuf_mtod(buffers.jumbo, void*), buffers.jumbo->buf_len}};
  ssize_t got;
  do {
    got = ::readv(fd, parts.data(), parts.size());
  } while (got < 0 && errno == EINTR);
  if (got <= kVnetHeaderBytes) {
    if (got < 0 && errno != EAGAIN) note_error(errno);
    return nullptr;
  }
  const auto length = static_cast<std::uint32_t>(got) - kVnetHeaderBytes;
  rte_mbuf* packet = std::exchange(buffers.packet, nullptr);
  packet->pkt_len = length;
  packet->data_len = static_cast<std::uint16_t>(std::min<std::uint32_t>(length, room));
  if (length > room) {
    packet->next = std::exchange(buffers.jumbo, nullptr);
    packet->next->data_len = static_cast<std::uint16_t>(length - room);
    packet->nb_segs = 2;
  }
  if (!apply_vnet_header(header, packet)) packet->ol_flags |= kBadOffloadFlag;
  return packet;
}

std::uint16_t TapPort::rx_burst(std::uint16_t queue, std::span<rte_mbuf*> out) noexcept {
  const int fd = fds_[queue].get();
  Buffers buffers;
  std::uint16_t count = 0;
  std::uint32_t bytes = 0;
  while (count < out.size() && bytes < kBurstBytes && refill(buffers)) {
    rte_mbuf* packet = read_one(fd, buffers);
    if (packet == nullptr) break;
    bytes += packet->pkt_len;
    out[count++] = packet;
  }
  // Back into this lcore's cache: nothing is held while the queue is idle.
  if (buffers.packet != nullptr) rte_mbuf_raw_free(buffers.packet);
  if (buffers.jumbo != nullptr) rte_mbuf_raw_free(buffers.jumbo);
  if (count != 0) {
    received_[queue].packets.add(count);
    received_[queue].bytes.add(bytes);
  }
  return count;
}

// Sends one packet; 0 or errno.
int write_one(int fd, rte_mbuf* packet) noexcept {
  VnetHeader header = make_vnet_header(packet);
  std::array<iovec, kMaxSegments + 1> parts;
  parts[0] = {&header, sizeof header};
  std::size_t used = 1;
  for (rte_mbuf* segment = packet; segment != nullptr; segment = segment->next) {
    if (used == parts.size()) return EMSGSIZE;
    parts[used++] = {rte_pktmbuf_mtod(segment, void*), segment->data_len};
  }
  while (::writev(fd, parts.data(), static_cast<int>(used)) < 0) {
    if (errno != EINTR) return errno;
  }
  return 0;
}

TxStop stop_for(int error) noexcept {
  switch (error) {
    case EAGAIN:
    case ENOBUFS:
    case ENOMEM:
      return TxStop::kFull;
    case EINVAL:
    case EMSGSIZE:
    case EFAULT:
      return TxStop::kRejected;
    default:
      return TxStop::kDown;  // EIO: interface down; EBADFD: it or its namespace is gone
  }
}

std::uint16_t TapPort::tx_burst(std::uint16_t queue, std::span<rte_mbuf*> in) noexcept {
  SendState& state = sent_[queue];
  const int fd = fds_[queue % fds_.size()].get();
  std::uint16_t count = 0;
  std::uint64_t bytes = 0;
  int error = 0;
  while (count < in.size() && (error = write_one(fd, in[count])) == 0) bytes += in[count++]->pkt_len;
  if (error != 0) {
    state.stop = stop_for(error);
    if (error != EAGAIN) note_error(error);
  } else if (error_.load(std::memory_order_relaxed) != 0) {
    note_error(0);
  }
  if (count != 0) {
    rte_pktmbuf_free_bulk(in.data(), count);
    state.counters.packets.add(count);
    state.counters.bytes.add(bytes);
  }
  return count;
}

// The kernel reports a tap as writable while its interface is up, and as failed once it is detached.
bool TapPort::link_up() const {
  pollfd query{fds_.front().get(), POLLOUT, 0};
  return ::poll(&query, 1, 0) == 1 && (query.revents & (POLLERR | POLLHUP | POLLNVAL)) == 0 &&
         (query.revents & POLLOUT) != 0;
}

QueueCounters TapPort::queue_counters(std::uint16_t queue) const {
  QueueCounters counters;
  if (queue >= received_.size())
    return counters;  // a worker's, counted with the tap's queue that it sends on
  counters.received_packets = received_[queue].packets.get();
  counters.received_bytes = received_[queue].bytes.get();
  for (std::size_t worker = queue; worker < sent_.size(); worker += fds_.size()) {
    counters.sent_packets += sent_[worker].counters.packets.get();
    counters.sent_bytes += sent_[worker].counters.bytes.get();
  }
  return counters;
}

Json TapPort::describe() const {
  return {{"interface", device_},
          {"offloads", {"checksum", "tso4", "tso6"}},
          {"receive_without_buffers", no_buffers_.load(std::memory_order_relaxed)}};
}

std::string TapPort::last_error() const {
  const int error = error_.load(std::memory_order_relaxed);
  if (error == 0) return {};
  const std::string text = "tap " + device_ + ": " + std::strerror(error);
  if (error == EIO) return text + " (the interface is down in its network namespace)";
  if (error == EBADFD || error == EFAULT || error == ENODEV) {
    return text +
           " (the interface or its network namespace is gone; delete the port or give it new descriptors)";
  }
  return text;
}

Error refused(const api::Port& config, std::size_t index, const std::string& why) {
  return invalid("port " + config.name + ": descriptor " + std::to_string(index) + " " + why);
}

// The interface name behind a descriptor that is a queue of a tap of the right kind.
Result<std::string> check_queue(const api::Port& config, std::size_t index, int fd) {
  struct stat status {};
  if (::fstat(fd, &status) != 0)
    return refused(config, index, std::string("cannot be examined: ") + std::strerror(errno));
  if (!S_ISCHR(status.st_mode) || ::major(status.st_rdev) != kTunMajor ||
      ::minor(status.st_rdev) != kTunMinor) {
    return refused(config, index, "is not a tap queue; open /dev/net/tun and attach it with TUNSETIFF");
  }
  ifreq request{};
  if (::ioctl(fd, TUNGETIFF, &request) != 0) {
    return refused(config, index,
                   std::string("has no interface: ") + std::strerror(errno) +
                       "; attach it with TUNSETIFF, or the interface was removed meanwhile");
  }
  const int flags = static_cast<unsigned short>(request.ifr_flags);
  if ((flags & IFF_TAP) == 0)
    return refused(config, index, "belongs to a tun (layer 3) interface; make it with IFF_TAP");
  if ((flags & IFF_VNET_HDR) == 0)
    return refused(config, index, "has no virtio header; make the tap with IFF_VNET_HDR");
  // IFF_NO_PI cannot be checked: TUNGETIFF reports IFF_NOFILTER in the same bit.
  request.ifr_name[IFNAMSIZ - 1] = '\0';
  return std::string(request.ifr_name);
}

Result<void> configure_queue(const api::Port& config, std::size_t index, int fd) {
  const auto failed = [&](const char* what) {
    return refused(config, index, std::string("refuses ") + what + ": " + std::strerror(errno));
  };
  const int flags = ::fcntl(fd, F_GETFL);
  if (flags < 0 || ::fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) return failed("non-blocking mode");
  const int header_bytes = kVnetHeaderBytes;
  if (::ioctl(fd, TUNSETVNETHDRSZ, &header_bytes) != 0) return failed("a virtio header of 12 bytes");
  if (::ioctl(fd, TUNSETOFFLOAD, kOffloads) != 0) return failed("checksum and TSO offloads");
  return {};
}

}  // namespace

Result<std::unique_ptr<Port>> open_tap_port(const api::Port& config, std::vector<UniqueFd> descriptors,
                                            const PortEnvironment& environment) {
  if (descriptors.empty() || descriptors.size() != config.queues) {
    return invalid("port " + config.name + ": " + std::to_string(descriptors.size()) +
                   " descriptors came for " + std::to_string(config.queues) +
                   " queues; send one for each queue of the tap");
  }
  std::string device;
  for (std::size_t i = 0; i < descriptors.size(); ++i) {
    PODWIRE_TRY(auto name, check_queue(config, i, descriptors[i].get()));
    if (i != 0 && name != device) {
      return refused(
          config, i,
          "belongs to " + name + ", the first one to " + device + "; all must be queues of one tap");
    }
    device = std::move(name);
    PODWIRE_CHECK(configure_queue(config, i, descriptors[i].get()));
  }
  return std::unique_ptr<Port>(std::make_unique<TapPort>(config, std::move(device), std::move(descriptors),
                                                         environment.pools, environment.workers));
}

}  // namespace podwire::engine
