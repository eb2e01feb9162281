#include "dataplane/ports/vhost_driver.hpp"

#include <fcntl.h>
#include <rte_eal.h>
#include <rte_log.h>
#include <rte_vhost.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>
#include <filesystem>
#include <map>
#include <mutex>

namespace podwire::engine {
namespace {

// Offered by the library, but not by us: a migration log would be mapped and written without a guard; UDP
// segmentation is no part of the offload model; the library cannot mark congestion (ECN) in what it sends;
// and it cannot tell whether a packed ring has work (rte_vhost_rx_queue_count reads it as a split one), which
// a worker must know before it sleeps.
constexpr std::uint64_t kWithheld =
    feature_bits(VirtioFeature::kLogAll, VirtioFeature::kHostUfo, VirtioFeature::kGuestUfo,
                 VirtioFeature::kGuestEcn, VirtioFeature::kRingPacked);

// With an IOMMU: all buffers that a frame takes have to be known at once, and are asked for one after the
// other.
constexpr std::uint64_t kWithheldOfIommu = feature_bits(VirtioFeature::kGuestTso4, VirtioFeature::kGuestTso6);

struct FeatureName {
  VirtioFeature feature;
  const char* name;
};
constexpr FeatureName kFeatureNames[] = {
    {VirtioFeature::kChecksum, "csum"},
    {VirtioFeature::kGuestChecksum, "guest_csum"},
    {VirtioFeature::kMtu, "mtu"},
    {VirtioFeature::kGuestTso4, "guest_tso4"},
    {VirtioFeature::kGuestTso6, "guest_tso6"},
    {VirtioFeature::kHostTso4, "host_tso4"},
    {VirtioFeature::kHostTso6, "host_tso6"},
    {VirtioFeature::kHostEcn, "host_ecn"},
    {VirtioFeature::kMergeableBuffers, "mrg_rxbuf"},
    {VirtioFeature::kControlQueue, "ctrl_vq"},
    {VirtioFeature::kMultiQueue, "mq"},
    {VirtioFeature::kIndirectDescriptors, "indirect_desc"},
    {VirtioFeature::kEventIndex, "event_idx"},
    {VirtioFeature::kVersion1, "version_1"},
    {VirtioFeature::kAccessPlatform, "iommu_platform"},
    {VirtioFeature::kInOrder, "in_order"},
};

// Whose socket and device the library's callbacks speak of. A driver leaves when it is unregistered, after
// which nothing calls back for it.
struct Registry {
  std::mutex mutex;
  std::map<std::string, VhostDriver*> by_path;
  std::array<std::atomic<VhostDriver*>, RTE_MAX_VHOST_DEVICE> by_vid{};
};
Registry& registry() {
  static Registry all;
  return all;
}

}  // namespace

// Whether the library has sent an interrupt since this was reset, on this thread.
thread_local bool guest_was_notified = false;

struct VhostCallbacks {
  static void guest_notified(int) { guest_was_notified = true; }

  static VhostDriver* driver(int vid) {
    return registry().by_vid[static_cast<std::size_t>(vid)].load(std::memory_order_acquire);
  }

  static int new_connection(int vid) {
    char path[256];
    if (rte_vhost_get_ifname(vid, path, sizeof path) != 0) return -1;
    const std::lock_guard lock(registry().mutex);
    const auto it = registry().by_path.find(path);
    if (it == registry().by_path.end()) return -1;
    registry().by_vid[static_cast<std::size_t>(vid)].store(it->second, std::memory_order_release);
    it->second->connections_begun_.fetch_add(1, std::memory_order_release);
    static constexpr rte_vhost_user_extern_ops kMessages{before_message, after_message};
    rte_vhost_extern_callback_register(vid, &kMessages, nullptr);
    return 0;
  }
  static void destroy_connection(int vid) {
    guard_this_thread(nullptr);
    registry().by_vid[static_cast<std::size_t>(vid)].exchange(nullptr)->connection_ended();
  }
  static int new_device(int vid) {
    driver(vid)->device_runs(vid);
    return 0;
  }
  static void destroy_device(int vid) { driver(vid)->device_stops(); }
  static int vring_state_changed(int vid, std::uint16_t ring, int enabled) {
    driver(vid)->ring_changed(vid, ring, enabled != 0);
    return 0;
  }

  static bool is_memory_table(const void* message) {
    std::uint32_t request;
    std::memcpy(&request, message, sizeof request);
    return request == static_cast<std::uint32_t>(VhostRequest::kSetMemTable);
  }
  // The library holds the rings' locks here, so no worker is in the guest's memory.
  static rte_vhost_msg_result before_message(int vid, void* message) {
    // The library maps and uses the memory before it can be asked where that is. After a message that it
    // refuses it does not call again before the next one.
    const bool maps = is_memory_table(message);
    guard_this_thread(maps ? &driver(vid)->condemned_ : nullptr);
    if (maps) driver(vid)->unguard_memory();
    return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
  }
  static rte_vhost_msg_result after_message(int vid, void* message) {
    if (!is_memory_table(message)) return RTE_VHOST_MSG_RESULT_NOT_HANDLED;
    guard_this_thread(nullptr);
    return driver(vid)->guard_memory(vid) ? RTE_VHOST_MSG_RESULT_OK : RTE_VHOST_MSG_RESULT_ERR;
  }

  static constexpr rte_vhost_device_ops kOperations{new_device,     destroy_device, vring_state_changed,
                                                    nullptr,        new_connection, destroy_connection,
                                                    guest_notified, {nullptr}};
};

VhostDriver::VhostDriver(const api::Port& config, std::uint16_t workers, std::function<void()> wait_quiescent)
    : queues_(config.queues),
      iommu_(config.iommu),
      wait_quiescent_(std::move(wait_quiescent)),
      signals_(PeerSignals::shared(workers)) {
  for (auto& fd : interrupt_fds_) fd.store(-1, std::memory_order_relaxed);
}

Result<std::unique_ptr<VhostDriver>> VhostDriver::create(const api::Port& config, std::uint16_t workers,
                                                         std::function<void()> wait_quiescent) {
  std::unique_ptr<VhostDriver> driver(new VhostDriver(config, workers, std::move(wait_quiescent)));
  driver->ended_fd_.reset(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!driver->ended_fd_) return errno_error("port " + config.name + ": eventfd");
  for (std::uint16_t queue = 0; queue < config.queues; ++queue) {
    driver->kicks_[queue].epoll.reset(::epoll_create1(EPOLL_CLOEXEC));
    if (!driver->kicks_[queue].epoll) return errno_error("port " + config.name + ": epoll_create1");
  }
  const auto registered = driver->register_socket();
  if (!registered) {
    return Error{registered.error().code, "port " + config.name + ": " + registered.error().message};
  }
  return driver;
}

Result<void> VhostDriver::register_socket() {
  // The library writes a line for every message; what matters of a peer is reported by the relay.
  static const bool silenced = rte_log_set_level_pattern("lib.vhost.*", RTE_LOG_CRIT) == 0;
  static_cast<void>(silenced);
  static std::atomic<unsigned> serial{0};
  const std::filesystem::path directory = rte_eal_get_runtime_dir();
  std::error_code ignored;
  std::filesystem::create_directories(directory, ignored);
  std::filesystem::permissions(directory, std::filesystem::perms::owner_all, ignored);
  path_ = directory / ("vhost-" + std::to_string(::getpid()) + "-" + std::to_string(serial++));
  std::filesystem::remove(path_, ignored);
  const auto failed = [&](const char* what) {
    return Error{ErrorCode::kExhausted, std::string("librte_vhost refuses ") + what + " for " + path_ +
                                            "; it serves at most 1024 sockets"};
  };
  // Compliant flags: the library then tells what a guest asked for in receive flags, completes checksums of
  // what is not the packet's own TCP or UDP header, and leaves the judgement of the rest to us.
  const std::uint64_t flags =
      RTE_VHOST_USER_NET_COMPLIANT_OL_FLAGS | (iommu_ ? RTE_VHOST_USER_IOMMU_SUPPORT : 0);
  if (rte_vhost_driver_register(path_.c_str(), flags) != 0) return failed("a registration");
  registered_ = true;
  {
    const std::lock_guard lock(registry().mutex);
    registry().by_path[path_] = this;
  }
  const auto protocol = kVhostProtocolFeatures | (iommu_ ? kVhostIommuProtocolFeatures : 0);
  const auto withheld = kWithheld | (iommu_ ? kWithheldOfIommu : 0);
  if (rte_vhost_driver_disable_features(path_.c_str(), withheld) != 0 ||
      rte_vhost_driver_set_protocol_features(path_.c_str(), protocol) != 0 ||
      rte_vhost_driver_callback_register(path_.c_str(), &VhostCallbacks::kOperations) != 0) {
    return failed("features");
  }
  if (rte_vhost_driver_start(path_.c_str()) != 0) return failed("to listen");
  return {};
}

VhostDriver::~VhostDriver() {
  if (!registered_) return;
  rte_vhost_driver_unregister(path_.c_str());
  const std::lock_guard lock(registry().mutex);
  registry().by_path.erase(path_);
}

void VhostDriver::take_kick(std::uint16_t queue) const noexcept {
  epoll_event event;
  ::epoll_wait(kicks_[queue].epoll.get(), &event, 1, 0);
}

void VhostDriver::interrupt(std::uint16_t ring, std::uint16_t worker) noexcept {
  if (!guest_was_notified) [[likely]]
    return;
  guest_was_notified = false;
  const int fd = interrupt_fds_[ring].load(std::memory_order_acquire);
  if (fd >= 0) signals_->signal(worker, fd);
}

// What the library writes into ours, nobody reads: the count does not overflow in the life of a machine.
Result<UniqueFd> VhostDriver::set_interrupt(std::uint16_t ring, UniqueFd eventfd) {
  UniqueFd ours(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!ours) return errno_error("eventfd");
  interrupt_fds_[ring].store(eventfd.get(), std::memory_order_release);
  if (interrupts_[ring] && wait_quiescent_) wait_quiescent_();
  interrupts_[ring] = std::move(eventfd);
  return ours;
}

void VhostDriver::reset() {
  for (auto& fd : interrupt_fds_) fd.store(-1, std::memory_order_release);
  for (auto& fd : interrupts_) fd.reset();  // the device has stopped, so no worker has one in hand
  condemned_.store(false, std::memory_order_relaxed);
}

void VhostDriver::device_runs(int vid) {
  std::uint64_t features = 0;
  rte_vhost_get_negotiated_features(vid, &features);
  features_.store(features, std::memory_order_release);
  run_.fetch_add(1, std::memory_order_relaxed);
  vid_.store(vid, std::memory_order_release);
}

void VhostDriver::device_stops() {
  vid_.store(-1, std::memory_order_seq_cst);
  if (wait_quiescent_) wait_quiescent_();
}

void VhostDriver::ring_changed(int vid, std::uint16_t ring, bool enabled) {
  if (ring >= 2u * queues_) return;  // the relay lets no such ring through
  const auto queue = static_cast<std::uint16_t>(ring / 2);
  const bool guest_sends = ring % 2 == 1;  // virtio 1.1 section 5.1.2: receiveq1, transmitq1, ...
  auto& mask = guest_sends ? receiving_ : sending_;
  if (enabled)
    mask.fetch_or(1u << queue, std::memory_order_release);
  else
    mask.fetch_and(~(1u << queue), std::memory_order_release);
  if (enabled) {
    rte_vhost_vring vring;
    if (rte_vhost_get_vhost_vring(vid, ring, &vring) == 0)
      ring_sizes_[ring].store(vring.size, std::memory_order_relaxed);
  }
  if (guest_sends) watch_kicks(vid, queue, enabled);
}

// The eventfd is the guest's, so nothing reads it (it might block): it is watched edge-triggered, which
// reports every write. The duplicate is ours, because the library closes its own whenever it likes, and
// closing does not end the watch while the guest has the eventfd open.
void VhostDriver::watch_kicks(int vid, std::uint16_t queue, bool enabled) {
  Kick& kick = kicks_[queue];
  if (kick.guest) ::epoll_ctl(kick.epoll.get(), EPOLL_CTL_DEL, kick.guest.get(), nullptr);
  kick.guest.reset();
  rte_vhost_vring vring;
  if (!enabled || rte_vhost_get_vhost_vring(vid, static_cast<std::uint16_t>(2 * queue + 1), &vring) != 0 ||
      vring.kickfd < 0) {
    return;
  }
  kick.guest.reset(::fcntl(vring.kickfd, F_DUPFD_CLOEXEC, 0));
  epoll_event event{};
  event.events = EPOLLIN | EPOLLET;
  if (kick.guest) ::epoll_ctl(kick.epoll.get(), EPOLL_CTL_ADD, kick.guest.get(), &event);
}

bool VhostDriver::guard_memory(int vid) {
  rte_vhost_memory* raw = nullptr;
  bool good = rte_vhost_get_mem_table(vid, &raw) == 0;
  const std::unique_ptr<rte_vhost_memory, decltype(&::free)> memory(raw, &::free);
  std::uint64_t bytes = 0;
  for (std::uint32_t i = 0; good && i < memory->nregions; ++i) {
    const auto& region = memory->regions[i];
    struct stat status {};
    std::size_t page = 4096;
    const auto address = reinterpret_cast<std::uintptr_t>(region.mmap_addr);
    if (::fstat(region.fd, &status) == 0 && status.st_blksize > 0) {
      // hugetlbfs: the size of its pages; elsewhere a hint that may be larger than what is mapped
      const auto block = static_cast<std::size_t>(status.st_blksize);
      if (std::has_single_bit(block) && address % block == 0) page = std::max(page, block);
    }
    auto guarded = GuardedRegion::add(region.mmap_addr, region.mmap_size, page, condemned_);
    good = static_cast<bool>(guarded);
    if (good) regions_.push_back(std::move(*guarded));
    bytes += region.size;
  }
  if (!good) condemned_.store(true, std::memory_order_release);
  memory_bytes_.store(bytes, std::memory_order_relaxed);
  memory_regions_.store(regions_.size(), std::memory_order_relaxed);
  return good;
}

void VhostDriver::unguard_memory() {
  regions_.clear();
  memory_bytes_.store(0, std::memory_order_relaxed);
  memory_regions_.store(0, std::memory_order_relaxed);
}

// The device has stopped before, and what the guest shared is unmapped next.
void VhostDriver::connection_ended() {
  for (std::uint16_t queue = 0; queue < queues_; ++queue) watch_kicks(-1, queue, false);
  receiving_.store(0, std::memory_order_release);
  sending_.store(0, std::memory_order_release);
  unguard_memory();
  connections_ended_.fetch_add(1, std::memory_order_release);
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(ended_fd_.get(), &one, sizeof one);
}

std::uint64_t VhostDriver::take_connections_ended() {
  std::uint64_t count;
  [[maybe_unused]] const auto got = ::read(ended_fd_.get(), &count, sizeof count);
  return connections_ended_.load(std::memory_order_acquire);
}

Json VhostDriver::describe() const {
  Json features = Json::array(), rings = Json::array();
  const bool runs = vid() >= 0;
  for (const auto& feature : kFeatureNames) {
    if (runs && (features_.load(std::memory_order_relaxed) & feature_bits(feature.feature)) != 0)
      features.push_back(feature.name);
  }
  const auto both = receiving() & sending();
  for (std::uint16_t queue = 0; runs && queue < queues_; ++queue) {
    if ((both >> queue & 1) == 0) continue;
    rings.push_back({{"queue", queue},
                     {"to_peer", ring_sizes_[2u * queue].load(std::memory_order_relaxed)},
                     {"from_peer", ring_sizes_[2u * queue + 1].load(std::memory_order_relaxed)}});
  }
  return {{"features", std::move(features)},
          {"queue_pairs", runs ? std::popcount(both) : 0},
          {"rings", std::move(rings)},
          {"memory_bytes", memory_bytes_.load(std::memory_order_relaxed)},
          {"memory_regions", memory_regions_.load(std::memory_order_relaxed)}};
}

}  // namespace podwire::engine
