#include "control/doctor/underlay_echo.hpp"

#include <netinet/in.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>

#include "dataplane/headers/headers.hpp"

namespace podwire::control {
namespace {

using engine::IcmpHeader;
using engine::Ipv4Header;
using engine::Ipv6Header;
using engine::UdpHeader;

constexpr std::uint8_t kCodeNetProhibited = 9, kCodeHostProhibited = 10,
                       kCodeProhibited = 13;                                              // RFC 1812 5.2.7.1
constexpr std::uint8_t kCode6Prohibited = 1, kCode6PolicyFailed = 5, kCode6Rejected = 6;  // RFC 4443 3.1

std::uint16_t random_identifier() {
  std::uint16_t value = 0;
  if (::getrandom(&value, sizeof value, 0) != sizeof value) value = static_cast<std::uint16_t>(::getpid());
  return value;
}

template <class T>
const T* header_in(std::span<const std::uint8_t> bytes, std::size_t at) {
  return at + sizeof(T) <= bytes.size() ? reinterpret_cast<const T*>(bytes.data() + at) : nullptr;
}

// The UDP packet that an error quotes.
template <class Ip>
bool read_quoted(std::span<const std::uint8_t> bytes, const Ip& ip, std::size_t udp_at, IcmpNote& out) {
  const auto* udp = header_in<UdpHeader>(bytes, udp_at);
  if (udp == nullptr) return false;
  out.destination = IpAddr(ip.destination);
  out.udp_port = udp->destination_port.host();
  return true;
}

std::uint16_t checksum_of_message(const IcmpHeader& header) {
  std::uint32_t sum = 0;
  std::uint16_t words[sizeof header / 2];
  std::memcpy(words, &header, sizeof header);
  for (const auto word : words) sum += word;
  sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(~((sum & 0xffff) + (sum >> 16)));
}

}  // namespace

bool read_icmp4(std::span<const std::uint8_t> packet, IcmpNote& out) {
  const auto* ip = header_in<Ipv4Header>(packet, 0);
  if (ip == nullptr || ip->header_bytes() < sizeof(Ipv4Header)) return false;
  const std::size_t at = ip->header_bytes();
  const auto* message = header_in<IcmpHeader>(packet, at);
  if (message == nullptr) return false;
  if (message->type == engine::icmp::kEchoReply) {
    out.kind = IcmpNote::Kind::kEchoReply;
    out.identifier = static_cast<std::uint16_t>(message->rest.host() >> 16);
    return true;
  }
  if (message->type != engine::icmp::kUnreachable) return false;
  const auto* quoted = header_in<Ipv4Header>(packet, at + sizeof(IcmpHeader));
  if (quoted == nullptr || quoted->protocol != engine::ip_proto::kUdp) return false;
  const auto code = message->code;
  if (code == engine::icmp::kCodeFragmentationNeeded) return false;
  out.kind = code == engine::icmp::kCodePortUnreachable ? IcmpNote::Kind::kPortUnreachable
             : code == kCodeNetProhibited || code == kCodeHostProhibited || code == kCodeProhibited
                 ? IcmpNote::Kind::kProhibited
                 : IcmpNote::Kind::kUnreachable;
  return read_quoted(packet, *quoted, at + sizeof(IcmpHeader) + quoted->header_bytes(), out);
}

bool read_icmp6(std::span<const std::uint8_t> message, IcmpNote& out) {
  const auto* header = header_in<IcmpHeader>(message, 0);
  if (header == nullptr) return false;
  if (header->type == engine::icmp6::kEchoReply) {
    out.kind = IcmpNote::Kind::kEchoReply;
    out.identifier = static_cast<std::uint16_t>(header->rest.host() >> 16);
    return true;
  }
  if (header->type != engine::icmp6::kUnreachable) return false;
  const auto* quoted = header_in<Ipv6Header>(message, sizeof(IcmpHeader));
  if (quoted == nullptr || quoted->next_header != engine::ip_proto::kUdp) return false;
  const auto code = header->code;
  out.kind = code == engine::icmp6::kCodePortUnreachable ? IcmpNote::Kind::kPortUnreachable
             : code == kCode6Prohibited || code == kCode6PolicyFailed || code == kCode6Rejected
                 ? IcmpNote::Kind::kProhibited
                 : IcmpNote::Kind::kUnreachable;
  return read_quoted(message, *quoted, sizeof(IcmpHeader) + sizeof(Ipv6Header), out);
}

UnderlayEcho::UnderlayEcho()
    : v4_(::socket(AF_INET, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_ICMP)),
      v6_(::socket(AF_INET6, SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_ICMPV6)),
      identifier_(random_identifier()) {}

void UnderlayEcho::ask(const std::vector<ExaminedPeer>& peers) {
  for (const auto& peer : peers) {
    if (send(peer.address)) answers_.try_emplace(peer.address, false);
  }
}

// The kernel computes the checksum over IPv6.
bool UnderlayEcho::send(const IpAddr& to) {
  const auto& socket = to.is_v4() ? v4_ : v6_;
  if (!socket) return false;
  IcmpHeader message{};
  message.type = to.is_v4() ? engine::icmp::kEchoRequest : engine::icmp6::kEchoRequest;
  message.rest = Be32(std::uint32_t{identifier_} << 16 | ++sequence_);
  if (to.is_v4()) message.checksum = Be16::from_raw(checksum_of_message(message));
  sockaddr_storage address{};
  socklen_t length = sizeof(sockaddr_in6);
  if (to.is_v4()) {
    auto* in = reinterpret_cast<sockaddr_in*>(&address);
    in->sin_family = AF_INET;
    std::memcpy(&in->sin_addr, to.bytes().data(), sizeof in->sin_addr);
    length = sizeof(sockaddr_in);
  } else {
    auto* in6 = reinterpret_cast<sockaddr_in6*>(&address);
    in6->sin6_family = AF_INET6;
    std::memcpy(&in6->sin6_addr, to.bytes().data(), sizeof in6->sin6_addr);
  }
  // The error may be of an earlier packet (ICMP unreachable); then this one has not gone yet.
  for (int tries = 0; tries < 2; ++tries) {
    if (::sendto(socket.get(), &message, sizeof message, MSG_NOSIGNAL,
                 reinterpret_cast<const sockaddr*>(&address), length) >= 0)
      return true;
  }
  return false;
}

void UnderlayEcho::collect() {
  if (v4_) read_all(v4_.get(), true);
  if (v6_) read_all(v6_.get(), false);
}

void UnderlayEcho::read_all(int fd, bool v4) {
  constexpr int kMostPackets = 10'000;  // whoever floods us must not hold us up
  std::uint8_t buffer[2048];
  for (int i = 0; i < kMostPackets; ++i) {
    sockaddr_storage from{};
    socklen_t length = sizeof from;
    const auto bytes = ::recvfrom(fd, buffer, sizeof buffer, 0, reinterpret_cast<sockaddr*>(&from), &length);
    if (bytes < 0) return;
    const std::span<const std::uint8_t> packet(buffer, static_cast<std::size_t>(bytes));
    IcmpNote note;
    if (v4 ? !read_icmp4(packet, note) : !read_icmp6(packet, note)) continue;
    if (v4) {
      Ipv4 source;
      std::memcpy(source.bytes.data(), &reinterpret_cast<const sockaddr_in*>(&from)->sin_addr, 4);
      take(note, IpAddr(source));
    } else {
      Ipv6 source;
      std::memcpy(source.bytes.data(), &reinterpret_cast<const sockaddr_in6*>(&from)->sin6_addr, 16);
      take(note, IpAddr(source));
    }
  }
}

void UnderlayEcho::take(const IcmpNote& note, const IpAddr& from) {
  if (note.kind == IcmpNote::Kind::kEchoReply) {
    const auto asked = answers_.find(from);
    if (asked != answers_.end() && note.identifier == identifier_) asked->second = true;
    return;
  }
  if (!answers_.contains(note.destination)) return;
  auto& errors = errors_[{note.destination, note.udp_port}];
  if (note.kind == IcmpNote::Kind::kPortUnreachable) errors.port_unreachable = from;
  if (note.kind == IcmpNote::Kind::kProhibited) errors.prohibited = from;
  if (note.kind == IcmpNote::Kind::kUnreachable) errors.unreachable = from;
}

UnderlayHeard UnderlayEcho::heard(const ExaminedPeer& peer) const {
  UnderlayHeard out;
  const auto errors = errors_.find({peer.address, peer.udp_port});
  if (errors != errors_.end()) out = errors->second;
  const auto answer = answers_.find(peer.address);
  if (answer != answers_.end()) out.answers = answer->second;
  return out;
}

}  // namespace podwire::control
