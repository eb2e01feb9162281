// DenialLog: tells the operator of connections that policies did not allow: a few lines a second at most, and
// how many were left out. Main thread only.
#pragma once

#include <cstdint>

#include "dataplane/tables/intent.hpp"
#include "dataplane/worker/event.hpp"

namespace podwire::engine {

class DenialLog {
 public:
  struct Ends {  // null: nobody's address
    const api::Endpoint* source = nullptr;
    const api::Endpoint* destination = nullptr;
  };
  // `now_ms` here and below: monotonic milliseconds.
  void note(const Event& event, const Intent& intent, const Ends& ends, std::uint64_t now_ms);
  // Tells of what was left out when nothing else has for a while.
  void tick(std::uint64_t now_ms);

 private:
  static constexpr std::uint32_t kLinesPerSecond = 5;

  std::uint64_t second_ms_ = 0;  // when the current one began
  std::uint32_t lines_ = 0;      // in it
  std::uint64_t left_out_ = 0;   // since the last line
};

}  // namespace podwire::engine
