#include "control/cni/cni.hpp"

#include <spdlog/spdlog.h>

#include <chrono>

#include "control/cni/netns.hpp"
#include "control/cni/service.hpp"
#include "control/cni/version.hpp"
#include "control/state/namespace_domains.hpp"

namespace podwire::control {
namespace {

std::string dump(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

CniReply error_reply(const CniError& error, const std::string& version) {
  return {1, dump(to_json(error, is_supported(version) ? version : std::string()))};
}

// ADD and CHECK work inside the namespace; the plugin process has opened it.
CniResult<void> check_netns(const CniCall& call) {
  const auto& path = call.environment.netns;
  if (call.netns < 0) {
    return CniError(CniCode::kUnknownContainer, "CNI_NETNS is \"" + path.substr(0, 200) +
                                                    "\", which cannot be opened; is the container gone?");
  }
  if (!check_is_netns(call.netns)) {
    return CniError(CniCode::kBadEnvironment,
                    "CNI_NETNS is \"" + path.substr(0, 200) + "\", which is no network namespace");
  }
  PODWIRE_TRY(const auto theirs, identity(call.netns));
  PODWIRE_TRY(const auto ours, current_netns_identity());
  if (theirs == ours) {
    return CniError(CniCode::kBadEnvironment,
                    "CNI_NETNS is \"" + path.substr(0, 200) +
                        "\", the node's own network namespace; a pod needs one of its own");
  }
  return {};
}

CniResult<void> check_command(const CniCall& call) {
  const auto& version = call.config.version;
  const auto command = call.environment.command;
  const bool check = command == CniCommand::kCheck;
  const bool newest = command == CniCommand::kGc || command == CniCommand::kStatus;
  if (check && !has_feature(version, CniFeature::kCheck)) {
    return CniError(CniCode::kIncompatibleVersion,
                    "cniVersion " + version + " has no CHECK; it came with 0.4.0");
  }
  if (newest && !has_feature(version, CniFeature::kGcAndStatus)) {
    return CniError(CniCode::kIncompatibleVersion,
                    "cniVersion " + version + " has neither GC nor STATUS; they came with 1.1.0");
  }
  if (command == CniCommand::kAdd || check) return check_netns(call);
  return {};
}

CniResult<std::string> run_command(CniService::Impl& service, const CniCall& call) {
  switch (call.environment.command) {
    case CniCommand::kAdd: {
      PODWIRE_TRY(const auto result, service.add(call));
      return dump(result);
    }
    case CniCommand::kDel:
      PODWIRE_CHECK(service.del(call));
      return std::string();
    case CniCommand::kCheck:
      PODWIRE_CHECK(service.check(call));
      return std::string();
    case CniCommand::kGc:
      PODWIRE_CHECK(service.gc(call));
      return std::string();
    case CniCommand::kStatus:
      PODWIRE_CHECK(service.status(call));
      return std::string();
    case CniCommand::kVersion:
      break;
  }
  return dump(version_reply());
}

CniResult<std::string> parse_and_run(CniService::Impl& service, CniRequest& request, std::string& version) {
  CniCall call;
  PODWIRE_TRY(call.environment, read_environment(request.env));
  if (call.environment.command != CniCommand::kVersion) {
    PODWIRE_TRY(call.config, read_network_config(request.input, call.environment));
    version = call.config.version;
  }
  call.variables = std::move(request.env);
  call.netns = request.netns.get();
  if (call.environment.command != CniCommand::kVersion) PODWIRE_CHECK(check_command(call));
  return run_command(service, call);
}

}  // namespace

Result<CniRequest> read_cni_request(const Json& params, std::vector<UniqueFd> fds) {
  CniRequest request;
  Json env;
  ObjectReader r(params, "");
  r.required("env", env);
  r.required("stdin", request.input);
  PODWIRE_CHECK(r.finish());
  if (!env.is_object()) return invalid("env must be an object, not " + json_type_name(env));
  for (const auto& [key, value] : env.items()) {
    if (!key.starts_with("CNI_") && key != "PATH")
      return invalid("env." + key.substr(0, 64) + ": only CNI_* and PATH are taken");
    if (!value.is_string())
      return invalid("env." + key.substr(0, 64) + " must be a string, not " + json_type_name(value));
    const auto& text = value.get_ref<const std::string&>();
    // It may become another program's environment, which a NUL would cut.
    if ((key + text).find('\0') != std::string::npos)
      return invalid("env." + key.substr(0, 64) + " has a NUL byte");
    request.env[key] = text;
  }
  if (fds.size() > 1)
    return invalid(std::to_string(fds.size()) +
                   " descriptors came with \"cni\", at most one (the network namespace) is taken");
  if (!fds.empty()) request.netns = std::move(fds.front());
  return request;
}

Json to_json(const CniReply& reply) {
  return {{"exit", reply.exit}, {"stdout", reply.output}};
}

CniService::CniService(CniContext context) : impl_(std::make_unique<Impl>(context)) {}
CniService::~CniService() = default;

CniReply CniService::handle(CniRequest request) {
  const auto begin = std::chrono::steady_clock::now();
  const auto named = [&request](const char* name) {
    const auto it = request.env.find(name);
    return it == request.env.end() ? std::string("-") : it->second.substr(0, 80);
  };
  const auto what = named("CNI_COMMAND") + " " + named("CNI_CONTAINERID") + " " + named("CNI_IFNAME");
  std::string version;
  CniReply reply;
  try {
    auto output = parse_and_run(*impl_, request, version);
    reply = output ? CniReply{0, std::move(*output)} : error_reply(output.error(), version);
  } catch (const std::exception& e) {
    reply = error_reply({CniCode::kInternal, std::string("internal error: ") + e.what()}, version);
  }
  const auto took =
      std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - begin);
  const double ms = static_cast<double>(took.count()) / 1000;
  if (reply.exit == 0) {
    spdlog::info("CNI {}: done in {:.1f} ms", what, ms);
  } else {
    spdlog::warn("CNI {}: failed after {:.1f} ms: {}", what, ms, reply.output);
  }
  return reply;
}

CniResult<std::shared_ptr<const DomainConfig>> CniService::Impl::domain_of(
    const NetworkConfig& config) const {
  auto found =
      context.namespaces != nullptr
          ? context.namespaces->domain_for(config.domain, config.pod_namespace)
          : NamespaceDomains(context.config, context.store).domain_for(config.domain, config.pod_namespace);
  if (found) return *found;
  return CniError(CniCode::kInvalidConfig, found.error().message);
}

IpamCall ipam_call(const CniCall& call) {
  return {call.config.ipam_type, call.config.version, call.config.document, call.variables, nullptr};
}

std::string remember(const CniCall& call) {
  // prevResult may be large and no DEL needs it.
  Json config = call.config.document;
  config.erase("prevResult");
  Json variables = Json::object();
  for (const auto& [key, value] : call.variables) variables[key] = value;
  return dump({{"config", config}, {"variables", variables}});
}

CniResult<IpamCall> remembered_ipam_call(const Attachment& attachment) {
  IpamCall call;
  call.type = attachment.ipam_type;
  PODWIRE_TRY(const Json json,
              parse_json(attachment.config_json, "recorded configuration of " + attachment.key.container_id));
  Json variables;
  ObjectReader r(json, "recorded configuration of " + attachment.key.container_id);
  r.required("config", call.config);
  r.required("variables", variables);
  PODWIRE_CHECK(r.finish());
  for (const auto& [key, value] : variables.items()) {
    if (value.is_string()) call.variables[key] = value.get<std::string>();
  }
  if (call.config.is_object() && call.config.contains("cniVersion")) {
    PODWIRE_CHECK(read_value(call.config["cniVersion"], "cniVersion", call.version));
  }
  return call;
}

}  // namespace podwire::control
