// Runs nft, the kernel's packet filter's own program, in the calling thread's network namespace. A script is
// one transaction: all of it or nothing. Nothing is kept here.
#pragma once

#include <string>
#include <vector>

#include "dataplane/base/result.hpp"

namespace podwire::control {

// What it printed. `purpose` says in messages what it is needed for: "keeps the kernel off eth0".
// kUnavailable when there is no nft program, kIo with its own words when it fails.
Result<std::string> run_nft(const std::vector<std::string>& arguments, const std::string& script,
                            const std::string& purpose);
inline Result<void> apply_nft(const std::string& script, const std::string& purpose) {
  PODWIRE_TRY(const auto printed, run_nft({"-f", "-"}, script, purpose));
  return {};
}

}  // namespace podwire::control
