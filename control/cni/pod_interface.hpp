// The pod's end of an attachment: a tap in its network namespace with addresses and routes. Every function
// enters the namespace on the calling thread and is back before it returns.
#pragma once

#include <string>
#include <vector>

#include "control/cni/netns.hpp"
#include "control/cni/result.hpp"
#include "control/state/store.hpp"
#include "dataplane/base/unique_fd.hpp"

namespace podwire::control {

// What the pod's routes are: `configured` when there are any (a route without gateway goes via the gateway of
// its family, if there is one), else a default route via every gateway of the attachment.
struct PodRoutes {
  std::vector<ResultRoute> routes;
  bool implied = false;  // nobody asked for these defaults
};
PodRoutes pod_routes(const Attachment& attachment, const std::vector<ResultRoute>& configured);

// Makes the interface and brings it up with everything it needs; returns its queues' descriptors. kConflict
// when the name is taken. On failure nothing is left behind. Implied defaults that another interface of the
// pod has already (a second network) are taken out of `routes` and not installed: the first one wins.
Result<std::vector<UniqueFd>> create_pod_interface(int netns, const Attachment& attachment,
                                                   PodRoutes& routes);

// Removes the attachment's interface if it is there and is the one that was made for it: a tap with its MAC,
// or with `ours_by_name` any tap of its name (what has been ready may have been given another MAC since).
Result<void> remove_pod_interface(int netns, const Attachment& attachment, bool ours_by_name);

// Opens the namespace an attachment lives in: `given` (a descriptor from the caller, or -1) or else its
// recorded path, provided it is still the same namespace. Empty when it is gone.
Result<UniqueFd> open_attachment_netns(const Attachment& attachment, int given);

// An IPv6 address needs an MTU that carries it. kInvalid.
Result<void> check_mtu(const Attachment& attachment);

// The entry of our interface in the chain's result, or why there is none.
CniResult<const ResultInterface*> find_own_interface(const Attachment& attachment, const Chained& expected);

// Compares the kernel with what the chain's result says; the error names the first difference.
CniResult<void> check_pod_interface(int netns, const Attachment& attachment, const Chained& expected);

}  // namespace podwire::control
