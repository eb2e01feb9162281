#include "control/cluster/store_threads.hpp"

#include <algorithm>
#include <random>
#include <utility>

namespace podwire::control {

void StoreThreads::start(Retry retry, std::function<Result<void>()> session,
                         std::function<void(const Error&)> failed, std::chrono::milliseconds period,
                         std::function<void()> beat) {
  running_ = 2;
  follower_ =
      std::thread([this, retry = std::move(retry), session = std::move(session), failed = std::move(failed)] {
        std::minstd_rand random(static_cast<unsigned>(std::hash<std::string>{}(retry.seed)));
        std::uniform_int_distribution<int> percent(50, 150);
        auto wait = retry.first;
        do {
          const auto begun = std::chrono::steady_clock::now();
          if (auto ended = session(); !ended) failed(ended.error());
          if (std::chrono::steady_clock::now() - begun > retry.longest) wait = retry.first;
          if (!pause(wait * percent(random) / 100)) break;
          wait = std::min(wait * 2, retry.longest);
        } while (true);
        --running_;
      });
  beater_ = std::thread([this, period, beat = std::move(beat)] {
    while (pause(period)) beat();
    --running_;
  });
}

void StoreThreads::stop(const std::function<void()>& cancel) {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  // A thread between two requests does not notice, so as often as it takes.
  constexpr auto kAgain = std::chrono::milliseconds(20);
  for (; running_ > 0; std::this_thread::sleep_for(kAgain)) cancel();
  if (follower_.joinable()) follower_.join();
  if (beater_.joinable()) beater_.join();
}

bool StoreThreads::pause(std::chrono::milliseconds time) {
  std::unique_lock lock(mutex_);
  return !wake_.wait_for(lock, time, [this] { return stopping_.load(); });
}

}  // namespace podwire::control
