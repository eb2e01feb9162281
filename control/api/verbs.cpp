#include <array>

#include <spdlog/spdlog.h>

#include <algorithm>
#include <thread>

#include "control/api/daemon.hpp"

namespace podwire::control {
namespace {

using Handler = Result<Json> (*)(Daemon&, RpcRequest&);

Result<void> expect_no_params(const RpcRequest& request) {
  return ObjectReader(request.params, "params").finish();
}

template <Result<Json> (*View)(Daemon&)>
Result<Json> plain(Daemon& daemon, RpcRequest& request) {
  PODWIRE_CHECK(expect_no_params(request));
  return View(daemon);
}

template <Result<Json> (*View)(Daemon&, const Json&)>
Result<Json> with_params(Daemon& daemon, RpcRequest& request) {
  return View(daemon, request.params);
}

// Other nodes hear of endpoints that came or went, without anybody waiting for it.
template <class Reply>
Reply and_tell(Daemon& daemon, Reply reply) {
  if (daemon.own_endpoints != nullptr) daemon.own_endpoints->wake();
  return reply;
}

template <Result<Json> (NamedPorts::*Change)(const Json&)>
Result<Json> change(Daemon& daemon, RpcRequest& request) {
  return and_tell(daemon, (daemon.named_ports.*Change)(request.params));
}

template <Result<Json> (DomainJoins::*Change)(const Json&)>
Result<Json> join(Daemon& daemon, RpcRequest& request) {
  auto done = (daemon.joins.*Change)(request.params);
  if (!done) return done;
  // Who meets whom has changed.
  const std::lock_guard lock(daemon.domain_mutex);
  if (auto rebuilt = daemon.policies.follow_domains(daemon.config); !rebuilt)
    spdlog::warn("policies do not know yet who is joined: {}", rebuilt.error().message);
  return done;
}

template <Result<Json> (Domains::*Change)(const Json&)>
Result<Json> domain(Daemon& daemon, RpcRequest& request) {
  return (daemon.domains->*Change)(request.params);
}

template <Result<Json> (Policies::*Answer)(const Json&)>
Result<Json> policy(Daemon& daemon, RpcRequest& request) {
  return (daemon.policies.*Answer)(request.params);
}

template <Result<Json> (Services::*Answer)(const Json&)>
Result<Json> service(Daemon& daemon, RpcRequest& request) {
  return (daemon.services.*Answer)(request.params);
}

template <Result<Json> (Addresses::*Answer)(const Json&)>
Result<Json> address(Daemon& daemon, RpcRequest& request) {
  return (daemon.addresses.*Answer)(request.params);
}

Result<Json> reconcile(Daemon& daemon) {
  PODWIRE_TRY(const auto changed, daemon.reconciler.reconcile());
  if (daemon.host_services != nullptr) daemon.host_services->restore();
  if (daemon.announced != nullptr) PODWIRE_CHECK(daemon.announced->restore());
  return Json{{"generation", daemon.reconciler.state().generation}, {"changed", changed}};
}

Result<Json> cni(Daemon& daemon, RpcRequest& request) {
  PODWIRE_TRY(auto call, read_cni_request(request.params, std::move(request.fds)));
  return and_tell(daemon, to_json(daemon.cni.handle(std::move(call))));
}

struct Verb {
  const char* name;
  Handler handler;
};
constexpr std::array kVerbs{
    Verb{"status", plain<status_view>},
    Verb{"ports", with_params<ports_view>},
    Verb{"domains", with_params<domains_view>},
    Verb{"endpoints", with_params<endpoints_view>},
    Verb{"routes", with_params<routes_view>},
    Verb{"peers", with_params<peers_view>},
    Verb{"nodes", with_params<nodes_view>},
    Verb{"node_forget", with_params<node_forget>},
    Verb{"stats", with_params<stats_view>},
    Verb{"explain", with_params<explain>},
    Verb{"doctor", with_params<doctor_view>},
    Verb{"flows", with_params<flows_view>},
    Verb{"flows_flush", with_params<flows_flush>},
    Verb{"flows_sample", with_params<flows_sample>},
    Verb{"flows_top", with_params<flows_top>},
    Verb{"port_add", change<&NamedPorts::add_port>},
    Verb{"port_del", change<&NamedPorts::delete_port>},
    Verb{"endpoint_add", change<&NamedPorts::add_endpoint>},
    Verb{"endpoint_del", change<&NamedPorts::delete_endpoint>},
    Verb{"domain_join", join<&DomainJoins::join>},
    Verb{"domain_isolate", join<&DomainJoins::isolate>},
    Verb{"domain_global", join<&DomainJoins::make_global>},
    Verb{"domain_add", domain<&Domains::add>},
    Verb{"domain_del", domain<&Domains::remove>},
    Verb{"domain_assign", domain<&Domains::assign>},
    Verb{"domain_unassign", domain<&Domains::unassign>},
    Verb{"policies", policy<&Policies::list>},
    Verb{"policy_apply", policy<&Policies::apply>},
    Verb{"policy_del", policy<&Policies::remove>},
    Verb{"policy_explain", policy<&Policies::explain>},
    Verb{"services", service<&Services::list>},
    Verb{"service_apply", service<&Services::apply>},
    Verb{"service_del", service<&Services::remove>},
    Verb{"addresses", address<&Addresses::list>},
    Verb{"address_egress", address<&Addresses::set_egress>},
    Verb{"address_floating", address<&Addresses::set_floating>},
    Verb{"address_del", address<&Addresses::remove>},
    Verb{"reconcile", plain<reconcile>},
    Verb{"leave", plain<leave>},
    Verb{"cni", cni},
};

}  // namespace

std::string pod_of(const Attachment& attachment) {
  return attachment.pod_name.empty() ? "" : attachment.pod_namespace + "/" + attachment.pod_name;
}

Result<Json> answer(Daemon& daemon, RpcRequest request) {
  std::vector<std::string> names;
  for (const auto& verb : kVerbs) {
    if (request.method == verb.name) return verb.handler(daemon, request);
    names.emplace_back(verb.name);
  }
  const auto near = closest_match(request.method, names);
  std::string known;
  for (const auto& name : names) known += (known.empty() ? "" : ", ") + name;
  return Error{ErrorCode::kUnknownVerb,
               "unknown verb \"" + request.method.substr(0, 64) + "\"" +
                   (near.empty() ? "; known: " + known : "; did you mean \"" + near + "\"?")};
}

Result<Json> leave(Daemon& daemon) {
  const std::lock_guard lock(daemon.leave_mutex);
  if (daemon.leaving) return conflict("the daemon is leaving already");
  spdlog::info("leave: stopping the engine and putting the underlay back");
  if (daemon.engine_process != nullptr) daemon.engine_process->stop_watching();
  PODWIRE_CHECK(daemon.reconciler.shutdown_engine());
  // The NIC must be free before the kernel gets its addresses back.
  constexpr int kTries = 100;
  constexpr auto kPause = std::chrono::milliseconds(50);
  for (int i = 0; i < kTries && RpcClient::connect(daemon.config.engine.socket); ++i)
    std::this_thread::sleep_for(kPause);
  if (daemon.host_services != nullptr) PODWIRE_CHECK(daemon.host_services->remove());
  PODWIRE_CHECK(daemon.underlay.restore());
  daemon.leaving = true;
  daemon.request_exit();
  return Json::object();
}

}  // namespace podwire::control
