// What a worker tells the main thread, through its bounded ring. Overflow is counted
// (WorkerCounters::events_lost), never retried; a packet that was to be parked is dropped then.
#pragma once

#include <rte_mbuf.h>

#include "dataplane/base/addresses.hpp"
#include "dataplane/base/ids.hpp"

namespace podwire::engine {

struct Event {
  enum class Kind : std::uint8_t {
    kLearn,     // `mac` was seen in `domain` behind `port`, or behind the VTEP at `address` (from_tunnel)
    kNeighbor,  // `address` is at `mac` on uplink `port` (ARP reply or request, ND advertisement or
                // solicitation)
    kPark,      // `mbuf` (metadata saved in it) waits for the next hop of `vtep`
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
};

}  // namespace podwire::engine
