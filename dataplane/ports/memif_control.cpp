#include "dataplane/ports/memif_control.hpp"

#include <spdlog/spdlog.h>
#include <sys/epoll.h>

#include <algorithm>

namespace podwire::engine::memif {
namespace {

constexpr unsigned kMessagesAtOnce = 64;  // then others have their turn
constexpr unsigned kAcceptedAtOnce = 16;

}  // namespace

Control::Control(ControlOptions options, Reactor& reactor, Events events)
    : options_(std::move(options)), reactor_(reactor), events_(std::move(events)) {}

Result<std::unique_ptr<Control>> Control::open(ControlOptions options, Reactor& reactor, Events events) {
  std::unique_ptr<Control> control(new Control(std::move(options), reactor, std::move(events)));
  const auto& own = control->options_;
  if (own.role == Role::kClient) {
    control->try_to_connect();
    return control;
  }
  auto listener = Listener::open(own.socket, own.group, own.permissions);
  if (!listener) return Error{listener.error().code, own.port + ": " + listener.error().message};
  control->listener_ = std::move(*listener);
  PODWIRE_CHECK(control->watch_listener());
  return control;
}

Result<void> Control::watch_listener() {
  PODWIRE_TRY(listener_watch_,
              reactor_.watch(listener_.fd(), EPOLLIN, [this](std::uint32_t) { on_listener(); }));
  return {};
}

Control::~Control() {
  if (peer_) static_cast<void>(send_message(peer_.get(), make_disconnect("the port is closed")));
}

const char* Control::state() const {
  if (connected_) return "connected";
  if (peer_) return "handshake";
  return options_.role == Role::kServer ? "listening" : "connecting";
}

void Control::on_listener() {
  for (unsigned i = 0; i < kAcceptedAtOnce; ++i) {
    auto accepted = listener_.accept();
    if (!accepted) {
      // Whoever waits keeps the listener readable: look again later instead of all the time.
      last_error_ = accepted.error().message;
      listener_watch_ = {};
      retry_ = reactor_.after(kLastRetry, [this] {
        if (const auto watched = watch_listener(); !watched) last_error_ = watched.error().message;
      });
      return;
    }
    auto& socket = *accepted;
    if (!socket) return;
    // The one before may be gone already without our having looked.
    if (peer_) on_peer();
    if (peer_) {
      refuse(std::move(*socket));
    } else {
      start(std::move(*socket));
    }
  }
}

void Control::refuse(UniqueFd socket) const {
  static_cast<void>(send_message(socket.get(), make_disconnect("another peer is connected already")));
}

void Control::start(UniqueFd socket) {
  peer_ = std::move(socket);
  auto watch = reactor_.watch(peer_.get(), EPOLLIN, [this](std::uint32_t) { on_peer(); });
  if (!watch) return finish(watch.error());
  peer_watch_ = std::move(*watch);
  handshake_ = options_.role == Role::kServer ? make_server_handshake(options_.terms)
                                              : make_client_handshake(options_.terms);
  deadline_ = reactor_.after(options_.handshake_time, [this] {
    finish(unavailable("the handshake took more than " + std::to_string(options_.handshake_time.count()) +
                       " ms"));
  });
  if (const auto first = handshake_->begin()) {
    if (const auto sent = send_message(peer_.get(), first->message, first->descriptor); !sent)
      finish(sent.error());
  }
}

void Control::on_peer() {
  if (const auto result = take_messages(); !result) finish(result.error());
}

Result<void> Control::take_messages() {
  for (unsigned i = 0; i < kMessagesAtOnce; ++i) {
    PODWIRE_TRY(auto received, receive_message(peer_.get()));
    if (!received) return {};
    PODWIRE_TRY(const auto reply,
                handshake_->on_message(received->message, std::move(received->descriptors)));
    if (reply) PODWIRE_CHECK(send_message(peer_.get(), reply->message, reply->descriptor));
    if (!handshake_->complete() || connected_) continue;
    deadline_ = {};
    connected_ = true;
    ++connects_;
    retry_delay_ = kFirstRetry;
    last_error_.clear();
    auto link = handshake_->take_link();
    log(false, "memif peer \"" + link->peer.name + "\" (" + link->peer.interface + ") is connected, " +
                   std::to_string(link->incoming.size()) + " rings in, " +
                   std::to_string(link->outgoing.size()) + " out");
    events_.connected(std::move(link));
  }
  return {};
}

void Control::disconnect_for(const std::string& violation) {
  if (connected_) finish(invalid(violation));
}

// The peer's end, whoever caused it.
void Control::finish(const Error& reason) {
  const bool violation = reason.code == ErrorCode::kInvalid;
  if (violation) ++violations_;
  last_disconnect_ = reason.message;
  if (!connected_) last_error_ = reason.message;
  log(violation, "memif peer disconnected: " + reason.message);
  static_cast<void>(send_message(peer_.get(), make_disconnect(reason.message)));
  if (std::exchange(connected_, false)) events_.disconnected();
  deadline_ = {};
  peer_watch_ = {};
  handshake_.reset();
  peer_.reset();
  if (options_.role == Role::kClient) retry_later();
}

// A peer that comes and goes does not fill the log: ten lines at once, then one in five seconds.
void Control::log(bool bad, const std::string& what) {
  constexpr unsigned kMostCredit = 10;
  constexpr std::chrono::seconds kInterval{5};
  const auto now = std::chrono::steady_clock::now();
  const auto earned =
      static_cast<unsigned>(std::min<std::int64_t>((now - last_log_) / kInterval, kMostCredit));
  if (earned != 0) last_log_ = now;
  log_credit_ = std::min(log_credit_ + earned, kMostCredit);
  if (log_credit_ == 0) {
    ++unlogged_;
    return;
  }
  --log_credit_;
  const auto more =
      unlogged_ == 0 ? "" : " (" + std::to_string(unlogged_) + " lines like this left out before)";
  unlogged_ = 0;
  spdlog::log(bad ? spdlog::level::warn : spdlog::level::info, "{}: {}{}", options_.port, what, more);
}

void Control::try_to_connect() {
  auto socket = connect_socket(options_.socket);
  if (!socket) {
    last_error_ = socket.error().message;
    return retry_later();
  }
  start(std::move(*socket));
}

void Control::retry_later() {
  retry_ = reactor_.after(retry_delay_, [this] { try_to_connect(); });
  retry_delay_ = std::min(2 * retry_delay_, kLastRetry);
}

}  // namespace podwire::engine::memif
