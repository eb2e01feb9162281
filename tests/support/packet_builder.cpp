#include "tests/support/packet_builder.hpp"

#include <algorithm>
#include <cassert>

namespace podwire::engine::tests {
namespace {

void put16(Bytes& bytes, std::size_t at, std::size_t value) {
  bytes[at] = static_cast<std::uint8_t>(value >> 8);
  bytes[at + 1] = static_cast<std::uint8_t>(value);
}

void put32(Bytes& bytes, std::size_t at, std::uint32_t value) {
  put16(bytes, at, value >> 16);
  put16(bytes, at + 2, value & 0xffff);
}

template <class Container>
void append(Bytes& bytes, const Container& more) {
  bytes.insert(bytes.end(), more.begin(), more.end());
}

Bytes padded_to_4(Bytes bytes) {
  bytes.resize((bytes.size() + 3) / 4 * 4);
  return bytes;
}

}  // namespace

std::uint16_t slow_checksum(const Bytes& bytes, std::size_t from, std::size_t length) {
  const std::size_t end = length > bytes.size() - from ? bytes.size() : from + length;
  std::uint32_t sum = 0;
  for (std::size_t i = from; i < end; i += 2) {
    const std::uint32_t high = bytes[i];
    const std::uint32_t low = i + 1 < end ? bytes[i + 1] : 0;
    sum += high << 8 | low;
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  }
  return static_cast<std::uint16_t>(~sum);
}

Bytes make_payload(std::size_t bytes, std::uint8_t seed) {
  Bytes made(bytes);
  for (std::size_t i = 0; i < bytes; ++i) made[i] = static_cast<std::uint8_t>(seed + i + i / 251);
  return made;
}

Packet& Packet::add(Kind kind, std::uint8_t protocol, Bytes bytes) {
  layers_.push_back({kind, protocol, std::move(bytes)});
  return *this;
}

Packet& Packet::eth(const MacAddr& destination, const MacAddr& source) {
  Bytes bytes;
  append(bytes, destination.bytes);
  append(bytes, source.bytes);
  bytes.resize(14);
  return add(Kind::kEth, 0, bytes);
}

Packet& Packet::vlan(std::uint16_t id) {
  Bytes bytes(4);
  put16(bytes, 0, id);
  return add(Kind::kVlan, 0, bytes);
}

Packet& Packet::arp(std::uint16_t operation, const MacAddr& sender_mac, const Ipv4& sender_ip,
                    const MacAddr& target_mac, const Ipv4& target_ip) {
  Bytes bytes{0, 1, 8, 0, 6, 4, 0, 0};
  put16(bytes, 6, operation);
  append(bytes, sender_mac.bytes);
  append(bytes, sender_ip.bytes);
  append(bytes, target_mac.bytes);
  append(bytes, target_ip.bytes);
  return add(Kind::kArp, 0, bytes);
}

Packet& Packet::ipv4(const Ipv4& source, const Ipv4& destination, const Ipv4Fields& fields) {
  Bytes bytes(12);
  const Bytes options = padded_to_4(fields.options);
  bytes[0] = static_cast<std::uint8_t>(0x45 + options.size() / 4);
  bytes[1] = fields.tos;
  put16(bytes, 4, fields.id);
  put16(bytes, 6, fields.flags_fragment);
  bytes[8] = fields.ttl;
  append(bytes, source.bytes);
  append(bytes, destination.bytes);
  append(bytes, options);
  return add(Kind::kIpv4, 4, bytes);
}

Packet& Packet::ipv6(const Ipv6& source, const Ipv6& destination, const Ipv6Fields& fields) {
  Bytes bytes(8);
  put32(bytes, 0, 6u << 28 | std::uint32_t{fields.traffic_class} << 20 | fields.flow_label);
  bytes[7] = fields.hop_limit;
  append(bytes, source.bytes);
  append(bytes, destination.bytes);
  return add(Kind::kIpv6, 41, bytes);
}

Packet& Packet::extension(std::uint8_t number, std::uint8_t units) {
  Bytes bytes(std::size_t{units} * 8);
  bytes[1] = static_cast<std::uint8_t>(units - 1);
  // One PadN option fills it; routing headers read the same bytes as type 1, no segments left.
  bytes[2] = 1;
  bytes[3] = number == ip_proto::kRouting ? 0 : static_cast<std::uint8_t>(bytes.size() - 4);
  return add(Kind::kExtension, number, bytes);
}

Packet& Packet::fragment6(std::uint16_t offset_flags, std::uint32_t id) {
  Bytes bytes(8);
  put16(bytes, 2, offset_flags);
  put32(bytes, 4, id);
  return add(Kind::kFragment6, ip_proto::kFragment, bytes);
}

Packet& Packet::tcp(std::uint16_t source, std::uint16_t destination, const TcpFields& fields) {
  Bytes bytes(20);
  const Bytes options = padded_to_4(fields.options);
  put16(bytes, 0, source);
  put16(bytes, 2, destination);
  put32(bytes, 4, fields.seq);
  put32(bytes, 8, fields.ack);
  bytes[12] = static_cast<std::uint8_t>((5 + options.size() / 4) << 4);
  bytes[13] = fields.flags;
  put16(bytes, 14, fields.window);
  append(bytes, options);
  return add(Kind::kTcp, ip_proto::kTcp, bytes);
}

Packet& Packet::udp(std::uint16_t source, std::uint16_t destination) {
  Bytes bytes(8);
  put16(bytes, 0, source);
  put16(bytes, 2, destination);
  return add(Kind::kUdp, ip_proto::kUdp, bytes);
}

Packet& Packet::udp_without_checksum(std::uint16_t source, std::uint16_t destination) {
  udp(source, destination);
  layers_.back().kind = Kind::kUdpNoChecksum;
  return *this;
}

Packet& Packet::icmp(std::uint8_t type, std::uint8_t code, std::uint32_t rest) {
  Bytes bytes{type, code, 0, 0, 0, 0, 0, 0};
  put32(bytes, 4, rest);
  const auto* ip = ip_before(layers_.size());
  const bool v6 = ip != nullptr && ip->kind == Kind::kIpv6;
  return add(Kind::kIcmp, v6 ? ip_proto::kIcmpv6 : ip_proto::kIcmp, bytes);
}

Packet& Packet::vxlan(Vni vni) {
  Bytes bytes{8, 0, 0, 0, 0, 0, 0, 0};
  put32(bytes, 4, vni.value() << 8);
  return add(Kind::kVxlan, 0, bytes);
}

Packet& Packet::payload(std::size_t bytes, std::uint8_t seed) {
  return payload(make_payload(bytes, seed));
}
Packet& Packet::payload(const Bytes& bytes) {
  return add(Kind::kPayload, ip_proto::kNoNext, bytes);
}

Packet& Packet::padding(std::size_t bytes, std::uint8_t value) {
  padding_.assign(bytes, value);
  return *this;
}

const Packet::Layer* Packet::ip_before(std::size_t index) const {
  while (index-- > 0) {
    if (layers_[index].kind == Kind::kIpv4 || layers_[index].kind == Kind::kIpv6) return &layers_[index];
  }
  return nullptr;
}

void Packet::finish_l4(std::size_t index, Bytes& header, const Bytes& behind) const {
  const Layer& layer = layers_[index];
  const std::size_t field = layer.kind == Kind::kTcp ? 16 : layer.kind == Kind::kUdp ? 6 : 2;
  const Layer* ip = ip_before(index);
  Bytes covered;
  if (ip != nullptr && layer.protocol != ip_proto::kIcmp) {
    const bool v4 = ip->kind == Kind::kIpv4;
    covered.assign(ip->bytes.begin() + (v4 ? 12 : 8), ip->bytes.begin() + (v4 ? 20 : 40));
    const std::size_t at = covered.size();
    covered.resize(at + 4);
    put16(covered, at, layer.protocol);
    put16(covered, at + 2, header.size() + behind.size());
  }
  append(covered, header);
  append(covered, behind);
  std::uint16_t sum = slow_checksum(covered);
  if (layer.kind == Kind::kUdp && sum == 0) sum = 0xffff;
  put16(header, field, sum);
}

void Packet::finish(std::size_t index, Bytes& header, const Bytes& behind) const {
  const Layer* next = index + 1 < layers_.size() ? &layers_[index + 1] : nullptr;
  const std::uint8_t next_protocol = next != nullptr ? next->protocol : ip_proto::kNoNext;
  std::uint16_t type = 0;
  if (next != nullptr) {
    type = next->kind == Kind::kIpv4   ? ether_type::kIpv4
           : next->kind == Kind::kIpv6 ? ether_type::kIpv6
           : next->kind == Kind::kArp  ? ether_type::kArp
           : next->kind == Kind::kVlan ? ether_type::kVlan
                                       : 0x88b5;  // IEEE 802 local experimental
  }
  switch (layers_[index].kind) {
    case Kind::kEth:
      put16(header, 12, type);
      break;
    case Kind::kVlan:
      put16(header, 2, type);
      break;
    case Kind::kIpv4:
      put16(header, 2, header.size() + behind.size());
      header[9] = next_protocol;
      put16(header, 10, slow_checksum(header));
      break;
    case Kind::kIpv6:
      put16(header, 4, behind.size());
      header[6] = next_protocol;
      break;
    case Kind::kExtension:
    case Kind::kFragment6:
      header[0] = next_protocol;
      break;
    case Kind::kUdp:
    case Kind::kUdpNoChecksum:
      put16(header, 4, header.size() + behind.size());
      if (layers_[index].kind == Kind::kUdp) finish_l4(index, header, behind);
      break;
    case Kind::kTcp:
    case Kind::kIcmp:
      finish_l4(index, header, behind);
      break;
    case Kind::kArp:
    case Kind::kVxlan:
    case Kind::kPayload:
      break;
  }
}

Bytes Packet::bytes() const {
  Bytes behind;
  for (std::size_t i = layers_.size(); i-- > 0;) {
    Bytes header = layers_[i].bytes;
    finish(i, header, behind);
    append(header, behind);
    behind = std::move(header);
  }
  append(behind, padding_);
  return behind;
}

std::size_t Packet::offset(std::size_t layer) const {
  assert(layer < layers_.size());
  std::size_t at = 0;
  for (std::size_t i = 0; i < layer; ++i) at += layers_[i].bytes.size();
  return at;
}

std::string difference(const Bytes& actual, const Bytes& expected) {
  const std::size_t common = std::min(actual.size(), expected.size());
  for (std::size_t i = 0; i < common; ++i) {
    if (actual[i] != expected[i]) {
      return "byte " + std::to_string(i) + " is " + std::to_string(actual[i]) + ", expected " +
             std::to_string(expected[i]) + " (lengths " + std::to_string(actual.size()) + ", " +
             std::to_string(expected.size()) + ")";
    }
  }
  if (actual.size() == expected.size()) return {};
  return "length is " + std::to_string(actual.size()) + ", expected " + std::to_string(expected.size());
}

}  // namespace podwire::engine::tests
