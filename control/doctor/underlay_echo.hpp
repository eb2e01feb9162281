// UnderlayEcho: whether other nodes answer on the underlay itself, asked by the node's own stack with ICMP
// echo (RFC 792, RFC 4443), and what routers and hosts say meanwhile of our tunnel packets (ICMP destination
// unreachable). Raw sockets, so it needs CAP_NET_RAW. One thread at a time.
#pragma once

#include <map>
#include <span>
#include <vector>

#include "control/doctor/report.hpp"
#include "dataplane/base/unique_fd.hpp"

namespace podwire::control {

// What one ICMP message means to us. Pure; false: nothing, or it is too short.
struct IcmpNote {
  enum class Kind { kEchoReply, kPortUnreachable, kProhibited, kUnreachable };
  Kind kind = Kind::kEchoReply;
  std::uint16_t identifier = 0;  // kEchoReply
  // The others: the UDP packet that it is about.
  IpAddr destination;
  std::uint16_t udp_port = 0;
};
// `packet` begins with the IPv4 header, as a raw socket gives it.
bool read_icmp4(std::span<const std::uint8_t> packet, IcmpNote& out);
// `message` begins with the ICMPv6 header.
bool read_icmp6(std::span<const std::uint8_t> message, IcmpNote& out);

class UnderlayEcho {
 public:
  // Without a socket of a family its peers' answers stay unknown.
  UnderlayEcho();

  // Sends one echo request to each; again for those that have been asked before.
  void ask(const std::vector<ExaminedPeer>& peers);
  // Takes in what has come by now.
  void collect();
  UnderlayHeard heard(const ExaminedPeer& peer) const;

 private:
  using Tunnel = std::pair<IpAddr, std::uint16_t>;  // address and UDP port
  bool send(const IpAddr& to);
  void take(const IcmpNote& note, const IpAddr& from);
  void read_all(int fd, bool v4);

  UniqueFd v4_, v6_;
  const std::uint16_t identifier_;
  std::uint16_t sequence_ = 0;
  std::map<IpAddr, bool> answers_;  // of those that could be asked
  std::map<Tunnel, UnderlayHeard> errors_;
};

}  // namespace podwire::control
