// The directory that a pod's memif and vhost-user sockets lie in: one a pod, shared by its interfaces, to be
// mounted into it. Its content may be the pod's making, so nothing in it is trusted or followed. Used by
// threads of the daemon's request pool, one container at a time.
#pragma once

#include "control/cni/error.hpp"
#include "control/state/store.hpp"

namespace podwire::control {

// Makes the attachment's directory if it is not there, for the socket's group: to enter when the engine makes
// the socket, to write when the pod does. kConflict when something else has the name.
Result<void> make_pod_directory(const Attachment& attachment);

// Removes the attachment's socket, and unless other interfaces use it (`shared`) its directory with whatever
// is in it. Of a named port only the engine's own socket. No error when nothing is there.
Result<void> remove_pod_socket(const Attachment& attachment, bool shared);

// Compares directory and socket with the attachment. The socket that the pod makes may be missing: it may not
// run yet.
CniResult<void> check_pod_socket(const Attachment& attachment);

}  // namespace podwire::control
