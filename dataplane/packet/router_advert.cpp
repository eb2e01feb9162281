#include "dataplane/packet/router_advert.hpp"

#include "dataplane/headers/headers.hpp"
#include "dataplane/packet/byte_writer.hpp"

namespace podwire::engine {
namespace {

constexpr std::uint8_t kHopLimitForHosts = 64;
constexpr std::uint8_t kManaged = 0x80, kOther = 0x40;  // RFC 4861 section 4.2
constexpr std::uint8_t kOnLink = 0x80;                  // section 4.6.2
constexpr std::uint8_t kPrefixOption = 3, kMtuOption = 5, kDnsOption = 25, kSearchOption = 31;
constexpr std::uint16_t kLeastIpv6Mtu = 1280;
constexpr std::size_t kSolicitationBytes = 8;

void put_dns(const Lease& lease, ByteWriter& out) noexcept {
  const auto addresses = bytes_of<Ipv6>(lease.dns6);
  if (addresses.empty() || !out.fits(8 + addresses.size())) return;
  out.put8(kDnsOption);
  out.put8(static_cast<std::uint8_t>(1 + addresses.size() / 8));
  out.put16(0);
  out.put32(kRouterSeconds);
  out.put(addresses);
}

void put_search(const Lease& lease, ByteWriter& out) noexcept {
  const std::size_t padding = (8 - lease.search.size() % 8) % 8;
  const std::size_t units = 1 + (lease.search.size() + padding) / 8;
  if (lease.search.empty() || units > 255 || !out.fits(units * 8)) return;
  out.put8(kSearchOption);
  out.put8(static_cast<std::uint8_t>(units));
  out.put16(0);
  out.put32(kRouterSeconds);
  out.put(lease.search);
  out.put_zeros(padding);
}

void put_prefix(const Lease::OnLink& prefix, ByteWriter& out) noexcept {
  if (!out.fits(32)) return;
  out.put8(kPrefixOption);
  out.put8(4);
  out.put8(prefix.length);
  out.put8(kOnLink);
  out.put32(kRouterSeconds);  // valid
  out.put32(kRouterSeconds);  // preferred
  out.put32(0);
  out.put_value(prefix.network);
}

}  // namespace

bool valid_router_solicitation(std::span<const std::uint8_t> message, const Ipv6& source,
                               std::uint8_t hop_limit) noexcept {
  if (hop_limit != 255 || message.size() < kSolicitationBytes) return false;
  if (message[0] != icmp6::kRouterSolicitation || message[1] != 0 || source.is_multicast()) return false;
  for (auto rest = message.subspan(kSolicitationBytes); !rest.empty();) {
    if (rest.size() < 2 || rest[1] == 0) return false;
    const std::size_t bytes = rest[1] * std::size_t{8};
    if (bytes > rest.size()) return false;
    if (rest[0] == icmp6::kOptionSourceLinkLayer && source.is_zero()) return false;
    rest = rest.subspan(bytes);
  }
  return true;
}

std::size_t write_router_advert(const Lease& lease, std::span<std::uint8_t> room) noexcept {
  ByteWriter out(room);
  if (!out.fits(16)) return 0;
  out.put8(icmp6::kRouterAdvertisement);
  out.put8(0);
  out.put16(0);  // checksum
  out.put8(kHopLimitForHosts);
  out.put8(kManaged | kOther);
  out.put16(kRouterSeconds);
  out.put32(0);  // reachable time: unspecified
  out.put32(0);  // retransmission timer: unspecified
  if (out.fits(sizeof(LinkLayerOption)))
    out.put_value(LinkLayerOption{icmp6::kOptionSourceLinkLayer, 1, lease.gateway_mac});
  if (lease.mtu >= kLeastIpv6Mtu && out.fits(8)) {
    out.put8(kMtuOption);
    out.put8(1);
    out.put16(0);
    out.put32(lease.mtu);
  }
  for (const auto& prefix : lease.on_link6) put_prefix(prefix, out);
  put_dns(lease, out);
  put_search(lease, out);
  return out.size();
}

}  // namespace podwire::engine
