#include "dataplane/base/reactor.hpp"

#include <sys/epoll.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

namespace podwire {

Result<std::unique_ptr<Reactor>> Reactor::create() {
  UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
  if (!epoll) return errno_error("an epoll descriptor");
  return std::unique_ptr<Reactor>(new Reactor(std::move(epoll)));
}

Result<Reactor::Watch> Reactor::watch(int fd, std::uint32_t events, Handler handler) {
  const auto id = next_id_++;
  epoll_event event{};
  event.events = events;
  event.data.u64 = id;
  if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, fd, &event) != 0)
    return errno_error("watching descriptor " + std::to_string(fd));
  entries_[id] = {fd, {}, std::make_shared<Handler>(std::move(handler))};
  return Watch(this, id);
}

Reactor::Watch Reactor::after(std::chrono::milliseconds delay, std::function<void()> task) {
  const auto id = next_id_++;
  const auto due = Clock::now() + delay;
  entries_[id] = {-1, due, std::make_shared<Handler>([task = std::move(task)](std::uint32_t) { task(); })};
  times_[{due, id}] = id;
  return Watch(this, id);
}

void Reactor::end(std::uint64_t id) noexcept {
  const auto it = entries_.find(id);
  if (it == entries_.end()) return;  // a time that has come
  if (it->second.fd >= 0) {
    ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, it->second.fd, nullptr);
  } else {
    times_.erase({it->second.due, id});
  }
  entries_.erase(it);
}

int Reactor::time_left_ms(int timeout_ms) const {
  if (times_.empty()) return timeout_ms;
  const auto left =
      std::chrono::ceil<std::chrono::milliseconds>(times_.begin()->first.first - Clock::now()).count();
  const int due_ms = static_cast<int>(std::clamp<std::int64_t>(left, 0, 60'000));
  return timeout_ms < 0 ? due_ms : std::min(timeout_ms, due_ms);
}

void Reactor::run_due() {
  const auto now = Clock::now();
  std::vector<std::uint64_t> due;
  for (const auto& [when, id] : times_) {
    if (when.first > now) break;
    due.push_back(id);
  }
  for (const auto id : due) {
    const auto it = entries_.find(id);
    if (it == entries_.end()) continue;  // ended by one before it
    const auto handler = it->second.handler;
    end(id);
    (*handler)(0);
  }
}

Result<void> Reactor::run_once(int timeout_ms) {
  std::array<epoll_event, 32> ready{};
  const int count =
      ::epoll_wait(epoll_.get(), ready.data(), static_cast<int>(ready.size()), time_left_ms(timeout_ms));
  if (count < 0 && errno != EINTR) return errno_error("epoll_wait");
  for (int i = 0; i < count; ++i) {
    const auto& event = ready[static_cast<std::size_t>(i)];
    const auto it = entries_.find(event.data.u64);
    if (it == entries_.end()) continue;  // ended by one before it
    const auto handler = it->second.handler;
    (*handler)(event.events);
  }
  run_due();
  return {};
}

}  // namespace podwire
