#include "dataplane/ports/vhost.hpp"

namespace podwire::engine {

Result<std::unique_ptr<Port>> open_vhost_port(const api::Port& config, std::vector<UniqueFd> /*descriptors*/,
                                              const PortEnvironment& /*environment*/) {
  return Error{ErrorCode::kUnsupported, "port " + config.name + ": vhost is not built yet"};
}

}  // namespace podwire::engine
