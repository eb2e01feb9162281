// Port: one attachment of the switch. The engine's main thread opens and closes ports; a worker polls the
// queues it owns. Virtual calls are per burst. bare rx/tx names live in here only.
#pragma once

#include <rte_mbuf.h>

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "dataplane/api/objects.hpp"
#include "dataplane/base/reactor.hpp"
#include "dataplane/base/unique_fd.hpp"

namespace podwire::engine {

// What the device takes, in terms of packet/offload.hpp.
struct PortCapabilities {
  bool l4_checksum = false;        // completes partial TCP/UDP checksums
  bool segmentation = false;       // takes TSO packets up to 64 KiB
  bool multi_segment = false;      // takes chained mbufs
  std::uint16_t max_frame = 1518;  // bytes with Ethernet header, without FCS; TSO packets excepted
};

struct QueueCounters {
  std::uint64_t received_packets = 0, received_bytes = 0, sent_packets = 0, sent_bytes = 0;
};

struct Pools {
  rte_mempool* packets = nullptr;  // 2 KiB data room
  rte_mempool* jumbo = nullptr;    // second segment of large receives: kJumboRoom bytes
};

// What a port may use of the engine. All of it outlives the port.
struct PortEnvironment {
  Pools pools;
  std::uint16_t workers = 1;
  Reactor* reactor = nullptr;  // the main thread's
  // Returns once every worker has left the burst that it was in; for any thread but a worker's.
  std::function<void()> wait_quiescent{};
};

// Set on a received packet whose announced checksum or segmentation work does not fit its headers: the worker
// books it as received and drops it as bad_offload. (No driver sets this flag without rte_security.)
inline constexpr std::uint64_t kBadOffloadFlag = RTE_MBUF_F_RX_SEC_OFFLOAD_FAILED;

// Why tx_burst took less than it was given.
enum class TxStop : std::uint8_t {
  kFull,      // no room at the moment
  kDown,      // the device is down or gone
  kRejected,  // the first packet that was not taken can never be sent; those behind it may
};

class Port {
 public:
  virtual ~Port() = default;

  // Up to out.size() packets. Every mbuf has data_off >= 128 (headroom for encap), correct pkt_len, and
  // offload fields as packet/offload.hpp says. Called by the worker that owns the queue. Never blocks.
  virtual std::uint16_t rx_burst(std::uint16_t queue, std::span<rte_mbuf*> out) noexcept = 0;
  // Takes a prefix of `in`: returns how many; those are the port's to free. The rest stays the caller's.
  // Packets respect capabilities(): anything else was completed before.
  virtual std::uint16_t tx_burst(std::uint16_t queue, std::span<rte_mbuf*> in) noexcept = 0;
  // After tx_burst took less than it was given; called by the same worker.
  virtual TxStop tx_stop(std::uint16_t /*queue*/) const noexcept { return TxStop::kFull; }
  // A descriptor that becomes readable when rx_burst has work, or -1: then the queue is polled every
  // millisecond.
  virtual int poll_fd(std::uint16_t queue) const noexcept = 0;
  // Before its worker sleeps on poll_fd: asks the peer for a signal from now on. False when rx_burst has work
  // already; then there is no sleep. disarm: the worker polls again, signals may stop.
  virtual bool arm(std::uint16_t /*queue*/) noexcept { return true; }
  virtual void disarm(std::uint16_t /*queue*/) noexcept {}
  // Goes on with what tx_burst has taken and the peer cannot take yet. rx_burst does so by itself: for its
  // worker while it must not receive. False when something is left, and nobody will give a signal for it.
  virtual bool go_on(std::uint16_t /*queue*/) noexcept { return true; }
  // True when rx_burst costs a system call even if it finds nothing: the worker then asks poll_fd first.
  virtual bool receive_when_ready() const noexcept { return false; }

  virtual std::uint16_t rx_queues() const noexcept = 0;
  virtual std::uint16_t tx_queues() const noexcept = 0;
  // Changes while the port is open where the peer decides (vhost): to be read once for a packet's way.
  virtual const PortCapabilities& capabilities() const noexcept { return capabilities_; }
  MacAddr mac() const noexcept { return mac_; }        // the device's own (physical) or as configured
  std::uint16_t mtu() const noexcept { return mtu_; }  // IP bytes

  // Main thread only.
  virtual bool link_up() const = 0;
  virtual QueueCounters queue_counters(std::uint16_t queue) const = 0;
  virtual Json describe() const = 0;           // kind-specific facts for `status`
  virtual std::string last_error() const = 0;  // empty when there was none

 protected:
  PortCapabilities capabilities_;
  MacAddr mac_;
  std::uint16_t mtu_ = 0;
};

// Opens a port of the configured kind; `descriptors` are the tap queues in order. One line a kind in
// port_kinds.def.
Result<std::unique_ptr<Port>> open_port(const api::Port& config, std::vector<UniqueFd> descriptors,
                                        const PortEnvironment& environment);

}  // namespace podwire::engine
