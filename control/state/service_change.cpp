#include "control/state/service_change.hpp"

#include <algorithm>
#include <tuple>

#include "control/state/engine_reconciler.hpp"

namespace podwire::control {
namespace {

using FrontendPlace = std::tuple<DomainId, std::optional<IpAddr>, api::ServiceProtocol, std::uint16_t, bool>;

FrontendPlace place_of(const api::ServiceFrontend& frontend) {
  return {frontend.domain, frontend.address, frontend.protocol, frontend.port, frontend.from_host};
}

std::size_t size_of(const api::Service& service) {
  std::size_t size = 1 + service.frontends.size() + service.backends.size();
  for (const auto& frontend : service.frontends) size += frontend.sources.size();
  return size;
}

// Which service each place goes to.
std::map<FrontendPlace, ServiceId> takers_of(const ServiceChange& change) {
  std::map<FrontendPlace, ServiceId> takers;
  for (const auto& service : change.put) {
    for (const auto& frontend : service.frontends) takers.emplace(place_of(frontend), service.id);
  }
  return takers;
}

// `service` without the frontends that others take, and what only those used.
api::Service without(api::Service service, const std::map<FrontendPlace, ServiceId>& takers) {
  std::erase_if(service.frontends, [&](const api::ServiceFrontend& frontend) {
    const auto taker = takers.find(place_of(frontend));
    return taker != takers.end() && taker->second != service.id;
  });
  std::erase_if(service.backends, [&](const api::ServiceBackend& backend) {
    return std::ranges::none_of(service.frontends, [&](const api::ServiceFrontend& frontend) {
      return !frontend.address || frontend.address->is_v4() == backend.address.is_v4();
    });
  });
  return service;
}

class Cutter {
 public:
  explicit Cutter(std::size_t limit) : limit_(limit) {}

  void put(const api::Service& service) {
    room_for(size_of(service));
    pieces_.back().put.push_back(service);
  }
  void remove(ServiceId id) {
    room_for(1);
    pieces_.back().removed.push_back(id);
  }
  void next() { members_ = limit_; }
  std::vector<ServiceChange> take() { return std::move(pieces_); }

 private:
  void room_for(std::size_t members) {
    if (pieces_.empty() || members_ + members > limit_) {
      pieces_.emplace_back();
      members_ = 0;
    }
    members_ += members;
  }

  const std::size_t limit_;
  std::size_t members_ = 0;
  std::vector<ServiceChange> pieces_;
};

}  // namespace

std::vector<ServiceChange> pieces_of(const std::map<ServiceId, api::Service>& before,
                                     const ServiceChange& change, std::size_t limit) {
  std::size_t members = change.removed.size();
  for (const auto& service : change.put) members += size_of(service);
  if (members <= limit) return {change};
  Cutter cutter(limit);
  for (const auto id : change.removed) cutter.remove(id);
  const auto takers = takers_of(change);
  for (const auto& service : change.put) {
    const auto old = before.find(service.id);
    if (old == before.end()) continue;
    const auto less = without(old->second, takers);
    if (less.frontends.empty())
      cutter.remove(service.id);
    else if (less.frontends.size() != old->second.frontends.size())
      cutter.put(less);
  }
  cutter.next();
  for (const auto& service : change.put) cutter.put(service);
  return cutter.take();
}

void EngineReconciler::take_services(ServiceChange change) {
  for (const auto id : change.removed) services_.erase(id);
  for (auto& service : change.put) services_[service.id] = std::move(service);
}

std::map<ServiceId, api::Service> EngineReconciler::services() const {
  const std::lock_guard lock(mutex_);
  return services_;
}

// In patches that each fit a message; what an engine refuses half-way it has to give up as a whole.
Result<void> EngineReconciler::patch_services(EngineSession& session, const ServiceChange& change) {
  constexpr std::size_t kPatchMembers = 2000;  // frontends and backends
  for (const auto& piece : pieces_of(services_, change, kPatchMembers)) {
    api::ObjectSet put;
    api::IdSet remove;
    put.services = piece.put;
    remove.services = piece.removed;
    const auto patched = session.patch(put, remove, {});
    if (patched) {
      set_generation(*patched);
      continue;
    }
    if (!session.ok()) return patched.error();
    const auto restored = program(session);
    if (restored) return patched.error();
    return Error{patched.error().code,
                 patched.error().message + "; going back failed: " + restored.error().message};
  }
  return {};
}

}  // namespace podwire::control
