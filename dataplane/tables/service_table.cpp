#include "dataplane/tables/service_table.hpp"

#include <algorithm>
#include <numeric>

#include "dataplane/headers/headers.hpp"

namespace podwire::engine {
namespace {

// Primes: about a hundred slots a backend, so that shares are within a per cent or two of what weights say.
constexpr std::size_t kSizes[] = {251, 2039, 16'381, 65'537};

std::size_t table_size(std::size_t backends) {
  for (const auto size : kSizes) {
    if (backends * 100 <= size) return size;
  }
  return std::end(kSizes)[-1];
}

std::uint64_t hash_address(const IpAddr& address) noexcept {
  std::uint64_t words[2];
  std::memcpy(words, address.bytes().data(), sizeof words);
  return mix(words[0] ^ mix(words[1] + (address.is_v4() ? 4 : 6)));
}

// No seed: all nodes must agree.
std::uint64_t hash_backend(const IpAddr& address, std::uint16_t port) noexcept {
  return mix(hash_address(address) + port);
}

// Of one more word each, in the order in which they lie in the key.
template <std::size_t N>
std::uint64_t hash_words(const std::uint64_t (&words)[N]) noexcept {
  std::uint64_t hash = N;
  for (const auto word : words) hash = mix(hash ^ word) + word;
  return mix(hash);
}

std::uint64_t client_hash(const FlowKey& key) noexcept {
  if (key.is_v4()) return hash_words({key.words[1] & 0xffffffff});
  return hash_words({key.words[1], key.words[2]});
}

// Without the domain, whose id is each node's own.
std::uint64_t connection_hash(const FlowKey& key) noexcept {
  const auto head = std::uint64_t{key.protocol()} << 32 | key.ports();
  if (key.is_v4()) return hash_words({head, key.words[1]});
  return hash_words({head, key.words[1], key.words[2], key.words[3], key.words[4]});
}

std::uint64_t frontend_word(DomainId domain, std::uint8_t protocol, std::uint16_t port, std::uint8_t family) {
  return std::uint64_t{domain.value()} << 32 | std::uint64_t{protocol} << 48 | port |
         std::uint64_t{family} << 56;
}

// Family 0 stands for any address.
Key192 any_key(DomainId domain, std::uint8_t protocol, std::uint16_t port) {
  return {{0, 0, frontend_word(domain, protocol, port, 0)}};
}

constexpr std::uint8_t kForHost = 0x80;  // beside the family

Key192 frontend_key(DomainId domain, const IpAddr& address, std::uint8_t protocol, std::uint16_t port,
                    std::uint8_t mark = 0) {
  const std::uint8_t family = address.is_v4() ? 4 : 6;
  Key192 key{{0, 0, frontend_word(domain, protocol, port, static_cast<std::uint8_t>(family | mark))}};
  std::memcpy(&key.words[0], address.bytes().data(), 16);
  return key;
}

// Of any port: what the node's own programs send there is for services or nobody.
Key192 host_key(const IpAddr& address) {
  return frontend_key(kUnderlayDomain, address, 0, 0, kForHost);
}

std::uint8_t protocol_number(api::ServiceProtocol protocol) {
  switch (protocol) {
    case api::ServiceProtocol::kTcp:
      return ip_proto::kTcp;
    case api::ServiceProtocol::kUdp:
      return ip_proto::kUdp;
    case api::ServiceProtocol::kSctp:
      break;
  }
  return ip_proto::kSctp;
}

// At most: addresses for the node's own programs have a key more, which frontends may share.
std::size_t keys_of(const api::Service& service) {
  const auto& all = service.frontends;
  return all.size() + static_cast<std::size_t>(std::count_if(
                          all.begin(), all.end(), [](const auto& frontend) { return frontend.from_host; }));
}

std::size_t restricted_in(const std::vector<ServiceTable::Item>& items) {
  std::size_t count = 0;
  for (const auto& item : items) {
    for (const auto& frontend : item.service->frontends) count += frontend.sources.empty() ? 0 : 1;
  }
  return count;
}

constexpr std::uint64_t kTagMask = (1u << 15) - 1;
constexpr std::uint32_t kTimeMask = (1u << AffinityMemory::kSecondBits) - 1;
constexpr std::size_t slot_of(std::uint64_t client_hash) {
  return client_hash % AffinityMemory::kSlots;
}
constexpr std::uint64_t tag_of(std::uint64_t client_hash) {
  return client_hash >> 32 & kTagMask;
}

}  // namespace

std::uint32_t AffinityMemory::find(std::uint64_t client_hash, std::uint32_t now_s,
                                   std::uint32_t affinity_s) const noexcept {
  const auto word = slots_[slot_of(client_hash)].load(std::memory_order_relaxed);
  if (word == 0 || (word >> kSecondBits & kTagMask) != tag_of(client_hash)) return 0;
  const auto age_s = (now_s - static_cast<std::uint32_t>(word)) & kTimeMask;
  return age_s < affinity_s ? static_cast<std::uint32_t>(word >> 32) : 0;
}

void AffinityMemory::remember(std::uint64_t client_hash, std::uint32_t mark, std::uint32_t now_s) noexcept {
  const auto word = std::uint64_t{mark} << 32 | tag_of(client_hash) << kSecondBits | (now_s & kTimeMask);
  auto& slot = slots_[slot_of(client_hash)];
  // A client that opens many connections a second dirties the line once.
  if (slot.load(std::memory_order_relaxed) != word) slot.store(word, std::memory_order_relaxed);
}

BackendSet::BackendSet(std::span<const api::ServiceBackend> all, bool v4) {
  struct Candidate {
    Backend backend;
    std::uint16_t weight;
  };
  std::vector<Candidate> candidates;
  std::size_t of_family = 0;
  for (const auto& one : all) {
    if (one.address.is_v4() != v4) continue;
    ++of_family;
    if (one.draining) continue;
    candidates.push_back({{one.address, one.port, hash_backend(one.address, one.port)}, one.weight});
  }
  // The order decides who takes a slot that two want.
  std::ranges::sort(candidates, [](const Candidate& a, const Candidate& b) {
    return std::tie(a.backend.hash, a.backend.address, a.backend.port) <
           std::tie(b.backend.hash, b.backend.address, b.backend.port);
  });
  std::vector<std::uint16_t> weights;
  for (const auto& candidate : candidates) {
    backends_.push_back(candidate.backend);
    weights.push_back(candidate.weight);
  }
  // Draining ones count for the size: that a backend begins to drain should move nobody else's clients.
  if (backends_.size() > 1) fill(weights, table_size(of_family));
}

// Each backend in turn takes the next free slot of a permutation of its own, as often as its weight says.
void BackendSet::fill(std::span<const std::uint16_t> weights, std::size_t size) {
  constexpr std::uint16_t kFree = 0xffff;
  static_assert(api::kMaxBackends < kFree);
  struct Turn {
    std::size_t next, skip;
    std::uint32_t credit = 0;
  };
  std::vector<Turn> turns;
  for (const auto& backend : backends_) {
    turns.push_back({backend.hash % size, mix(backend.hash ^ 0x5e17'1ce5) % (size - 1) + 1, 0});
  }
  const auto heaviest = *std::ranges::max_element(weights);
  slots_.assign(size, kFree);
  for (std::size_t taken = 0; taken < size;) {
    for (std::size_t i = 0; i < turns.size() && taken < size; ++i) {
      auto& turn = turns[i];
      turn.credit += weights[i];
      if (turn.credit < heaviest) continue;
      turn.credit -= heaviest;
      while (slots_[turn.next] != kFree) turn.next = (turn.next + turn.skip) % size;
      slots_[turn.next] = static_cast<std::uint16_t>(i);
      ++taken;
    }
  }
}

const BackendSet::Backend& BackendSet::at(std::uint64_t hash) const noexcept {
  return slots_.empty() ? backends_.front() : backends_[slots_[hash % slots_.size()]];
}

const BackendSet::Backend* BackendSet::find(std::uint32_t mark) const noexcept {
  const auto it = std::ranges::lower_bound(backends_, mark, {}, &Backend::mark);
  return it != backends_.end() && it->mark() == mark ? &*it : nullptr;
}

bool ServiceEntry::serves(const IpAddr& address, std::uint16_t port) const noexcept {
  const auto place = std::tie(address, port);
  const auto it = std::ranges::lower_bound(backends, place, {}, [](const api::ServiceBackend& backend) {
    return std::tie(backend.address, backend.port);
  });
  return it != backends.end() && it->address == address && it->port == port;
}

std::shared_ptr<const ServiceEntry> make_service_entry(const api::Service& service,
                                                       const ServiceEntry* before) {
  auto entry = std::make_shared<ServiceEntry>();
  entry->id = service.id;
  entry->name = service.name;
  entry->domain = service.domain;
  entry->hide_clients = service.hide_clients;
  entry->affinity_s = service.affinity_s;
  entry->v4 = BackendSet(service.backends, true);
  entry->v6 = BackendSet(service.backends, false);
  entry->backends = service.backends;
  std::ranges::sort(entry->backends, [](const api::ServiceBackend& a, const api::ServiceBackend& b) {
    return std::tie(a.address, a.port) < std::tie(b.address, b.port);
  });
  if (service.affinity_s != 0) {
    entry->affinity =
        before != nullptr && before->affinity ? before->affinity : std::make_shared<AffinityMemory>();
  }
  return entry;
}

ServiceTable::ServiceTable(const std::vector<Item>& items, std::vector<IpAddr> node_addresses)
    : node_addresses_(std::move(node_addresses)),
      by_frontend_(
          std::accumulate(items.begin(), items.end(), std::size_t{0},
                          [](std::size_t sum, const Item& item) { return sum + keys_of(*item.service); })),
      restricted_(restricted_in(items)) {
  std::ranges::sort(node_addresses_);
  entries_.reserve(items.size());
  for (const auto& item : items) {
    entries_.push_back(item.entry);
    for (const auto& frontend : item.service->frontends) {
      const auto protocol = protocol_number(frontend.protocol);
      const auto mark = frontend.from_host ? kForHost : std::uint8_t{0};
      const auto key = frontend.address
                           ? frontend_key(frontend.domain, *frontend.address, protocol, frontend.port, mark)
                           : any_key(frontend.domain, protocol, frontend.port);
      any_address_ = any_address_ || !frontend.address;
      any_for_host_ = any_for_host_ || frontend.from_host;
      const auto value = static_cast<std::uint32_t>(entries_.size());
      by_frontend_.put(key, value);
      if (frontend.from_host) by_frontend_.put(host_key(*frontend.address), value);
      if (frontend.sources.empty()) continue;
      sources_.push_back(frontend.sources);
      restricted_.put(key, static_cast<std::uint32_t>(sources_.size()));
    }
  }
}

const ServiceEntry* ServiceTable::find(const FlowKey& key, bool from_host) const noexcept {
  const auto protocol = key.protocol();
  if (protocol != ip_proto::kTcp && protocol != ip_proto::kUdp && protocol != ip_proto::kSctp) return nullptr;
  const auto domain = key.domain();
  const auto port = key.destination_port();
  const auto destination = key.destination();
  if (from_host && domain == kUnderlayDomain && is_for_host(destination)) [[unlikely]] {
    if (const auto value = by_frontend_.find(frontend_key(domain, destination, protocol, port, kForHost)))
      return entries_[value - 1].get();
  }
  if (const auto value = by_frontend_.find(frontend_key(domain, destination, protocol, port)))
    return entries_[value - 1].get();
  if (!any_address_ || domain != kUnderlayDomain) return nullptr;
  const auto value = by_frontend_.find(any_key(domain, protocol, port));
  return value != 0 && is_node_address(destination) ? entries_[value - 1].get() : nullptr;
}

bool ServiceTable::admits(const FlowKey& key, const IpAddr& client) const noexcept {
  if (sources_.empty()) return true;
  const auto destination = key.destination();
  const auto frontend = [&](DomainId domain) {
    return frontend_key(domain, destination, key.protocol(), key.destination_port());
  };
  auto asked = frontend(key.domain());
  // As find_for() finds the service.
  if (key.domain() != kUnderlayDomain && by_frontend_.find(asked) == 0 && is_node_address(destination))
    asked = frontend(kUnderlayDomain);
  const auto index = restricted_.find(asked);
  if (index == 0) return true;
  return std::ranges::any_of(sources_[index - 1],
                             [&](const IpPrefix& prefix) { return prefix.contains(client); });
}

bool ServiceTable::admits(const FlowKey& original, const FlowKey& reply) const noexcept {
  if (sources_.empty()) return true;
  const auto* service = original.domain() != kUnderlayDomain ? find_for(original, false) : nullptr;
  const bool foreign = service != nullptr && service->domain != original.domain();
  return admits(original, foreign ? reply.destination() : original.source());
}

bool ServiceTable::is_for_host(const IpAddr& address) const noexcept {
  return any_for_host_ && by_frontend_.find(host_key(address)) != 0;
}

bool ServiceTable::is_node_address(const IpAddr& address) const noexcept {
  return std::ranges::binary_search(node_addresses_, address);
}

ServiceTable::Choice ServiceTable::choose(const ServiceEntry& service, const FlowKey& key,
                                          std::uint32_t now_s) noexcept {
  const auto& backends = key.is_v4() ? service.v4 : service.v6;
  if (backends.empty()) return {};
  const auto found = [](const BackendSet::Backend& backend) {
    return Choice{Choice::Kind::kBackend, backend.address, backend.port};
  };
  if (!service.affinity) return found(backends.at(connection_hash(key)));
  const auto client = client_hash(key);
  const auto* backend = backends.find(service.affinity->find(client, now_s, service.affinity_s));
  if (backend == nullptr) backend = &backends.at(client);
  service.affinity->remember(client, backend->mark(), now_s);
  return found(*backend);
}

}  // namespace podwire::engine
