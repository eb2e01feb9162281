#include "dataplane/ports/vhost_relay.hpp"

#include <fcntl.h>
#include <spdlog/spdlog.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>
#include <thread>

#include "dataplane/base/framing.hpp"

namespace podwire::engine {
namespace {

using namespace std::chrono_literals;

constexpr auto kTick = 100ms;      // between attempts to connect, and looks at what sets no descriptor off
constexpr auto kLibraryTime = 1s;  // the library takes a connection up within microseconds
constexpr auto kReportInterval = 1s;
// Replies that the library may owe: they fit its socket, so it never waits for this thread, which may be
// waiting for a worker, which may be waiting for a ring's lock, which the library holds.
constexpr unsigned kMaxRepliesDue = 32;
constexpr int kMessagesAtOnce = 64;

bool is_answered(const VhostHeader& header) {
  switch (static_cast<VhostRequest>(header.request)) {
    case VhostRequest::kGetFeatures:
    case VhostRequest::kGetVringBase:
    case VhostRequest::kGetProtocolFeatures:
    case VhostRequest::kGetQueueNum:
    case VhostRequest::kGetStatus:
      return true;
    default:
      return (header.flags & VhostHeader::kNeedReply) != 0;
  }
}

}  // namespace

Result<std::unique_ptr<VhostRelay>> VhostRelay::open(const api::Port& config, Reactor& reactor,
                                                     VhostDriver& driver) {
  std::unique_ptr<VhostRelay> relay(new VhostRelay(config, reactor, driver));
  const auto named = [&](const Error& error) {
    return Error{error.code, "port " + config.name + ": " + error.message};
  };
  if (config.listens()) {
    if (const auto done = relay->listen(); !done) return named(done.error());
  } else if (const auto path = check_socket_path(config.socket); !path) {
    return named(path.error());
  }
  auto ended = reactor.watch(driver.ended_fd(), EPOLLIN, [raw = relay.get()](std::uint32_t) {
    raw->driver_.take_connections_ended();
    raw->finish_ending();
  });
  if (!ended) return named(ended.error());
  relay->ended_watch_ = std::move(*ended);
  if (const auto done = relay->start_waiting(); !done) return named(done.error());
  relay->tick();
  return relay;
}

Result<void> VhostRelay::listen() {
  const auto& path = config_.socket;
  // Nobody is let in by the group before the socket has the right one.
  const bool other_group = config_.socket_group != ::getegid();
  const unsigned narrow = other_group ? config_.socket_permissions & ~070u : config_.socket_permissions;
  PODWIRE_TRY(listener_, listen_unix(path, narrow));
  PODWIRE_TRY(socket_file_, SocketFile::adopt(path, config_.socket_group, config_.socket_permissions));
  return {};
}

VhostRelay::~VhostRelay() {
  if (state_ == State::kConnected) end("the port was closed");
  // The library's thread waits for workers at most, and those go on.
  while (state_ == State::kEnding) {
    std::this_thread::sleep_for(1ms);
    finish_ending();
  }
}

Result<void> VhostRelay::start_waiting() {
  state_ = State::kWaiting;
  if (!listener_) return {};  // tick() connects
  PODWIRE_TRY(listener_watch_,
              reactor_.watch(listener_.get(), EPOLLIN, [this](std::uint32_t) { accept_peer(); }));
  return {};
}

void VhostRelay::tick() {
  if (state_ == State::kWaiting && !listener_) connect_peer();
  if (state_ == State::kConnected && driver_.condemned()) {
    ++memory_faults_;
    end("the memory that it shares went away");
  }
  finish_ending();
  tick_ = reactor_.after(kTick, [this] { tick(); });
}

void VhostRelay::accept_peer() {
  UniqueFd peer(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (peer) serve(std::move(peer));
}

void VhostRelay::connect_peer() {
  auto peer = connect_now(config_.socket);
  if (peer) serve(std::move(*peer));
}

void VhostRelay::serve(UniqueFd peer) {
  listener_watch_ = {};
  if (const auto joined = join(std::move(peer)); !joined) return end(joined.error().message);
  ++connects_;
  report("connected to " + facts_.name + " (pid " + std::to_string(facts_.pid) + ")");
}

Result<void> VhostRelay::join(UniqueFd peer) {
  state_ = State::kConnected;
  peer_ = std::move(peer);
  connection_check_.emplace(check_);
  from_peer_ = {};
  from_library_ = {};
  replies_due_ = 0;
  facts_ = {};
  if (const auto credentials = peer_credentials(peer_.get())) {
    facts_ = {credentials->pid, credentials->uid, {}};
    std::getline(std::ifstream("/proc/" + std::to_string(facts_.pid) + "/comm"), facts_.name);
  }
  PODWIRE_TRY(library_, connect_now(driver_.path()));
  ++opened_;
  PODWIRE_TRY(library_watch_,
              reactor_.watch(library_.get(), EPOLLIN, [this](std::uint32_t) { library_readable(); }));
  watch_peer();
  return {};
}

// While the peer may send.
void VhostRelay::watch_peer() {
  if (state_ != State::kConnected || !held_.empty() || replies_due_ >= kMaxRepliesDue) {
    peer_watch_ = {};
    return;
  }
  if (peer_watch_) return;
  auto watch = reactor_.watch(peer_.get(), EPOLLIN, [this](std::uint32_t) { peer_readable(); });
  if (watch)
    peer_watch_ = std::move(*watch);
  else
    end(watch.error().message);
}

void VhostRelay::peer_readable() {
  for (int i = 0; i < kMessagesAtOnce; ++i) {
    if (state_ != State::kConnected || !held_.empty() || replies_due_ >= kMaxRepliesDue) break;
    const auto state = from_peer_.read(peer_.get());
    if (state == VhostMessageReader::State::kPartial) break;
    if (state == VhostMessageReader::State::kClosed) return end("the peer has closed the connection");
    std::string bad;
    if (state == VhostMessageReader::State::kHeader) {
      bad = connection_check_->check_header(from_peer_.message().header);
      if (bad.empty()) continue;
    } else {
      bad = connection_check_->check(from_peer_.message());
    }
    if (!bad.empty()) {
      ++violations_;
      return end("protocol violation: " + bad);
    }
    last_request_ = vhost_request_name(from_peer_.message().header.request);
    if (!pass_on()) return;
  }
  watch_peer();
}

// The peer's message, and before it what the library has to know by then. Rings that are taken back are asked
// for once the library has the message: it asks for a ring's address when the ring begins, and when it sends
// or receives, but tells us to do neither while they are taken back.
bool VhostRelay::pass_on() {
  std::vector<std::uint64_t> lost;
  const auto follow = [&](const VhostMessage& message) {
    const auto rings = connection_check_->rings_taken_back(message);
    lost.insert(lost.end(), rings.begin(), rings.end());
  };
  for (auto& message : connection_check_->take_first()) {
    follow(message);
    if (!pass_to_library(std::move(message))) return false;
  }
  const auto& message = from_peer_.message();
  follow(message);
  if (message.header.request == static_cast<std::uint32_t>(VhostRequest::kIotlb)) translations_.told(message);
  return pass_to_library(from_peer_.take()) && ask_for(lost);
}

bool VhostRelay::ask_for(const std::vector<std::uint64_t>& addresses) {
  constexpr std::uint8_t kReadAndWrite = 3;
  for (const auto address : addresses) {
    const auto question = VhostTranslations::question(address, kReadAndWrite);
    translations_.asked(question, Clock::now());
    if (!backend_peer_ || send_vhost_message(backend_peer_.get(), question) != VhostSent::kAll) {
      end("the peer does not take requests for translations");
      return false;
    }
  }
  ask_again_later();
  return true;
}

void VhostRelay::ask_again_later() {
  if (ask_again_ || !translations_.any_open()) return;
  ask_again_ = reactor_.after(VhostTranslations::kAskAgain, [this] { ask_again(); });
}

// A peer that takes no more at the moment is asked the next time.
void VhostRelay::ask_again() {
  ask_again_ = {};
  for (const auto& question : translations_.to_repeat(Clock::now())) {
    if (send_vhost_message(backend_peer_.get(), question) != VhostSent::kAll) break;
  }
  ask_again_later();
}

bool VhostRelay::pass_to_library(VhostMessage message) {
  if (const auto done = interpose(message); !done) {
    end(done.error().message);
    return false;
  }
  replies_due_ += is_answered(message.header) ? 1 : 0;
  held_.push_back(std::move(message));
  if (held_.size() == 1) flush_to_library();  // else it waits behind the others
  return state_ == State::kConnected;
}

void VhostRelay::flush_to_library() {
  while (!held_.empty()) {
    const auto sent = send_vhost_message(library_.get(), held_.front());
    if (sent == VhostSent::kFull) {
      flush_timer_ = reactor_.after(1ms, [this] { flush_to_library(); });
      return;
    }
    held_.pop_front();
    if (sent == VhostSent::kFailed) return end("librte_vhost has closed its side after " + last_request_);
  }
  watch_peer();
}

void VhostRelay::library_readable() {
  for (int i = 0; i < kMessagesAtOnce && state_ == State::kConnected; ++i) {
    const auto state = from_library_.read(library_.get());
    if (state == VhostMessageReader::State::kPartial) return;
    if (state == VhostMessageReader::State::kClosed) {
      ++violations_;
      return end("librte_vhost refuses " + last_request_);
    }
    if (state == VhostMessageReader::State::kHeader) {
      if (from_library_.message().header.size <= VhostMessage::kMaxPayload) continue;
      return end("librte_vhost's reply is too long");
    }
    VhostMessage reply = from_library_.take();
    connection_check_->adapt_reply(reply);
    reply.fds.clear();
    replies_due_ -= std::min(replies_due_, 1u);
    if (send_vhost_message(peer_.get(), reply) != VhostSent::kAll)
      return end("the peer does not take its replies");
    watch_peer();
  }
}

// Workers write into what the peer sends with some messages, so they get descriptors of ours that never make
// them wait.
Result<void> VhostRelay::interpose(VhostMessage& message) {
  switch (static_cast<VhostRequest>(message.header.request)) {
    case VhostRequest::kSetVringCall: {
      constexpr std::uint64_t kRingIndex = 0xff;
      const auto ring = static_cast<std::uint16_t>(message.at<std::uint64_t>(0) & kRingIndex);
      const bool polled = message.fds.empty();
      PODWIRE_TRY(auto ours,
                  driver_.set_interrupt(ring, polled ? UniqueFd() : std::move(message.fds.front())));
      if (!polled) message.fds.front() = std::move(ours);
      return {};
    }
    case VhostRequest::kSetBackendRequestFd:
      return interpose_backend_requests(message);
    case VhostRequest::kIotlb:
      // The library takes the sum of both for the end: for QEMU's "all from here on" that would be zero, and
      // nothing be taken back.
      if (const auto bytes = message.at<std::uint64_t>(8); message.at<std::uint64_t>(0) + bytes == 0)
        message.set<std::uint64_t>(8, bytes - 1);
      return {};
    default:
      return {};
  }
}

// With an IOMMU the library asks the peer for translations on a socket that the peer gives it.
Result<void> VhostRelay::interpose_backend_requests(VhostMessage& message) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, ends) != 0)
    return errno_error("socketpair");
  backend_watch_ = {};
  from_backend_ = {};
  backend_requests_.reset(ends[0]);
  backend_peer_ = std::exchange(message.fds.front(), UniqueFd(ends[1]));
  PODWIRE_TRY(backend_watch_, reactor_.watch(backend_requests_.get(), EPOLLIN,
                                             [this](std::uint32_t) { backend_request_readable(); }));
  return {};
}

void VhostRelay::backend_request_readable() {
  for (int i = 0; i < kMessagesAtOnce; ++i) {
    const auto state = from_backend_.read(backend_requests_.get());
    if (state == VhostMessageReader::State::kPartial) return;
    if (state == VhostMessageReader::State::kClosed) {
      backend_watch_ = {};
      return;
    }
    if (state == VhostMessageReader::State::kHeader) {
      if (from_backend_.message().header.size <= VhostMessage::kMaxPayload) continue;
      return end("librte_vhost's request is too long");
    }
    const VhostMessage request = from_backend_.take();
    if (request.header.request == kVhostBackendIotlb) translations_.asked(request, Clock::now());
    if (send_vhost_message(backend_peer_.get(), request) != VhostSent::kAll)
      return end("the peer does not take requests for translations");
    ask_again_later();
  }
}

// Closing our side makes the library end the device: it waits until no worker uses it.
void VhostRelay::end(const std::string& reason) {
  peer_watch_ = {};
  library_watch_ = {};
  flush_timer_ = {};
  backend_watch_ = {};
  ask_again_ = {};
  translations_.forget_open();
  held_.clear();
  peer_.reset();
  library_.reset();
  backend_requests_.reset();
  backend_peer_.reset();
  state_ = State::kEnding;
  ending_since_ = Clock::now();
  last_disconnect_ = reason;
  report("disconnected: " + reason);
  finish_ending();
}

void VhostRelay::finish_ending() {
  if (state_ != State::kEnding) return;
  const auto begun = driver_.connections_begun();
  // A connection that the library could not take up (it has no device left) never begins.
  if (begun < opened_ && Clock::now() - ending_since_ < kLibraryTime) return;
  if (driver_.take_connections_ended() < begun) return;
  opened_ = begun;
  driver_.reset();
  if (const auto waiting = start_waiting(); !waiting) spdlog::error("{}", waiting.error().message);
}

// A peer may come and go as often as it likes.
void VhostRelay::report(const std::string& event) {
  const auto now = Clock::now();
  if (now - last_report_ < kReportInterval) {
    ++unreported_;
    return;
  }
  last_report_ = now;
  const auto more = unreported_ == 0 ? std::string()
                                     : " (" + std::to_string(unreported_) + " events before were not logged)";
  unreported_ = 0;
  spdlog::info("port {}: vhost-user {}{}", config_.name, event, more);
}

Json VhostRelay::describe() const {
  Json peer = nullptr;
  if (state_ == State::kConnected) peer = {{"name", facts_.name}, {"pid", facts_.pid}, {"uid", facts_.uid}};
  const char* const waiting = config_.listens() ? "listening" : "connecting";
  const char* const states[] = {waiting, "connected", "disconnecting"};
  Json facts{{"socket", config_.socket},
             {"socket_mode", api::kSocketModeNames[static_cast<std::size_t>(config_.socket_mode)]},
             {"state", states[static_cast<std::size_t>(state_)]},
             {"peer", std::move(peer)},
             {"connects", connects_},
             {"protocol_violations", violations_},
             {"memory_faults", memory_faults_},
             {"last_disconnect", last_disconnect_}};
  if (config_.iommu) facts["translations"] = translations_.describe();
  return facts;
}

std::string VhostRelay::last_error() const {
  if (state_ == State::kConnected || last_disconnect_.empty()) return {};
  return "vhost-user " + config_.socket + ": " + last_disconnect_;
}

}  // namespace podwire::engine
