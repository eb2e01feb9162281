// ADD: address and ids, the node's ports that it publishes, interface (or the directory of its socket),
// engine, in this order; a failure or a DEL that overtakes undoes it.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <cctype>

#include "control/cni/device_info.hpp"
#include "control/cni/netns.hpp"
#include "control/cni/pod_interface.hpp"
#include "control/cni/pod_socket.hpp"
#include "control/cni/service.hpp"
#include "control/state/desired.hpp"

namespace podwire::control {
namespace {

const IpAddr* gateway_for(const std::vector<IpAddr>& gateways, bool v4) {
  const auto it =
      std::find_if(gateways.begin(), gateways.end(), [v4](const IpAddr& g) { return g.is_v4() == v4; });
  return it == gateways.end() ? nullptr : &*it;
}

// Pods' names may be longer than a host's, and CNI_ARGS may give any text.
bool is_host_label(const std::string& text) {
  constexpr std::size_t kLongestLabel = 63;
  const auto allowed = [](unsigned char c) { return std::isalnum(c) != 0 || c == '-'; };
  return !text.empty() && text.size() <= kLongestLabel && std::all_of(text.begin(), text.end(), allowed) &&
         text.front() != '-' && text.back() != '-';
}

// The gateway of an address that an IPAM plugin gave: its word, or else the domain's.
std::optional<IpAddr> gateway_of(const ResultIp& ip, const DomainConfig& domain) {
  if (ip.gateway) return ip.gateway;
  for (std::size_t i = 0; i < domain.prefixes.size() && i < domain.gateways.size(); ++i) {
    if (domain.prefixes[i].contains(ip.address.address)) return domain.gateways[i];
  }
  return std::nullopt;
}

// One ADD under way: knows how far it came, and how to undo that.
class AddJob {
 public:
  AddJob(CniService::Impl& service, const CniCall& call, const std::atomic<bool>& overtaken)
      : service_(service), call_(call), overtaken_(overtaken) {}

  CniResult<Json> run(const DomainConfig& domain);
  // Empty when nothing is left; else what could not be undone.
  std::string undo();

 private:
  CniResult<void> check_not_overtaken() const;
  CniResult<void> ask_ipam(const DomainConfig& domain, AttachmentRequest& request);
  CniResult<AttachmentRequest> make_request(const DomainConfig& domain);
  void set_socket(AttachmentRequest& request) const;
  CniResult<void> check_requested_ips() const;
  CniResult<std::vector<UniqueFd>> make_interface(PodRoutes& routes);
  CniResult<void> attach(std::vector<UniqueFd> queues);
  Json result(const std::vector<ResultRoute>& routes) const;

  CniService::Impl& service_;
  const CniCall& call_;
  const std::atomic<bool>& overtaken_;
  std::vector<ResultRoute> routes_;  // as configured or given by the IPAM plugin
  Json dns_;
  bool ipam_called_ = false;
  bool recorded_ = false;
  bool interface_made_ = false;
  bool attach_tried_ = false;
  Attachment attachment_;
};

CniResult<void> AddJob::check_not_overtaken() const {
  if (!overtaken_.load(std::memory_order_relaxed)) return {};
  return CniError(CniCode::kOvertaken, "a DEL of " + call_.environment.container_id + "/" +
                                           call_.environment.ifname +
                                           " came while this ADD was under way; nothing is left of it");
}

CniResult<void> AddJob::ask_ipam(const DomainConfig& domain, AttachmentRequest& request) {
  auto call = ipam_call(call_);
  call.give_up = &overtaken_;
  ipam_called_ = true;
  PODWIRE_TRY(auto given, service_.ipam.add(call));
  for (const auto& ip : given.ips) {
    request.fixed_addresses.push_back(ip.address);
    const auto gateway = gateway_of(ip, domain);
    if (!gateway || gateway_for(request.gateways, gateway->is_v4()) != nullptr) continue;
    request.gateways.push_back(*gateway);
    if (domain.mode == api::DomainMode::kL3 &&
        std::find(domain.gateways.begin(), domain.gateways.end(), *gateway) == domain.gateways.end()) {
      spdlog::warn(
          "IPAM plugin {} gave gateway {}, which is none of domain {}: nobody will answer for it; give the "
          "plugin the domain's subnet and gateway",
          call.type, to_string(*gateway), domain.name);
    }
  }
  if (!given.routes.empty()) routes_ = std::move(given.routes);
  dns_ = std::move(given.dns);
  return {};
}

CniResult<AttachmentRequest> AddJob::make_request(const DomainConfig& domain) {
  const auto& config = call_.config;
  AttachmentRequest request;
  request.key = call_.key();
  request.netns_path = call_.environment.netns;
  PODWIRE_TRY(const auto netns, identity(call_.netns));
  request.netns_device = netns.device;
  request.netns_inode = netns.inode;
  request.domain = domain.name;
  request.mac = config.mac;
  request.mtu = config.mtu;
  request.queues = config.queues;
  request.limits = config.limits;
  request.ipam_type = config.ipam_type;
  request.config_json = remember(call_);
  request.pod_namespace = config.pod_namespace;
  request.pod_name = config.pod_name;
  request.pod_uid = config.pod_uid;
  request.published_ports = config.published_ports;
  if (config.kind != api::PortKind::kTap) set_socket(request);
  routes_ = config.routes;
  if (!config.ipam_type.empty()) {
    PODWIRE_CHECK(ask_ipam(domain, request));
  } else {
    for (const auto& ip : config.ips) request.requested_ips.push_back(ip.address);
  }
  if (config.dns.is_object()) dns_ = config.dns;
  return request;
}

void AddJob::set_socket(AttachmentRequest& request) const {
  const auto& config = call_.config;
  const auto& sockets = service_.context.config.pod_sockets;
  request.kind = config.kind;
  request.socket = config.socket;
  request.socket.group = sockets.group;
  request.socket.permissions = sockets.mode;
  request.pods_directory = sockets.directory;
  request.device_info = config.device_info;
  request.options.dhcp = config.dhcp;
  const auto label = config.pod_name.substr(0, config.pod_name.find('.'));
  if (config.dhcp && is_host_label(label)) request.options.hostname = label;
}

// The built-in IPAM gives what was asked for or fails, but it decides the prefix length; a plugin decides
// everything.
CniResult<void> AddJob::check_requested_ips() const {
  for (const auto& ip : call_.config.ips) {
    const auto got = std::find_if(attachment_.addresses.begin(), attachment_.addresses.end(),
                                  [&](const IpPrefix& p) { return p.address == ip.address; });
    if (got == attachment_.addresses.end()) {
      return CniError(CniCode::kUnsupportedField,
                      "ips asks for " + to_string(ip.address) + ", but the IPAM plugin \"" +
                          call_.config.ipam_type +
                          "\" gave another address; declare the \"ips\" capability for it");
    }
    const bool host_length = ip.length == ip.address.bits();
    if (ip.length && !host_length && *ip.length != got->length) {
      return CniError(CniCode::kUnsupportedField,
                      "ips asks for " + to_string(IpPrefix{ip.address, *ip.length}) +
                          ", but the domain's prefix has length " + std::to_string(got->length));
    }
  }
  return {};
}

CniResult<Json> AddJob::run(const DomainConfig& domain) {
  PODWIRE_TRY(const auto request, make_request(domain));
  PODWIRE_CHECK(check_not_overtaken());
  PODWIRE_TRY(attachment_, service_.context.store.begin_add(request));
  recorded_ = true;
  PODWIRE_CHECK(check_requested_ips());
  PODWIRE_CHECK(check_not_overtaken());
  if (auto* host_ports = service_.context.host_ports) PODWIRE_CHECK(host_ports->hold(attachment_));

  auto routes = pod_routes(attachment_, routes_);
  PODWIRE_TRY(auto queues, make_interface(routes));
  PODWIRE_CHECK(check_not_overtaken());
  PODWIRE_CHECK(attach(std::move(queues)));
  if (auto* host_ports = service_.context.host_ports; host_ports && !attachment_.published_ports.empty())
    host_ports->lead();
  PODWIRE_CHECK(write_device_info(attachment_));
  PODWIRE_CHECK(check_not_overtaken());
  PODWIRE_CHECK(service_.context.store.mark_ready(attachment_.key));
  return result(routes.routes);
}

CniResult<std::vector<UniqueFd>> AddJob::make_interface(PodRoutes& routes) {
  PODWIRE_CHECK(check_mtu(attachment_));
  if (attachment_.kind == api::PortKind::kTap) {
    PODWIRE_TRY(auto queues, create_pod_interface(call_.netns, attachment_, routes));
    interface_made_ = true;
    return queues;
  }
  // There is no kernel interface for default routes to go through; the gateways are in the result's ips.
  if (routes.implied) routes.routes.clear();
  PODWIRE_CHECK(make_pod_directory(attachment_));
  interface_made_ = true;
  return std::vector<UniqueFd>();
}

CniResult<void> AddJob::attach(std::vector<UniqueFd> queues) {
  attach_tried_ = true;
  auto attached = service_.context.reconciler.attach(attachment_, std::move(queues));
  if (attached) return {};
  CniError error(attached.error());
  // What we programmed is our own making, not the caller's configuration.
  if (error.code == CniCode::kInvalidConfig) error.code = CniCode::kInternal;
  return error;
}

Json AddJob::result(const std::vector<ResultRoute>& routes) const {
  AddedInterface added;
  added.port_name = port_name(attachment_);
  added.ifname = attachment_.key.ifname;
  added.netns = call_.environment.netns;
  added.mac = attachment_.mac;
  added.mtu = attachment_.mtu;
  added.socket_path = attachment_.socket.path;
  for (const auto& address : attachment_.addresses) {
    ResultIp ip;
    ip.address = address;
    if (const auto* gateway = gateway_for(attachment_.gateways, address.address.is_v4()))
      ip.gateway = *gateway;
    added.ips.push_back(ip);
  }
  added.routes = routes;
  added.dns = dns_;
  return make_add_result(call_.config.version, call_.config.prev_result, added);
}

std::string AddJob::undo() {
  std::string left;
  const auto keep = [&](const CniResult<void>& step) {
    if (step) return true;
    left += (left.empty() ? "" : "; ") + step.error().message;
    return false;
  };
  bool clean = true;
  if (attach_tried_) clean = keep(service_.context.reconciler.detach(attachment_)) && clean;
  if (auto* host_ports = service_.context.host_ports; host_ports && recorded_)
    host_ports->let_go(attachment_);
  if (interface_made_) clean = keep(service_.remove_interface(attachment_, call_.netns, true)) && clean;
  // The runtime's DEL asks the plugin again, whether we have a record or not.
  if (ipam_called_) keep(service_.ipam.del(ipam_call(call_)));
  // With something left the record stays, so that DEL or the next start of the daemon finds it.
  if (recorded_ && clean) keep(service_.context.store.finish_delete(attachment_.key));
  return left;
}

}  // namespace

CniResult<Json> CniService::Impl::add(const CniCall& call) {
  PODWIRE_TRY(const auto domain, domain_of(call.config));
  if (!call.config.prev_result.is_null()) {
    PODWIRE_TRY(const auto checked, read_result(call.config.prev_result, "prevResult"));
  }
  const auto pass = gate.enter(call.key(), ContainerGate::For::kAdd);
  // Before an IPAM plugin is asked: undoing its ADD would free the addresses of the attachment that is there.
  PODWIRE_TRY(const auto existing, context.store.find(call.key()));
  if (existing) {
    return CniError(CniCode::kConflict, "container " + call.environment.container_id + " has " +
                                            call.environment.ifname + " in network " + call.config.name +
                                            " already (netns " + existing->netns_path + "); DEL it first");
  }
  AddJob job(*this, call, pass.overtaken());
  auto result = job.run(*domain);
  if (result) return result;
  CniError error = result.error();
  if (pass.overtaken().load(std::memory_order_relaxed)) error.code = CniCode::kOvertaken;
  if (const auto left = job.undo(); !left.empty()) {
    spdlog::error("ADD {}/{} could not be undone fully: {}", call.environment.container_id,
                  call.environment.ifname, left);
    error.details += (error.details.empty() ? "" : "; ") + ("undoing it: " + left);
  }
  return error;
}

}  // namespace podwire::control
