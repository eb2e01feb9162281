// FlowKey: one direction of a connection: domain, addresses, protocol and ports. An IPv4 key is 16 bytes, an
// IPv6 key 40; both lie in the same five words. Addresses and ports stand as on the wire, so that a rule set
// can look at the key itself (tables/rule_set.cpp).
#pragma once

#include <cstdint>
#include <cstring>

#include "dataplane/base/addresses.hpp"
#include "dataplane/base/be.hpp"
#include "dataplane/base/ids.hpp"

namespace podwire::engine {

struct FlowKey {
  // 0: source port, destination port, domain (host order), protocol, family (4 or 6)
  // 1: source and destination of IPv4; 1 to 4: of IPv6
  std::uint64_t words[5]{};

  static constexpr std::size_t kSourcePortAt = 0, kDestinationPortAt = 2, kProtocolAt = 6, kAddressesAt = 8;

  bool is_v4() const noexcept { return words[0] >> 56 == 4; }
  DomainId domain() const noexcept { return domain_of(words[0]); }
  std::uint8_t protocol() const noexcept { return static_cast<std::uint8_t>(words[0] >> 48); }
  std::uint16_t source_port() const noexcept { return byte_swap(static_cast<std::uint16_t>(words[0])); }
  std::uint16_t destination_port() const noexcept {
    return byte_swap(static_cast<std::uint16_t>(words[0] >> 16));
  }
  IpAddr source() const noexcept { return address(0); }
  IpAddr destination() const noexcept { return address(1); }

  // Both ports as they stand on the wire; for ICMP echo its identifier twice.
  std::uint32_t ports() const noexcept { return static_cast<std::uint32_t>(words[0]); }
  void set_ports(std::uint32_t raw) noexcept { words[0] = (words[0] & ~std::uint64_t{0xffffffff}) | raw; }
  // Word 0.
  static std::uint64_t head(DomainId domain, std::uint8_t protocol, bool v4,
                            std::uint32_t raw_ports) noexcept {
    return raw_ports | std::uint64_t{domain.value()} << 32 | std::uint64_t{protocol} << 48 |
           std::uint64_t{v4 ? 4u : 6u} << 56;
  }
  static DomainId domain_of(std::uint64_t head) noexcept {
    return DomainId(static_cast<std::uint16_t>(head >> 32));
  }
  void set_head(DomainId domain, std::uint8_t protocol, bool v4, std::uint32_t raw_ports) noexcept {
    words[0] = head(domain, protocol, v4, raw_ports);
  }

  void set_domain(DomainId domain) noexcept {
    words[0] = (words[0] & ~(std::uint64_t{0xffff} << 32)) | std::uint64_t{domain.value()} << 32;
  }
  // Of the key's own family.
  void set_source(const IpAddr& address) noexcept { set_address(0, address); }
  void set_destination(const IpAddr& address) noexcept { set_address(1, address); }

  // The same without NAT in between: ends exchanged.
  FlowKey reversed() const noexcept {
    FlowKey back;
    back.words[0] = (words[0] & ~std::uint64_t{0xffffffff}) | exchange_ports(ports());
    if (is_v4()) {
      back.words[1] = exchange_addresses(words[1]);
    } else {
      back.words[1] = words[3];
      back.words[2] = words[4];
      back.words[3] = words[1];
      back.words[4] = words[2];
    }
    return back;
  }

  bool operator==(const FlowKey& other) const noexcept {
    if (((words[0] ^ other.words[0]) | (words[1] ^ other.words[1])) != 0) return false;
    if (is_v4()) return true;
    return ((words[2] ^ other.words[2]) | (words[3] ^ other.words[3]) | (words[4] ^ other.words[4])) == 0;
  }

  // The other way round: both ports, and both IPv4 addresses.
  static std::uint32_t exchange_ports(std::uint32_t ports) noexcept { return ports >> 16 | ports << 16; }
  static std::uint64_t exchange_addresses(std::uint64_t word) noexcept { return word >> 32 | word << 32; }

 private:
  void set_address(std::size_t which, const IpAddr& address) noexcept {
    const std::size_t length = is_v4() ? 4 : 16;
    std::memcpy(reinterpret_cast<std::uint8_t*>(words) + kAddressesAt + which * length,
                address.bytes().data(), length);
  }
  IpAddr address(std::size_t which) const noexcept {
    const auto* bytes = reinterpret_cast<const std::uint8_t*>(words) + kAddressesAt;
    if (is_v4()) {
      Ipv4 v4;
      std::memcpy(v4.bytes.data(), bytes + which * 4, 4);
      return IpAddr(v4);
    }
    Ipv6 v6;
    std::memcpy(v6.bytes.data(), bytes + which * 16, 16);
    return IpAddr(v6);
  }
};
static_assert(sizeof(FlowKey) == 40);

// Ports in host order.
inline FlowKey make_flow_key(DomainId domain, std::uint8_t protocol, const IpAddr& source,
                             const IpAddr& destination, std::uint16_t source_port,
                             std::uint16_t destination_port) noexcept {
  FlowKey key;
  const std::size_t length = source.is_v4() ? 4 : 16;
  auto* bytes = reinterpret_cast<std::uint8_t*>(key.words) + FlowKey::kAddressesAt;
  std::memcpy(bytes, source.bytes().data(), length);
  std::memcpy(bytes + length, destination.bytes().data(), length);
  key.set_head(domain, protocol, source.is_v4(),
               byte_swap(source_port) | std::uint32_t{byte_swap(destination_port)} << 16);
  return key;
}

// What rules are asked about a connection with these keys: its first packet as it was when a backend had been
// chosen and its source not yet hidden, in the domain that is not the underlay. Who comes from another domain
// is to this one what it appears as here.
inline FlowKey ruled_key(const FlowKey& original, const FlowKey& reply) noexcept {
  if (reply.domain() == kUnderlayDomain) return original;
  FlowKey key = reply.reversed();
  if (original.domain() != kUnderlayDomain && original.domain() != reply.domain()) return key;
  key.set_source(original.source());
  key.set_ports((key.ports() & 0xffff0000) | (original.ports() & 0xffff));
  return key;
}

}  // namespace podwire::engine
