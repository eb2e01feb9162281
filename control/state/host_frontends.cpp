// The addresses by which the node's own programs ask the engine for services.
#include <algorithm>

#include "control/state/desired.hpp"

namespace podwire::control {
namespace {

// The address that many after the network's own.
IpAddr nth_of(const IpPrefix& prefix, std::uint32_t n) {
  const auto network = prefix.network().address;
  if (network.is_v4()) return IpAddr(Ipv4::from_u32(network.v4().to_u32() + n));
  auto v6 = network.v6();
  v6.bytes[15] = static_cast<std::uint8_t>(v6.bytes[15] + n);  // at least six bits are clear
  return IpAddr(v6);
}

// A prefix has 62 addresses at least.
constexpr std::uint32_t kMostAliases = 61;

}  // namespace

void add_host_services(const HostServicesConfig& config, NodeObjects& node) {
  if (!config.enabled) return;
  for (const auto& prefix : config.prefixes) {
    std::uint32_t aliases = 0;
    for (const auto& address : node.addresses) {
      if (address.is_v4() != prefix.address.is_v4()) continue;
      if (aliases == 0) node.host_services.push_back(nth_of(prefix, 1));
      if (++aliases <= kMostAliases) node.host_aliases[address] = nth_of(prefix, 1 + aliases);
    }
  }
}

std::optional<api::ServiceFrontend> host_frontend(const NodeObjects& node, bool v4,
                                                  const std::optional<IpAddr>& address,
                                                  api::ServiceProtocol protocol, std::uint16_t port) {
  api::ServiceFrontend frontend{kUnderlayDomain, std::nullopt, protocol, port, true};
  if (address) {
    const auto alias = node.host_aliases.find(*address);
    if (address->is_v4() == v4 && alias != node.host_aliases.end()) frontend.address = alias->second;
  } else {
    const auto& all = node.host_services;
    const auto own = std::find_if(all.begin(), all.end(), [v4](const IpAddr& a) { return a.is_v4() == v4; });
    if (own != all.end()) frontend.address = *own;
  }
  if (!frontend.address) return std::nullopt;
  return frontend;
}

}  // namespace podwire::control
