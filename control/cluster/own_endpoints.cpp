#include "control/cluster/own_endpoints.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>

namespace podwire::control {
namespace {

constexpr std::size_t kEndpointsAtOnce = 100;  // etcd takes 128 operations

}  // namespace

OwnEndpoints::OwnEndpoints(const Config& config, Store& store, SharedStore& cluster, Local local,
                           std::chrono::milliseconds again)
    : config_(config),
      store_(store),
      cluster_(cluster),
      local_(std::move(local)),
      prefix_(cluster.prefix() + kEndpointSection + config.node + "/") {
  cluster_.follow(kEndpointSection + config.node + "/", *this);
  thread_.start(again, [this] { publish(); });
}

Result<void> OwnEndpoints::listed(const std::vector<EtcdItem>& items) {
  {
    const std::lock_guard lock(mutex_);
    stored_.clear();
    for (const auto& item : items) stored_[item.key] = item.value;
    known_ = true;
  }
  wake();
  return {};
}

// What others write there, or how this node's own writes come back.
void OwnEndpoints::changed(const std::vector<EtcdEvent>& events) {
  {
    const std::lock_guard lock(mutex_);
    for (const auto& event : events) {
      if (event.erased)
        stored_.erase(event.item.key);
      else
        stored_[event.item.key] = event.item.value;
    }
  }
  wake();
}

// Others take no address that this node has not leased.
bool OwnEndpoints::is_own(const DomainConfig& domain, const IpAddr& address) const {
  if (domain.mode == api::DomainMode::kL3) {
    return std::any_of(domain.prefixes.begin(), domain.prefixes.end(),
                       [&](const IpPrefix& prefix) { return prefix.contains(address); });
  }
  return std::any_of(domain.ranges.begin(), domain.ranges.end(), [&](const AddressRange& range) {
    return range.start.is_v4() == address.is_v4() && range.start <= address && address <= range.end;
  });
}

Result<std::map<std::string, std::string>> OwnEndpoints::wanted() const {
  PODWIRE_TRY(const auto attachments, store_.list());
  std::map<std::string, std::string> out;
  std::vector<EndpointRecord> all;
  for (const auto& a : attachments) {
    const auto domain = config_.find_domain(a.domain);
    if (a.state != AttachmentState::kReady || domain == nullptr) continue;
    const auto add = [&](EndpointId id, const MacAddr& mac, const std::vector<IpPrefix>& addresses) {
      EndpointRecord record{a.domain, mac, {}, a.pod_name.empty() ? "" : a.pod_namespace, a.pod_name};
      for (const auto& address : addresses) record.addresses.push_back(address.address);
      all.push_back(record);
      if (id.value() > kLastEndpointNumber) return;
      std::erase_if(record.addresses, [&](const IpAddr& address) { return !is_own(*domain, address); });
      out[prefix_ + std::to_string(id.value())] = to_value(record);
    };
    add(a.endpoint, a.mac, a.addresses);
    for (const auto& e : a.extra_endpoints) add(e.id, e.mac, e.addresses);
  }
  if (local_) local_(all);
  return out;
}

void OwnEndpoints::publish() {
  if (!stale_.exchange(false)) return;
  const auto now = wanted();
  if (!now) {
    spdlog::warn("cluster: this node's endpoints: {}", now.error().message);
    stale_ = true;
    return;
  }
  std::vector<EtcdTransaction> steps;
  const auto step = [&]() -> EtcdTransaction& {
    if (steps.empty() || steps.back().puts.size() + steps.back().erased.size() >= kEndpointsAtOnce)
      steps.emplace_back();
    return steps.back();
  };
  {
    const std::lock_guard lock(mutex_);
    if (!known_) return;
    for (const auto& [key, value] : *now) {
      const auto at = stored_.find(key);
      if (at == stored_.end() || at->second != value) step().puts.push_back({key, value});
    }
    for (const auto& [key, value] : stored_) {
      if (!now->contains(key)) step().erased.push_back(key);
    }
  }
  for (const auto& one : steps) {
    // Not taken: the cluster tells why, and the next round tries again.
    if (const auto done = cluster_.write(one); !done) {
      stale_ = true;
      return;
    }
    const std::lock_guard lock(mutex_);
    for (const auto& put : one.puts) stored_[put.key] = put.value;
    for (const auto& key : one.erased) stored_.erase(key);
  }
}

}  // namespace podwire::control
