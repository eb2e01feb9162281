// EngineReconciler: the full replace, where the tap descriptors for it come from, and the comparison with the
// engine.
#include <linux/if_tun.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <algorithm>
#include <thread>

#include "control/state/differences.hpp"
#include "control/state/engine_reconciler.hpp"

namespace podwire::control {
namespace {

// Ids of what other nodes have (control/cluster/remote_*.cpp), and of the kernel's routes and neighbours
// (control/routing/mirrored_ids.hpp), begin here.
constexpr std::uint32_t kFirstOfOthers = 0x20000000;

template <class Object>
bool is_of_others(const Object& object) {
  return object.id.value() >= kFirstOfOthers;
}

// A killed engine or daemon lets go of its descriptors within this time.
constexpr auto kReopenPatience = std::chrono::milliseconds(1000);
constexpr auto kReopenPause = std::chrono::milliseconds(20);

std::string who(const Attachment& a) {
  if (a.key.is_named_port()) return "port " + a.key.container_id;
  return "interface " + a.key.ifname + " of container " + a.key.container_id;
}

// What to do about an attachment that cannot be brought back.
std::string renewal(const Attachment& a) {
  if (!a.key.is_named_port()) return "; delete the pod (CNI DEL) and create it anew";
  return "; put that right and type: podwirectl reconcile; or: podwirectl port del " + a.key.container_id;
}

bool is_same_port(const api::Port& known, const Attachment& attachment) {
  return known.kind == attachment.kind && known.name == port_name(attachment) && known.mac == attachment.mac;
}

// Calls `open` until it succeeds, fails for good, or `deadline` passes.
template <class Open>
Result<std::vector<UniqueFd>> open_patiently(const Open& open,
                                             std::chrono::steady_clock::time_point deadline) {
  for (;;) {
    Result<std::vector<UniqueFd>> fds = open();
    if (fds || fds.error().code != ErrorCode::kConflict || std::chrono::steady_clock::now() >= deadline)
      return fds;
    std::this_thread::sleep_for(kReopenPause);
  }
}

bool any_gone(const std::vector<UniqueFd>& queues) {
  return std::any_of(queues.begin(), queues.end(), [](const UniqueFd& fd) { return tap_is_gone(fd.get()); });
}

}  // namespace

// held_ and host_queues_ are read and changed here without the mutex where no call can block under it: this
// thread is their only writer, and other threads read under the mutex, which is taken for every change.
void EngineReconciler::gather_pod_queues(EngineSession& session, Held& held,
                                         const std::map<PortId, api::Port>& known,
                                         std::chrono::steady_clock::time_point deadline) {
  const auto& a = held.attachment;
  std::vector<UniqueFd> fresh;
  std::string problem;
  if (!node_.domains.contains(a.domain)) {
    problem = who(a) + " is in domain \"" + a.domain +
              "\", which is not in podwired.json; put the domain back or delete " +
              (a.key.is_named_port() ? "the port" : "the pod");
  } else if (held.queues.empty() && a.kind == api::PortKind::kTap) {
    const auto at = known.find(a.port);
    const bool engine_has_it = at != known.end() && is_same_port(at->second, a);
    Result<std::vector<UniqueFd>> fds = engine_has_it
                                            ? session.port_descriptors(a.port)
                                            : open_patiently([&] { return options_.open_pod(a); }, deadline);
    if (fds) {
      fresh = std::move(*fds);
    } else {
      problem = who(a) + " could not be opened again: " + fds.error().message + renewal(a);
    }
  }
  const auto& queues = fresh.empty() ? held.queues : fresh;
  if (problem.empty() && any_gone(queues)) {
    problem = who(a) + " is gone: its namespace was deleted or the interface removed; call CNI DEL for it";
  }
  if (!problem.empty() && problem != held.problem) spdlog::warn("{}", problem);
  const std::lock_guard lock(mutex_);
  if (!fresh.empty()) held.queues = std::move(fresh);
  held.problem = std::move(problem);
  held.refused = false;
}

Result<void> EngineReconciler::gather_queues(EngineSession& session, const std::map<PortId, api::Port>& known,
                                             Refusal refusal) {
  const auto deadline = std::chrono::steady_clock::now() + kReopenPatience;
  for (auto& [port, held] : held_) {
    if (held.refused && refusal == Refusal::kIsTheCallers) continue;  // it would be the caller's
    gather_pod_queues(session, held, known, deadline);
    if (!session.ok()) return unavailable("the connection to the engine broke");
  }
  if (!node_.host) return {};
  std::vector<UniqueFd> fresh;
  std::string problem;
  if (host_queues_.empty() || any_gone(host_queues_)) {
    const auto at = known.find(node_.host);
    const bool engine_has_it =
        host_queues_.empty() && at != known.end() && at->second.role == api::PortRole::kHost;
    Result<std::vector<UniqueFd>> fds =
        engine_has_it ? session.port_descriptors(node_.host) : open_patiently(options_.open_host, deadline);
    if (!session.ok()) return unavailable("the connection to the engine broke");
    if (fds && !any_gone(*fds)) {
      fresh = std::move(*fds);
    } else {
      problem = "the host interface could not be opened again" +
                (fds ? std::string() : ": " + fds.error().message) + "; restart podwired";
    }
  }
  if (!problem.empty() && problem != host_problem_) spdlog::warn("{}", problem);
  const std::lock_guard lock(mutex_);
  if (!fresh.empty()) host_queues_ = std::move(fresh);
  host_problem_ = std::move(problem);
  return {};
}

// `queues` gets the descriptors of those ports that the engine does not have yet (not in `known`).
api::ObjectSet EngineReconciler::desired_objects(const std::map<PortId, api::Port>& known,
                                                 PortQueues& queues) const {
  api::ObjectSet set = node_.objects;
  remote_.add_to(set);
  const auto send = [&](PortId port, const std::vector<UniqueFd>& fds) {
    for (const auto& fd : fds) queues[port].push_back(fd.get());
  };
  if (!host_problem_.empty()) {
    std::erase_if(set.ports, [&](const api::Port& p) { return p.id == node_.host; });
    for (auto& domain : set.domains) domain.host_access = false;
    std::erase_if(set.routes, [&](const api::Route& r) {
      return std::any_of(r.next_hops.begin(), r.next_hops.end(),
                         [&](const api::NextHop& h) { return h.port == node_.host; });
    });
  } else if (node_.host) {
    const auto at = known.find(node_.host);
    if (at == known.end() || at->second.role != api::PortRole::kHost) send(node_.host, host_queues_);
  }
  for (const auto& [id, policy] : policies_->policies) set.policies.push_back(*policy);
  for (const auto& [id, service] : services_) set.services.push_back(service);
  const auto mirrored = mirrored_routes();
  set.routes.insert(set.routes.end(), mirrored.begin(), mirrored.end());
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [id, neighbor] : neighbors_) set.endpoints.push_back(neighbor);
  }
  for (const auto& [id, held] : held_) {
    if (!held.problem.empty()) continue;
    const auto domain = node_.domains.at(held.attachment.domain);
    set.ports.push_back(port_of(held.attachment, domain, node_.flow_limit(domain)));
    const auto endpoints = completed_endpoints(held.attachment, domain, *policies_);
    set.endpoints.insert(set.endpoints.end(), endpoints.begin(), endpoints.end());
    const auto services = services_of(held.attachment, node_);
    set.services.insert(set.services.end(), services.begin(), services.end());
    const auto at = known.find(id);
    if (at == known.end() || !is_same_port(at->second, held.attachment)) send(id, held.queues);
  }
  return set;
}

Result<void> EngineReconciler::program(EngineSession& session, Refusal refusal) {
  {
    const std::lock_guard lock(mutex_);
    if (next_node_) {
      node_ = std::move(next_node_->objects);
      if (!next_node_->host_queues.empty()) host_queues_ = std::move(next_node_->host_queues);
      next_node_.reset();
    }
  }
  PODWIRE_TRY(const auto ports, dump_objects<api::Port>(session.client(), "ports"));
  std::map<PortId, api::Port> known;
  for (const auto& port : ports) known[port.id] = port;
  PODWIRE_CHECK(gather_queues(session, known, refusal));
  PortQueues queues;
  const auto set = desired_objects(known, queues);
  auto replaced = session.replace(set, queues);
  if (!replaced && session.ok() && !services_.empty()) {
    // A service is what may have become wrong without anybody looking; the pods must not pay for it.
    spdlog::warn("engine refused the full replace: {}; programming the cluster's services one by one",
                 replaced.error().message);
    auto fewer = set;
    std::erase_if(fewer.services,
                  [this](const api::Service& service) { return services_.contains(service.id); });
    replaced = session.replace(fewer, queues);
    if (replaced) {
      set_generation(*replaced);
      return program_services(session);
    }
  }
  if (!replaced && session.ok() && refusal == Refusal::kIsLeftOut) {
    spdlog::warn("engine refused the full replace: {}; programming attachments one by one",
                 replaced.error().message);
    PortQueues all;
    const auto everything = desired_objects({}, all);  // fills `all`: not as an argument beside it
    return program_one_by_one(session, everything, all);
  }
  if (!replaced) return replaced.error();
  set_generation(*replaced);
  return {};
}

// An attachment that the engine refuses must not keep the others, or the node, from working.
Result<void> EngineReconciler::program_one_by_one(EngineSession& session, const api::ObjectSet& all,
                                                  PortQueues queues) {
  api::ObjectSet node = all;
  const auto is_pod = [](const auto& port) { return port.role == api::PortRole::kPod; };
  std::erase_if(node.ports, is_pod);
  node.endpoints.clear();
  node.services.clear();
  std::erase_if(node.vteps, is_of_others<api::Vtep>);
  std::erase_if(node.routes, is_of_others<api::Route>);
  for (auto& domain : node.domains)
    std::erase_if(domain.flood, [](VtepId id) { return id.value() >= kFirstOfOthers; });
  auto replaced = session.replace(node, queues);
  if (!replaced)
    return Error{replaced.error().code, "the engine refused the node's objects: " + replaced.error().message};
  set_generation(*replaced);
  for (auto& [id, held] : held_) {
    if (!held.problem.empty()) continue;
    api::ObjectSet put;
    const auto domain = node_.domains.at(held.attachment.domain);
    put.ports.push_back(port_of(held.attachment, domain, node_.flow_limit(domain)));
    put.endpoints = completed_endpoints(held.attachment, domain, *policies_);
    put.services = services_of(held.attachment, node_);
    auto patched = session.patch(put, {}, {{id, queues[id]}});
    if (!session.ok()) return unavailable("the connection to the engine broke");
    if (patched) {
      set_generation(*patched);
      continue;
    }
    const std::lock_guard lock(mutex_);
    held.refused = true;
    held.problem = "the engine refused " + who(held.attachment) + ": " + patched.error().message +
                   renewal(held.attachment);
    spdlog::warn("{}", held.problem);
  }
  PODWIRE_CHECK(program_others(session, all));
  return program_services(session);
}

// What other nodes and the kernel's routes say, each for itself: what the engine refuses is left out.
Result<void> EngineReconciler::program_others(EngineSession& session, const api::ObjectSet& all) {
  const auto patch = [&](api::ObjectSet put, const std::string& what) -> Result<void> {
    auto patched = session.patch(put, {}, {});
    if (!session.ok()) return unavailable("the connection to the engine broke");
    if (patched)
      set_generation(*patched);
    else
      spdlog::warn("the engine refused {}: {}", what, patched.error().message);
    return {};
  };
  for (const auto& vtep : all.vteps) {
    if (!is_of_others(vtep)) continue;
    api::ObjectSet put;
    put.vteps.push_back(vtep);
    PODWIRE_CHECK(patch(std::move(put), "node " + vtep.name));
  }
  for (const auto& domain : all.domains) {
    if (std::none_of(domain.flood.begin(), domain.flood.end(),
                     [](VtepId id) { return id.value() >= kFirstOfOthers; }))
      continue;
    api::ObjectSet put;
    put.domains.push_back(domain);
    PODWIRE_CHECK(patch(std::move(put), "flooding of domain " + domain.name));
  }
  std::vector<api::Route> routes;
  std::copy_if(all.routes.begin(), all.routes.end(), std::back_inserter(routes), is_of_others<api::Route>);
  for (const auto& endpoint : all.endpoints) {
    if (!is_of_others(endpoint)) continue;
    api::ObjectSet put;
    put.endpoints.push_back(endpoint);
    PODWIRE_CHECK(patch(std::move(put), "endpoint " + endpoint.name));
  }
  constexpr std::size_t kAtOnce = 1000;  // that surely fit a message
  for (std::size_t begin = 0; begin < routes.size(); begin += kAtOnce) {
    const auto end = std::min(routes.size(), begin + kAtOnce);
    PODWIRE_CHECK(put_routes(session, {routes.begin() + static_cast<std::ptrdiff_t>(begin),
                                       routes.begin() + static_cast<std::ptrdiff_t>(end)}));
  }
  return {};
}

Result<void> EngineReconciler::program_services(EngineSession& session) {
  for (const auto& [id, service] : services_) {
    api::ObjectSet put;
    put.services.push_back(service);
    auto patched = session.patch(put, {}, {});
    if (!session.ok()) return unavailable("the connection to the engine broke");
    if (patched) {
      set_generation(*patched);
    } else {
      spdlog::warn("the engine refused service {}: {}", service.name, patched.error().message);
    }
  }
  return {};
}

Result<std::vector<std::string>> EngineReconciler::engine_differences(EngineSession& session) {
  api::ObjectSet actual;
  PODWIRE_TRY(actual.ports, dump_objects<api::Port>(session.client(), "ports"));
  PODWIRE_TRY(actual.vteps, dump_objects<api::Vtep>(session.client(), "vteps"));
  PODWIRE_TRY(actual.domains, dump_objects<api::Domain>(session.client(), "domains"));
  PODWIRE_TRY(actual.endpoints, dump_objects<api::Endpoint>(session.client(), "endpoints"));
  PODWIRE_TRY(actual.routes, dump_objects<api::Route>(session.client(), "routes"));
  PODWIRE_TRY(actual.policies, dump_objects<api::Policy>(session.client(), "policies"));
  PODWIRE_TRY(actual.services, dump_objects<api::Service>(session.client(), "services"));
  PortQueues unused;
  return compare_objects(desired_objects({}, unused), actual);
}

Result<std::vector<std::string>> EngineReconciler::differences() {
  std::vector<std::string> out;
  if (state().connected) {
    Change change;
    change.call = [this, &out](EngineSession& session) -> Result<void> {
      PODWIRE_TRY(out, engine_differences(session));
      return {};
    };
    if (auto asked = submit(std::move(change)); !asked) {
      if (asked.error().code != ErrorCode::kUnavailable) return asked.error();
      out.push_back(asked.error().message);  // it has just gone
    }
  } else {
    const auto reason = state().last_error;
    out.push_back("the engine is not connected" + (reason.empty() ? "" : ": " + reason) +
                  "; check that podwire-engine runs (systemctl status podwire-engine)");
  }
  std::vector<Attachment> present;
  {
    const std::lock_guard lock(mutex_);
    if (!host_problem_.empty()) out.push_back(host_problem_);
    out.insert(out.end(), node_.join_problems.begin(), node_.join_problems.end());
    for (const auto& [port, held] : held_) {
      if (!held.problem.empty()) {
        if (state_.connected) out.push_back(held.problem);
      } else if (any_gone(held.queues)) {
        out.push_back(who(held.attachment) +
                      " is gone: its namespace was deleted or the interface removed; call CNI DEL for it");
      } else {
        std::string unpublished;
        services_of(held.attachment, node_, &unpublished);
        if (!unpublished.empty()) out.push_back(unpublished);
        if (options_.missing_pod) present.push_back(held.attachment);
      }
    }
  }
  const auto missing = missing_pods(present);
  out.insert(out.end(), missing.begin(), missing.end());
  return out;
}

// Looks at the file system, so the mutex must not be held.
std::vector<std::string> EngineReconciler::missing_pods(const std::vector<Attachment>& present) const {
  std::vector<std::string> out;
  for (const auto& attachment : present) {
    if (const auto reason = options_.missing_pod(attachment); !reason.empty())
      out.push_back("the pod of " + who(attachment) + " is gone (" + reason + "); call CNI DEL for it");
  }
  return out;
}

Result<void> EngineReconciler::verify(const Attachment& attachment) {
  const auto name = port_name(attachment);
  std::string problem;
  {
    const std::lock_guard lock(mutex_);
    const auto held = held_.find(attachment.port);
    if (held == held_.end()) return not_found(who(attachment) + " has no port in the engine's desired state");
    problem = held->second.problem;
    if (problem.empty() && any_gone(held->second.queues)) problem = who(attachment) + " is gone";
  }
  if (!problem.empty()) return not_found(problem);
  Json params{{"noun", "ports"}, {"limit", 1}};
  if (attachment.port.value() > 1) params["after_id"] = attachment.port.value() - 1;
  PODWIRE_TRY(const Json page, query("dump", params));
  std::vector<api::Port> ports;
  ObjectReader r(page, "the engine's dump of ports");
  r.required("objects", ports);
  r.ignore_unknown();
  PODWIRE_CHECK(r.finish());
  if (ports.empty() || ports.front().id != attachment.port || !is_same_port(ports.front(), attachment)) {
    return not_found("the engine has no port " + name + " for " + who(attachment) +
                     "; type: podwirectl reconcile");
  }
  return {};
}

Result<Json> query_all_ports(Reconciler& reconciler, const std::string& verb, Json params) {
  PODWIRE_TRY(Json whole, reconciler.query(verb, params));
  if (!whole.is_object()) return unavailable("the engine's answer to \"" + verb + "\" is malformed");
  for (std::int64_t after = 0; whole.contains("next_after_id");) {
    std::int64_t next = 0;
    PODWIRE_CHECK(read_value(whole["next_after_id"], "next_after_id", next));
    whole.erase("next_after_id");
    if (next <= after) return unavailable("the engine's answer to \"" + verb + "\" does not advance");
    params["after_id"] = after = next;
    PODWIRE_TRY(Json more, reconciler.query(verb, params));
    if (!more.is_object() || !more.contains("ports") || !more["ports"].is_array())
      return unavailable("the engine's answer to \"" + verb + "\" is malformed");
    for (auto& port : more["ports"]) whole["ports"].push_back(std::move(port));
    if (more.contains("next_after_id")) whole["next_after_id"] = more["next_after_id"];
  }
  return whole;
}

}  // namespace podwire::control
