#include "control/cluster/leased_config.hpp"

#include <algorithm>

#include "control/state/ipam.hpp"

namespace podwire::control {
namespace {

AddressRange all_of(const IpPrefix& prefix) {
  const int host_bits = prefix.address.bits() - prefix.length;
  const auto first = to_number(prefix.network().address);
  const auto hosts = host_bits >= 128 ? ~AddressNumber{0} : (AddressNumber{1} << host_bits) - 1;
  return {from_number(first, prefix.address.is_v4()), from_number(first | hosts, prefix.address.is_v4())};
}

}  // namespace

Config leased_config(const Config& configured, const DomainPrefixes& leased) {
  Config out = configured;
  for (auto& domain : out.domains) {
    const auto at = leased.find(domain.name);
    if (at == leased.end()) continue;
    if (domain.mode == api::DomainMode::kL3) domain.cluster_prefixes = domain.prefixes;
    for (std::size_t i = 0; i < domain.prefixes.size(); ++i) {
      const auto range = domain.prefixes[i];
      const auto mine = std::find_if(at->second.begin(), at->second.end(), [&](const IpPrefix& p) {
        return range.overlaps(p) && p.length >= range.length;
      });
      if (mine == at->second.end()) continue;
      if (domain.mode == api::DomainMode::kL2) {
        domain.ranges.push_back(all_of(*mine));
      } else {
        domain.prefixes[i] = *mine;
        domain.gateways[i] = first_usable(*mine);
      }
    }
  }
  return out;
}

std::vector<IpPrefix> pods_of_host_domain(const Config& configured) {
  for (const auto& domain : configured.domains) {
    if (domain.host_access) return domain.prefixes;
  }
  return {};
}

// Every Podwire node takes what is sent to the gateway's MAC, whatever its VTEPs are called.
NodeRecord node_record(const Config& config, const NodeObjects& node) {
  NodeRecord record;
  for (const auto& vtep : node.objects.vteps) {
    if (vtep.local && vtep.udp_port == config.vxlan.port) record.addresses.push_back(vtep.address);
  }
  record.udp_port = config.vxlan.port;
  record.mac = config.vxlan.mac.value_or(kGatewayMac);
  for (const auto& domain : config.domains) {
    if (domain.transport != DomainTransport::kTunnel) record.transports[domain.name] = domain.transport;
  }
  return record;
}

}  // namespace podwire::control
