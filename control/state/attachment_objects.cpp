// What the engine should hold of an attachment.
#include "control/state/desired.hpp"

#include <algorithm>

namespace podwire::control {
namespace {

// Names travel in messages of 1 to 63 printable characters.
std::string printable(std::string text, std::size_t length) {
  text.resize(std::min(text.size(), length));
  for (char& c : text) {
    if (c <= ' ' || c >= 0x7f) c = '_';
  }
  return text;
}

void set_options(const EndpointOptions& options, api::Endpoint& endpoint) {
  endpoint.dhcp = options.dhcp;
  endpoint.hostname = options.hostname;
  endpoint.allowed_pairs = options.allowed_pairs;
}

}  // namespace

std::string port_name(const Attachment& attachment) {
  if (attachment.key.is_named_port()) return attachment.key.container_id;
  return printable(attachment.key.container_id, 12) + "." + printable(attachment.key.ifname, 15) + "." +
         std::to_string(attachment.port.value());
}

std::string endpoint_name(const Attachment& attachment) {
  const auto& key = attachment.key;
  if (key.is_named_port()) return key.container_id;
  const auto owner = attachment.pod_name.empty() ? printable(key.container_id, 100)
                                                 : printable(attachment.pod_namespace, 64) + "/" +
                                                       printable(attachment.pod_name, 128);
  return owner + "/" + printable(key.ifname, 15);
}

api::Port port_of(const Attachment& attachment, DomainId domain, std::uint32_t flow_limit) {
  api::Port port;
  port.id = attachment.port;
  port.name = port_name(attachment);
  port.kind = attachment.kind;
  port.role = api::PortRole::kPod;
  port.domain = domain;
  port.mac = attachment.mac;
  port.mtu = attachment.mtu;
  port.queues = attachment.queues;
  port.from_pod = attachment.limits.from_pod;
  port.to_pod = attachment.limits.to_pod;
  port.flow_limit = flow_limit;
  if (attachment.kind == api::PortKind::kTap) return port;
  const auto& socket = attachment.socket;
  port.socket = socket.path;
  port.socket_mode = socket.mode;
  port.socket_group = socket.group;
  port.socket_permissions = socket.permissions;
  port.memif_id = socket.memif_id;
  port.secret = socket.secret;
  port.ring_size = socket.ring_size;
  port.buffer_size = socket.buffer_size;
  port.iommu = socket.iommu;
  return port;
}

api::Endpoint endpoint_of(const Attachment& attachment, DomainId domain) {
  api::Endpoint endpoint;
  endpoint.id = attachment.endpoint;
  endpoint.name = endpoint_name(attachment);
  endpoint.domain = domain;
  endpoint.port = attachment.port;
  endpoint.mac = attachment.mac;
  for (const auto& address : attachment.addresses) endpoint.addresses.push_back(address.address);
  set_options(attachment.options, endpoint);
  return endpoint;
}

std::vector<api::Endpoint> endpoints_of(const Attachment& attachment, DomainId domain) {
  std::vector<api::Endpoint> all{endpoint_of(attachment, domain)};
  for (const auto& extra : attachment.extra_endpoints) {
    api::Endpoint endpoint;
    endpoint.id = extra.id;
    endpoint.name = extra.name;
    endpoint.domain = domain;
    endpoint.port = attachment.port;
    endpoint.mac = extra.mac;
    for (const auto& address : extra.addresses) endpoint.addresses.push_back(address.address);
    set_options(extra.options, endpoint);
    all.push_back(std::move(endpoint));
  }
  return all;
}

}  // namespace podwire::control
