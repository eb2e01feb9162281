// Keeps the kernel from taking part in what arrives on the NIC that the engine owns: packet sockets and XDP
// see a frame first, then an nftables ingress rule drops it. Without it the kernel would answer for the
// node's addresses a second time. Functions work in the calling thread's network namespace.
#pragma once

#include <string>

#include "dataplane/base/result.hpp"

namespace podwire::control {

// Idempotent. kUnavailable when there is no nft program.
Result<void> block_ingress(const std::string& device);
Result<void> unblock_ingress(const std::string& device);

}  // namespace podwire::control
