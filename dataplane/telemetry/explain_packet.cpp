#include "dataplane/telemetry/explain_packet.hpp"

#include <algorithm>
#include <cstring>

#include "dataplane/headers/headers.hpp"
#include "dataplane/packet/checksum.hpp"

namespace podwire::engine {
namespace {

using Bytes = std::vector<std::uint8_t>;

const std::vector<std::string> kProtocols{"icmp", "icmp6", "tcp", "udp", "arp"};
// Stands for a machine on the underlay that nobody has named.
constexpr MacAddr kSomebody{{0x02, 0x70, 0x77, 0xff, 0xff, 0xfe}};
constexpr std::size_t kDefaultPayload = 56;

Result<Bytes> parse_hex(const std::string& text) {
  const auto digit = [](char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
  };
  if (text.size() % 2 != 0 || text.size() < 2 || text.size() > 2 * kMaxExplainBytes) {
    return invalid("params.frame has " + std::to_string(text.size()) +
                   " hexadecimal digits, must be an even number from 2 to " +
                   std::to_string(2 * kMaxExplainBytes));
  }
  Bytes bytes;
  for (std::size_t i = 0; i < text.size(); i += 2) {
    const int high = digit(text[i]), low = digit(text[i + 1]);
    if (high < 0 || low < 0) {
      return invalid("params.frame has \"" + text.substr(i, 2) + "\" at digit " + std::to_string(i) +
                     ", must be hexadecimal without separators");
    }
    bytes.push_back(static_cast<std::uint8_t>(high << 4 | low));
  }
  return bytes;
}

template <class T>
void append(Bytes& bytes, const T& header) {
  // resize and copy: GCC 12 misjudges the sizes of a range insert here (-Wstringop-overflow).
  const auto at = bytes.size();
  bytes.resize(at + sizeof header);
  std::memcpy(bytes.data() + at, &header, sizeof header);
}

// Ports and protocol, without what is not asked: the L4 bytes with their checksum over `pseudo`.
Bytes l4_bytes(const ExplainRequest& r, std::size_t length, std::uint64_t pseudo) {
  Bytes l4;
  std::size_t checksum_at = 2;
  switch (r.protocol) {
    case ExplainProtocol::kTcp: {
      TcpHeader tcp{};
      tcp.source_port = Be16(r.source_port);
      tcp.destination_port = Be16(r.destination_port);
      tcp.data_offset = sizeof tcp / 4 << 4;
      tcp.flags = TcpHeader::kSyn;
      tcp.window = Be16(65535);
      append(l4, tcp);
      checksum_at = offsetof(TcpHeader, checksum);
      break;
    }
    case ExplainProtocol::kUdp:
      append(l4, UdpHeader{Be16(r.source_port), Be16(r.destination_port),
                           Be16(static_cast<std::uint16_t>(length)), Be16()});
      checksum_at = offsetof(UdpHeader, checksum);
      break;
    default: {
      const bool v6 = r.protocol == ExplainProtocol::kIcmp6;
      append(l4, IcmpHeader{v6 ? icmp6::kEchoRequest : icmp::kEchoRequest, 0, Be16(), Be32(0x00010001)});
    }
  }
  l4.resize(std::max(length, l4.size()));
  const bool with_pseudo = r.protocol != ExplainProtocol::kIcmp;
  Be16 checksum = checksum_of(sum_bytes(l4.data(), l4.size()) + (with_pseudo ? pseudo : 0));
  if (r.protocol == ExplainProtocol::kUdp && checksum == Be16()) checksum = Be16(0xffff);
  std::memcpy(&l4[checksum_at], &checksum, sizeof checksum);
  return l4;
}

std::uint8_t ip_protocol(ExplainProtocol protocol) {
  switch (protocol) {
    case ExplainProtocol::kTcp:
      return ip_proto::kTcp;
    case ExplainProtocol::kUdp:
      return ip_proto::kUdp;
    case ExplainProtocol::kIcmp6:
      return ip_proto::kIcmpv6;
    default:
      return ip_proto::kIcmp;
  }
}

std::size_t l4_header_bytes(ExplainProtocol protocol) {
  return protocol == ExplainProtocol::kTcp ? sizeof(TcpHeader) : 8;
}

void append_ipv4(Bytes& frame, const ExplainRequest& r, const Ipv4& source, const Ipv4& destination) {
  const auto protocol = ip_protocol(r.protocol);
  const auto total =
      r.size != 0 ? r.size : sizeof(Ipv4Header) + l4_header_bytes(r.protocol) + kDefaultPayload;
  const auto l4_length = total - sizeof(Ipv4Header);
  Ipv4Header ip{};
  ip.version_ihl = 0x45;
  ip.total_length = Be16(static_cast<std::uint16_t>(total));
  ip.flags_fragment = Be16(Ipv4Header::kDontFragment);
  ip.ttl = r.ttl;
  ip.protocol = protocol;
  ip.source = source;
  ip.destination = destination;
  set_ipv4_checksum(&ip);
  append(frame, ip);
  const auto pseudo = pseudo_header_sum(source, destination, protocol, static_cast<std::uint32_t>(l4_length));
  const auto l4 = l4_bytes(r, l4_length, pseudo);
  frame.insert(frame.end(), l4.begin(), l4.end());
}

void append_ipv6(Bytes& frame, const ExplainRequest& r, const Ipv6& source, const Ipv6& destination) {
  const auto protocol = ip_protocol(r.protocol);
  const auto total =
      r.size != 0 ? r.size : sizeof(Ipv6Header) + l4_header_bytes(r.protocol) + kDefaultPayload;
  const auto l4_length = total - sizeof(Ipv6Header);
  append(frame, Ipv6Header{Be32(6u << 28), Be16(static_cast<std::uint16_t>(l4_length)), protocol, r.ttl,
                           source, destination});
  const auto pseudo = pseudo_header_sum(source, destination, protocol, static_cast<std::uint32_t>(l4_length));
  const auto l4 = l4_bytes(r, l4_length, pseudo);
  frame.insert(frame.end(), l4.begin(), l4.end());
}

bool on_link(const api::Domain& domain, const IpAddr& address) {
  return std::any_of(domain.gateways.begin(), domain.gateways.end(),
                     [&](const IpPrefix& gateway) { return gateway.contains(address); });
}

MacAddr multicast_mac(const IpAddr& group) {
  const auto& b = group.bytes();
  if (group.is_v6()) return {{0x33, 0x33, b[12], b[13], b[14], b[15]}};
  if (group.v4().is_broadcast()) return {{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}};
  return {{0x01, 0x00, 0x5e, static_cast<std::uint8_t>(b[1] & 0x7f), b[2], b[3]}};
}

// Where a machine behind `port` sends packets for `destination`: what ARP or its gateway route gives it.
MacAddr next_hop_mac(const api::Port& port, const Intent& intent, const IpAddr& destination,
                     const MacAddr& device_mac) {
  if (destination.is_multicast() || (destination.is_v4() && destination.v4().is_broadcast()))
    return multicast_mac(destination);
  if (port.role == api::PortRole::kUplink) return device_mac;
  const bool host = port.role == api::PortRole::kHost;
  const auto* domain = intent.domain(host ? intent.host_domain() : port.domain);
  if (domain == nullptr) return kSomebody;
  const bool gateways_own =
      std::any_of(domain->gateways.begin(), domain->gateways.end(),
                  [&](const IpPrefix& gateway) { return gateway.address == destination; });
  if (host) {
    const bool ours = on_link(*domain, destination) || intent.lookup(domain->id, destination) != nullptr;
    return ours ? domain->gateway_mac : kSomebody;
  }
  if (!gateways_own && on_link(*domain, destination)) {
    if (const auto* endpoint = intent.endpoint_with(domain->id, destination)) return endpoint->mac;
  }
  return domain->gateway_mac;
}

// The address and MAC that a pod behind `port` would use; what was asked for comes first.
Result<void> complete_source(ExplainRequest& r, const api::Port& port, const Intent& intent) {
  for (const auto id : intent.endpoints_on(port.id)) {
    const auto* endpoint = intent.endpoint(id);
    for (const auto& address : endpoint->addresses) {
      const bool fits = r.source ? address == *r.source : address.is_v4() == r.destination->is_v4();
      if (!fits) continue;
      r.source = address;
      if (r.source_mac.is_zero()) r.source_mac = endpoint->mac;
    }
  }
  if (r.source_mac.is_zero())
    r.source_mac = port.role == api::PortRole::kUplink || port.mac.is_zero() ? kSomebody : port.mac;
  if (r.source) return {};
  return invalid("params.source is missing, and port \"" + port.name + "\" has no endpoint with an " +
                 (r.destination->is_v4() ? "IPv4" : "IPv6") + " address to send from");
}

Result<void> check_families(const ExplainRequest& r) {
  if (r.source && r.source->is_v4() != r.destination->is_v4()) {
    return invalid("params.source is " + to_string(*r.source) + " and params.destination " +
                   to_string(*r.destination) + ", must be of one address family");
  }
  if (r.destination->is_v6() && r.protocol == ExplainProtocol::kArp) {
    return invalid(
        "params.protocol is \"arp\", which is for IPv4; give a neighbour solicitation as params.frame");
  }
  if (r.destination->is_v4() && r.protocol == ExplainProtocol::kIcmp6) {
    return invalid("params.protocol is \"icmp6\", but params.destination is " + to_string(*r.destination));
  }
  const auto least =
      (r.destination->is_v4() ? sizeof(Ipv4Header) : sizeof(Ipv6Header)) + l4_header_bytes(r.protocol);
  if (r.size == 0 || r.protocol == ExplainProtocol::kArp || (r.size >= least && r.size <= kMaxExplainBytes))
    return {};
  return invalid("params.size is " + std::to_string(r.size) + ", must be from " + std::to_string(least) +
                 " to " + std::to_string(kMaxExplainBytes) + " bytes of IP packet");
}

}  // namespace

Result<ExplainRequest> read_explain(const Json& params) {
  ExplainRequest out;
  std::optional<std::string> hex;
  ObjectReader r(params, "params");
  r.required("port", out.port);
  r.optional("frame", hex);
  std::size_t details = 0;  // given ones, beside port and frame
  details += r.optional("source", out.source);
  const bool has_destination = r.optional("destination", out.destination);
  details += r.find("protocol") != nullptr;
  r.choice("protocol", out.protocol, kProtocols);
  details += r.optional("source_port", out.source_port);
  details += r.optional("destination_port", out.destination_port);
  details += r.optional_in("ttl", out.ttl, 0, 255);
  details += r.optional("size", out.size);
  details += r.optional("source_mac", out.source_mac);
  details += r.optional("destination_mac", out.destination_mac);
  PODWIRE_CHECK(r.finish());
  if (hex) {
    if (has_destination || details != 0) {
      return invalid("params.frame is the whole packet; leave the other parameters but port out");
    }
    PODWIRE_TRY(out.frame, parse_hex(*hex));
    return out;
  }
  if (!out.destination)
    return invalid(
        "params.destination is missing; give it, or a whole packet as params.frame in hexadecimal");
  if (out.destination->is_v6() && out.protocol == ExplainProtocol::kIcmp)
    out.protocol = ExplainProtocol::kIcmp6;
  PODWIRE_CHECK(check_families(out));
  return out;
}

Result<Bytes> build_explain_frame(const ExplainRequest& request, const Intent& intent,
                                  const MacAddr& device_mac) {
  if (request.frame) return *request.frame;
  const auto* port = intent.port(request.port);
  if (port == nullptr)
    return not_found("params.port is " + std::to_string(request.port.value()) + ", which does not exist");
  ExplainRequest r = request;
  PODWIRE_CHECK(complete_source(r, *port, intent));
  const bool arp = r.protocol == ExplainProtocol::kArp;
  if (r.destination_mac.is_zero()) {
    r.destination_mac = arp ? multicast_mac(IpAddr(Ipv4{{255, 255, 255, 255}}))
                            : next_hop_mac(*port, intent, *r.destination, device_mac);
  }
  const auto type = arp ? ether_type::kArp : r.destination->is_v4() ? ether_type::kIpv4 : ether_type::kIpv6;
  Bytes frame;
  append(frame, r.destination_mac);
  append(frame, r.source_mac);
  if (port->role == api::PortRole::kUplink && port->vlan != 0)
    append(frame, VlanTag{Be16(ether_type::kVlan), Be16(port->vlan)});
  append(frame, Be16(type));
  if (arp) {
    append(frame, ArpHeader{Be16(1), Be16(ether_type::kIpv4), 6, 4, Be16(ArpHeader::kRequest), r.source_mac,
                            r.source->v4(), MacAddr{}, r.destination->v4()});
  } else if (r.destination->is_v4()) {
    append_ipv4(frame, r, r.source->v4(), r.destination->v4());
  } else {
    append_ipv6(frame, r, r.source->v6(), r.destination->v6());
  }
  return frame;
}

}  // namespace podwire::engine
