#include "control/service/model.hpp"

#include <algorithm>
#include <cassert>

namespace podwire::control {
namespace {

// What of `after` is new or differs, and what of `before` is no more.
void note_differences(std::vector<api::Service> before, std::vector<api::Service> after,
                      ServiceOutcome& out) {
  std::map<std::string, api::Service> old;
  for (auto& service : before) old.emplace(service.name, std::move(service));
  for (auto& service : after) {
    const auto at = old.find(service.name);
    const bool same = at != old.end() && at->second == service;
    if (at != old.end()) old.erase(at);
    if (!same) out.put.push_back(std::move(service));
  }
  for (const auto& [name, service] : old) out.gone.push_back(name);
}

}  // namespace

ServiceModel::Claim ServiceModel::claim_of(const api::ServiceFrontend& frontend) {
  return {frontend.domain, frontend.address, frontend.protocol, frontend.port, frontend.from_host};
}

std::vector<const ClusterSlice*> ServiceModel::slices_of(const ObjectKey& service) const {
  std::vector<const ClusterSlice*> out;
  const auto found = slices_by_service_.find(service);
  if (found == slices_by_service_.end()) return out;
  for (const auto& key : found->second) out.push_back(&slices_.at(key));
  return out;
}

std::vector<api::Service> ServiceModel::planned_services() const {
  std::vector<api::Service> all;
  for (const auto& [key, plan] : plans_) all.insert(all.end(), plan.services.begin(), plan.services.end());
  return all;
}

std::string ServiceModel::problem_of(const ObjectKey& service) const {
  const auto plan = plans_.find(service);
  return plan == plans_.end() ? "" : plan->second.problem;
}

void ServiceModel::set_node(NodeObjects node) {
  node_ = std::move(node);
  node_.objects = {};
  node_is_new_ = true;
}

// With services that cannot be: they may, now.
std::set<ObjectKey> ServiceModel::touched_by(const ServiceEdit& edit) const {
  std::set<ObjectKey> touched = problems_;
  if (node_is_new_) {
    for (const auto& [key, service] : services_) touched.insert(key);
  }
  for (const auto& [key, service] : edit.services) touched.insert(key);
  for (const auto& [key, slice] : edit.slices) {
    if (slice) touched.emplace(key.first, slice->service);
    const auto before = slices_.find(key);
    if (before != slices_.end()) touched.emplace(key.first, before->second.service);
  }
  return touched;
}

void ServiceModel::file(const ClusterSlice& slice, bool in) {
  const ObjectKey service{slice.key.first, slice.service};
  auto& all = slices_by_service_[service];
  if (in)
    all.insert(slice.key);
  else
    all.erase(slice.key);
  if (all.empty()) slices_by_service_.erase(service);
}

void ServiceModel::take_in(ServiceEdit edit, ServiceEdit& undo) {
  for (auto& [key, service] : edit.services) {
    const auto before = services_.find(key);
    auto& kept = undo.services[key];
    if (before != services_.end()) kept = std::move(before->second);
    if (service)
      services_[key] = std::move(*service);
    else if (before != services_.end())
      services_.erase(before);
  }
  for (auto& [key, slice] : edit.slices) {
    const auto before = slices_.find(key);
    auto& kept = undo.slices[key];
    if (before != slices_.end()) {
      file(before->second, false);
      kept = std::move(before->second);
      slices_.erase(before);
    }
    if (!slice) continue;
    file(*slice, true);
    slices_[key] = std::move(*slice);
  }
}

// All or none of them.
Result<void> ServiceModel::claim(const std::vector<api::Service>& services) {
  std::map<Claim, std::string> own;
  for (const auto& service : services) {
    for (const auto& frontend : service.frontends) {
      const auto key = claim_of(frontend);
      auto owner = owners_.find(key);
      if (owner == owners_.end()) {
        bool fresh = false;
        std::tie(owner, fresh) = own.try_emplace(key, service.name);
        if (fresh || owner->second == service.name) continue;
      }
      return conflict((frontend.address ? to_string(*frontend.address) : "the node's") + " port " +
                      std::to_string(frontend.port) + " is that of service " + owner->second +
                      " already; give one of the two another port");
    }
  }
  owners_.merge(own);
  return {};
}

void ServiceModel::release(const std::vector<api::Service>& services) {
  for (const auto& service : services) {
    for (const auto& frontend : service.frontends) owners_.erase(claim_of(frontend));
  }
}

PlannedService ServiceModel::planned(const ClusterService& service) {
  auto services = plan_service(service, slices_of(service.key), config_, node_);
  if (!services) return {{}, services.error().message};
  if (auto claimed = claim(*services); !claimed) return {{}, claimed.error().message};
  return {std::move(*services), ""};
}

ServiceOutcome ServiceModel::change(ServiceEdit edit) {
  ServiceOutcome out;
  const auto touched = touched_by(edit);
  node_is_new_ = false;
  std::set<ObjectKey> wanted;  // the edit's
  for (const auto& [key, service] : edit.services) {
    if (service) wanted.insert(key);
  }
  take_in(std::move(edit), out.undo.edit);
  std::map<ObjectKey, PlannedService> before;
  for (const auto& key : touched) {
    auto plan = plans_.extract(key);
    if (plan.empty()) continue;
    release(plan.mapped().services);
    before.insert(std::move(plan));
  }
  // Who has its frontends keeps them: those that could be come before those that are new, and these before
  // those that could not.
  const auto rank = [&](const ObjectKey& key) {
    const auto plan = before.find(key);
    return plan == before.end() ? 1 : plan->second.problem.empty() ? 0 : 2;
  };
  std::vector<ObjectKey> order(touched.begin(), touched.end());
  std::ranges::stable_sort(order, {}, rank);
  std::vector<api::Service> was, is;
  for (const auto& key : order) {
    const bool sound_before = rank(key) == 0;
    if (sound_before) was.insert(was.end(), before.at(key).services.begin(), before.at(key).services.end());
    problems_.erase(key);
    const auto service = services_.find(key);
    if (service == services_.end()) continue;
    const auto& plan = plans_[key] = planned(service->second);
    is.insert(is.end(), plan.services.begin(), plan.services.end());
    if (plan.problem.empty()) continue;
    problems_.insert(key);
    if (sound_before || wanted.contains(key)) out.spoilt.emplace_back(key, plan.problem);
  }
  note_differences(std::move(was), std::move(is), out);
  out.undo.touched = touched;
  out.undo.plans = std::move(before);
  return out;
}

ServiceOutcome ServiceModel::undo(ServiceUndo undo) {
  ServiceOutcome out;
  take_in(std::move(undo.edit), out.undo.edit);
  std::vector<api::Service> was, is;
  for (const auto& key : undo.touched) {
    problems_.erase(key);
    const auto plan = plans_.extract(key);
    if (plan.empty()) continue;
    release(plan.mapped().services);
    was.insert(was.end(), plan.mapped().services.begin(), plan.mapped().services.end());
  }
  for (auto& [key, plan] : undo.plans) {
    // They had their frontends beside all that the change did not touch.
    [[maybe_unused]] const auto claimed = claim(plan.services);
    assert(claimed);
    if (!plan.problem.empty()) problems_.insert(key);
    is.insert(is.end(), plan.services.begin(), plan.services.end());
    plans_[key] = std::move(plan);
  }
  note_differences(std::move(was), std::move(is), out);
  return out;
}

}  // namespace podwire::control
