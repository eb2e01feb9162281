// The CNIDeviceInfoFile: what a pod's application reads to find its memif or vhost-user socket
// (k8snetworkplumbingwg device-info specification 1.1.0). Roles in it are the pod's. Functions only.
#pragma once

#include "control/cni/error.hpp"
#include "control/state/store.hpp"

namespace podwire::control {

// An absolute path without "..", or kInvalid.
Result<void> check_device_info_path(const std::string& path);

// {"type": "memif", "version": "1.1.0", "memif": {...}} or the like of vhost-user.
Json device_info(const Attachment& attachment);

// Writes Attachment::device_info: whole or not at all. kConflict when the file exists: whoever asked for it
// names one that is not there. Nothing for an attachment without.
Result<void> write_device_info(const Attachment& attachment);

// Removes it if it is the one that was written. No error when there is none.
Result<void> remove_device_info(const Attachment& attachment);

}  // namespace podwire::control
