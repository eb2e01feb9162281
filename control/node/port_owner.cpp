// Who has a port, by what /proc tells of sockets and of the programs that have them open.
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>

#include "control/node/held_port.hpp"

namespace podwire::control {
namespace {

constexpr std::size_t kStateAt = 3, kInodeAt = 9;  // columns of /proc/net/tcp, as of udp

// The inodes of sockets with that local port; those that listen alone, if some do.
void add_inodes(const std::string& table, std::uint16_t port, std::set<std::string>& listening,
                std::set<std::string>& others) {
  std::ifstream file(table);
  std::string line;
  std::getline(file, line);  // titles
  while (std::getline(file, line)) {
    std::istringstream words(line);
    std::vector<std::string> columns;
    for (std::string word; columns.size() <= kInodeAt && words >> word;) columns.push_back(word);
    if (columns.size() <= kInodeAt) continue;
    const auto colon = columns[1].rfind(':');
    unsigned found = 0;
    const char* const end = columns[1].data() + columns[1].size();
    if (colon == std::string::npos ||
        std::from_chars(columns[1].data() + colon + 1, end, found, 16).ptr != end || found != port)
      continue;
    const bool listens = columns[kStateAt] == "0A";
    (listens ? listening : others).insert("socket:[" + columns[kInodeAt] + "]");
  }
}

bool has_open(const std::filesystem::path& process, const std::set<std::string>& sockets) {
  std::error_code failure;
  for (std::filesystem::directory_iterator at(process / "fd", failure), end; !failure && at != end;
       at.increment(failure)) {
    std::error_code gone;
    if (sockets.contains(std::filesystem::read_symlink(at->path(), gone).string())) return true;
  }
  return false;
}

}  // namespace

std::string find_port_owner(api::ServiceProtocol protocol, std::uint16_t port) {
  if (protocol == api::ServiceProtocol::kSctp) return {};
  const std::string name = protocol == api::ServiceProtocol::kTcp ? "tcp" : "udp";
  std::set<std::string> listening, others;
  for (const char* const family : {"", "6"})
    add_inodes("/proc/thread-self/net/" + name + family, port, listening, others);
  const auto& sockets = listening.empty() ? others : listening;
  if (sockets.empty()) return {};
  std::error_code failure;
  for (std::filesystem::directory_iterator at("/proc", failure), end; !failure && at != end;
       at.increment(failure)) {
    const auto pid = at->path().filename().string();
    if (!std::all_of(pid.begin(), pid.end(), [](char c) { return c >= '0' && c <= '9'; })) continue;
    if (!has_open(at->path(), sockets)) continue;
    std::string program;
    std::ifstream comm(at->path() / "comm");
    std::getline(comm, program);
    return "program " + (program.empty() ? std::string("of unknown name") : program) + " (pid " + pid + ")";
  }
  return {};
}

}  // namespace podwire::control
