// The node's own side of services: ports that other programs of the node cannot take, and the way by which
// the node's own programs get to services. An interface for those who publish ports; control/node has the
// kernel's part. Thread-safe; calls may block.
#pragma once

#include <vector>

#include "control/state/store.hpp"
#include "dataplane/api/service.hpp"

namespace podwire::control {

class HostPorts {
 public:
  virtual ~HostPorts() = default;

  // Keeps what the attachment publishes from other programs of the node. All or nothing; kConflict names the
  // port and who has it.
  virtual Result<void> hold(const Attachment& attachment) = 0;
  // The same for the node ports of the cluster's services, in place of those before.
  virtual Result<void> hold(const std::vector<api::Service>& services) = 0;
  // Leads the node's own programs to all services that are held. What fails is logged, is tried again with
  // the next change, and stands among the daemon's differences: pods do not depend on it.
  virtual void lead() = 0;
  // Ends both for the attachment.
  virtual void let_go(const Attachment& attachment) = 0;
};

}  // namespace podwire::control
