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

std::uint32_t AdjacencyPool::allocate(const Adjacency& adjacency) {
  std::uint32_t slot = used_;
  if (!free_.empty()) {
    slot = free_.back();
    free_.pop_back();
  } else {
    assert(used_ < kCapacity);  // the limits in intent.hpp and learned_macs.hpp keep it so
    ++used_;
  }
  new (&slots_[slot]) Adjacency(adjacency);
  return slot;
}

}  // namespace podwire::engine
