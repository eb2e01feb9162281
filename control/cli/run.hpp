// podwirectl from its arguments to its exit status.
#pragma once

#include <ostream>
#include <string>
#include <vector>

namespace podwire::control::cli {

struct Terminal {
  std::ostream& out;
  std::ostream& err;
  bool colour = false;      // out is a terminal that takes colour
  bool can_redraw = false;  // out is a terminal that --watch may clear
};

inline constexpr int kExitDone = 0;
inline constexpr int kExitRefused = 1;
inline constexpr int kExitUsage = 2;
inline constexpr int kExitUnreachable = 3;
inline constexpr int kExitUnhealthy = 4;

// `socket_variable` is $PODWIRE_SOCKET, empty when it is not set.
int run(const std::vector<std::string>& args, const std::string& socket_variable, Terminal& terminal);

}  // namespace podwire::control::cli
