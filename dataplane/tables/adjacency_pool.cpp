#include "dataplane/tables/adjacency_pool.hpp"

#include <sys/mman.h>

#include <cassert>
#include <new>

namespace podwire::engine {

AdjacencyPool::AdjacencyPool() {
  void* memory = ::mmap(nullptr, kCapacity * sizeof(Adjacency), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  slots_ = static_cast<Adjacency*>(memory);
}

AdjacencyPool::~AdjacencyPool() {
  ::munmap(slots_, kCapacity * sizeof(Adjacency));
}

void AdjacencyPool::invalidate(std::uint32_t slot) {
  slots_[0].generation.advance();
  slots_[slot].generation.advance();
}

void AdjacencyPool::invalidate_released() {
  for (const auto slot : released_) invalidate(slot);
}

std::vector<std::uint32_t> AdjacencyPool::take_released() {
  invalidate_released();
  return std::exchange(released_, {});
}

std::uint32_t AdjacencyPool::allocate(const Adjacency& adjacency) {
  std::uint32_t slot = used_;
  if (!free_.empty()) {
    slot = free_.back();
    free_.pop_back();
  } else {
    assert(used_ < kCapacity);  // the limits in intent.hpp and learned_macs.hpp keep it so
    new (&slots_[used_++]) Adjacency;
  }
  slots_[slot] = adjacency;
  return slot;
}

}  // namespace podwire::engine
