// Delegated IPAM: another CNI plugin, found in CNI_PATH, hands out the addresses (CNI specification 1.1.0,
// section 4). It is called at the highest version that it and the request both know. Thread-safe.
#pragma once

#include <atomic>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "control/cni/error.hpp"
#include "control/cni/result.hpp"

namespace podwire::control {

struct IpamCall {
  std::string type;                              // the plugin's name
  std::string version;                           // the request's cniVersion
  Json config;                                   // the whole network configuration
  std::map<std::string, std::string> variables;  // CNI_* and PATH of the request; CNI_COMMAND is set by us
  const std::atomic<bool>* give_up = nullptr;    // ends a running ADD; may be null
};

class IpamPlugins {
 public:
  // At least one address, or an error.
  CniResult<Chained> add(const IpamCall& call);
  CniResult<void> del(const IpamCall& call);
  // These three do nothing for a plugin whose versions do not have the command; status still wants the plugin
  // to be there.
  CniResult<void> check(const IpamCall& call);
  CniResult<void> gc(const IpamCall& call);
  CniResult<void> status(const IpamCall& call);

 private:
  struct Program {
    std::string path;
    std::string version;  // what to speak with it
  };
  CniResult<Program> find(const IpamCall& call);
  CniResult<std::vector<std::string>> versions_of(const std::string& path, const IpamCall& call);
  CniResult<std::string> run(const std::string& path, const char* command, const Json& config,
                             const IpamCall& call);
  CniResult<std::string> run(const Program& program, const char* command, const IpamCall& call);

  struct Known {
    std::uint64_t inode = 0;
    std::int64_t modified_ns = 0;
    std::int64_t size = 0;
    std::vector<std::string> versions;
  };
  std::mutex mutex_;
  std::map<std::string, Known> known_;  // by path: VERSION is asked once for each build of a plugin
};

}  // namespace podwire::control
