#include "dataplane/ports/fault_guard.hpp"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <csignal>
#include <cstdint>
#include <mutex>

extern "C" int __sigaction(int, const struct sigaction*, struct sigaction*) noexcept;  // the C library's own

namespace podwire::engine {

// `version` is odd while the slot is being written. A thread that faults holds its region, so that slot does
// not change under the handler; any other that does is skipped.
struct GuardedRegion::Slot {
  std::atomic<std::uint32_t> version{0};
  std::atomic<std::uintptr_t> begin{0}, end{0};  // end 0: free
  std::atomic<std::size_t> page_bytes{0};
  std::atomic<std::atomic<bool>*> condemned{nullptr};
  std::atomic<unsigned> faults{0};

  void write(std::uintptr_t from, std::uintptr_t to, std::size_t page, std::atomic<bool>* flag) noexcept {
    const auto before = version.load(std::memory_order_relaxed);
    version.store(before + 1, std::memory_order_relaxed);
    std::atomic_thread_fence(std::memory_order_release);
    begin.store(from, std::memory_order_relaxed);
    end.store(to, std::memory_order_relaxed);
    page_bytes.store(page, std::memory_order_relaxed);
    condemned.store(flag, std::memory_order_relaxed);
    faults.store(0, std::memory_order_relaxed);
    version.store(before + 2, std::memory_order_release);
  }
};

// Static and never destroyed: the handler may run until the process ends.
struct FaultTable {
  static constexpr std::size_t kSlots = 128 * 1024;  // 32 regions for each of 4096 ports
  using Slot = GuardedRegion::Slot;

  struct Region {
    std::uintptr_t begin = 0, end = 0;
    std::size_t page_bytes = 0;
    std::atomic<bool>* condemned = nullptr;
    Slot* slot = nullptr;
  };

  static GuardedRegion make(Slot* slot) { return GuardedRegion(slot); }
  static bool find(std::uintptr_t address, Region& out) noexcept;

  static Slot slots[kSlots];
  static std::atomic<std::size_t> used;  // slots from here on were never taken
  static std::mutex changes;             // for writers
  static std::size_t first_free;         // no slot below is free
};

GuardedRegion::Slot FaultTable::slots[kSlots];
std::atomic<std::size_t> FaultTable::used{0};
std::mutex FaultTable::changes;
std::size_t FaultTable::first_free = 0;

bool FaultTable::find(std::uintptr_t address, Region& out) noexcept {
  const auto count = used.load(std::memory_order_acquire);
  for (std::size_t i = 0; i < count; ++i) {
    Slot& slot = slots[i];
    const auto before = slot.version.load(std::memory_order_acquire);
    out.begin = slot.begin.load(std::memory_order_relaxed);
    out.end = slot.end.load(std::memory_order_relaxed);
    out.page_bytes = slot.page_bytes.load(std::memory_order_relaxed);
    out.condemned = slot.condemned.load(std::memory_order_relaxed);
    out.slot = &slot;
    std::atomic_thread_fence(std::memory_order_acquire);
    const bool stable = before % 2 == 0 && slot.version.load(std::memory_order_relaxed) == before;
    if (stable && address >= out.begin && address < out.end) return true;
  }
  return false;
}

namespace {

bool map_anonymous(std::uintptr_t at, std::size_t bytes, int flags) noexcept {
  return ::mmap(reinterpret_cast<void*>(at), bytes, PROT_READ | PROT_WRITE,
                MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | flags, -1, 0) != MAP_FAILED;
}

// The pool of huge pages may be empty, or out of bounds for our control group, which shows only when the page
// is touched: then plain pages take the whole huge page's place.
bool replace_huge_page(std::uintptr_t at, std::size_t bytes) noexcept {
  const int size = std::countr_zero(bytes) << MAP_HUGE_SHIFT;
  return map_anonymous(at, bytes, MAP_HUGETLB | size) &&
         ::madvise(reinterpret_cast<void*>(at), bytes, MADV_POPULATE_WRITE) == 0;
}

// A page that differs from its neighbours is a mapping of its own, and a process has a limited number of them
// (vm.max_map_count), which a peer could use up with holes. So after a few faults all that lies behind the
// page goes with it: nobody needs the rest of a condemned region.
bool replace_page(std::uintptr_t address, const FaultTable::Region& region) noexcept {
  constexpr unsigned kSinglePages = 16;
  constexpr std::size_t kLargestPage = 2u << 20;  // zeroing a larger one takes its thread too long
  const auto mask = ~(region.page_bytes - 1);
  const auto at = address & mask;
  if (region.slot->faults.fetch_add(1, std::memory_order_relaxed) >= kSinglePages)
    return map_anonymous(at, ((region.end + region.page_bytes - 1) & mask) - at, 0);
  static const auto plain_page = static_cast<std::size_t>(::sysconf(_SC_PAGESIZE));
  if (region.page_bytes > plain_page && region.page_bytes <= kLargestPage &&
      replace_huge_page(at, region.page_bytes))
    return true;
  return map_anonymous(at, region.page_bytes, 0);
}

// Where a page belongs to is not known: a part of a huge page cannot be mapped anew, so its size shows.
bool replace_unknown_page(std::uintptr_t address) noexcept {
  for (const std::size_t bytes : {std::size_t{4096}, std::size_t{2} << 20, std::size_t{1} << 30}) {
    if (map_anonymous(address & ~(bytes - 1), bytes, 0)) return true;
  }
  return false;
}

thread_local constinit std::atomic<bool>* condemned_by_thread = nullptr;

std::atomic<bool> installed{false};

// What a library has set for SIGBUS meanwhile. DPDK does so for each huge page that it takes at run time, and
// jumps out of the handler: that is for the thread that takes the page, and must not leave the others without
// the guard.
thread_local constinit struct sigaction library_action {};

void on_bus_error(int signal, siginfo_t* info, void* context) noexcept {
  const int saved = errno;
  FaultTable::Region region;
  const auto address = reinterpret_cast<std::uintptr_t>(info->si_addr);
  const bool by_access = info->si_code > 0;  // else somebody sent it
  if (by_access && FaultTable::find(address, region)) {
    region.condemned->store(true, std::memory_order_release);
    if (replace_page(address, region)) {
      errno = saved;
      return;
    }
  }
  if (by_access && condemned_by_thread != nullptr) {
    condemned_by_thread->store(true, std::memory_order_release);
    if (replace_unknown_page(address)) {
      errno = saved;
      return;
    }
  }
  if (by_access && library_action.sa_handler != SIG_DFL && library_action.sa_handler != SIG_IGN) {
    if ((library_action.sa_flags & SA_SIGINFO) != 0)
      return library_action.sa_sigaction(signal, info, context);
    return library_action.sa_handler(signal);
  }
  std::signal(SIGBUS, SIG_DFL);
  if (!by_access) std::raise(SIGBUS);
}

}  // namespace

GuardedRegion::~GuardedRegion() {
  if (slot_ == nullptr) return;
  const std::lock_guard lock(FaultTable::changes);
  slot_->write(0, 0, 0, nullptr);
  FaultTable::first_free =
      std::min(FaultTable::first_free, static_cast<std::size_t>(slot_ - FaultTable::slots));
}

Result<GuardedRegion> GuardedRegion::add(void* address, std::size_t bytes, std::size_t page_bytes,
                                         std::atomic<bool>& condemned) {
  const auto begin = reinterpret_cast<std::uintptr_t>(address);
  if (bytes == 0 || !std::has_single_bit(page_bytes) || begin % page_bytes != 0) {
    return Error{ErrorCode::kInternal, "a guarded region of " + std::to_string(bytes) +
                                           " bytes in pages of " + std::to_string(page_bytes) +
                                           " is empty or not aligned to them"};
  }
  const std::lock_guard lock(FaultTable::changes);
  for (auto& i = FaultTable::first_free; i < FaultTable::kSlots; ++i) {
    auto& slot = FaultTable::slots[i];
    if (slot.end.load(std::memory_order_relaxed) != 0) continue;
    slot.write(begin, begin + bytes, page_bytes, &condemned);
    if (i >= FaultTable::used.load(std::memory_order_relaxed))
      FaultTable::used.store(i + 1, std::memory_order_release);
    return FaultTable::make(&slot);
  }
  return Error{ErrorCode::kExhausted, "peers have mapped " + std::to_string(FaultTable::kSlots) +
                                          " memory regions, which is the limit; remove memif or vhost ports"};
}

void guard_this_thread(std::atomic<bool>* condemned) noexcept {
  condemned_by_thread = condemned;
}

void install_fault_guard() {
  struct sigaction action {};
  action.sa_sigaction = on_bus_error;
  action.sa_flags = SA_SIGINFO;
  sigemptyset(&action.sa_mask);
  __sigaction(SIGBUS, &action, nullptr);
  installed.store(true, std::memory_order_release);
}

}  // namespace podwire::engine

// In the place of the C library's, for our libraries as well: whoever sets SIGBUS once the guard is there
// sets it for its own thread, behind the guard.
extern "C" int sigaction(int signal, const struct sigaction* action, struct sigaction* former) noexcept {
  using podwire::engine::library_action;
  if (signal != SIGBUS || !podwire::engine::installed.load(std::memory_order_acquire))
    return __sigaction(signal, action, former);
  const auto before = library_action;
  if (action != nullptr) library_action = *action;
  if (former != nullptr) *former = before;
  return 0;
}
