// Examination: probes a few peers at once, through the tunnel by the engine's verbs `probe` and
// `probe_results` and on the underlay by UnderlayEcho, and fills in what it sees. Blocks for as long as
// answers may take: about 1 s for peers that answer, 3 s for those that do not, 2 s more where packets of the
// domain's MTU do not pass. Calls the engine from the caller's thread.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "control/doctor/report.hpp"
#include "dataplane/base/json.hpp"

namespace podwire::control {

// One read-only verb of the engine.
using AskEngine = std::function<Result<Json>(const std::string& verb, const Json& params)>;

struct Thoroughness {
  unsigned rounds = 5;                      // probes a path
  bool sizes = true;                        // also the largest packet that passes
  const std::atomic<bool>* stop = nullptr;  // once it is true the examination is given up
};

// kUnavailable: the engine does not answer, or somebody wants it to stop.
Result<void> examine(const AskEngine& ask, std::vector<ExaminedPeer>& peers, const Thoroughness& how);

}  // namespace podwire::control
