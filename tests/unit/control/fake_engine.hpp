// The engine's socket without the engine: holds objects and descriptors as the real one does, refuses what it
// is told to refuse, and can die and come back. Serves on a thread of its own.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "dataplane/api/objects.hpp"
#include "dataplane/base/rpc_server.hpp"

namespace podwire::control {

class FakeEngine {
 public:
  explicit FakeEngine(std::string socket) : socket_(std::move(socket)) {}
  ~FakeEngine() { stop(); }

  void start() {
    const std::lock_guard lock(mutex_);
    ports_.clear();
    queues_.clear();
    endpoints_.clear();
    policies_.clear();
    services_.clear();
    rest_ = {};
    instance_ = std::to_string(++starts_);
    RpcServerOptions options;
    options.path = socket_;
    auto server = RpcServer::listen(
        options, [this](RpcRequest request, Responder responder) { serve(std::move(request), responder); });
    ASSERT_TRUE(server) << server.error().message;
    running_ = true;
    thread_ = std::thread([this, server = std::move(*server)] {
      while (running_) server->poll(5);
    });
  }
  // As a killed process does: connections closed, descriptors gone.
  void stop() {
    running_ = false;
    if (thread_.joinable()) thread_.join();
    const std::lock_guard lock(mutex_);
    queues_.clear();
  }

  std::set<unsigned> ports() const {
    const std::lock_guard lock(mutex_);
    std::set<unsigned> ids;
    for (const auto& [id, port] : ports_) ids.insert(id.value());
    return ids;
  }
  std::map<PolicyId, api::Policy> policies() const {
    const std::lock_guard lock(mutex_);
    return policies_;
  }
  std::map<EndpointId, api::Endpoint> endpoint_objects() const {
    const std::lock_guard lock(mutex_);
    return endpoints_;
  }
  std::set<std::string> routes() const {  // prefixes
    const std::lock_guard lock(mutex_);
    std::set<std::string> prefixes;
    for (const auto& route : rest_.routes) prefixes.insert(to_string(route.prefix));
    return prefixes;
  }
  std::size_t endpoints() const {
    const std::lock_guard lock(mutex_);
    return endpoints_.size();
  }
  // Descriptors that the engine was sent for a port over its life.
  std::size_t queues_of(unsigned port) const {
    const std::lock_guard lock(mutex_);
    const auto at = queues_.find(PortId(static_cast<std::uint16_t>(port)));
    return at == queues_.end() ? 0 : at->second.size();
  }
  // "DOMAIN PREFIX into DOMAIN" of those whose next hop is a domain, by ids.
  std::set<std::string> joins() const {
    const std::lock_guard lock(mutex_);
    std::set<std::string> texts;
    for (const auto& route : rest_.routes) {
      if (route.next_hops.empty() || !route.next_hops[0].into) continue;
      texts.insert(std::to_string(route.domain.value()) + " " + to_string(route.prefix) + " into " +
                   std::to_string(route.next_hops[0].into.value()));
    }
    return texts;
  }
  // What is neither a port, an endpoint, a policy nor a service.
  api::ObjectSet rest() const {
    const std::lock_guard lock(mutex_);
    return rest_;
  }
  std::set<std::string> services() const {
    const std::lock_guard lock(mutex_);
    std::set<std::string> names;
    for (const auto& [id, service] : services_) names.insert(service.name);
    return names;
  }
  void drop_port(unsigned port) {
    const std::lock_guard lock(mutex_);
    ports_.erase(PortId(static_cast<std::uint16_t>(port)));
  }
  void refuse(unsigned port) {
    const std::lock_guard lock(mutex_);
    refused_.insert(PortId(static_cast<std::uint16_t>(port)));
  }

  std::atomic<int> patches{0}, replaces{0}, chunks{0}, patch_delay_ms{0};
  std::atomic<bool> refuse_all{false};
  // Answers `flows` and `flows_flush`; set before start().
  std::function<Result<Json>(const std::string& method, const Json& params)> flows;
  std::string refused_service;  // by name; set while nothing is under way
  std::string refused_route;    // by prefix, likewise
  std::string refused_vtep;     // by name, likewise
  std::string refused_mac;      // of an endpoint, likewise

 private:
  struct Staged {
    api::ObjectSet objects;
    std::map<PortId, std::vector<UniqueFd>> queues;
  };

  void serve(RpcRequest request, const Responder& responder) {
    const std::lock_guard lock(mutex_);
    if (request.method == "port_descriptors") {
      reply_descriptors(request, responder);
    } else {
      responder.answer(answer(request));
    }
  }

  Result<Json> answer(RpcRequest& request) {
    const auto& p = request.params;
    if (request.method == "hello")
      return Json{{"version", "0"}, {"pid", 1}, {"instance", instance_}, {"generation", generation_}};
    if (request.method == "status" || request.method == "stats") return ports_page(p);
    if (request.method == "shutdown") return Json::object();
    if (flows && request.method.starts_with("flows")) return flows(request.method, p);
    if (request.method == "replace_begin") {
      staged_ = {};
      return Json::object();
    }
    if (request.method == "replace_chunk") {
      ++chunks;
      PODWIRE_CHECK(stage(p.at("put"), std::move(request.fds), staged_));
      return Json::object();
    }
    if (request.method == "replace_commit") {
      ++replaces;
      if (refuse_all) return invalid("the fake engine refuses everything");
      return commit(std::move(staged_), {}, true);
    }
    if (request.method == "patch") {
      ++patches;
      std::this_thread::sleep_for(std::chrono::milliseconds(patch_delay_ms));
      Staged staged;
      PODWIRE_CHECK(stage(p.at("put"), std::move(request.fds), staged));
      api::IdSet removed;
      PODWIRE_CHECK(api::read_value(p.at("delete"), "delete", removed));
      return commit(std::move(staged), removed, false);
    }
    if (request.method == "dump") return dump(p);
    return Error{ErrorCode::kUnknownVerb, request.method};
  }

  static Result<void> stage(const Json& put, std::vector<UniqueFd> fds, Staged& staged) {
    api::ObjectSet set;
    PODWIRE_CHECK(api::read_value(put, "put", set));
    std::size_t used = 0;
    for (auto& port : set.ports) {
      for (int i = 0; i < port.descriptors; ++i) {
        if (used == fds.size()) return invalid("too few descriptors");
        staged.queues[port.id].push_back(std::move(fds[used++]));
      }
      port.descriptors = 0;
      staged.objects.ports.push_back(port);
    }
    if (used != fds.size()) return invalid("too many descriptors");
    const auto append = [](auto& to, const auto& from) { to.insert(to.end(), from.begin(), from.end()); };
    append(staged.objects.vteps, set.vteps);
    append(staged.objects.domains, set.domains);
    append(staged.objects.endpoints, set.endpoints);
    append(staged.objects.routes, set.routes);
    append(staged.objects.policies, set.policies);
    append(staged.objects.services, set.services);
    return {};
  }

  // As the engine does: after the change no two services have a frontend.
  Result<void> check_frontends(const std::vector<api::Service>& put,
                               const std::vector<ServiceId>& removed) const {
    auto after = services_;
    for (const auto id : removed) after.erase(id);
    for (const auto& service : put) after[service.id] = service;
    std::set<std::string> claimed;
    for (const auto& [id, service] : after) {
      for (const auto& frontend : service.frontends) {
        if (!claimed.insert(api::to_json(frontend).dump()).second)
          return invalid("service " + service.name + ": a frontend is another's already");
      }
    }
    return {};
  }

  Result<Json> commit(Staged staged, const api::IdSet& removed, bool all) {
    for (const auto& port : staged.objects.ports) {
      if (refused_.contains(port.id)) return invalid("port " + port.name + " is refused");
      const bool known = ports_.contains(port.id) && queues_.contains(port.id);
      if (port.kind == api::PortKind::kTap && !known && !staged.queues.contains(port.id))
        return invalid("unknown tap " + port.name);
    }
    for (const auto& vtep : staged.objects.vteps) {
      if (vtep.name == refused_vtep) return invalid("vtep " + vtep.name + " is refused");
    }
    for (const auto& endpoint : staged.objects.endpoints) {
      if (to_string(endpoint.mac) == refused_mac) return invalid("endpoint " + refused_mac + " is refused");
    }
    for (const auto& service : staged.objects.services) {
      if (service.name == refused_service) return invalid("service " + service.name + " is refused");
    }
    if (!all) PODWIRE_CHECK(check_frontends(staged.objects.services, removed.services));
    for (const auto& route : staged.objects.routes) {
      if (to_string(route.prefix) == refused_route) return invalid("route " + refused_route + " is refused");
    }
    for (const auto id : removed.ports) {
      if (ports_.erase(id) == 0) return Error{ErrorCode::kNotFound, "no port " + std::to_string(id.value())};
      queues_.erase(id);
    }
    for (const auto id : removed.endpoints) endpoints_.erase(id);
    for (const auto id : removed.policies) policies_.erase(id);
    for (const auto id : removed.services) services_.erase(id);
    if (!all) {
      change_rest(rest_.vteps, staged.objects.vteps, removed.vteps);
      change_rest(rest_.domains, staged.objects.domains, removed.domains);
      change_rest(rest_.routes, staged.objects.routes, removed.routes);
    }
    if (all) {
      auto kept = std::move(queues_);
      queues_.clear();
      for (const auto& port : staged.objects.ports) {
        if (kept.contains(port.id)) queues_[port.id] = std::move(kept[port.id]);
      }
      ports_.clear();
      endpoints_.clear();
      policies_.clear();
      services_.clear();
      rest_ = staged.objects;
    }
    for (const auto& policy : staged.objects.policies) policies_[policy.id] = policy;
    for (const auto& endpoint : staged.objects.endpoints) {
      if (endpoint.policy && !policies_.contains(endpoint.policy)) return invalid("unknown policy");
    }
    for (auto& [id, fds] : staged.queues) queues_[id] = std::move(fds);
    for (const auto& port : staged.objects.ports) ports_[port.id] = port;
    for (const auto& endpoint : staged.objects.endpoints) endpoints_[endpoint.id] = endpoint;
    for (const auto& service : staged.objects.services) services_[service.id] = service;
    return Json{{"generation", ++generation_}};
  }

  template <class Object, class Id>
  static void change_rest(std::vector<Object>& kept, const std::vector<Object>& put,
                          const std::vector<Id>& removed) {
    std::set<Id> replaced(removed.begin(), removed.end());
    for (const auto& object : put) replaced.insert(object.id);
    std::erase_if(kept, [&](const Object& object) { return replaced.contains(object.id); });
    kept.insert(kept.end(), put.begin(), put.end());
  }

  template <class Objects>
  static Json page(const Objects& objects, const Json& params) {
    const auto after = params.value("after_id", std::uint32_t{0});
    // Small, so that paging is always at work.
    const auto limit = params.value("limit", std::max<std::size_t>(2, objects.size() / 8));
    Json out = Json::array();
    Json next;
    for (const auto& [id, object] : objects) {
      if (id <= after) continue;
      if (out.size() == limit) {
        next = out.back()["id"];
        break;
      }
      out.push_back(to_json(object));
    }
    return {{"objects", out}, {"next_after_id", next}};
  }

  // As the engine pages what would exceed a line.
  Json ports_page(const Json& p) {
    Json reply{{"ports", Json::array()}, {"pid", 1}};
    const auto after = p.value("after_id", std::uint32_t{0});
    for (const auto& [id, port] : ports_) {
      if (id.value() <= after) continue;
      if (reply["ports"].size() == 999) {
        reply["next_after_id"] = reply["ports"].back()["id"];
        break;
      }
      reply["ports"].push_back(to_json(port));
      reply["ports"].back()["link"] = "up";
    }
    return reply;
  }

  Result<Json> dump(const Json& p) {
    const auto by_id = [](const auto& objects) {
      std::map<std::uint32_t, typename std::decay_t<decltype(objects)>::value_type> sorted;
      for (const auto& object : objects) sorted.emplace(object.id.value(), object);
      return sorted;
    };
    const auto values = [](const auto& objects) {
      std::map<std::uint32_t, typename std::decay_t<decltype(objects)>::mapped_type> sorted;
      for (const auto& [id, object] : objects) sorted.emplace(id.value(), object);
      return sorted;
    };
    const auto noun = p.at("noun").get<std::string>();
    if (noun == "ports") return page(values(ports_), p);
    if (noun == "endpoints") return page(values(endpoints_), p);
    if (noun == "policies") return page(values(policies_), p);
    if (noun == "services") return page(values(services_), p);
    if (noun == "vteps") return page(by_id(rest_.vteps), p);
    if (noun == "domains") return page(by_id(rest_.domains), p);
    return page(by_id(rest_.routes), p);
  }

  void reply_descriptors(const RpcRequest& request, const Responder& responder) {
    const auto at = queues_.find(PortId(request.params.at("id").get<std::uint16_t>()));
    if (at == queues_.end()) {
      responder.fail({ErrorCode::kNotFound, "no such port"});
      return;
    }
    std::vector<UniqueFd> dups;
    for (const auto& fd : at->second) dups.emplace_back(::dup(fd.get()));
    const auto count = dups.size();
    responder.reply(Json{{"count", count}}, std::move(dups));
  }

  const std::string socket_;
  mutable std::mutex mutex_;
  std::atomic<bool> running_{false};
  std::thread thread_;
  int starts_ = 0;
  std::string instance_;
  std::uint64_t generation_ = 0;
  std::map<PortId, api::Port> ports_;
  std::map<PortId, std::vector<UniqueFd>> queues_;
  std::map<EndpointId, api::Endpoint> endpoints_;
  std::map<PolicyId, api::Policy> policies_;
  std::map<ServiceId, api::Service> services_;
  api::ObjectSet rest_;
  std::set<PortId> refused_;
  Staged staged_;
};

}  // namespace podwire::control
