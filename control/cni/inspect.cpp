// CHECK and STATUS: everything that only looks.
#include <algorithm>

#include "control/cni/pod_interface.hpp"
#include "control/cni/pod_socket.hpp"
#include "control/cni/service.hpp"

namespace podwire::control {
namespace {

CniError not_available(std::string message) {
  return {CniCode::kNotAvailable, std::move(message)};
}

CniResult<void> check_uplink(Reconciler& reconciler) {
  auto status = reconciler.query("status", Json::object());
  if (!status)
    return not_available("the engine does not answer: " + status.error().message +
                         "; see: podwirectl status");
  const auto ports = status->find("ports");
  bool has_uplink = false;
  if (ports != status->end() && ports->is_array()) {
    for (const auto& port : *ports) {
      if (!port.is_object() || port.value("role", "") != "uplink") continue;
      has_uplink = true;
      if (port.value("link", "") == "up") return {};
    }
  }
  return not_available(
      has_uplink ? "the uplink is down; check its cable or, in a namespace, its peer, then: podwirectl port"
                 : "the engine has no uplink; see \"underlay\" in podwired.json and: podwirectl status");
}

CniResult<void> check_addresses_left(Store& store, const DomainConfig& domain) {
  if (domain.prefixes.empty()) {
    return not_available("domain \"" + domain.name +
                         "\" has no pod prefix on this node; give it \"prefixes\" in podwired.json");
  }
  PODWIRE_TRY(const auto usage, store.usage());
  for (const auto& pool : usage) {
    if (pool.domain != domain.name || pool.free > 0) continue;
    return not_available("domain \"" + domain.name + "\" has no free address left in " +
                         to_string(pool.prefix) + " (" + std::to_string(pool.used) +
                         " in use); delete pods or give it a larger prefix or range");
  }
  return {};
}

// An interface that is a socket: what the result says, directory and socket.
CniResult<void> check_socket_interface(const Attachment& attachment, const Chained& expected) {
  PODWIRE_TRY(const auto* ours, find_own_interface(attachment, expected));
  const auto differs = [&](const char* what, const std::string& is, const std::string& wanted) {
    return CniError(CniCode::kDiffers, "interface " + attachment.key.ifname + " has " + what + " " + is +
                                           ", not " + wanted + " as in prevResult");
  };
  if (!ours->socket_path.empty() && ours->socket_path != attachment.socket.path)
    return differs("the socket", attachment.socket.path, ours->socket_path);
  const auto mac = parse_mac(ours->mac);
  if (mac && *mac != attachment.mac) return differs("MAC", to_string(attachment.mac), ours->mac);
  for (const auto& ip : expected.ips) {
    if (!ip.interface || &expected.interfaces[*ip.interface] != ours) continue;
    const auto& own = attachment.addresses;
    if (std::find(own.begin(), own.end(), ip.address) == own.end()) {
      return CniError(CniCode::kDiffers, "interface " + attachment.key.ifname + " has no address " +
                                             to_string(ip.address) + ", which prevResult gives it");
    }
  }
  return check_pod_socket(attachment);
}

}  // namespace

CniResult<void> CniService::Impl::check(const CniCall& call) {
  if (call.config.prev_result.is_null()) {
    return CniError(CniCode::kInvalidConfig, "prevResult is missing: CHECK compares with the result of ADD");
  }
  PODWIRE_TRY(const auto expected, read_result(call.config.prev_result, "prevResult"));
  const auto pass = gate.enter(call.key(), ContainerGate::For::kOther);
  PODWIRE_TRY(const auto attachment, context.store.find(call.key()));
  const auto who = "container " + call.environment.container_id + ", interface " + call.environment.ifname;
  if (!attachment || attachment->state != AttachmentState::kReady) {
    return CniError(CniCode::kUnknownContainer, who + ": not attached to network " + call.config.name);
  }
  PODWIRE_TRY(const auto netns, identity(call.netns));
  if (netns != NetnsIdentity{attachment->netns_device, attachment->netns_inode}) {
    return CniError(CniCode::kDiffers, who + ": CNI_NETNS " + call.environment.netns +
                                           " is another namespace than the one of the ADD");
  }
  PODWIRE_CHECK(attachment->kind == api::PortKind::kTap
                    ? check_pod_interface(call.netns, *attachment, expected)
                    : check_socket_interface(*attachment, expected));
  if (auto verified = context.reconciler.verify(*attachment); !verified) {
    if (verified.error().code == ErrorCode::kUnavailable) return verified.error();
    return CniError(CniCode::kDiffers, verified.error().message);
  }
  if (!call.config.ipam_type.empty()) return ipam.check(ipam_call(call));
  return {};
}

CniResult<void> CniService::Impl::status(const CniCall& call) {
  PODWIRE_TRY(const auto domain, domain_of(call.config));
  const auto engine = context.reconciler.state();
  if (!engine.connected) {
    return not_available("the engine is not connected" +
                         (engine.last_error.empty() ? "" : ": " + engine.last_error) +
                         "; start it (systemctl start podwire-engine) and see: podwirectl status");
  }
  PODWIRE_CHECK(check_uplink(context.reconciler));
  if (auto why = context.isolated ? context.isolated() : std::string(); !why.empty())
    return CniError(CniCode::kLimited, std::move(why));
  if (call.config.ipam_type.empty()) return check_addresses_left(context.store, *domain);
  auto delegated = ipam.status(ipam_call(call));
  if (!delegated && delegated.error().code != CniCode::kNotAvailable) {
    return CniError(CniCode::kNotAvailable, delegated.error().message, delegated.error().details);
  }
  return delegated;
}

}  // namespace podwire::control
