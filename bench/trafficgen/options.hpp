// Options of podwire-trafficgen: the command line as checked values. Pure; read once at start.
#pragma once

#include <array>
#include <optional>
#include <string>
#include <vector>

#include "bench/trafficgen/device_spec.hpp"
#include "bench/trafficgen/frames.hpp"
#include "bench/trafficgen/measure.hpp"

namespace podwire::trafficgen {

enum class Direction { kBoth, kAToB, kBToA };

// One end of the switch under test: a port of ours and who it pretends to be.
struct Side {
  DeviceSpec device;
  MacAddr mac;
  MacAddr destination_mac;  // of what it sends: the other side's, or a router's
  IpAddr address;
};

struct Settings {
  std::array<Side, 2> sides;  // A and B
  Direction direction = Direction::kBoth;
  std::vector<FrameSize> sizes{{64}};
  std::vector<std::uint32_t> flows{1};
  Vary vary = Vary::kPorts;
  std::uint16_t source_port = 10000, destination_port = 20000;
  Method method;
  double settle_seconds = 0.2;
  double pause_seconds = 0;
  double link_seconds = 10;
  unsigned burst = 16;
  unsigned queues = 1;
  unsigned descriptors = 1024;

  std::optional<unsigned> cpu;
  bool realtime = false;
  unsigned memory_mib = 256;
  bool no_huge = false;
  std::string file_prefix;                 // empty: of the process's own
  std::vector<std::string> eal_arguments;  // more of them
  std::string json, markdown, svg;         // files; "-": standard output; empty: not written
  bool quiet = false;

  bool ipv6() const { return sides[0].address.is_v6(); }
  bool is_active(unsigned direction_index) const {
    return direction == Direction::kBoth || (direction == Direction::kAToB) == (direction_index == 0);
  }
};

struct CommandLine {
  enum class Action { kRun, kHelp, kVersion } action = Action::kRun;
  Settings settings;
};

Result<CommandLine> parse_command_line(const std::vector<std::string>& arguments);
std::string help_text();
// The headers of direction 0 (A to B) or 1.
Conversation conversation_of(const Settings& settings, unsigned direction_index, std::uint32_t flows);
const char* to_text(Direction direction);

}  // namespace podwire::trafficgen
