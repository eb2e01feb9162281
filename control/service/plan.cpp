#include "control/service/plan.hpp"

#include <algorithm>
#include <iterator>
#include <map>

namespace podwire::control {
namespace {

const DomainConfig* domain_of(const ClusterService& service, const Config& config) {
  if (!service.domain.empty()) return config.find_domain(service.domain);
  const auto* named = config.find_domain("default");
  return named != nullptr || config.domains.empty() ? named : &config.domains.front();
}

Result<void> check_node_port(const ClusterPort& port, const Config& config) {
  const auto own = vxlan_ports(config);
  const bool taken = port.protocol == api::ServiceProtocol::kUdp &&
                     std::find(own.begin(), own.end(), port.node_port) != own.end();
  if (!taken) return {};
  return invalid("node port " + std::to_string(port.node_port) +
                 "/udp carries this node's VXLAN; give it another, or set another vxlan.port");
}

// Whether the node's own programs can reach addresses of that family.
bool leads_host_to(const NodeObjects& node, const IpAddr& address) {
  return std::any_of(node.host_services.begin(), node.host_services.end(),
                     [&](const IpAddr& own) { return own.is_v4() == address.is_v4(); });
}

// One service's way to the engine's.
class Planner {
 public:
  Planner(const ClusterService& service, const std::vector<const ClusterSlice*>& slices, const Config& config,
          const NodeObjects& node)
      : service_(service), slices_(slices), config_(config), node_(node) {}

  Result<std::vector<api::Service>> plan();

 private:
  using Frontends = std::vector<api::ServiceFrontend>;
  struct Part {
    Frontends everywhere, local;  // by which endpoints they use
  };

  bool is_local(const ClusterEndpoint& endpoint) const;
  std::vector<api::ServiceBackend> backends(const ClusterPort& port, const Frontends& frontends,
                                            bool local_only) const;
  Part frontends(const ClusterPort& port) const;
  std::vector<IpPrefix> sources_for(const IpAddr& address) const;
  Result<void> add(const ClusterPort& port, Frontends frontends, bool local_only,
                   std::vector<api::Service>& out) const;

  const ClusterService& service_;
  const std::vector<const ClusterSlice*>& slices_;
  const Config& config_;
  const NodeObjects& node_;
  const DomainConfig* domain_ = nullptr;
  DomainId domain_id_;
};

bool Planner::is_local(const ClusterEndpoint& endpoint) const {
  if (!endpoint.node.empty()) return endpoint.node == config_.node;
  if (domain_->mode == api::DomainMode::kL2) return false;  // nodes share its prefixes
  return std::any_of(domain_->prefixes.begin(), domain_->prefixes.end(),
                     [&](const IpPrefix& prefix) { return prefix.contains(endpoint.address); });
}

std::vector<api::ServiceBackend> Planner::backends(const ClusterPort& port, const Frontends& frontends,
                                                   bool local_only) const {
  const auto has_family = [&](bool v4) {
    return std::any_of(frontends.begin(), frontends.end(), [v4](const api::ServiceFrontend& frontend) {
      return !frontend.address || frontend.address->is_v4() == v4;
    });
  };
  struct Found {
    api::ServiceBackend backend;
    bool ready;
  };
  std::vector<Found> found;
  bool some_ready[2] = {false, false};  // by family
  for (const auto* slice : slices_) {
    const auto at = std::find_if(slice->ports.begin(), slice->ports.end(), [&](const ClusterPort& p) {
      return p.name == port.name && p.protocol == port.protocol;
    });
    if (at == slice->ports.end()) continue;
    for (const auto& endpoint : slice->endpoints) {
      const bool v4 = endpoint.address.is_v4();
      const bool last_resort = !endpoint.ready && endpoint.serving && endpoint.terminating;
      if ((!endpoint.ready && !last_resort) || !has_family(v4)) continue;
      if (local_only && !is_local(endpoint)) continue;
      some_ready[v4 ? 0 : 1] |= endpoint.ready;
      found.push_back({{endpoint.address, at->port, slice->weight}, endpoint.ready});
    }
  }
  std::map<std::pair<IpAddr, std::uint16_t>, api::ServiceBackend> unique;
  for (auto& [backend, ready] : found) {
    backend.draining = !ready && some_ready[backend.address.is_v4() ? 0 : 1];
    const auto [at, fresh] = unique.try_emplace({backend.address, backend.port}, backend);
    // While a slice is being replaced by another, both have it.
    if (!fresh) at->second.draining = at->second.draining && backend.draining;
  }
  std::vector<api::ServiceBackend> out;
  for (const auto& [place, backend] : unique) out.push_back(backend);
  return out;
}

// As kube-proxy has it: of all addresses the load balancer's only, whoever asks, and a family for itself.
std::vector<IpPrefix> Planner::sources_for(const IpAddr& address) const {
  std::vector<IpPrefix> out;
  const auto& balancer = service_.balancer_ips;
  if (std::find(balancer.begin(), balancer.end(), address) == balancer.end()) return out;
  std::copy_if(service_.source_ranges.begin(), service_.source_ranges.end(), std::back_inserter(out),
               [&](const IpPrefix& range) { return range.address.is_v4() == address.is_v4(); });
  return out;
}

// Connections of pods and of the node's own programs to addresses that are meant for the outside are the
// cluster's own, and may go anywhere.
Planner::Part Planner::frontends(const ClusterPort& port) const {
  Part part;
  auto& inside = service_.internal_local ? part.local : part.everywhere;
  auto& outside = service_.external_local ? part.local : part.everywhere;
  for (const auto& address : service_.cluster_ips) {
    inside.push_back({domain_id_, address, port.protocol, port.port});
    if (leads_host_to(node_, address))
      inside.push_back({kUnderlayDomain, address, port.protocol, port.port, true});
  }
  for (const auto& address : service_.outside_ips) {
    const auto sources = sources_for(address);
    outside.push_back({kUnderlayDomain, address, port.protocol, port.port, false, sources});
    part.everywhere.push_back({domain_id_, address, port.protocol, port.port, false, sources});
  }
  if (port.node_port == 0) return part;
  outside.push_back({kUnderlayDomain, std::nullopt, port.protocol, port.node_port});
  for (const auto& address : node_.addresses)
    part.everywhere.push_back({domain_id_, address, port.protocol, port.node_port});
  for (const bool v4 : {true, false}) {
    if (const auto frontend = host_frontend(node_, v4, std::nullopt, port.protocol, port.node_port))
      part.everywhere.push_back(*frontend);
  }
  return part;
}

Result<void> Planner::add(const ClusterPort& port, Frontends frontends, bool local_only,
                          std::vector<api::Service>& out) const {
  if (frontends.empty()) return {};
  api::Service made;
  made.name = to_text(service_.key) + ":" + (port.name.empty() ? std::to_string(port.port) : port.name) +
              (local_only ? " local" : "");
  made.domain = domain_id_;
  made.backends = backends(port, frontends, local_only);
  made.frontends = std::move(frontends);
  made.affinity_s = service_.affinity_s;
  // An endpoint elsewhere would answer past this node.
  made.hide_clients = !local_only && std::any_of(made.frontends.begin(), made.frontends.end(),
                                                 [](const auto& f) { return f.domain == kUnderlayDomain; });
  const auto limit = [&](std::size_t count, std::size_t most, const char* what) -> Result<void> {
    if (count <= most) return {};
    return invalid("port " + std::to_string(port.port) + " has " + std::to_string(count) + " " + what +
                   ", at most " + std::to_string(most) + " are possible");
  };
  PODWIRE_CHECK(limit(made.frontends.size(), api::kMaxFrontends, "addresses"));
  PODWIRE_CHECK(limit(made.backends.size(), api::kMaxBackends, "endpoints"));
  out.push_back(std::move(made));
  return {};
}

Result<std::vector<api::Service>> Planner::plan() {
  domain_ = domain_of(service_, config_);
  if (domain_ == nullptr)
    return not_found("there is no domain \"" + service_.domain + "\" on this node; see: podwirectl domain");
  const auto id = node_.domains.find(domain_->name);
  if (id == node_.domains.end()) return not_found("domain \"" + domain_->name + "\" is not programmed");
  domain_id_ = id->second;
  if (!domain_->stateful) {
    return invalid(
        "domain \"" + domain_->name +
        "\" is not stateful, so its connections cannot be translated; set \"stateful\": true for it in "
        "podwired.json and restart podwired");
  }
  std::vector<api::Service> out;
  for (const auto& port : service_.ports) {
    PODWIRE_CHECK(check_node_port(port, config_));
    auto part = frontends(port);
    PODWIRE_CHECK(add(port, std::move(part.everywhere), false, out));
    PODWIRE_CHECK(add(port, std::move(part.local), true, out));
  }
  return out;
}

}  // namespace

Result<std::vector<api::Service>> plan_service(const ClusterService& service,
                                               const std::vector<const ClusterSlice*>& slices,
                                               const Config& config, const NodeObjects& node) {
  return Planner(service, slices, config, node).plan();
}

}  // namespace podwire::control
