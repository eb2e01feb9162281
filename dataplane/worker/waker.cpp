#include "dataplane/worker/waker.hpp"

#include <sys/eventfd.h>
#include <unistd.h>

#include <cstdint>

namespace podwire::engine {

Result<void> Waker::open() {
  fd_.reset(::eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (!fd_) return errno_error("a worker's eventfd");
  return {};
}

void Waker::wake() noexcept {
  const std::uint64_t one = 1;
  // It fails only when the counter is about to overflow, and then it is readable anyway.
  [[maybe_unused]] const auto written = ::write(fd_.get(), &one, sizeof one);
}

void Waker::consume() noexcept {
  std::uint64_t count;
  [[maybe_unused]] const auto got =
      ::read(fd_.get(), &count, sizeof count);  // fails only when it was read already
}

}  // namespace podwire::engine
