// Attachments as rows of the state database. Functions run inside a transaction on the store's thread.
#pragma once

#include <optional>
#include <vector>

#include "control/state/sqlite.hpp"
#include "control/state/store.hpp"

namespace podwire::control {

Result<std::optional<Attachment>> load_attachment(Database& database, const AttachmentKey& key);
Result<std::vector<Attachment>> load_attachments(Database& database);  // by port
Result<void> insert_attachment(Database& database, const Attachment& attachment);
Result<void> set_attachment_state(Database& database, const AttachmentKey& key, AttachmentState state);
Result<void> insert_endpoint(Database& database, const Attachment& attachment, const ExtraEndpoint& endpoint);
// Its rows and its id.
Result<void> remove_endpoint_rows(Database& database, const ExtraEndpoint& endpoint);
// Removes the rows, frees the ids, and remembers the addresses for the container's return.
Result<void> remove_attachment(Database& database, const Attachment& attachment);

// The lowest free id of `noun` in [first, last], recorded under `name`. kExhausted when there is none.
Result<std::uint32_t> allot_id(Database& database, const std::string& noun, const std::string& name,
                               std::uint32_t first, std::uint32_t last);

// The name under which an attachment's port and endpoint ids are recorded.
std::string id_name(const AttachmentKey& key);
std::string describe(const AttachmentKey& key);     // "interface eth0 of container X (network N)", "port vm1"
std::string deletion_of(const AttachmentKey& key);  // who removes it: "CNI DEL", "podwirectl port del vm1"
const char* to_text(AttachmentState state);

}  // namespace podwire::control
