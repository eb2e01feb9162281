// Router advertisements (RFC 4861 section 4.2, DNS options RFC 8106) from an endpoint's lease, and the check
// of the solicitations that ask for them. Pure functions, called by workers, by the main thread (which sends
// them unasked, too) and by tests.
//
// What they say: we are a default router for kRouterSeconds; addresses come by DHCPv6 (M and O), none are to
// be made up (no prefix has the autonomous flag); which subnets are on link; MTU, our MAC, DNS. There is none
// for an endpoint without IPv6 addresses.
#pragma once

#include <cstdint>
#include <span>

#include "dataplane/base/addresses.hpp"
#include "dataplane/packet/lease.hpp"

namespace podwire::engine {

// A solicitation (ICMPv6 message and the IPv6 header's fields) that passes RFC 4861 section 6.1.1; its
// checksum is the caller's to check.
[[nodiscard]] bool valid_router_solicitation(std::span<const std::uint8_t> message, const Ipv6& source,
                                             std::uint8_t hop_limit) noexcept;

// Writes the ICMPv6 message with checksum zero; options that do not fit are left out. Returns its length.
std::size_t write_router_advert(const Lease& lease, std::span<std::uint8_t> room) noexcept;

}  // namespace podwire::engine
