// Neighbors: who answers on the underlay, keyed by (port, address). A state machine in the manner of RFC 4861
// section 7.3 for both ARP and ND; it holds no packets and builds no frames: what is to be sent and what
// changed goes out through NeighborActions. Only addresses that somebody wants are kept, so a hostile segment
// cannot fill the table, and those that are fixed: by what knows better than the segment. Main thread only;
// time is handed in (monotonic milliseconds).
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <string_view>

#include "dataplane/base/addresses.hpp"
#include "dataplane/base/ids.hpp"

namespace podwire::engine {

struct NeighborKey {
  PortId port;
  IpAddr address;
  friend auto operator<=>(const NeighborKey&, const NeighborKey&) = default;
};

enum class NeighborState : std::uint8_t {
  kIncomplete,  // asked by broadcast, no answer yet
  kReachable,   // confirmed within kReachableMs
  kStale,       // known, not confirmed lately
  kProbe,       // known, being asked by unicast
  kFailed,      // did not answer; asked again now and then
  kPermanent,   // fixed: known without asking, never asked or aged, and nobody's word counts against it
};
std::string_view name_of(NeighborState state);

struct Neighbor {
  NeighborState state = NeighborState::kIncomplete;
  MacAddr mac;                     // zero when not known
  unsigned wanted = 0;             // how many want() it; with none it is not kept, unless it is fixed
  unsigned tries = 0;              // asked so far in this state
  std::uint64_t due_ms = 0;        // when tick() has something to do; never for fixed ones
  std::uint64_t confirmed_ms = 0;  // of the last answer, or when it was fixed; else of the creation
  std::uint32_t backoff_ms = 0;    // kFailed: until the next question
  bool known() const { return !mac.is_zero(); }
};

// Called from within learn(), tick(), fix() and release(); must not change Neighbors.
class NeighborActions {
 public:
  virtual ~NeighborActions() = default;
  // Ask who has key.address: by unicast to `mac`, or by broadcast (multicast for IPv6) when it is zero.
  virtual void ask(const NeighborKey& key, const MacAddr& mac) = 0;
  // The MAC became known or another one, or (zero in `neighbor.mac`) was lost; failed neighbours are reported
  // once.
  virtual void changed(const NeighborKey& key, const Neighbor& neighbor) = 0;
};

class Neighbors {
 public:
  static constexpr unsigned kTries = 3;
  static constexpr std::uint64_t kRetryMs = 1000;
  static constexpr std::uint64_t kReachableMs = 30'000;
  static constexpr std::uint32_t kBackoffMinMs = 1000;
  static constexpr std::uint32_t kBackoffMaxMs = 30'000;
  static constexpr unsigned kAsksPerTick = 128;  // the rest waits for the next tick

  explicit Neighbors(NeighborActions& actions) : actions_(actions) {}

  // Adds one reference. The first question is sent by the next tick().
  void want(const NeighborKey& key, std::uint64_t now_ms);
  // Drops one reference; the entry goes with the last.
  void forget(const NeighborKey& key);
  // Somebody said where key.address is. `solicited`: an answer, as opposed to overheard (a request, a
  // gratuitous announcement): that is believed only after asking. Ignored when nobody wants the address.
  void learn(const NeighborKey& key, const MacAddr& mac, bool solicited, std::uint64_t now_ms);
  void tick(std::uint64_t now_ms);
  // From now on key.address is at `mac` (unicast) and nowhere else, whether somebody wants it or not.
  void fix(const NeighborKey& key, const MacAddr& mac, std::uint64_t now_ms);
  // Who wants it has to ask for it again, at the next tick(). Nothing happens to one that is not fixed.
  void release(const NeighborKey& key, std::uint64_t now_ms);

  const Neighbor* find(const NeighborKey& key) const;
  std::size_t size() const { return entries_.size(); }
  const std::map<NeighborKey, Neighbor>& all() const { return entries_; }

 private:
  // Returns whether it asked.
  bool advance(const NeighborKey& key, Neighbor& entry, std::uint64_t now_ms);
  bool ask(const NeighborKey& key, Neighbor& entry, std::uint64_t now_ms);

  NeighborActions& actions_;
  std::map<NeighborKey, Neighbor> entries_;
};

}  // namespace podwire::engine
