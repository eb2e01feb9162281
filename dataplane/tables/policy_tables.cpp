#include "dataplane/tables/policy_tables.hpp"

#include <sys/mman.h>

#include <cassert>
#include <new>
#include <optional>

#include "dataplane/telemetry/counters.hpp"

namespace podwire::engine {
namespace {

DomainPrefix exact_prefix(DomainId domain, const IpAddr& address) {
  return {domain, {address, address.bits()}};
}

Key64 member_key4(const DomainPrefix& key) {
  return fib4_key(key.domain, key.prefix.address.v4().to_u32(), key.prefix.length);
}
Key192 member_key6(const DomainPrefix& key) {
  return fib6_key(key.domain, key.prefix.address.v6(), key.prefix.length);
}

// Whose link-local address it would be (RFC 4291 appendix A, backwards).
std::optional<MacAddr> mac_behind(const IpAddr& address) {
  if (address.is_v4() || !address.v6().is_link_local()) return {};
  const auto& b = address.bytes();
  const MacAddr mac{{static_cast<std::uint8_t>(b[8] ^ 2), b[9], b[10], b[13], b[14], b[15]}};
  if (IpAddr(Ipv6::link_local_of(mac)) != address) return {};
  return mac;
}

std::vector<DomainPrefix> own_addresses_of(const api::Endpoint& endpoint) {
  std::vector<DomainPrefix> keys;
  for (const auto& address : endpoint.addresses) keys.push_back(exact_prefix(endpoint.domain, address));
  keys.push_back(exact_prefix(endpoint.domain, IpAddr(Ipv6::link_local_of(endpoint.mac))));
  return keys;
}

std::vector<DomainPrefix> claimed_addresses_of(const api::Endpoint& endpoint) {
  std::vector<DomainPrefix> keys;
  for (const auto& pair : endpoint.allowed_pairs) {
    keys.push_back({endpoint.domain, pair.address.network()});
    if (!pair.mac.is_zero())
      keys.push_back(exact_prefix(endpoint.domain, IpAddr(Ipv6::link_local_of(pair.mac))));
  }
  return keys;
}

bool is_member(const api::Endpoint& endpoint) {
  return endpoint.identity || endpoint.policy;
}

}  // namespace

PolicyTables::Pool::Pool() {
  void* memory = ::mmap(nullptr, kCapacity * sizeof *words, PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (memory == MAP_FAILED) throw std::bad_alloc();
  words = static_cast<std::atomic<std::uint64_t>*>(memory);
}

PolicyTables::Pool::~Pool() {
  ::munmap(words, kCapacity * sizeof *words);
}

PolicyTables::PolicyTables(const Intent& intent, std::function<void(std::uint32_t)> added)
    : intent_(intent), added_(std::move(added)) {}

std::vector<DomainPrefix> PolicyTables::addresses_of(const api::Endpoint& endpoint) {
  auto keys = own_addresses_of(endpoint);
  const auto claimed = claimed_addresses_of(endpoint);
  keys.insert(keys.end(), claimed.begin(), claimed.end());
  return keys;
}

bool PolicyTables::same_to_policies(const api::Endpoint& a, const api::Endpoint& b) {
  return a.domain == b.domain && a.mac == b.mac && a.policy == b.policy && a.identity == b.identity &&
         a.addresses == b.addresses && a.allowed_pairs == b.allowed_pairs;
}

std::uint32_t PolicyTables::slot_of(PolicyId policy) const {
  const auto it = policies_.find(policy);
  return it == policies_.end() ? 0 : it->second.slot;
}

void PolicyTables::prepare(const Changes& changes) {
  for (const auto& change : changes.policies) {
    if (!change.after) continue;
    if (change.before && same_rules(*change.before, *change.after)) continue;
    compile(*change.after);
  }
  for (const auto& change : changes.endpoints) prepare_endpoint(change);
  std::size_t more4 = 0, more6 = 0;
  for (const auto& key : dirty_) ++(key.prefix.address.is_v4() ? more4 : more6);
  if (table4_.reserve(more4, garbage_) | table6_.reserve(more6, garbage_)) view_outdated_ = true;
  publish_needed_ = publish_needed_ || view_outdated_;
}

void PolicyTables::compile(const api::Policy& policy) {
  auto& compiled = policies_[policy.id];
  if (compiled.slot == 0) {
    if (free_slots_.empty()) {
      compiled.slot = used_slots_++;
      assert(compiled.slot < kPolicySlots);  // the limit in counters.hpp keeps it so
    } else {
      compiled.slot = free_slots_.back();
      free_slots_.pop_back();
    }
    if (added_) added_(compiled.slot);
  }
  if (compiled.set) garbage_.push_back(std::move(compiled.set));
  compiled.set = std::make_shared<const PolicySet>(policy);
  view_outdated_ = true;
}

void PolicyTables::prepare_endpoint(const Change<api::Endpoint>& change) {
  if (change.before && change.after && same_to_policies(*change.before, *change.after)) return;
  const auto note = [&](const api::Endpoint& endpoint, bool claimed) {
    if (!is_member(endpoint)) {
      // Nothing of it is in the tables, but what members may use as well is not theirs while it is its own.
      if (claims_.empty()) return;
      for (const auto& key : own_addresses_of(endpoint)) {
        if (claims_.contains(key)) dirty_.push_back(key);
      }
      return;
    }
    for (const auto& key : addresses_of(endpoint)) dirty_.push_back(key);
    for (const auto& key : claimed_addresses_of(endpoint)) claim(key, endpoint.id, claimed);
  };
  if (change.before) note(*change.before, false);
  if (change.after) note(*change.after, true);
  const bool was = change.before && is_member(*change.before);
  const bool is = change.after && is_member(*change.after);
  if (was && is) {
    rewritten_.emplace_back(index_of(change.after->id), member_of(*change.after));
  } else if (is) {
    members_[change.after->id] = allocate(member_of(*change.after));
  } else if (was) {
    const auto it = members_.find(change.before->id);
    released_.push_back(it->second);
    members_.erase(it);
  }
}

PolicyMember PolicyTables::member_of(const api::Endpoint& endpoint) const {
  return {endpoint.identity, slot_of(endpoint.policy)};
}

std::uint32_t PolicyTables::allocate(const PolicyMember& member) {
  std::uint32_t index = pool_->used;
  if (!pool_->free.empty()) {
    index = pool_->free.back();
    pool_->free.pop_back();
  } else {
    assert(pool_->used < kCapacity);
    ++pool_->used;
  }
  pool_->words[index].store(member.packed(), std::memory_order_release);
  return index;
}

void PolicyTables::claim(const DomainPrefix& key, EndpointId endpoint, bool claimed) {
  if (claimed) {
    auto& owners = claims_[key];
    if (owners.empty()) count_length(key, true);
    owners.insert(endpoint);
    return;
  }
  const auto it = claims_.find(key);
  if (it == claims_.end()) return;  // listed twice
  it->second.erase(endpoint);
  if (!it->second.empty()) return;
  claims_.erase(it);
  count_length(key, false);
}

void PolicyTables::count_length(const DomainPrefix& key, bool added) {
  const auto length = static_cast<std::size_t>(key.prefix.length);
  if (key.prefix.length == key.prefix.address.bits()) return;  // always looked for
  auto& count = key.prefix.address.is_v4() ? lengths4_[length] : lengths6_[length];
  count += added ? 1 : ~std::uint32_t{0};
  if (count == (added ? 1u : 0u)) view_outdated_ = true;
}

std::uint32_t PolicyTables::index_of(EndpointId endpoint) const {
  const auto it = members_.find(endpoint);
  return it == members_.end() ? 0 : it->second;
}

// An endpoint's own address goes before what others may use as well; of several that may, one with a policy.
const api::Endpoint* PolicyTables::owner_of(const DomainPrefix& key) const {
  const auto& address = key.prefix.address;
  if (key.prefix.length == address.bits()) {
    if (const auto* owner = intent_.endpoint_with(key.domain, address)) return owner;
    if (const auto mac = mac_behind(address)) {
      if (const auto* owner = intent_.endpoint_with(key.domain, *mac)) return owner;
    }
  }
  const auto it = claims_.find(key);
  if (it == claims_.end()) return nullptr;
  for (const auto id : it->second) {
    const auto* owner = intent_.endpoint(id);
    if (owner->policy) return owner;
  }
  return intent_.endpoint(*it->second.begin());
}

const api::Endpoint* PolicyTables::owner_of(DomainId domain, const IpAddr& address) const {
  for (int length = address.bits(); length >= 0; --length) {
    const IpPrefix prefix{address, length};
    if (const auto* owner = owner_of(DomainPrefix{domain, prefix.network()})) return owner;
  }
  return nullptr;
}

void PolicyTables::refresh(const DomainPrefix& key) {
  const auto* owner = owner_of(key);
  const auto index = owner == nullptr ? 0 : index_of(owner->id);
  if (key.prefix.address.is_v4()) {
    index == 0 ? table4_.erase(member_key4(key)) : table4_.put(member_key4(key), index);
  } else {
    index == 0 ? table6_.erase(member_key6(key)) : table6_.put(member_key6(key), index);
  }
}

void PolicyTables::apply() {
  for (const auto& [index, member] : rewritten_)
    pool_->words[index].store(member.packed(), std::memory_order_release);
  rewritten_.clear();
  for (const auto& key : dirty_) refresh(key);
  clear_work_list(dirty_);
}

void PolicyTables::remove(const Changes& changes) {
  for (const auto& change : changes.policies) {
    if (change.after) continue;
    const auto it = policies_.find(change.before->id);
    free_slots_.push_back(it->second.slot);
    garbage_.push_back(std::move(it->second.set));
    policies_.erase(it);
    view_outdated_ = publish_needed_ = true;
  }
}

const PolicyView* PolicyTables::view() {
  if (!std::exchange(view_outdated_, false)) return view_.get();
  std::unique_ptr<PolicyView> next;
  if (!policies_.empty()) {
    next = std::make_unique<PolicyView>();
    next->sets.resize(used_slots_);
    for (const auto& [id, compiled] : policies_) next->sets[compiled.slot] = compiled.set.get();
    next->members4 = table4_.get();
    next->members6 = table6_.get();
    next->members = pool_->words;
    for (std::size_t length = 0; length < 32; ++length)
      next->lengths4 |= std::uint64_t{lengths4_[length] != 0} << length;
    for (std::size_t length = 128; length-- > 0;) {
      if (lengths6_[length] != 0) next->lengths6.push_back(static_cast<std::uint8_t>(length));
    }
  }
  discard(garbage_, std::exchange(view_, std::move(next)));
  return view_.get();
}

void PolicyTables::take_garbage(Garbage& garbage) {
  std::move(garbage_.begin(), garbage_.end(), std::back_inserter(garbage));
  garbage_.clear();
}

void PolicyTables::retire(Publisher& publisher) {
  if (released_.empty()) return;
  publisher.retire([pool = std::weak_ptr<Pool>(pool_), indexes = std::exchange(released_, {})] {
    const auto alive = pool.lock();
    if (alive) alive->free.insert(alive->free.end(), indexes.begin(), indexes.end());
  });
}

}  // namespace podwire::engine
