#include "dataplane/worker/poll_list.hpp"

#include <sys/socket.h>

#include <algorithm>
#include <ctime>
#include <utility>

#include "dataplane/tables/rate_limiter.hpp"

namespace podwire::engine {
namespace {

constexpr std::uint16_t kMaxErrors = 3;  // in a row, until a descriptor is given up

// Before Linux 5.11, and where a filter of system calls does not know it, there is no epoll_pwait2: then
// waits last whole milliseconds.
int wait_for_events(int epoll, epoll_event* events, int most, std::uint64_t timeout_us) noexcept {
  if (timeout_us % 1000 != 0) {
    const timespec timeout{static_cast<time_t>(timeout_us / 1'000'000),
                           static_cast<long>(timeout_us % 1'000'000 * 1000)};
    const int count = ::epoll_pwait2(epoll, events, most, &timeout, nullptr);
    if (count >= 0 || (errno != ENOSYS && errno != EPERM)) return count;
  }
  return ::epoll_wait(epoll, events, most, static_cast<int>((timeout_us + 999) / 1000));
}

}  // namespace

Result<std::unique_ptr<PollList>> PollList::create(unsigned worker, unsigned workers, int wake_fd) {
  std::unique_ptr<PollList> list(new PollList(worker, workers));
  list->epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
  if (!list->epoll_) return errno_error("a worker's epoll descriptor");
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = nullptr;  // the wake descriptor
  if (::epoll_ctl(list->epoll_.get(), EPOLL_CTL_ADD, wake_fd, &event) != 0)
    return errno_error("a worker's epoll set");
  return list;
}

// Both the old and the new list are ordered by port and queue, so one walk over both finds the difference.
void PollList::rebuild(const Snapshot& tables) {
  ready_count_ = 0;
  for (auto* queue : std::exchange(held_, {})) {
    queue->held = false;
    watch(*queue, EPOLLIN);
  }
  std::vector<std::unique_ptr<PolledQueue>> former = std::exchange(queues_, {});
  queues_.reserve(former.size() + 1);
  auto old = former.begin();
  for (const PortEntry* port : tables.ports) {
    if (port == nullptr || port->device == nullptr) continue;
    for (std::uint16_t queue = 0; queue < port->device->rx_queues(); ++queue) {
      if (queue_owner(port->id, queue, workers_) != worker_) continue;
      const auto key = std::pair(port->id, queue);
      while (old != former.end() && std::pair((*old)->port, (*old)->queue) < key) remove_fd(**old++);
      if (old != former.end() && (*old)->port == port->id && (*old)->queue == queue) {
        if ((*old)->device == port->device)
          queues_.push_back(std::move(*old));
        else
          remove_fd(**old);
        ++old;
      }
      if (queues_.empty() || std::pair(queues_.back()->port, queues_.back()->queue) != key) add(*port, queue);
      queues_.back()->limiter = port->from_pod.get();
      auto& meta = queues_.back()->meta;
      meta.ingress = port->id;
      meta.domain = port->domain;
      meta.ingress_role = static_cast<std::uint8_t>(port->role);
    }
  }
  while (old != former.end()) remove_fd(**old++);
  held_.reserve(queues_.size());
  classify();
}

void PollList::add(const PortEntry& port, std::uint16_t queue) {
  auto& polled = *queues_.emplace_back(std::make_unique<PolledQueue>());
  polled.port = port.id;
  polled.queue = queue;
  polled.device = port.device;
  polled.when_ready = port.device->receive_when_ready();
  polled.fd = port.device->poll_fd(queue);
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.ptr = &polled;
  // A descriptor that cannot be watched is polled by time instead.
  if (polled.fd >= 0 && ::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, polled.fd, &event) != 0) polled.fd = -1;
}

void PollList::remove_fd(PolledQueue& queue) noexcept {
  if (queue.fd < 0) return;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_DEL, queue.fd, nullptr);
  queue.fd = -1;
}

void PollList::classify() {
  always_.clear();
  asks_descriptors_ = false;
  sleep_us_ = kLongSleepUs;
  for (auto& queue : queues_) {
    if (queue->when_ready && queue->fd >= 0) {
      asks_descriptors_ = true;
    } else if (!queue->lost) {
      always_.push_back(queue.get());
      if (queue->fd < 0) sleep_us_ = kShortSleepUs;
    }
  }
}

bool PollList::arm() noexcept {
  bool idle = true;
  for (const PolledQueue* queue : always_) {
    auto& device = *queue->device;
    idle = (queue->held ? device.go_on(queue->queue) : device.arm(queue->queue)) && idle;
  }
  return idle;
}

void PollList::disarm() noexcept {
  for (const PolledQueue* queue : always_) {
    if (!queue->held) queue->device->disarm(queue->queue);
  }
}

void PollList::watch(PolledQueue& queue, std::uint32_t events) noexcept {
  if (queue.fd < 0) return;
  epoll_event event{};
  event.events = events;
  event.data.ptr = &queue;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, queue.fd, &event);
}

void PollList::hold(PolledQueue& queue) noexcept {
  if (queue.held) return;
  queue.held = true;
  watch(queue, 0);
  held_.push_back(&queue);
}

void PollList::release_held(std::uint64_t now) noexcept {
  const auto over = [&](PolledQueue* queue) {
    if (!queue->limiter->may_pass(now)) return false;
    queue->held = false;
    watch(*queue, EPOLLIN);
    return true;
  };
  held_.erase(std::remove_if(held_.begin(), held_.end(), over), held_.end());
}

std::uint64_t PollList::next_release() const noexcept {
  std::uint64_t next = UINT64_MAX;
  for (const PolledQueue* queue : held_) next = std::min(next, queue->limiter->due());
  return next;
}

void PollList::wait(std::uint64_t timeout_us) noexcept {
  std::array<epoll_event, kMaxReady> events;
  ready_count_ = 0;
  woken_ = false;
  const int count = wait_for_events(epoll_.get(), events.data(), static_cast<int>(events.size()), timeout_us);
  bool changed = false;
  for (int i = 0; i < count; ++i) {
    const auto& event = events[static_cast<std::size_t>(i)];
    auto* queue = static_cast<PolledQueue*>(event.data.ptr);
    if (queue == nullptr) {
      woken_ = true;
      continue;
    }
    if ((event.events & (EPOLLERR | EPOLLHUP)) != 0)
      changed = on_error(*queue) || changed;
    else
      queue->errors = 0;
    if ((event.events & EPOLLIN) != 0 && queue->when_ready && !queue->held) ready_[ready_count_++] = queue;
  }
  if (changed) classify();
}

// A socket's pending error is taken; it may have been a passing one (interface down and up). What keeps
// reporting is taken out of the set, or the worker would never sleep: a socket is polled by time from then
// on, a tap is lost (its interface or namespace is gone) until it is replaced. Returns whether the descriptor
// was given up.
bool PollList::on_error(PolledQueue& queue) noexcept {
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(queue.fd, SOL_SOCKET, SO_ERROR, &error, &size);
  if (++queue.errors < kMaxErrors) return false;
  remove_fd(queue);
  queue.lost = queue.when_ready;
  return true;
}

}  // namespace podwire::engine
