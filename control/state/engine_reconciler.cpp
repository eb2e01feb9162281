#include "control/state/engine_reconciler.hpp"

#include <linux/if.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <spdlog/spdlog.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#include <algorithm>
#include <cerrno>
#include <set>

#include "control/state/differences.hpp"

namespace podwire::control {
namespace {

constexpr auto kFirstBackoff = std::chrono::milliseconds(50);
constexpr auto kLongestBackoff = std::chrono::milliseconds(1000);
// An engine that is being restarted must find us soon, so the pauses grow only after this long.
constexpr auto kEagerTime = std::chrono::seconds(10);

}  // namespace

bool tap_is_gone(int fd) {
  ifreq request{};
  return ::ioctl(fd, TUNGETIFF, &request) != 0 && errno == EBADFD;
}

EngineReconciler::EngineReconciler(Options options, std::vector<Attachment> ready)
    : options_(std::move(options)), wakeup_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  for (auto& attachment : ready) {
    const auto port = attachment.port;
    held_[port].attachment = std::move(attachment);
    held_[port].problem = "the engine has not been programmed yet";
  }
}

EngineReconciler::~EngineReconciler() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake();
  if (thread_.joinable()) thread_.join();
  for (auto& change : changes_) change.done.set_value(unavailable("podwired is stopping"));
}

void EngineReconciler::wake() const {
  const std::uint64_t one = 1;
  // A full counter wakes the thread as well.
  [[maybe_unused]] const auto n = ::write(wakeup_.get(), &one, sizeof one);
}

void EngineReconciler::set_node(NodeObjects node, std::vector<UniqueFd> host_queues) {
  bool running = false;
  {
    const std::lock_guard lock(mutex_);
    next_node_ = NextNode{std::move(node), std::move(host_queues)};
    ++node_version_;
    running = state_.connected;
    refused_ = false;
    if (!thread_.joinable()) thread_ = std::thread([this] { loop(); });
  }
  if (!running) return;
  Change change;
  change.call = [this](EngineSession& session) { return program(session); };
  // A refusal is kept in state().last_error, and wait_programmed reports it.
  if (auto done = submit(std::move(change)); !done) spdlog::warn("engine: {}", done.error().message);
}

NodeObjects EngineReconciler::node() const {
  const std::lock_guard lock(mutex_);
  return next_node_ ? next_node_->objects : node_;
}

std::uint64_t EngineReconciler::node_version() const {
  const std::lock_guard lock(mutex_);
  return node_version_;
}

Result<void> EngineReconciler::submit(Change change) {
  auto done = change.done.get_future();
  {
    const std::lock_guard lock(mutex_);
    if (stopping_ || !thread_.joinable()) return unavailable("the engine's session is not running");
    changes_.push_back(std::move(change));
  }
  wake();
  return done.get();
}

Result<void> EngineReconciler::wait_programmed(std::chrono::milliseconds timeout) {
  std::unique_lock lock(mutex_);
  const bool done = programmed_.wait_for(lock, timeout, [this] { return state_.connected || refused_; });
  if (state_.connected) return {};
  if (done) return Error{ErrorCode::kInvalid, state_.last_error};
  return unavailable("the engine was not programmed within " + std::to_string(timeout.count()) + " ms" +
                     (state_.last_error.empty() ? "" : ": " + state_.last_error));
}

Result<void> EngineReconciler::shutdown_engine() {
  if (!state().connected) return {};
  Change change;
  change.call = [](EngineSession& session) { return session.shutdown(); };
  return submit(std::move(change));
}

Result<void> EngineReconciler::announce(const Attachment& attachment, bool there) const {
  return options_.announce ? options_.announce(attachment, there) : Result<void>();
}

// Who cannot be announced is detached by the caller, as after any other failure.
Result<void> EngineReconciler::attach(const Attachment& attachment, std::vector<UniqueFd> queues) {
  Change change;
  change.action = Action::kAttach;
  change.attachment = attachment;
  change.queues = std::move(queues);
  PODWIRE_CHECK(submit(std::move(change)));
  return announce(attachment, true);
}

Result<void> EngineReconciler::update(const Attachment& attachment) {
  Change change;
  change.action = Action::kUpdate;
  change.attachment = attachment;
  std::optional<Attachment> before;
  {
    const std::lock_guard lock(mutex_);
    const auto held = held_.find(attachment.port);
    if (held != held_.end()) before = held->second.attachment;
  }
  auto done = announce(attachment, true);
  if (done) done = submit(std::move(change));
  if (done || !before) return done;
  if (auto undone = announce(*before, true); !undone)
    return Error{done.error().code, done.error().message + "; undoing it: " + undone.error().message};
  return done;
}

// Nobody outside is to send what the engine would not know where to put.
Result<void> EngineReconciler::detach(const Attachment& attachment) {
  PODWIRE_CHECK(announce(attachment, false));
  {
    const std::lock_guard lock(mutex_);
    if (!thread_.joinable()) {
      held_.erase(attachment.port);
      return {};
    }
  }
  Change change;
  change.action = Action::kDetach;
  change.attachment = attachment;
  return submit(std::move(change));
}

Result<void> EngineReconciler::change_services(ServiceChange services) {
  if (services.put.empty() && services.removed.empty()) return {};
  {
    const std::lock_guard lock(mutex_);
    if (!thread_.joinable()) {
      take_services(std::move(services));
      return {};
    }
  }
  Change change;
  change.action = Action::kServices;
  change.services = std::move(services);
  return submit(std::move(change));
}

EngineState EngineReconciler::state() const {
  const std::lock_guard lock(mutex_);
  return state_;
}

Result<Json> EngineReconciler::query(const std::string& verb, const Json& params) {
  // A connection of its own: a long answer delays no patch.
  auto client = RpcClient::connect(options_.socket);
  if (!client) {
    return unavailable("the engine does not answer: " + client.error().message +
                       "; check that podwire-engine runs (systemctl status podwire-engine)");
  }
  return client->call(verb, params);
}

Result<std::size_t> EngineReconciler::reconcile() {
  std::size_t found = 0;
  Change change;
  change.call = [this, &found](EngineSession& session) -> Result<void> {
    PODWIRE_TRY(const auto differences, engine_differences(session));
    found = differences.size();
    return program(session);
  };
  PODWIRE_CHECK(submit(std::move(change)));
  return found;
}

void EngineReconciler::set_generation(std::uint64_t generation) {
  const std::lock_guard lock(mutex_);
  state_.generation = generation;
}

void EngineReconciler::set_error(const std::string& message, bool refused) {
  const std::lock_guard lock(mutex_);
  if (state_.last_error != message) spdlog::warn("engine: {}", message);
  state_.last_error = message;
  refused_ = refused;
  programmed_.notify_all();
}

void EngineReconciler::loop() {
  using Clock = std::chrono::steady_clock;
  auto backoff = kFirstBackoff;
  auto last_connected = Clock::now();
  for (;;) {
    auto ended = serve();
    bool was_connected = false;
    {
      const std::lock_guard lock(mutex_);
      was_connected = state_.connected;
      state_.connected = false;
      if (stopping_) return;
    }
    if (was_connected) {
      last_connected = Clock::now();
      backoff = kFirstBackoff;
    } else if (Clock::now() - last_connected > kEagerTime) {
      backoff = std::min(backoff * 2, kLongestBackoff);
    }
    if (!ended) set_error(ended.error().message, ended.error().code != ErrorCode::kUnavailable);
    process(nullptr);
    // A first attempt without pause: the engine may be there already, only the old connection is gone.
    if (was_connected) continue;
    const auto until = Clock::now() + backoff;
    while (Clock::now() < until) {
      const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(until - Clock::now());
      wait_for_work(-1, static_cast<int>(left.count()) + 1);
      {
        const std::lock_guard lock(mutex_);
        if (stopping_) return;
      }
      process(nullptr);
    }
  }
}

void EngineReconciler::wait_for_work(int socket, int timeout_ms) {
  pollfd watched[2] = {{wakeup_.get(), POLLIN, 0}, {socket, POLLIN, 0}};
  ::poll(watched, socket < 0 ? 1 : 2, timeout_ms);
  std::uint64_t ignored;
  [[maybe_unused]] const auto n = ::read(wakeup_.get(), &ignored, sizeof ignored);
}

Result<void> EngineReconciler::serve() {
  PODWIRE_TRY(EngineSession session, EngineSession::open(options_.socket, options_.epoch));
  PODWIRE_CHECK(program(session));
  {
    const std::lock_guard lock(mutex_);
    const auto& engine = session.identity();
    if (!last_instance_.empty() && last_instance_ != engine.instance) ++state_.restarts;
    last_instance_ = state_.instance = engine.instance;
    state_.connected = true;
    state_.pid = engine.pid;
    state_.version = engine.version;
    state_.last_error.clear();
    refused_ = false;
    spdlog::info("engine: connected to pid {} (version {}), programmed {} attachments", engine.pid,
                 engine.version, held_.size());
  }
  programmed_.notify_all();
  for (;;) {
    process(&session);
    {
      const std::lock_guard lock(mutex_);
      if (stopping_) return {};
    }
    if (!session.ok()) return unavailable("the connection to the engine broke");
    wait_for_work(session.fd(), -1);
    char byte;
    const auto n = ::recv(session.fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT);
    // Between calls the engine has nothing to say, so readable means closed (or confused, which ends it too).
    if (n >= 0) return unavailable("the engine closed the connection; it has stopped or crashed");
    if (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR)
      return unavailable("the connection to the engine broke");
  }
}

}  // namespace podwire::control
