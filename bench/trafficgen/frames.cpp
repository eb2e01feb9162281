#include "bench/trafficgen/frames.hpp"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "dataplane/headers/headers.hpp"
#include "dataplane/packet/checksum.hpp"

namespace podwire::trafficgen {
namespace {

using namespace engine;

constexpr std::size_t kIpAt = sizeof(EtherHeader);
constexpr unsigned kImix[] = {64, 594, 64, 64, 594, 64, 1518, 64, 594, 64, 594, 64};

template <class T>
void put(std::uint8_t* to, const T& value) noexcept {
  std::memcpy(to, &value, sizeof value);
}

std::uint32_t last_word(const IpAddr& address) {
  const std::size_t at = address.is_v4() ? 0 : 12;
  Be32 word;
  std::memcpy(&word, address.bytes().data() + at, sizeof word);
  return word.host();
}

Ipv4Header ipv4_header(const Conversation& c, std::size_t bytes) {
  Ipv4Header ip{};
  ip.version_ihl = 0x45;
  ip.total_length = Be16(static_cast<std::uint16_t>(bytes));
  ip.flags_fragment = Be16(Ipv4Header::kDontFragment);
  ip.ttl = 64;
  ip.protocol = ip_proto::kUdp;
  ip.source = c.source.v4();
  ip.destination = c.destination.v4();
  return ip;
}

Ipv6Header ipv6_header(const Conversation& c, std::size_t bytes) {
  Ipv6Header ip{};
  ip.version_class_flow = Be32(0x60000000);
  ip.payload_length = Be16(static_cast<std::uint16_t>(bytes));
  ip.next_header = ip_proto::kUdp;
  ip.hop_limit = 64;
  ip.source = c.source.v6();
  ip.destination = c.destination.v6();
  return ip;
}

}  // namespace

FrameWriter::FrameWriter(const Conversation& c, std::size_t frame_bytes, std::uint8_t trial,
                         std::uint8_t direction)
    : conversation_(c),
      frame_bytes_(frame_bytes),
      head_bytes_(trafficgen::head_bytes(c.source.is_v6())),
      source_at_(kIpAt +
                 (c.source.is_v6() ? offsetof(Ipv6Header, source) + 12 : offsetof(Ipv4Header, source))),
      destination_at_(source_at_ + (c.source.is_v6() ? sizeof(Ipv6) : sizeof(Ipv4))),
      udp_at_(kIpAt + (c.source.is_v6() ? sizeof(Ipv6Header) : sizeof(Ipv4Header))),
      source_word_(last_word(c.source)),
      destination_word_(last_word(c.destination)) {
  const bool ipv6 = c.source.is_v6();
  const auto udp_bytes = static_cast<std::uint16_t>(frame_bytes - udp_at_);
  put(head_.data(),
      EtherHeader{c.destination_mac, c.source_mac, Be16(ipv6 ? ether_type::kIpv6 : ether_type::kIpv4)});
  if (ipv6)
    put(head_.data() + kIpAt, ipv6_header(c, udp_bytes));
  else
    put(head_.data() + kIpAt, ipv4_header(c, frame_bytes - kIpAt));
  put(head_.data() + udp_at_, UdpHeader{Be16(), Be16(), Be16(udp_bytes), Be16()});
  Signature signature;
  signature.trial = trial;
  signature.direction = direction;
  put(head_.data() + udp_at_ + sizeof(UdpHeader), signature);
  // The sums leave out what write() puts in: the address words, the ports, number and time.
  std::memset(head_.data() + source_at_, 0, 4);
  std::memset(head_.data() + destination_at_, 0, 4);
  const Be32 pseudo(std::uint32_t{ip_proto::kUdp} << 16 | udp_bytes);
  udp_sum_ = pseudo.raw() + sum_bytes(head_.data() + udp_at_, head_bytes_ - udp_at_);
  if (ipv6)
    udp_sum_ += sum_bytes(head_.data() + kIpAt + offsetof(Ipv6Header, source), 2 * sizeof(Ipv6));
  else
    ip_sum_ = sum_bytes(head_.data() + kIpAt, sizeof(Ipv4Header));
}

void FrameWriter::write(std::uint8_t* to, std::uint32_t flow, std::uint32_t number,
                        std::uint64_t time) const noexcept {
  auto source_port = conversation_.source_port, destination_port = conversation_.destination_port;
  auto source = source_word_, destination = destination_word_;
  switch (conversation_.vary) {
    case Vary::kPorts:
      source_port = static_cast<std::uint16_t>(source_port + flow % kPortsInTurn);
      destination_port = static_cast<std::uint16_t>(destination_port + flow / kPortsInTurn);
      break;
    case Vary::kSources:
      source += flow;
      break;
    case Vary::kDestinations:
      destination += flow;
      break;
  }
  std::memcpy(to, head_.data(), head_bytes_);
  const Be32 source_field(source), destination_field(destination);
  const Be32 ports(std::uint32_t{source_port} << 16 | destination_port);
  put(to + source_at_, source_field);
  put(to + destination_at_, destination_field);
  put(to + udp_at_, ports);
  put(to + udp_at_ + sizeof(UdpHeader) + offsetof(Signature, number), number);
  put(to + udp_at_ + sizeof(UdpHeader) + offsetof(Signature, time), time);
  const auto addresses = std::uint64_t{source_field.raw()} + destination_field.raw();
  if (ip_sum_ != 0) put(to + kIpAt + offsetof(Ipv4Header, checksum), checksum_of(ip_sum_ + addresses));
  auto checksum =
      checksum_of(udp_sum_ + addresses + ports.raw() + number + (time >> 32) + (time & 0xffffffff));
  // Zero says that there is no checksum (RFC 768).
  if (checksum.raw() == 0) checksum = Be16(0xffff);
  put(to + udp_at_ + offsetof(UdpHeader, checksum), checksum);
}

std::optional<Signature> read_signature(std::span<const std::uint8_t> head, bool ipv6) noexcept {
  const auto bytes = head_bytes(ipv6);
  if (head.size() < bytes) return std::nullopt;
  Be16 type;
  std::memcpy(&type, head.data() + offsetof(EtherHeader, type), sizeof type);
  Signature signature;
  std::memcpy(&signature, head.data() + bytes - sizeof signature, sizeof signature);
  if (signature.magic != Signature::kMagic || signature.direction > 1) return std::nullopt;
  if (type != Be16(ipv6 ? ether_type::kIpv6 : ether_type::kIpv4)) return std::nullopt;
  return signature;
}

std::string to_string(FrameSize size) {
  return size.is_imix() ? "imix" : std::to_string(size.bytes);
}

std::vector<unsigned> sizes_in_turn(FrameSize size, bool ipv6) {
  if (!size.is_imix()) return {size.bytes};
  std::vector<unsigned> sizes(std::begin(kImix), std::end(kImix));
  for (auto& one : sizes) one = std::max(one, smallest_size(ipv6));
  return sizes;
}

double mean_size(FrameSize size, bool ipv6) {
  const auto sizes = sizes_in_turn(size, ipv6);
  return std::accumulate(sizes.begin(), sizes.end(), 0.0) / static_cast<double>(sizes.size());
}

unsigned largest_size(FrameSize size, bool ipv6) {
  const auto sizes = sizes_in_turn(size, ipv6);
  return *std::max_element(sizes.begin(), sizes.end());
}

}  // namespace podwire::trafficgen
