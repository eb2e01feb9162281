// What an attachment gets when it is begun: addresses, MAC, ids. Functions run inside a transaction on the
// store's thread, so what they find free stays free until the commit.
#pragma once

#include <map>
#include <string>

#include "control/state/sqlite.hpp"
#include "control/state/store.hpp"

namespace podwire::control {

// Fills addresses and gateways of `attachment` from the request's fixed or requested addresses or the pools.
Result<void> allot_addresses(Database& database, const DomainPools& domain, const AttachmentRequest& request,
                             Attachment& attachment);
Result<void> allot_mac(Database& database, const AttachmentRequest& request, Attachment& attachment);
Result<void> allot_ids(Database& database, Attachment& attachment);
// The container's directory and the socket's path in it. For requests with a pods_directory.
Result<void> allot_socket(Database& database, const AttachmentRequest& request, Attachment& attachment);
// kConflict when a port or endpoint has the name.
Result<void> check_unnamed(Database& database, const std::string& name);

// Of all of them, in one walk over the addresses that are taken.
Result<std::vector<PoolUsage>> pool_usage(Database& database,
                                          const std::map<std::string, DomainPools>& domains);

}  // namespace podwire::control
