#include "dataplane/ports/peer_signal.hpp"

#include <fcntl.h>
#include <linux/aio_abi.h>
#include <spdlog/spdlog.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>

namespace podwire::engine {

std::shared_ptr<PeerSignals> PeerSignals::shared(std::uint16_t workers) {
  static std::weak_ptr<PeerSignals> current;
  auto all = current.lock();
  if (all && all->contexts_.size() >= workers) return all;
  all.reset(new PeerSignals(workers));
  current = all;
  return all;
}

PeerSignals::PeerSignals(std::uint16_t workers)
    : contexts_(workers), null_(::open("/dev/null", O_RDONLY | O_CLOEXEC)) {
  for (auto& context : contexts_) {
    if (null_ && ::syscall(SYS_io_setup, 1, &context) == 0) continue;
    context = 0;
    spdlog::warn(
        "no asynchronous I/O ({}): memif and vhost-user peers are woken by plain writes, which a hostile "
        "peer can make "
        "wait; "
        "raise fs.aio-max-nr or allow io_setup",
        std::strerror(errno));
  }
}

PeerSignals::~PeerSignals() {
  for (const auto context : contexts_) {
    if (context != 0) ::syscall(SYS_io_destroy, context);
  }
}

void PeerSignals::signal(std::uint16_t worker, int eventfd) noexcept {
  const auto context = contexts_[worker];
  if (context == 0) {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto written = ::write(eventfd, &one, sizeof one);
    return;
  }
  // Reading nothing from /dev/null is done when io_submit returns.
  char nothing;
  iocb operation{};
  operation.aio_lio_opcode = IOCB_CMD_PREAD;
  operation.aio_fildes = static_cast<std::uint32_t>(null_.get());
  operation.aio_buf = reinterpret_cast<std::uint64_t>(&nothing);
  operation.aio_nbytes = 1;
  operation.aio_flags = IOCB_FLAG_RESFD;
  operation.aio_resfd = static_cast<std::uint32_t>(eventfd);
  iocb* operations[] = {&operation};
  if (::syscall(SYS_io_submit, context, 1, operations) != 1) return;
  io_event done;
  timespec at_once{};
  ::syscall(SYS_io_getevents, context, 1, 1, &done, &at_once);
}

}  // namespace podwire::engine
