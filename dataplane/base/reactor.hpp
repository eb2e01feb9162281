// Reactor: the descriptors and times that one thread waits for. Handlers run on the thread that calls
// run_once, one after another, and may register and end any registration, their own included. One thread
// only.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <utility>

#include "dataplane/base/result.hpp"
#include "dataplane/base/unique_fd.hpp"

namespace podwire {

class Reactor {
 public:
  using Handler = std::function<void(std::uint32_t events)>;  // EPOLLIN, EPOLLHUP, ... (epoll_ctl(2))
  using Clock = std::chrono::steady_clock;

  // Something that is waited for, until this is destroyed. The reactor outlives it. A descriptor is to be
  // closed after its watch.
  class Watch {
   public:
    Watch() = default;
    Watch(Watch&& other) noexcept { swap(other); }
    Watch& operator=(Watch&& other) noexcept {
      Watch(std::move(other)).swap(*this);
      return *this;
    }
    ~Watch() {
      if (reactor_ != nullptr) reactor_->end(id_);
    }
    explicit operator bool() const { return reactor_ != nullptr; }

   private:
    friend class Reactor;
    Watch(Reactor* reactor, std::uint64_t id) : reactor_(reactor), id_(id) {}
    void swap(Watch& other) noexcept {
      std::swap(reactor_, other.reactor_);
      std::swap(id_, other.id_);
    }
    Reactor* reactor_ = nullptr;
    std::uint64_t id_ = 0;
  };

  static Result<std::unique_ptr<Reactor>> create();
  Reactor(const Reactor&) = delete;
  Reactor& operator=(const Reactor&) = delete;

  // Calls `handler` whenever `fd` has one of `events` (level triggered; EPOLLERR and EPOLLHUP always count).
  Result<Watch> watch(int fd, std::uint32_t events, Handler handler);
  // Calls `task` once, `delay` from now.
  [[nodiscard]] Watch after(std::chrono::milliseconds delay, std::function<void()> task);

  // Waits until something is due, at most `timeout_ms` (-1: for ever), and runs its handlers.
  Result<void> run_once(int timeout_ms);

 private:
  struct Entry {
    int fd = -1;  // -1: a time
    Clock::time_point due;
    std::shared_ptr<Handler> handler;
  };
  explicit Reactor(UniqueFd epoll) : epoll_(std::move(epoll)) {}
  void end(std::uint64_t id) noexcept;
  int time_left_ms(int timeout_ms) const;
  void run_due();

  UniqueFd epoll_;
  std::uint64_t next_id_ = 1;
  std::map<std::uint64_t, Entry> entries_;
  std::map<std::pair<Clock::time_point, std::uint64_t>, std::uint64_t> times_;  // to id
};

}  // namespace podwire
