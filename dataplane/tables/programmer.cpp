#include "dataplane/tables/programmer.hpp"

#include "dataplane/pipeline/accounting.hpp"
#include "dataplane/tables/entries.hpp"
#include "dataplane/tables/programmer_state.hpp"

namespace podwire::engine {
namespace {

// Tap ports in message order take their descriptors.
Result<Descriptors> split_descriptors(const std::vector<api::Port>& ports, std::vector<UniqueFd> fds) {
  Descriptors split;
  std::size_t next = 0;
  for (const auto& port : ports) {
    if (port.descriptors == 0) continue;
    if (fds.size() - next < port.descriptors) {
      return invalid(label(port) + ": descriptors is " + std::to_string(port.descriptors) + ", but only " +
                     std::to_string(fds.size() - next) + " are left of the message's " +
                     std::to_string(fds.size()) + "; send one for every queue, in the order of the ports");
    }
    auto& own = split[port.id];
    own.clear();
    for (std::size_t i = 0; i < port.descriptors; ++i) own.push_back(std::move(fds[next++]));
  }
  if (next != fds.size()) {
    return invalid("the message carries " + std::to_string(fds.size()) + " descriptors, but its ports take " +
                   std::to_string(next) +
                   "; set \"descriptors\" of every tap port to the number sent for it");
  }
  return split;
}

template <class T>
Result<void> append(std::vector<T>& to, std::vector<T>& from, std::size_t limit, const char* noun) {
  if (to.size() + from.size() > limit) {
    return Error{ErrorCode::kExhausted, std::string("the replace has more than ") + std::to_string(limit) +
                                            " " + noun + ", the most there can be; send fewer"};
  }
  std::move(from.begin(), from.end(), std::back_inserter(to));
  return {};
}

template <class Entry>
void resize_for(std::vector<std::unique_ptr<const Entry>>& entries, std::size_t id) {
  if (entries.size() <= id) entries.resize(id + 1);
}

}  // namespace

Programmer::State::State(ProgrammerEnvironment environment, std::uint64_t now_ms)
    : environment_(std::move(environment)),
      prober_(*environment_.injector, *environment_.counters, environment_.pool),
      advertiser_(*environment_.injector, *environment_.counters, environment_.pool, now_ms),
      probes_(*environment_.injector, *environment_.counters, environment_.pool),
      underlay_(
          intent_, [this](PortId id) { return port_entry(id); },
          [this](const NeighborKey& key, const MacAddr& mac) {
            // Null only while the uplink is being removed: then nobody waits for the answer either.
            if (const auto* uplink = port_entry(key.port)) prober_.ask(intent_, *uplink, key, mac);
          }),
      forwarding_(intent_, *this),
      policies_(intent_, environment_.policy_added),
      next_second_ms_(now_ms) {
  rebuild(kUnderlayDomain);
  publish();
}

Programmer::State::~State() {
  for (const auto& key : parking_.keys()) {
    for (auto* mbuf : parking_.take(key)) drop_parked(mbuf, load_meta(mbuf), DropReason::neighbor_unresolved);
  }
}

Result<std::uint64_t> Programmer::State::apply(const api::ObjectSet& put, const api::IdSet& remove,
                                               Descriptors descriptors, std::uint64_t now_ms) {
  PODWIRE_TRY(const auto changes, intent_.stage(put, remove));
  if (changes.empty()) return generation_;
  auto devices = open_devices(changes, descriptors);
  if (!devices) {
    intent_.rollback(changes);
    return devices.error();
  }
  auto rules = compile_rules(changes);
  if (!rules) {
    intent_.rollback(changes);
    return rules.error();
  }
  ++generation_;
  install_rules(changes, std::move(*rules));
  commit(changes, std::move(*devices), now_ms);
  return generation_;
}

Result<void> Programmer::State::replace_chunk(api::ObjectSet put, std::vector<UniqueFd> fds) {
  if (!replace_) return invalid("replace_chunk without replace_begin; begin first");
  PODWIRE_TRY(auto descriptors, split_descriptors(put.ports, std::move(fds)));
  for (auto& [id, own] : descriptors) replace_->descriptors[id] = std::move(own);
  auto& all = replace_->put;
  PODWIRE_CHECK(append(all.ports, put.ports, kMaxPorts, "ports"));
  PODWIRE_CHECK(append(all.vteps, put.vteps, kMaxVteps, "vteps"));
  PODWIRE_CHECK(append(all.domains, put.domains, kMaxDomains, "domains"));
  PODWIRE_CHECK(append(all.endpoints, put.endpoints, kMaxEndpoints, "endpoints"));
  PODWIRE_CHECK(append(all.routes, put.routes, kMaxRoutes, "routes"));
  PODWIRE_CHECK(append(all.services, put.services, kMaxServices, "services"));
  return append(all.policies, put.policies, kMaxPolicies, "policies");
}

Result<std::uint64_t> Programmer::State::replace_commit(std::uint64_t now_ms) {
  if (!replace_) return invalid("replace_commit without replace_begin; begin first");
  auto replace = std::move(*replace_);
  replace_.reset();
  const auto before = generation_;
  PODWIRE_CHECK(apply(replace.put, intent_.surplus(replace.put), std::move(replace.descriptors), now_ms));
  if (generation_ == before) ++generation_;  // a replace that changed nothing has been applied all the same
  return generation_;
}

void Programmer::State::commit(const Changes& changes, Devices devices, std::uint64_t now_ms) {
  announce(changes);
  install_devices(std::move(devices));
  add_structure(changes, now_ms);
  // Everybody's snapshot has what the entries will refer to, before they do.
  if (publish()) environment_.publisher->synchronize();
  forwarding_.apply();
  policies_.apply();
  forget_learned(changes);
  remove_structure(changes, now_ms);
  publish();
  forwarding_.retire(*environment_.publisher);
  policies_.retire(*environment_.publisher);
  close_devices(2000);
  environment_.publisher->synchronize();
  sweep(changes);
  sweep_rules(changes);
  sweep_services(changes);
  sweep_translations(changes);
  sweep_joins(changes);
  forget_connections(changes);
  underlay_.tick(now_ms);
  release_settled();
  for (const auto id : std::exchange(lease_news_, {})) {
    if (const auto* entry = port_entry(id)) advertiser_.advertise(*entry);
  }
}

// Counters of an id that was not in use must start before its first packet.
void Programmer::State::announce(const Changes& changes) const {
  for (const auto& change : changes.ports) {
    if (!change.before && environment_.port_added) environment_.port_added(change.after->id);
  }
  for (const auto& change : changes.domains) {
    if (!change.before && environment_.domain_added) environment_.domain_added(change.after->id);
  }
}

void Programmer::State::add_structure(const Changes& changes, std::uint64_t now_ms) {
  underlay_.add_slots(changes, now_ms);
  add_hops(changes, now_ms);
  for (const auto id : affected_ports(changes)) rebuild(id);
  underlay_.update(changes, now_ms);
  set_node_addresses();
  forwarding_.prepare(changes);
  policies_.prepare(changes);
  for (const auto id : affected_domains(changes)) rebuild(id);
  for (const auto id : forwarding_.take_resized_domains()) rebuild(id);
  if (!changes.domains.empty()) {
    rebuild_vnis();
    rebuild_routed();
  }
  if (services_.update(intent_, changes)) publish_needed_ = true;
  if (outside_.update(intent_, changes, garbage_)) publish_needed_ = true;
  // Host port, host domain and the list of uplinks are the snapshot's own.
  if (!changes.ports.empty() || !changes.domains.empty()) publish_needed_ = true;
}

void Programmer::State::forget_learned(const Changes& changes) {
  for (const auto& change : changes.ports) {
    if (!change.before || change.before->role != api::PortRole::kPod) continue;
    const auto& before = *change.before;
    if (!intent_.pod_ports(before.domain).contains(before.id))
      forwarding_.forget_learned(before.domain, before.id);
  }
  for (const auto& change : changes.domains) {
    if (change.before && (!change.after || !change.after->learning))
      forwarding_.forget_learned(change.before->id);
  }
}

void Programmer::State::remove_structure(const Changes& changes, std::uint64_t now_ms) {
  remove_devices(changes);
  policies_.remove(changes);
  for (const auto& change : changes.domains) {
    if (change.after) continue;
    discard(garbage_, std::exchange(domain_entries_[change.before->id.value()], nullptr));
    publish_needed_ = true;
  }
  remove_hops(changes, now_ms);
  for (const auto slot : underlay_.remove_slots(changes, now_ms)) forwarding_.forget_learned_behind(slot);
  for (const auto id : forwarding_.take_resized_domains()) rebuild(id);
}

std::set<PortId> Programmer::State::affected_ports(const Changes& changes) const {
  std::set<PortId> affected;
  bool roles = false;  // whether the engine answers for the host depends on there being a host port
  for (const auto& change : changes.ports) {
    if (change.after) affected.insert(change.after->id);
    roles = roles || (change.before && change.before->role == api::PortRole::kHost) ||
            (change.after && change.after->role == api::PortRole::kHost);
  }
  for (const auto& change : changes.endpoints) {
    if (change.before && change.before->port) affected.insert(change.before->port);
    if (change.after && change.after->port) affected.insert(change.after->port);
  }
  // What leases say of gateways, MTU and DNS.
  for (const auto& change : changes.domains) {
    if (!change.before || !change.after) continue;
    const auto& ports = intent_.pod_ports(change.after->id);
    affected.insert(ports.begin(), ports.end());
  }
  if (roles) {
    for (const auto& [id, port] : intent_.ports()) {
      if (port.role == api::PortRole::kUplink) affected.insert(id);
    }
  }
  return affected;
}

std::set<DomainId> Programmer::State::affected_domains(const Changes& changes) const {
  std::set<DomainId> affected;
  for (const auto& change : changes.domains) {
    if (change.after) affected.insert(change.after->id);
  }
  for (const auto& change : changes.ports) {
    if (change.before) affected.insert(change.before->domain);
    if (change.after) affected.insert(change.after->domain);
  }
  for (const auto& change : changes.routes) {
    for (const auto* route :
         {change.before ? &*change.before : nullptr, change.after ? &*change.after : nullptr}) {
      if (route != nullptr && Intent::leads_into_domain(*route)) affected.insert(route->domain);
    }
  }
  return affected;
}

void Programmer::State::rebuild(PortId id) {
  const auto* port = intent_.port(id);
  if (port == nullptr) return;  // on its way out; its entry goes with remove_structure()
  auto entry = make_port_entry(intent_, *port, devices_.at(id).get());
  if (shaping_.apply(*port, entry)) ++ports_generation_;  // workers keep the limiters beside their queues
  resize_for(port_entries_, id.value());
  auto& current = port_entries_[id.value()];
  if (current && *current == entry) return;
  if (current && current->leases != entry.leases) lease_news_.insert(id);
  discard(garbage_, std::exchange(current, std::make_unique<const PortEntry>(std::move(entry))));
  publish_needed_ = true;
}

void Programmer::State::rebuild(DomainId id) {
  const auto* domain = intent_.domain(id);
  if (domain == nullptr && id != kUnderlayDomain) return;
  auto entry = domain == nullptr ? make_underlay_entry()
                                 : make_domain_entry(intent_, *domain,
                                                     [this](VtepId vtep) { return underlay_.slot_of(vtep); });
  forwarding_.fill_lengths(entry);
  if (entry.stateful) {
    entry.rules = rule_sets_.at(id);
    entry.rules_generation = entry.rules->generation();
  }
  resize_for(domain_entries_, id.value());
  auto& current = domain_entries_[id.value()];
  if (current && *current == entry) return;
  discard(garbage_, std::exchange(current, std::make_unique<const DomainEntry>(std::move(entry))));
  publish_needed_ = true;
}

void Programmer::State::rebuild_vnis() {
  auto next = std::make_unique<LookupTable<Key64>>(intent_.domains().size());
  for (const auto& [id, domain] : intent_.domains()) next->put({domain.vni.value()}, id.value());
  discard(garbage_, std::exchange(vnis_, std::move(next)));
  publish_needed_ = true;
}

const PortEntry* Programmer::State::port_entry(PortId id) const {
  return id.value() < port_entries_.size() ? port_entries_[id.value()].get() : nullptr;
}

MacAddr Programmer::State::mac_of(PortId port) const {
  const auto* entry = port_entry(port);
  return entry == nullptr ? MacAddr() : entry->mac;
}

bool Programmer::State::publish() {
  const bool tables = forwarding_.take_publish_needed();
  const bool vteps = underlay_.take_publish_needed();
  const bool policies = policies_.take_publish_needed();
  if (!std::exchange(publish_needed_, false) && !tables && !vteps && !policies) return false;
  auto next = std::make_unique<Snapshot>();
  next->generation = generation_;
  next->ports_generation = ports_generation_;
  for (const auto& entry : port_entries_) next->ports.push_back(entry.get());
  for (const auto& entry : domain_entries_) {
    next->domains.push_back(entry.get());
    next->stateful = next->stateful || (entry && entry->stateful);
    if (!entry || !entry->masquerade) continue;
    next->translates = true;
    for (const auto& address : {entry->masquerade->v4, entry->masquerade->v6}) {
      if (!address.is_zero()) next->outside_addresses.push_back(address);
    }
  }
  next->host_port = intent_.host_port();
  next->host_domain = intent_.host_domain();
  for (const auto& [id, port] : intent_.ports()) {
    if (port.role == api::PortRole::kUplink) next->uplinks.push_back(id);
  }
  next->vni_to_domain = vnis_.get();
  next->routed = routed_.get();
  next->services = services_.table();
  next->translates = next->translates || next->services != nullptr;
  underlay_.fill(*next);
  forwarding_.fill_tables(*next);
  next->policies = policies_.view();
  next->probes = &probes_.window();
  next->outside = outside_.table();
  next->own = own_.get();
  if (next->outside != nullptr) {
    const auto& own = next->outside->addresses();
    next->outside_addresses.insert(next->outside_addresses.end(), own.begin(), own.end());
  }
  environment_.publisher->publish(std::move(next));
  auto garbage = std::exchange(garbage_, {});
  for (auto more : {underlay_.take_garbage(), services_.take_garbage()})
    garbage.insert(garbage.end(), more.begin(), more.end());
  policies_.take_garbage(garbage);
  if (!garbage.empty()) environment_.publisher->retire([garbage = std::move(garbage)] {});
  return true;
}

const Port* Programmer::State::device(PortId id) const {
  const auto it = devices_.find(id);
  return it == devices_.end() ? nullptr : it->second.get();
}

Programmer::Programmer(ProgrammerEnvironment environment, std::uint64_t now_ms)
    : state_(std::make_unique<State>(std::move(environment), now_ms)) {}
Programmer::~Programmer() = default;

Result<std::uint64_t> Programmer::patch(api::ObjectSet put, const api::IdSet& remove,
                                        std::vector<UniqueFd> fds, std::uint64_t now_ms) {
  PODWIRE_TRY(auto descriptors, split_descriptors(put.ports, std::move(fds)));
  return state_->apply(put, remove, std::move(descriptors), now_ms);
}

void Programmer::replace_begin() {
  state_->replace_begin();
}
Result<void> Programmer::replace_chunk(api::ObjectSet put, std::vector<UniqueFd> fds) {
  return state_->replace_chunk(std::move(put), std::move(fds));
}
Result<std::uint64_t> Programmer::replace_commit(std::uint64_t now_ms) {
  return state_->replace_commit(now_ms);
}
void Programmer::replace_abort() {
  state_->replace_abort();
}
void Programmer::on_event(const Event& event, std::uint64_t now_ms) {
  state_->on_event(event, now_ms);
}
void Programmer::flush(std::uint64_t) {
  state_->flush();
}
void Programmer::tick(std::uint64_t now_ms) {
  state_->tick(now_ms);
}
Result<Json> Programmer::dump(const Json& params) const {
  return state_->dump(params);
}
Result<Json> Programmer::fdb(const Json& params, std::uint64_t now_ms) const {
  return state_->fdb(params, now_ms);
}
Result<Json> Programmer::neighbors(const Json& params, std::uint64_t now_ms) const {
  return state_->neighbors(params, now_ms);
}
Result<std::vector<UniqueFd>> Programmer::port_descriptors(PortId id) const {
  return state_->port_descriptors(id);
}
std::uint64_t Programmer::generation() const {
  return state_->generation();
}
ObjectCounts Programmer::counts() const {
  return state_->counts();
}
std::uint32_t Programmer::policy_slot(PolicyId id) const {
  return state_->policy_slot(id);
}
const Intent& Programmer::intent() const {
  return state_->intent();
}
const Port* Programmer::device(PortId id) const {
  return state_->device(id);
}

}  // namespace podwire::engine
