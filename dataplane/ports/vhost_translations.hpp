// VhostTranslations: what a guest behind an IOMMU is asked about its addresses (IOTLB_MSG of the vhost-user
// specification), and what it tells. librte_vhost asks once for an address and then waits for the answer for
// good; a peer need not answer, and does not when nothing is mapped there yet. So questions that stay open
// are put again. One object a port; main thread only. No sockets, no DPDK.
#pragma once

#include <chrono>
#include <cstdint>
#include <map>
#include <utility>
#include <vector>

#include "dataplane/base/json.hpp"
#include "dataplane/ports/vhost_message.hpp"

namespace podwire::engine {

class VhostTranslations {
 public:
  using Clock = std::chrono::steady_clock;
  static constexpr std::chrono::milliseconds kAskAgain{20};
  static constexpr std::size_t kMostAtOnce = 64;
  // Open questions that are followed; the library keeps as many a ring.
  static constexpr std::size_t kMostOpen = 2048;

  // The message that asks for `address`, with VHOST_ACCESS_* as permissions.
  static VhostMessage question(std::uint64_t address, std::uint8_t permissions);

  // A question has been put for the first time.
  void asked(const VhostMessage& question, Clock::time_point now);
  // A translation, or the end of some.
  void told(const VhostMessage& message);
  bool any_open() const { return !open_.empty(); }
  // The questions that have been open for kAskAgain since they were put last: to be put again now, the
  // longest waiting first, so many at a time.
  std::vector<VhostMessage> to_repeat(Clock::time_point now);
  // The peer is gone.
  void forget_open() { open_.clear(); }

  Json describe() const;

 private:
  using Question = std::pair<std::uint64_t, std::uint8_t>;  // address, permissions
  std::map<Question, Clock::time_point> open_;              // when they were put last
  // Since the port was opened.
  std::uint64_t misses_ = 0, repeats_ = 0, updates_ = 0, invalidations_ = 0;
};

}  // namespace podwire::engine
