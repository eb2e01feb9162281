// What an examination of the other nodes sees of them, and what is wrong with them. Plain data; who fills it
// is examination.hpp, who judges it diagnosis.hpp.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/base/addresses.hpp"
#include "dataplane/base/ids.hpp"

namespace podwire::control {

// One domain that the peer has, in one family.
struct ExaminedPath {
  std::string domain;
  DomainId id;
  Vni vni;
  bool v4 = true;
  std::uint16_t mtu = 0;            // of the domain
  std::vector<IpAddr> gateways;     // of the peer's, any of which may answer
  std::string not_probed;           // why it cannot be; empty: it was
  std::optional<IpAddr> answers;    // which gateway did
  unsigned sent = 0, answered = 0;  // probes of a small size, and those answered intact
  unsigned damaged = 0;             // answers with a wrong checksum
  std::uint64_t rtt_min_us = 0, rtt_sum_us = 0, rtt_max_us = 0;
  std::string next_hop;       // as the engine's verb probe_results names it, of a probe without answer
  std::uint16_t room = 0;     // what the uplink's MTU leaves for it, where that is less than `mtu`; else 0
  std::uint16_t largest = 0;  // IP packet that passed, at most `mtu`; 0: not looked for
  std::string problem;        // why the engine could not send; empty: it could
};

// What the node's own stack heard of the peer's address on the underlay.
struct UnderlayHeard {
  std::optional<bool> answers;             // to ICMP echo; none: could not be asked
  std::optional<IpAddr> port_unreachable;  // who says that nothing listens on the tunnel's UDP port
  std::optional<IpAddr> prohibited;        // who refuses to forward to it (administratively prohibited)
  std::optional<IpAddr> unreachable;       // who says that the host or its network cannot be reached
};

struct ExaminedPeer {
  std::string name;
  IpAddr address;  // of its tunnel
  std::uint16_t udp_port = 0;
  UnderlayHeard underlay;
  std::vector<Vni> unknown_vnis;                             // that it sent lately, and no domain here has
  std::uint64_t bad_outer_checksums = 0, bad_checksums = 0;  // dropped here, of anybody's, in the meantime
  std::vector<ExaminedPath> paths;
  std::size_t left_out = 0;  // further paths, which this examination does not look at

  bool was_probed() const;
  bool answers() const;  // some path does
};

struct Finding {
  std::string fault;   // one word, for programs
  std::string text;    // what is wrong
  std::string remedy;  // what to do
};

}  // namespace podwire::control
