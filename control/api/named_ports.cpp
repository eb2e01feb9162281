#include "control/api/named_ports.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <cctype>
#include <filesystem>

#include "control/api/name_param.hpp"
#include "control/api/texts.hpp"
#include "control/cni/pod_socket.hpp"
#include "control/policy/labels.hpp"
#include "control/state/desired.hpp"

namespace podwire::control {
namespace {

// Containers' ports have dots in their names and addresses colons, so nothing is ambiguous.
Result<void> check_name(const std::string& what, const std::string& name) {
  const auto allowed = [](unsigned char c) { return std::isalnum(c) != 0 || c == '_' || c == '-'; };
  const bool good = !name.empty() && name.size() <= 63 && std::all_of(name.begin(), name.end(), allowed) &&
                    std::isalnum(static_cast<unsigned char>(name.front())) != 0 && name.back() != '-';
  if (!good) {
    return invalid(what + " is \"" + name.substr(0, 80) +
                   "\", must be 1 to 63 letters, digits, _ and -, with a letter or digit in front");
  }
  if (name != "uplink" && name != "host") return {};
  return invalid(what + " is \"" + name + "\", which is the node's own port; choose another");
}

void read_options(ObjectReader& r, EndpointOptions& options, std::optional<bool>& dhcp) {
  r.optional("dhcp", dhcp);
  r.optional("hostname", options.hostname);
  r.optional("allowed_pairs", options.allowed_pairs);
}

const std::vector<std::string> kKinds{"memif", "vhost"};

// What policies know the port as; none: no policy's and nobody's peer.
Result<void> check_pod(AttachmentRequest& request, bool has_namespace) {
  if (request.pod_name.empty()) {
    if (!has_namespace) return {};
    return invalid("params.namespace goes with pod, the name by which policies know the port");
  }
  if (!has_namespace) request.pod_namespace = "default";
  PODWIRE_CHECK(check_dns_name("params.pod", request.pod_name, false));
  return check_dns_name("params.namespace", request.pod_namespace, true);
}

// `domain` is a name, or empty for the default.
Result<AttachmentRequest> read_port(const Json& params, std::string& domain) {
  AttachmentRequest request;
  std::string name;
  std::size_t kind = kKinds.size();
  std::optional<bool> dhcp;
  auto& socket = request.socket;
  ObjectReader r(params, "params");
  r.required("name", name);
  r.choice("kind", kind, kKinds);
  r.required("socket", socket.path);
  const bool has_mode = r.choice("socket_mode", socket.mode, api::kSocketModeNames);
  r.optional("domain", domain);
  r.optional("mac", request.mac);
  r.optional_in("mtu", request.mtu, 576, 65535);
  r.optional_in("queues", request.queues, 1, 16);
  r.optional("addresses", request.requested_ips);
  const bool has_namespace = r.optional("namespace", request.pod_namespace);
  r.optional("pod", request.pod_name);
  read_options(r, request.options, dhcp);
  r.optional_in("ring_size", socket.ring_size, 2, 16384);
  r.optional_in("buffer_size", socket.buffer_size, 128, 65536);
  r.optional("secret", socket.secret);
  r.optional("memif_id", socket.memif_id);
  r.optional("iommu", socket.iommu);
  r.optional("from_pod", request.limits.from_pod);
  r.optional("to_pod", request.limits.to_pod);
  PODWIRE_CHECK(r.finish());
  PODWIRE_CHECK(check_name("params.name", name));
  PODWIRE_CHECK(check_pod(request, has_namespace));
  if (kind == kKinds.size()) return invalid("params.kind is missing; it is memif or vhost");
  request.key = {"", name, ""};
  const bool vhost = kKinds[kind] == "vhost";
  request.kind = vhost ? api::PortKind::kVhost : api::PortKind::kMemif;
  // QEMU as the server keeps its guest running while the engine restarts.
  if (!has_mode && vhost) socket.mode = api::SocketMode::kClient;
  request.options.dhcp = dhcp.value_or(vhost);
  if (request.options.dhcp && request.options.hostname.empty()) request.options.hostname = name;
  request.exact = true;
  return request;
}

// The engine's own rules for fields, before anything is allotted.
Result<void> check_fields(const AttachmentRequest& request) {
  Attachment probe;
  probe.key = request.key;
  probe.kind = request.kind;
  probe.socket = request.socket;
  probe.options = request.options;
  probe.limits = request.limits;
  probe.queues = request.queues;
  probe.mtu = request.mtu == 0 ? 1450 : request.mtu;
  probe.port = PortId(1);
  probe.endpoint = EndpointId(1);
  probe.mac = request.mac.value_or(MacAddr{{0x02, 0, 0, 0, 0, 1}});
  api::Port port;
  PODWIRE_CHECK(api::read_value(api::to_json(port_of(probe, DomainId(2))), "port " + port_name(probe), port));
  api::Endpoint endpoint;
  PODWIRE_CHECK(api::read_value(api::to_json(endpoint_of(probe, DomainId(2))),
                                "endpoint " + endpoint_name(probe), endpoint));
  if (request.socket.mode == api::SocketMode::kClient) return {};
  const auto parent = std::filesystem::path(request.socket.path).parent_path();
  std::error_code failure;
  if (std::filesystem::is_directory(parent, failure)) return {};
  return not_found("socket " + request.socket.path + ": there is no directory " + parent.string() +
                   " for the engine to make it in; type: mkdir -p " + parent.string());
}

Json to_json(const ExtraEndpoint& endpoint, const Attachment& on) {
  return {{"id", endpoint.id.value()},      {"name", endpoint.name},
          {"port", port_name(on)},          {"domain", on.domain},
          {"mac", to_string(endpoint.mac)}, {"addresses", texts(endpoint.addresses)},
          {"dhcp", endpoint.options.dhcp},  {"hostname", endpoint.options.hostname}};
}

}  // namespace

Json to_json(const Attachment& a) {
  Json json{{"id", a.port.value()},
            {"name", port_name(a)},
            {"kind", api::kPortKindNames[static_cast<std::size_t>(a.kind)]},
            {"domain", a.domain},
            {"mac", to_string(a.mac)},
            {"addresses", texts(a.addresses)},
            {"gateways", texts(a.gateways)},
            {"mtu", a.mtu},
            {"queues", a.queues},
            {"socket", a.socket.path},
            {"socket_mode", api::kSocketModeNames[static_cast<std::size_t>(a.socket.mode)]},
            {"dhcp", a.options.dhcp},
            {"hostname", a.options.hostname}};
  if (!a.pod_name.empty()) json["pod"] = a.pod_namespace + "/" + a.pod_name;
  if (a.limits.from_pod) json["from_pod"] = api::to_json(*a.limits.from_pod);
  if (a.limits.to_pod) json["to_pod"] = api::to_json(*a.limits.to_pod);
  return json;
}

Result<std::string> NamedPorts::domain_of(const std::string& wanted, const std::string& space) const {
  if (namespaces_ != nullptr && wanted.empty()) {
    PODWIRE_TRY(const auto found, namespaces_->domain_for(wanted, space));
    return found->name;
  }
  const auto domain = wanted.empty() ? config_.default_domain() : config_.find_domain(wanted);
  if (domain != nullptr) return domain->name;
  return not_found("there is no domain \"" + wanted.substr(0, 64) + "\" on this node; " +
                   config_.domains_like(wanted));
}

Result<void> NamedPorts::take_down(const Attachment& attachment) {
  PODWIRE_CHECK(reconciler_.detach(attachment));
  PODWIRE_CHECK(remove_pod_socket(attachment, false));
  return store_.finish_delete(attachment.key);
}

Result<Json> NamedPorts::add_port(const Json& params) {
  std::string wanted_domain;
  PODWIRE_TRY(auto request, read_port(params, wanted_domain));
  PODWIRE_CHECK(check_fields(request));
  PODWIRE_TRY(request.domain, domain_of(wanted_domain, request.pod_namespace));
  request.socket.group = config_.pod_sockets.group;
  request.socket.permissions = config_.pod_sockets.mode;
  const std::lock_guard lock(mutex_);
  PODWIRE_TRY(const auto attachment, store_.begin_add(request));
  auto done = reconciler_.attach(attachment, {});
  if (done) done = store_.mark_ready(attachment.key);
  if (done) return to_json(attachment);
  if (auto undone = take_down(attachment); !undone) {
    spdlog::error("port {} could not be undone: {}", request.key.container_id, undone.error().message);
    return Error{done.error().code, done.error().message + "; undoing it: " + undone.error().message};
  }
  return done.error();
}

Result<Json> NamedPorts::delete_port(const Json& params) {
  PODWIRE_TRY(const auto name, read_name(params));
  const std::lock_guard lock(mutex_);
  PODWIRE_TRY(const auto attachment, store_.begin_delete({"", name, ""}));
  if (attachment) {
    PODWIRE_CHECK(take_down(*attachment));
    return Json{{"deleted", true}};
  }
  if (name == "uplink" || name == "host")
    return Error{ErrorCode::kDenied, "port " + name + " is the node's own and cannot be deleted"};
  PODWIRE_TRY(const auto all, store_.list());
  for (const auto& other : all) {
    if (port_name(other) == name)
      return conflict("port " + name + " is that of container " + other.key.container_id +
                      "; its runtime removes it (CNI DEL)");
  }
  return Json{{"deleted", false}};
}

Result<Attachment> NamedPorts::port_named(const std::string& name) {
  PODWIRE_TRY(const auto all, store_.list());
  std::vector<std::string> names;
  for (const auto& attachment : all) {
    if (port_name(attachment) == name && attachment.state == AttachmentState::kReady) return attachment;
    names.push_back(port_name(attachment));
  }
  const auto near = closest_match(name, names);
  return not_found("there is no port \"" + name.substr(0, 80) + "\"; " +
                   (near.empty() ? "see: podwirectl port" : "did you mean \"" + near + "\"?"));
}

Result<Json> NamedPorts::add_endpoint(const Json& params) {
  EndpointRequest request;
  std::string port;
  std::optional<bool> dhcp;
  ObjectReader r(params, "params");
  r.required("name", request.name);
  r.required("port", port);
  r.optional("mac", request.mac);
  r.optional("addresses", request.requested_ips);
  read_options(r, request.options, dhcp);
  PODWIRE_CHECK(r.finish());
  PODWIRE_CHECK(check_name("params.name", request.name));
  const std::lock_guard lock(mutex_);
  PODWIRE_TRY(const auto before, port_named(port));
  request.port = before.key;
  request.options.dhcp = dhcp.value_or(before.options.dhcp);
  if (request.options.dhcp && request.options.hostname.empty()) request.options.hostname = request.name;
  PODWIRE_TRY(const auto after, store_.add_endpoint(request));
  const auto& extra = after.extra_endpoints;
  const auto added = std::find_if(extra.begin(), extra.end(),
                                  [&](const ExtraEndpoint& e) { return e.name == request.name; });
  auto done = reconciler_.update(after);
  if (done) return to_json(*added, after);
  auto undone = store_.remove_endpoint(before.key, request.name);
  if (undone) return done.error();
  return Error{done.error().code, done.error().message + "; undoing it: " + undone.error().message};
}

Result<Json> NamedPorts::delete_endpoint(const Json& params) {
  PODWIRE_TRY(const auto name, read_name(params));
  const std::lock_guard lock(mutex_);
  PODWIRE_TRY(const auto all, store_.list());
  for (const auto& attachment : all) {
    if (endpoint_name(attachment) == name) {
      return conflict("endpoint " + name + " is the own one of port " + port_name(attachment) +
                      "; it goes with the port: " +
                      (attachment.key.is_named_port() ? "podwirectl port del " + name : "CNI DEL"));
    }
    const auto& extra = attachment.extra_endpoints;
    if (std::none_of(extra.begin(), extra.end(), [&](const ExtraEndpoint& e) { return e.name == name; }))
      continue;
    auto after = attachment;
    std::erase_if(after.extra_endpoints, [&](const ExtraEndpoint& e) { return e.name == name; });
    PODWIRE_CHECK(reconciler_.update(after));
    PODWIRE_TRY(const auto removed, store_.remove_endpoint(attachment.key, name));
    return Json{{"deleted", true}};
  }
  return Json{{"deleted", false}};
}

}  // namespace podwire::control
