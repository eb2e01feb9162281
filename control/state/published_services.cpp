// What an attachment's published ports are to the engine: a service each.
#include <algorithm>

#include "control/state/desired.hpp"
#include "control/state/published_ports.hpp"

namespace podwire::control {
namespace {

bool is_stateful(const NodeObjects& node, DomainId id) {
  const auto* domain = node.find_domain(id);
  return domain != nullptr && domain->stateful;
}

bool is_published_on(const PublishedPort& port, const IpAddr& address) {
  return share_an_address(port.host_ip, address);
}

bool has_family(const Attachment& attachment, bool v4) {
  const auto& own = attachment.addresses;
  return std::any_of(own.begin(), own.end(), [v4](const IpPrefix& a) { return a.address.is_v4() == v4; });
}

// One frontend a family stands for all addresses of the node, loopback's included.
void add_host_frontends(const PublishedPort& port, const NodeObjects& node, api::Service& service) {
  for (const bool v4 : {true, false}) {
    const auto& found = service.frontends;
    const bool wanted = std::any_of(found.begin(), found.end(), [v4](const api::ServiceFrontend& frontend) {
      return frontend.address->is_v4() == v4;
    });
    if (!wanted) continue;
    const bool one = port.host_ip && !port.host_ip->is_zero();
    if (const auto frontend =
            host_frontend(node, v4, one ? port.host_ip : std::nullopt, port.protocol, port.host_port))
      service.frontends.push_back(*frontend);
  }
}

api::Service service_of(const Attachment& attachment, const PublishedPort& port, DomainId domain,
                        const NodeObjects& node) {
  api::Service service;
  service.id = port.service;
  service.name = endpoint_name(attachment) + " " + describe(port);
  service.name.resize(std::min<std::size_t>(service.name.size(), 255));
  service.domain = domain;
  for (const auto& address : node.addresses) {
    if (!is_published_on(port, address) || !has_family(attachment, address.is_v4())) continue;
    // The world outside, and the domain's own pods, which know the node by the same address.
    service.frontends.push_back({kUnderlayDomain, address, port.protocol, port.host_port});
    service.frontends.push_back({domain, address, port.protocol, port.host_port});
  }
  add_host_frontends(port, node, service);
  for (const auto& own : attachment.addresses) {
    const bool wanted =
        std::any_of(service.frontends.begin(), service.frontends.end(),
                    [&](const api::ServiceFrontend& f) { return f.address->is_v4() == own.address.is_v4(); });
    if (wanted) service.backends.push_back({own.address, port.container_port});
  }
  return service;
}

}  // namespace

std::vector<api::Service> services_of(const Attachment& attachment, const NodeObjects& node,
                                      std::string* problem) {
  std::vector<api::Service> all;
  const auto domain = node.domains.find(attachment.domain);
  if (attachment.published_ports.empty() || domain == node.domains.end()) return all;
  const auto who = "the published ports of " + endpoint_name(attachment);
  if (!is_stateful(node, domain->second)) {
    if (problem != nullptr) {
      *problem = who + " do not work: domain \"" + attachment.domain +
                 "\" is not stateful any more; set \"stateful\": true for it in podwired.json";
    }
    return all;
  }
  for (const auto& port : attachment.published_ports) {
    auto service = service_of(attachment, port, domain->second, node);
    if (!service.frontends.empty()) {
      all.push_back(std::move(service));
    } else if (problem != nullptr) {
      *problem = who + ": " + describe(port) +
                 " leads nowhere: the node has no such address, or the pod none of that family";
    }
  }
  return all;
}

}  // namespace podwire::control
