// What a worker tells the main thread, through its bounded ring. Overflow is counted
// (WorkerCounters::events_lost), never retried; a packet that was to be parked is dropped then.
#pragma once

#include <rte_mbuf.h>

#include "dataplane/base/addresses.hpp"
#include "dataplane/base/ids.hpp"

namespace podwire::engine {

struct Event {
  enum class Kind : std::uint8_t {
    kLearn,        // `mac` was seen in `domain` behind `port`, or behind the VTEP at `address` (from_tunnel)
    kNeighbor,     // `address` is at `mac` on uplink `port` (ARP reply or request, ND advertisement or
                   // solicitation)
    kPark,         // `mbuf` (metadata saved in it) waits for the next hop of `vtep`
    kDenied,       // `policy` did not allow a connection of `domain`: `address` to `peer`
    kProbeAnswer,  // `address` answers the outstanding probe in `probe_slot` of `domain`
    kUnknownVni,   // the VTEP at `address` sent VXLAN with `vni`, which no domain has
  };
  Kind kind = Kind::kLearn;
  bool from_tunnel = false;
  bool solicited = false;  // kNeighbor: an answer, as opposed to overheard
  PortId port;
  DomainId domain;
  MacAddr mac;
  IpAddr address;
  std::uint16_t udp_port = 0;  // kLearn from_tunnel: the outer destination port the sender used
  std::uint32_t vtep = 0;      // kPark, kLearn: slot
  rte_mbuf* mbuf = nullptr;    // kPark: owned by the receiver of the event
  // kDenied only.
  PolicyId policy;       // 0: its sender's address says nothing of who it is
  bool ingress = false;  // which side of it
  std::uint8_t protocol = 0;
  IpAddr peer;  // destination; it is in `peer_domain`
  DomainId peer_domain;
  std::uint16_t source_port = 0, destination_port = 0;
  std::uint32_t left_out = 0;  // denials since this worker's last event
  Vni vni;                     // kUnknownVni
  // kProbeAnswer only.
  std::uint16_t probe_slot = 0;
  bool intact = false;  // its ICMP checksum is right
  std::uint64_t probe_nonce = 0;
  std::uint64_t tsc = 0;  // when its burst arrived
};

}  // namespace podwire::engine
