// Manifests as rows of the state database, and ids for many names at once. Functions run inside a transaction
// on the store's thread.
#pragma once

#include <string>
#include <vector>

#include "control/state/sqlite.hpp"
#include "control/state/store.hpp"

namespace podwire::control {

Result<std::vector<StoredManifest>> load_manifests(Database& database, const std::string& kind);
Result<void> write_manifests(Database& database, const std::vector<StoredManifest>& put,
                             const std::vector<StoredManifest>& erased);

// The ids of `noun` for `names`, allotted where there is none yet: the lowest free ones.
Result<std::vector<std::uint32_t>> ids_by_name(Database& database, const std::string& noun,
                                               const std::vector<std::string>& names);

}  // namespace podwire::control
