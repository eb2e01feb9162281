// Lease: everything one endpoint is told by DHCPv4, DHCPv6 and router advertisements. The main thread makes
// it of the endpoint and its domain (tables/entries.hpp); it stands in the snapshot, immutable, and workers
// read it. There is no lease state: the address is the endpoint's for as long as the endpoint exists, so
// every question can be answered from this alone, by any worker, and by an engine that was just started.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "dataplane/base/addresses.hpp"
#include "dataplane/base/ids.hpp"

namespace podwire::engine {

// Long enough that a client survives any outage of the engine; it asks again at half of it, and learns then
// of a change in MTU or DNS (an address that changed is refused at the same time).
inline constexpr std::uint32_t kLeaseSeconds = 12 * 3600;
// What the router advertisement says is good for this long, the most a default router may claim (RFC 4861
// section 6.2.1). Hosts solicit when their interface comes up and not when this is about to run out, so the
// main thread advertises again every kAdvertiseSeconds (tables/advertiser.hpp).
inline constexpr std::uint16_t kRouterSeconds = 9000;
inline constexpr std::uint32_t kAdvertiseSeconds = 600;

struct Lease {
  struct OnLink {
    Ipv6 network;
    std::uint8_t length = 0;
    bool operator==(const OnLink&) const = default;
  };

  EndpointId endpoint;
  MacAddr mac;                // the endpoint's; only questions from it are answered
  MacAddr gateway_mac;        // answers come from it; DHCPv6's server DUID
  std::uint16_t mtu = 0;      // IP bytes
  Ipv4 address4;              // zero: none
  Ipv4 server4;               // DHCPv4's server identifier: the router, or link-local where there is none
  Ipv4 router4;               // zero: none
  std::uint8_t length4 = 32;  // of the subnet that router4 is in, 32 when it is in none with address4
  std::vector<Ipv4> dns4;
  std::vector<Ipv6> addresses6;
  std::vector<OnLink> on_link6;  // subnets of the gateways that contain an address of the endpoint
  std::vector<Ipv6> dns6;
  // Search domains as RFC 1035 section 3.1 writes names, one behind the other, not compressed.
  std::vector<std::uint8_t> search;
  std::string hostname;  // empty: none

  bool router_on_link() const noexcept { return length4 < 32; }
  bool operator==(const Lease&) const = default;
};

}  // namespace podwire::engine
