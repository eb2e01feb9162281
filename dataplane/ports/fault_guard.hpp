// FaultGuard: keeps the process alive when memory that a peer owns goes away under a thread that uses it. The
// peer can truncate its file or punch a hole into it at any instant, and the next access is a SIGBUS. Inside
// a GuardedRegion the handler puts an anonymous page in the place of the lost one, condemns the region's
// owner, and the thread goes on; what it reads there is zero. A fault anywhere else stays fatal. No DPDK in
// here. install_fault_guard: once, by the main thread, after EAL's start. Regions: any thread. The handler
// runs in whatever thread faults and takes no lock.
#pragma once

#include <atomic>
#include <cstddef>
#include <utility>

#include "dataplane/base/result.hpp"

namespace podwire::engine {

// Registers a mapping for as long as it lives. It must end before the mapping does, and nobody may use the
// mapping any more when it ends.
class GuardedRegion {
 public:
  GuardedRegion() = default;
  GuardedRegion(GuardedRegion&& other) noexcept : slot_(std::exchange(other.slot_, nullptr)) {}
  GuardedRegion& operator=(GuardedRegion&& other) noexcept {
    GuardedRegion(std::move(other)).swap(*this);
    return *this;
  }
  ~GuardedRegion();

  // `address` is a multiple of `page_bytes`, the size of the mapping's pages (a power of two). `condemned` is
  // set at the first fault and must outlive the region; whoever uses the mapping looks at it.
  static Result<GuardedRegion> add(void* address, std::size_t bytes, std::size_t page_bytes,
                                   std::atomic<bool>& condemned);

 private:
  struct Slot;
  friend struct FaultTable;
  explicit GuardedRegion(Slot* slot) : slot_(slot) {}
  void swap(GuardedRegion& other) noexcept { std::swap(slot_, other.slot_); }

  Slot* slot_ = nullptr;
};

// From now on, whatever page the calling thread finds lost is replaced, wherever it is, and `condemned` is
// set; null ends that. For the moments in which a library maps a peer's memory and uses it before anybody can
// say where it lies.
void guard_this_thread(std::atomic<bool>* condemned) noexcept;

// Takes over SIGBUS for good: what a library sets with sigaction(2) from then on is called behind the guard,
// in the thread that set it. Calling it again does nothing.
void install_fault_guard();

}  // namespace podwire::engine
