// The plugin's environment (CNI specification, section 2, "Parameters"). Checked in the plugin process, where
// a mistake is answered without the daemon, and again in the daemon, which trusts no client.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "control/cni/error.hpp"

namespace podwire::control {

enum class CniCommand { kAdd, kDel, kCheck, kGc, kStatus, kVersion };

struct CniEnvironment {
  CniCommand command = CniCommand::kVersion;
  std::string container_id;  // empty for GC, STATUS, VERSION
  std::string netns;         // CNI_NETNS as given; may be empty for DEL
  std::string ifname;
  std::vector<std::string> path;            // CNI_PATH, split
  std::map<std::string, std::string> args;  // CNI_ARGS, only keys that are known
};

// kBadEnvironment: names every missing variable at once, or the one that is wrong.
CniResult<CniEnvironment> read_environment(const std::map<std::string, std::string>& variables);

// 1 to 15 characters, none of '/', ':' and white space, not "." or "..".
CniResult<void> check_ifname(const std::string& name);
CniResult<void> check_container_id(const std::string& id);

// "A=1;B=2". Unknown keys are an error unless IgnoreUnknown is 1 or true; they are left out of the result.
CniResult<std::map<std::string, std::string>> read_cni_args(const std::string& text);

}  // namespace podwire::control
