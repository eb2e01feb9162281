#include "control/node/nft.hpp"

#include <unistd.h>

#include "control/cni/process.hpp"

namespace podwire::control {

Result<std::string> run_nft(const std::vector<std::string>& arguments, const std::string& script,
                            const std::string& purpose) {
  ProcessRequest request;
  for (const char* path : {"/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft"}) {
    if (request.path.empty() && ::access(path, X_OK) == 0) request.path = path;
  }
  if (request.path.empty())
    return unavailable("there is no nft program, which " + purpose + "; type: apt-get install nftables");
  request.arguments = arguments;
  request.input = script;
  PODWIRE_TRY(auto outcome, run_process(request));
  if (outcome.exit == 0) return std::move(outcome.output);
  return io_error("nft, which " + purpose +
                  ", failed: " + outcome.diagnostics.substr(0, outcome.diagnostics.find('\n')));
}

}  // namespace podwire::control
