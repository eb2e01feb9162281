// Kubernetes manifests as text → JSON values: YAML or JSON, several documents, lists taken apart. Scalars are
// typed as kubectl's YAML reader (sigs.k8s.io/yaml, goyaml.v2) types them, so that a file means here what it
// means there. What the objects say is for others to read (control/policy). Pure; any thread. The text may
// be hostile: size, depth and what aliases make of it are bounded.
#pragma once

#include <string_view>
#include <vector>

#include "dataplane/base/json.hpp"

namespace podwire::control {

inline constexpr std::size_t kMaxManifestBytes = 1u << 20;  // as much as a message carries
inline constexpr std::size_t kMaxManifestDepth = 64;
// Scalars, sequences and mappings of one text, aliases expanded.
inline constexpr std::size_t kMaxManifestValues = 500'000;

// Every object of `text` in its order; each is a JSON object with the strings apiVersion and kind. A List's
// items stand in its place, empty documents are left out. `what` names the text in messages. kParse with the
// line where the text is no YAML, kInvalid where it is no manifest.
Result<std::vector<Json>> read_manifests(std::string_view text, std::string_view what);

}  // namespace podwire::control
