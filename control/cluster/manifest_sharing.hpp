// Between those who keep the Kubernetes objects of some kinds (control/api/policies, control/api/services)
// and what shares them with the other nodes (shared_manifests.hpp). An object is its kind, namespace, name
// and the manifest as it is kept; without a body it is one that is not, or no more.
#pragma once

#include <map>
#include <string>
#include <tuple>
#include <vector>

#include "control/state/store.hpp"

namespace podwire::control {

using ManifestKey = std::tuple<std::string, std::string, std::string>;  // kind, namespace, name

inline ManifestKey key_of(const StoredManifest& manifest) {
  return {manifest.kind, manifest.space, manifest.name};
}

// Why an object of the others cannot be here.
struct LeftOut {
  std::string why;
  bool malformed = false;  // its manifest is what is wrong, so trying again is of no use
  bool operator==(const LeftOut&) const = default;
};

class ManifestOwner {
 public:
  virtual ~ManifestOwner() = default;
  virtual std::vector<std::string> kinds() const = 0;
  // Of everything that is applied here.
  virtual std::map<ManifestKey, std::string> bodies() = 0;
  // Objects as the others have them, in place of what is here: in force and on disk when it returns, with the
  // next engine if there is none now. Each for itself: one that cannot be leaves what is here of it as it is,
  // and is told.
  virtual std::map<ManifestKey, LeftOut> follow(const std::vector<StoredManifest>& objects) = 0;
};

class ManifestSharing {
 public:
  virtual ~ManifestSharing() = default;
  // Before anything is changed here. kUnavailable: the others could not be told of them now; kInvalid: of one
  // of them never; with what to do.
  virtual Result<void> check(const std::vector<StoredManifest>& objects) = 0;
  // Whether the others have it.
  virtual bool has(const ManifestKey& key) const = 0;
  // Gives the others what is in force here by now. On failure the objects here are again as the others have
  // them, and the error says what else there is to know. Call it without locks of one's own.
  virtual Result<void> publish(const std::vector<StoredManifest>& objects) = 0;
};

}  // namespace podwire::control
