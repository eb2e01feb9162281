#include "dataplane/ports/memif.hpp"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>

#include "dataplane/packet/plain_mbufs.hpp"
#include "dataplane/ports/buffer_budget.hpp"
#include "dataplane/ports/memif_bursts.hpp"
#include "dataplane/ports/memif_control.hpp"
#include "dataplane/ports/peer_signal.hpp"
#include "dataplane/telemetry/counters.hpp"

namespace podwire::engine {
namespace {

using memif::Control;
using memif::Link;
using memif::RingFault;
using memif::Role;

constexpr std::uint32_t kPlainBytes = 2048;  // of a frame in an mbuf of the packet pool
constexpr unsigned kMostJumbos = 32;         // that one poll takes

class MemifPort final : public Port {
 public:
  static Result<std::unique_ptr<Port>> open(const api::Port& config, const PortEnvironment& environment);
  ~MemifPort() override;

  std::uint16_t rx_burst(std::uint16_t queue, std::span<rte_mbuf*> out) noexcept override;
  std::uint16_t tx_burst(std::uint16_t queue, std::span<rte_mbuf*> in) noexcept override;
  TxStop tx_stop(std::uint16_t queue) const noexcept override { return sent_[queue].stop; }
  int poll_fd(std::uint16_t queue) const noexcept override { return received_[queue].epoll.get(); }
  bool arm(std::uint16_t queue) noexcept override;
  void disarm(std::uint16_t queue) noexcept override;
  std::uint16_t rx_queues() const noexcept override { return static_cast<std::uint16_t>(received_.size()); }
  std::uint16_t tx_queues() const noexcept override;

  bool link_up() const override { return owned_ != nullptr; }
  QueueCounters queue_counters(std::uint16_t queue) const override;
  Json describe() const override;
  std::string last_error() const override { return control_->last_error(); }

 private:
  // One a queue; its worker's but for the descriptor.
  struct alignas(64) ReceiveState {
    UniqueFd
        epoll;  // of the peer's signal, edge triggered: that a peer fills or blocks its eventfd is no matter
    Counter packets, bytes, oversized, without_buffers, held;
  };
  struct alignas(64) SendState {  // one a worker
    Counter packets, bytes, refused;
    TxStop stop = TxStop::kDown;
  };

  MemifPort(const api::Port& config, const PortEnvironment& environment);
  void on_connected(std::unique_ptr<Link> link);
  void on_disconnected();
  void on_attention();
  // The queue's ring, or null; a worker may use it until its burst is over.
  memif::IncomingQueue* incoming(std::uint16_t queue, Link*& link) const noexcept;
  void check(Link& link, RingFault fault) noexcept;
  memif::ReceiveLimits limits() const noexcept;
  Json describe_link() const;

  const Pools pools_;
  const std::function<void()> wait_quiescent_;
  const std::uint16_t workers_;
  const std::uint32_t max_bytes_;  // of a received frame: room for two VLAN tags
  const Role role_;
  const std::uint32_t id_;
  const std::string socket_;
  std::vector<ReceiveState> received_;
  std::vector<SendState> sent_;
  const std::shared_ptr<PeerSignals> signals_;

  std::atomic<Link*> link_{nullptr};  // what workers use; null: there is no peer
  std::unique_ptr<Link> owned_;
  UniqueFd attention_;  // eventfd: a worker has found a fault
  Reactor::Watch attention_watch_;
  std::unique_ptr<Control> control_;
};

MemifPort::MemifPort(const api::Port& config, const PortEnvironment& environment)
    : pools_(environment.pools),
      wait_quiescent_(environment.wait_quiescent),
      workers_(environment.workers),
      max_bytes_(config.mtu + 14u + 8u),
      role_(config.socket_mode == api::SocketMode::kServer ? Role::kServer : Role::kClient),
      id_(config.memif_id),
      socket_(config.socket),
      received_(config.queues),
      sent_(environment.workers),
      signals_(PeerSignals::shared(environment.workers)) {
  capabilities_ = {.multi_segment = true,
                   .max_frame = static_cast<std::uint16_t>(std::min(65535, config.mtu + 14))};
  mac_ = config.mac;
  mtu_ = config.mtu;
}

MemifPort::~MemifPort() {
  control_.reset();
  if (owned_) on_disconnected();
}

Result<std::unique_ptr<Port>> MemifPort::open(const api::Port& config, const PortEnvironment& environment) {
  memif::ControlOptions options;
  options.port = "port " + config.name;
  options.socket = config.socket;
  options.role = config.socket_mode == api::SocketMode::kServer ? Role::kServer : Role::kClient;
  options.group = config.socket_group;
  options.permissions = config.socket_permissions;
  options.terms.name = "podwire " PODWIRE_VERSION;
  options.terms.interface = config.name;
  options.terms.id = config.memif_id;
  options.terms.secret = config.secret;
  options.terms.queues = config.queues;
  options.terms.log2_ring_size = static_cast<unsigned>(std::bit_width(config.ring_size) - 1);
  options.terms.buffer_bytes = config.buffer_size;
  const auto own_bytes =
      memif::client_region_bytes(2u * config.queues, options.terms.log2_ring_size, config.buffer_size);
  if (options.role == Role::kClient && own_bytes > memif::kMaxPlainBytes) {
    return invalid(options.port + ": 2 x " + std::to_string(config.queues) + " rings of " +
                   std::to_string(config.ring_size) + " buffers of " + std::to_string(config.buffer_size) +
                   " bytes take " + std::to_string(own_bytes >> 20) + " MiB, at most " +
                   std::to_string(memif::kMaxPlainBytes >> 20) +
                   " are possible; lower queues, ring_size or buffer_size");
  }

  std::unique_ptr<MemifPort> port(new MemifPort(config, environment));
  for (auto& state : port->received_) {
    state.epoll.reset(::epoll_create1(EPOLL_CLOEXEC));
    if (!state.epoll) return errno_error(options.port + ": an epoll descriptor");
  }
  port->attention_.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!port->attention_) return errno_error(options.port + ": an eventfd");
  PODWIRE_TRY(port->attention_watch_,
              environment.reactor->watch(port->attention_.get(), EPOLLIN,
                                         [raw = port.get()](std::uint32_t) { raw->on_attention(); }));
  PODWIRE_TRY(
      port->control_,
      Control::open(std::move(options), *environment.reactor,
                    {[raw = port.get()](std::unique_ptr<Link> link) { raw->on_connected(std::move(link)); },
                     [raw = port.get()] { raw->on_disconnected(); }}));
  return std::unique_ptr<Port>(std::move(port));
}

void MemifPort::on_connected(std::unique_ptr<Link> link) {
  owned_ = std::move(link);
  for (std::size_t queue = 0; queue < owned_->incoming.size(); ++queue) {
    const int signal = owned_->incoming[queue].signal.get();
    epoll_event event{};
    event.events = EPOLLIN | EPOLLET;
    ::epoll_ctl(received_[queue].epoll.get(), EPOLL_CTL_ADD, signal, &event);
  }
  if (role_ == Role::kServer) {
    // What net_memif and libmemif have there before the first packet; seen for certain when one is sent.
    owned_->buffer_bytes.store(owned_->outgoing.front().ring.ring().read(0).length,
                               std::memory_order_relaxed);
  }
  check(*owned_, RingFault::kNone);
  link_.store(owned_.get(), std::memory_order_release);
}

void MemifPort::on_disconnected() {
  link_.store(nullptr, std::memory_order_release);
  wait_quiescent_();
  for (std::size_t queue = 0; queue < owned_->incoming.size(); ++queue) {
    // The peer has the eventfd open as well: closing ours would not take it out of the set.
    ::epoll_ctl(received_[queue].epoll.get(), EPOLL_CTL_DEL, owned_->incoming[queue].signal.get(), nullptr);
  }
  owned_.reset();
}

void MemifPort::on_attention() {
  std::uint64_t ignored;
  [[maybe_unused]] const auto got = ::read(attention_.get(), &ignored, sizeof ignored);
  if (owned_ && !owned_->usable()) control_->disconnect_for(memif::text(owned_->fault.load()));
}

memif::IncomingQueue* MemifPort::incoming(std::uint16_t queue, Link*& link) const noexcept {
  link = link_.load(std::memory_order_acquire);
  if (link == nullptr || queue >= link->incoming.size() || !link->usable()) return nullptr;
  return &link->incoming[queue];
}

// The end of everything that touched the peer's memory: if that went wrong, the link is not used any more and
// the main thread is told.
inline void MemifPort::check(Link& link, RingFault fault) noexcept {
  if (link.condemned.load(std::memory_order_relaxed)) [[unlikely]]
    fault = RingFault::kMemoryLost;
  if (fault == RingFault::kNone) [[likely]]
    return;
  RingFault none = RingFault::kNone;
  if (!link.fault.compare_exchange_strong(none, fault, std::memory_order_relaxed)) return;
  const std::uint64_t one = 1;
  [[maybe_unused]] const auto written = ::write(attention_.get(), &one, sizeof one);
}

// Only frames that are longer than an mbuf of the packet pool take jumbo ones.
inline memif::ReceiveLimits MemifPort::limits() const noexcept {
  if (max_bytes_ <= kPlainBytes) return {max_bytes_, 0};
  return {max_bytes_, poll_share(pools_.jumbo, workers_, 1, kMostJumbos)};
}

std::uint16_t MemifPort::rx_burst(std::uint16_t queue, std::span<rte_mbuf*> out) noexcept {
  Link* link;
  auto* in = incoming(queue, link);
  if (in == nullptr) return 0;
  if (!in->polled) {
    in->polled = true;
    in->ring.mask(true);
  }
  if (in->ring.empty()) {
    in->ring.give_back(true);
    check(*link, RingFault::kNone);
    return 0;
  }
  const auto got = memif::receive(in->ring, pools_, limits(), out);
  ReceiveState& state = received_[queue];
  state.packets.add(got.packets);
  state.bytes.add(got.bytes);
  if (got.oversized != 0) state.oversized.add(got.oversized);
  if (got.no_buffers) state.without_buffers.add(1);
  if (got.held) state.held.add(1);
  check(*link, got.fault);
  return got.packets;
}

std::uint16_t MemifPort::tx_burst(std::uint16_t queue, std::span<rte_mbuf*> in) noexcept {
  SendState& state = sent_[queue];
  Link* link = link_.load(std::memory_order_acquire);
  if (link == nullptr || !link->usable() || queue >= link->outgoing.size()) {
    state.stop = TxStop::kDown;
    return 0;
  }
  auto& out = link->outgoing[queue];
  const auto sent = memif::transmit(out.ring, in);
  check(*link, sent.fault);
  state.stop = sent.fault == RingFault::kNone ? TxStop::kFull : TxStop::kDown;
  if (sent.packets < in.size() && sent.fault == RingFault::kNone)
    state.refused.add(in.size() - sent.packets);  // the worker drops them
  if (sent.packets == 0) return 0;
  // Either we see that the peer wants a signal, or it sees the packets when it looks once more before it
  // sleeps.
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (out.ring.wants_signal()) signals_->signal(queue, out.signal.get());
  if (sent.buffer_bytes != link->buffer_bytes.load(std::memory_order_relaxed))
    link->buffer_bytes.store(sent.buffer_bytes, std::memory_order_relaxed);
  free_packets(in.first(sent.packets));
  state.packets.add(sent.packets);
  state.bytes.add(sent.bytes);
  return sent.packets;
}

bool MemifPort::arm(std::uint16_t queue) noexcept {
  // Signals up to now are answered by the look below.
  std::array<epoll_event, 4> ignored;
  ::epoll_wait(received_[queue].epoll.get(), ignored.data(), static_cast<int>(ignored.size()), 0);
  Link* link;
  auto* in = incoming(queue, link);
  if (in == nullptr) return true;
  in->ring.give_back(true);
  in->ring.mask(false);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return in->ring.empty();
}

void MemifPort::disarm(std::uint16_t queue) noexcept {
  Link* link;
  auto* in = incoming(queue, link);
  if (in == nullptr) return;
  in->polled = true;
  in->ring.mask(true);
}

// A ring has one producer: with fewer rings than workers, the others hand their packets over.
std::uint16_t MemifPort::tx_queues() const noexcept {
  const Link* link = link_.load(std::memory_order_acquire);
  if (link == nullptr) return workers_;
  return std::min(workers_, static_cast<std::uint16_t>(link->outgoing.size()));
}

QueueCounters MemifPort::queue_counters(std::uint16_t queue) const {
  QueueCounters counters;
  if (queue >= received_.size()) return counters;
  counters.received_packets = received_[queue].packets.get();
  counters.received_bytes = received_[queue].bytes.get();
  for (std::size_t worker = queue; worker < sent_.size(); worker += received_.size()) {
    counters.sent_packets += sent_[worker].packets.get();
    counters.sent_bytes += sent_[worker].bytes.get();
  }
  return counters;
}

Json MemifPort::describe() const {
  std::uint64_t oversized = 0, without_buffers = 0, held = 0;
  for (const auto& state : received_) {
    oversized += state.oversized.get();
    without_buffers += state.without_buffers.get();
    held += state.held.get();
  }
  Json j{{"role", role_ == Role::kServer ? "server" : "client"},
         {"id", id_},
         {"socket", socket_},
         {"state", control_->state()},
         {"connects", control_->connects()},
         {"violations", control_->violations()},
         {"last_disconnect", control_->last_disconnect()},
         {"oversized", oversized},
         {"receive_without_buffers", without_buffers},
         {"receive_held", held}};
  if (owned_) j.update(describe_link());
  return j;
}

Json MemifPort::describe_link() const {
  // How the side waits that reads the ring. Packets, bytes and refused count since the port was opened.
  const auto facts_of = [](const memif::Ring& ring) {
    return Json{{"ring_size", ring.size()}, {"mode", ring.masked() ? "polling" : "interrupt"}};
  };
  Json rings_in = Json::array(), rings_out = Json::array();
  for (std::size_t i = 0; i < owned_->incoming.size(); ++i) {
    const auto& state = received_[i];
    rings_in.push_back(facts_of(owned_->incoming[i].ring.ring()));
    rings_in.back().update(
        {{"packets", state.packets.get()}, {"bytes", state.bytes.get()}, {"refused", state.oversized.get()}});
  }
  for (std::size_t i = 0; i < owned_->outgoing.size(); ++i) {
    rings_out.push_back(facts_of(owned_->outgoing[i].ring.ring()));
    // Ring i is worker i's; what is left over nobody uses.
    const bool used = i < sent_.size();
    rings_out.back().update({{"packets", used ? sent_[i].packets.get() : 0},
                             {"bytes", used ? sent_[i].bytes.get() : 0},
                             {"refused", used ? sent_[i].refused.get() : 0}});
  }
  const bool sealed = std::all_of(owned_->regions.begin(), owned_->regions.end(),
                                  [](const auto& region) { return region.sealed(); });
  return {{"peer",
           {{"name", owned_->peer.name},
            {"interface", owned_->peer.interface},
            {"version",
             std::to_string(owned_->peer.version >> 8) + "." + std::to_string(owned_->peer.version & 0xff)}}},
          {"rings_in", std::move(rings_in)},
          {"rings_out", std::move(rings_out)},
          {"buffer_size", owned_->buffer_bytes.load(std::memory_order_relaxed)},
          {"regions", owned_->regions.size()},
          {"region_bytes", owned_->region_bytes()},
          {"sealed", sealed}};
}

}  // namespace

Result<std::unique_ptr<Port>> open_memif_port(const api::Port& config, std::vector<UniqueFd> /*descriptors*/,
                                              const PortEnvironment& environment) {
  return MemifPort::open(config, environment);
}

}  // namespace podwire::engine
