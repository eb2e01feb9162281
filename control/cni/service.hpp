// CniService's inside: one method a command. Internal to control/cni.
#pragma once

#include <map>
#include <string>

#include "control/cni/cni.hpp"
#include "control/cni/container_gate.hpp"
#include "control/cni/environment.hpp"
#include "control/cni/ipam_plugin.hpp"
#include "control/cni/network_config.hpp"
#include "control/config.hpp"

namespace podwire::control {

// One parsed invocation.
struct CniCall {
  CniEnvironment environment;
  NetworkConfig config;
  std::map<std::string, std::string> variables;  // as they came, for an IPAM plugin
  int netns = -1;                                // borrowed from the request; -1: none
  AttachmentKey key() const { return {config.name, environment.container_id, environment.ifname}; }
};

struct CniService::Impl {
  explicit Impl(CniContext c) : context(c) {}

  CniContext context;
  ContainerGate gate;
  IpamPlugins ipam;

  CniResult<Json> add(const CniCall& call);
  CniResult<void> del(const CniCall& call);
  CniResult<void> check(const CniCall& call);
  CniResult<void> gc(const CniCall& call);
  CniResult<void> status(const CniCall& call);

  // The domain that the configuration means. kInvalidConfig.
  CniResult<std::shared_ptr<const DomainConfig>> domain_of(const NetworkConfig& config) const;
  // Takes down everything an attachment has and forgets it. `netns` as in open_attachment_netns. Holds no
  // gate.
  CniResult<void> release(const Attachment& attachment, int netns);
  // The pod's end of it: the tap in `netns` (-1: none), or socket, directory and device-info file.
  Result<void> remove_interface(const Attachment& attachment, int netns, bool ours_by_name);
};

// Calls the IPAM plugin of this very request.
IpamCall ipam_call(const CniCall& call);

// What an attachment remembers of its ADD (Attachment::config_json), and the IPAM call made from it.
std::string remember(const CniCall& call);
CniResult<IpamCall> remembered_ipam_call(const Attachment& attachment);

}  // namespace podwire::control
