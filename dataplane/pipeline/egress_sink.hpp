// EgressSink: where finished packets go. EgressQueue: what is about to leave by one port; the worker's sink
// keeps one a port (worker/egress.hpp), and the express lane appends to it directly.
#pragma once

#include <rte_mbuf.h>

#include <array>
#include <cstdint>

#include "dataplane/packet/burst.hpp"

namespace podwire::engine {

// Whom a queued packet is booked on when it is sent or lost: its ingress port and its domain.
struct Account {
  std::uint32_t word = 0;

  static Account of(PortId ingress, DomainId domain) noexcept {
    return {std::uint32_t{ingress.value()} << 16 | domain.value()};
  }
  PortId ingress() const noexcept { return PortId(static_cast<std::uint16_t>(word >> 16)); }
  DomainId domain() const noexcept { return DomainId(static_cast<std::uint16_t>(word)); }
  bool operator==(const Account&) const = default;
};

struct EgressQueue {
  static constexpr std::uint16_t kCapacity = 128;

  PortId port;
  bool active = false;  // the sink will look at it
  std::uint16_t count = 0;
  std::uint64_t bytes = 0;
  std::array<rte_mbuf*, kCapacity> mbufs;
  std::array<Account, kCapacity> accounts;

  // The caller knows that there is room: a sink that was settled takes a burst more.
  void append(rte_mbuf* mbuf, std::uint32_t length, Account account) noexcept {
    mbufs[count] = mbuf;
    accounts[count] = account;
    ++count;
    bytes += length;
  }
};

class EgressSink {
 public:
  virtual ~EgressSink() = default;
  // Takes every packet of `burst` (all are Verdict::kForward, complete for their port's capabilities): sends
  // it or books its drop on meta.ingress and meta.domain. `burst.count` is 0 afterwards.
  virtual void take(Burst& burst) noexcept = 0;
  // The queue of a port, to append up to a burst to before settle() or take() is called; null when there is
  // no such port, or none that packets can be appended to.
  virtual EgressQueue* queue(PortId /*port*/) noexcept { return nullptr; }
  // After packets were appended: makes room for another burst.
  virtual void settle() noexcept {}
};

}  // namespace podwire::engine
