#include "dataplane/ports/memif.hpp"
#include "dataplane/ports/physical.hpp"
#include "dataplane/ports/port.hpp"
#include "dataplane/ports/tap.hpp"
#include "dataplane/ports/vhost.hpp"

namespace podwire::engine {

Result<std::unique_ptr<Port>> open_port(const api::Port& config, std::vector<UniqueFd> descriptors,
                                        const PortEnvironment& environment) {
  switch (config.kind) {
#define X(kind, opener)     \
  case api::PortKind::kind: \
    return opener(config, std::move(descriptors), environment);
#include "dataplane/ports/port_kinds.def"
#undef X
  }
  return Error{ErrorCode::kInternal, "port " + config.name + ": kind " +
                                         std::to_string(static_cast<int>(config.kind)) +
                                         " is not in port_kinds.def"};
}

}  // namespace podwire::engine
