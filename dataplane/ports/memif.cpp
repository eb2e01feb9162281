#include "dataplane/ports/memif.hpp"

namespace podwire::engine {

Result<std::unique_ptr<Port>> open_memif_port(const api::Port& config, std::vector<UniqueFd> /*descriptors*/,
                                              const PortEnvironment& /*environment*/) {
  return Error{ErrorCode::kUnsupported, "port " + config.name + ": memif is not built yet"};
}

}  // namespace podwire::engine
