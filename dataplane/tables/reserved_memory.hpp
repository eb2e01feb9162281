// Memory for a table at its largest: touched, and so taken, only where it is used. Any thread.
#pragma once

#include <sys/mman.h>

#include <cstddef>
#include <new>

namespace podwire::engine {

// Zeroed, for munmap(). Throws std::bad_alloc.
inline void* reserve_memory(std::size_t bytes) {
  void* memory =
      ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  // Random access over tens of MiB is mostly page walks otherwise. A refusal costs speed only.
  ::madvise(memory, bytes, MADV_HUGEPAGE);
  return memory;
}

}  // namespace podwire::engine
