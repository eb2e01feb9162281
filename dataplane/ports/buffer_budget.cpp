#include "dataplane/ports/buffer_budget.hpp"

#include <rte_errno.h>
#include <rte_mbuf.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <string>

namespace podwire::engine {
namespace {

constexpr const char* kGateOperations = "podwire_budget";

struct Allowance {
  unsigned left = 0;
  bool exceeded = false;
  bool found_none = false;
};
constinit thread_local Allowance allowance;

// The gate's operations. There is nothing to set up, and its mbufs know the packet pool as theirs, so that
// nothing comes back here.
int gate_alloc(rte_mempool* /*gate*/) {
  return 0;
}
int gate_enqueue(rte_mempool* /*gate*/, void* const* /*mbufs*/, unsigned /*count*/) {
  return -ENOTSUP;
}
int gate_dequeue(rte_mempool* gate, void** mbufs, unsigned count) {
  if (count > allowance.left) {
    allowance.exceeded = true;
    return -ENOBUFS;
  }
  const int got = rte_mempool_get_bulk(static_cast<rte_mempool*>(gate->pool_config), mbufs, count);
  if (got == 0)
    allowance.left -= count;
  else
    allowance.found_none = true;
  return got;
}
unsigned gate_count(const rte_mempool* gate) {
  return rte_mempool_avail_count(static_cast<rte_mempool*>(gate->pool_config));
}

// Once in the process: EAL keeps a table of 16 kinds.
int register_gates() {
  rte_mempool_ops operations{};
  std::strncpy(operations.name, kGateOperations, sizeof operations.name - 1);
  operations.alloc = gate_alloc;
  operations.enqueue = gate_enqueue;
  operations.dequeue = gate_dequeue;
  operations.get_count = gate_count;
  return rte_mempool_register_ops(&operations);
}

}  // namespace

unsigned poll_share(const rte_mempool* pool, std::size_t workers, unsigned least, unsigned most) noexcept {
  const unsigned free = rte_mempool_get_ops(pool->ops_index)->get_count(pool);
  return std::clamp(free / (4 * static_cast<unsigned>(std::max<std::size_t>(workers, 1))), least, most);
}

Result<std::shared_ptr<BufferBudget>> BufferBudget::shared(rte_mempool* packets) {
  static std::weak_ptr<BufferBudget> current;
  if (auto budget = current.lock(); budget && budget->packets_ == packets) return budget;
  const auto failed = [&](int code) {
    return Error{ErrorCode::kExhausted,
                 std::string("the gate before the packet buffers: ") + rte_strerror(code)};
  };
  static const int registered = register_gates();
  if (registered < 0) return failed(-registered);
  static std::atomic<unsigned> serial{0};
  std::shared_ptr<BufferBudget> budget(new BufferBudget(packets));
  budget->gate_ =
      rte_mempool_create_empty(("podwire_budget" + std::to_string(serial++)).c_str(), 1, packets->elt_size, 0,
                               packets->private_data_size, SOCKET_ID_ANY, 0);
  if (budget->gate_ == nullptr) return failed(rte_errno);
  if (const int set = rte_mempool_set_ops_byname(budget->gate_, kGateOperations, packets); set != 0)
    return failed(-set);
  // Whoever allocates may ask how large an mbuf's data room is.
  std::memcpy(rte_mempool_get_priv(budget->gate_), rte_mempool_get_priv(packets), packets->private_data_size);
  current = budget;
  return budget;
}

BufferBudget::~BufferBudget() {
  rte_mempool_free(gate_);
}

void BufferBudget::allow(unsigned buffers) noexcept {
  allowance = {buffers, false, false};
}

unsigned BufferBudget::left() noexcept {
  return allowance.left;
}

bool BufferBudget::exceeded() noexcept {
  return allowance.exceeded;
}

bool BufferBudget::found_none() noexcept {
  return allowance.found_none;
}

}  // namespace podwire::engine
