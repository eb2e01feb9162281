#include "dataplane/packet/probe_frame.hpp"

#include <cstring>

#include "dataplane/packet/checksum.hpp"

namespace podwire::engine {
namespace {

constexpr std::uint8_t kProbeTtl = 64;

void put_probe4(std::uint8_t* at, const ProbeQuestion& question) {
  auto* ip = reinterpret_cast<Ipv4Header*>(at);
  ip->version_ihl = 0x45;
  ip->total_length = Be16(question.ip_bytes);
  ip->flags_fragment = Be16(Ipv4Header::kDontFragment);
  ip->ttl = kProbeTtl;
  ip->protocol = ip_proto::kIcmp;
  ip->source = question.source.v4();
  ip->destination = question.destination.v4();
  set_ipv4_checksum(ip);
}

void put_probe6(std::uint8_t* at, const ProbeQuestion& question) {
  auto* ip = reinterpret_cast<Ipv6Header*>(at);
  ip->version_class_flow = Be32(std::uint32_t{6} << 28);
  ip->payload_length = Be16(static_cast<std::uint16_t>(question.ip_bytes - sizeof(Ipv6Header)));
  ip->next_header = ip_proto::kIcmpv6;
  ip->hop_limit = kProbeTtl;
  ip->source = question.source.v6();
  ip->destination = question.destination.v6();
}

}  // namespace

std::vector<std::uint8_t> probe_frame(const ProbeQuestion& question) {
  const bool v4 = question.source.is_v4();
  const std::size_t ip_header = v4 ? sizeof(Ipv4Header) : sizeof(Ipv6Header);
  std::vector<std::uint8_t> frame(sizeof(EtherHeader) + question.ip_bytes);
  const EtherHeader ether{question.destination_mac, question.source_mac,
                          Be16(v4 ? ether_type::kIpv4 : ether_type::kIpv6)};
  std::memcpy(frame.data(), &ether, sizeof ether);
  auto* ip = frame.data() + sizeof ether;
  auto* message = reinterpret_cast<IcmpHeader*>(ip + ip_header);
  const std::size_t bytes = question.ip_bytes - ip_header;
  message->type = v4 ? icmp::kEchoRequest : icmp6::kEchoRequest;
  message->rest = Be32((static_cast<std::uint32_t>(question.nonce) << 16) | question.slot);
  std::memcpy(ip + ip_header + sizeof(IcmpHeader), &question.nonce, sizeof question.nonce);
  auto sum = sum_bytes(message, bytes);
  if (v4) {
    put_probe4(ip, question);
  } else {
    put_probe6(ip, question);
    sum += pseudo_header_sum(question.source.v6(), question.destination.v6(), ip_proto::kIcmpv6,
                             static_cast<std::uint32_t>(bytes));
  }
  message->checksum = checksum_of(sum);
  return frame;
}

}  // namespace podwire::engine
