// Memif port.
#pragma once

#include <memory>
#include <vector>

#include "dataplane/ports/port.hpp"

namespace podwire::engine {

Result<std::unique_ptr<Port>> open_memif_port(const api::Port& config, std::vector<UniqueFd> descriptors,
                                              const PortEnvironment& environment);

}  // namespace podwire::engine
