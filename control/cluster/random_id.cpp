#include "control/cluster/random_id.hpp"

#include <fstream>

namespace podwire::control {

Result<std::string> random_id() {
  std::ifstream random("/proc/sys/kernel/random/uuid");
  std::string fresh;
  if (!std::getline(random, fresh)) return errno_error("cannot read /proc/sys/kernel/random/uuid");
  return fresh;
}

}  // namespace podwire::control
