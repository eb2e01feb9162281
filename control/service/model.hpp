// The cluster's services in memory, and what they are to this node's engine (control/service/plan.hpp), kept
// up with changes: a change plans the services that it touches, and no others. Who asks for a frontend first
// has it; who asks for it later cannot be until it is free. Not thread-safe; its owner is
// control/api/services.
#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "control/service/plan.hpp"

namespace podwire::control {

// Objects in place of those of the same key; none: away with it.
struct ServiceEdit {
  std::map<ObjectKey, std::optional<ClusterService>> services;
  std::map<ObjectKey, std::optional<ClusterSlice>> slices;
};

// What a service is to the engine.
struct PlannedService {
  std::vector<api::Service> services;  // without ids
  std::string problem;                 // why it cannot be; empty: it can
};

// What was before a change, of all that it touched.
struct ServiceUndo {
  ServiceEdit edit;
  std::set<ObjectKey> touched;
  std::map<ObjectKey, PlannedService> plans;
};

struct ServiceOutcome {
  ServiceUndo undo;
  std::vector<api::Service> put;  // new ones and changed ones of the engine's, without ids
  std::vector<std::string> gone;  // names of those that are no more
  // Services that cannot be, and why: of those in the edit, and of those that could be before it.
  std::vector<std::pair<ObjectKey, std::string>> spoilt;
};

class ServiceModel {
 public:
  // `config` must outlive it.
  explicit ServiceModel(const Config& config) : config_(config) {}

  // What is planned for, but for its `objects`. The next change plans all anew.
  void set_node(NodeObjects node);
  ServiceOutcome change(ServiceEdit edit);
  // Takes the last change back, exactly: who has a frontend is not decided anew. `spoilt` stays empty.
  ServiceOutcome undo(ServiceUndo undo);

  const std::map<ObjectKey, ClusterService>& services() const { return services_; }
  // All of the engine's, without ids.
  std::vector<api::Service> planned_services() const;
  // Of a service, which need not be there.
  std::vector<const ClusterSlice*> slices_of(const ObjectKey& service) const;
  std::string problem_of(const ObjectKey& service) const;  // empty: it is programmed

 private:
  // A frontend without what does not make it another.
  using Claim = std::tuple<DomainId, std::optional<IpAddr>, api::ServiceProtocol, std::uint16_t, bool>;
  static Claim claim_of(const api::ServiceFrontend& frontend);
  std::set<ObjectKey> touched_by(const ServiceEdit& edit) const;
  void take_in(ServiceEdit edit, ServiceEdit& undo);
  void file(const ClusterSlice& slice, bool in);
  PlannedService planned(const ClusterService& service);
  Result<void> claim(const std::vector<api::Service>& services);
  void release(const std::vector<api::Service>& services);

  const Config& config_;
  std::map<ObjectKey, ClusterService> services_;
  std::map<ObjectKey, ClusterSlice> slices_;
  std::map<ObjectKey, std::set<ObjectKey>> slices_by_service_;
  std::map<ObjectKey, PlannedService> plans_;
  std::set<ObjectKey> problems_;         // whose plan has one
  std::map<Claim, std::string> owners_;  // names of the engine's services
  NodeObjects node_;
  bool node_is_new_ = true;
};

}  // namespace podwire::control
