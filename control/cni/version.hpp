// The versions of the CNI specification that Podwire serves, and what differs between them.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "control/cni/error.hpp"

namespace podwire::control {

inline constexpr const char* kLatestVersion = "1.1.0";
extern const std::vector<std::string> kSupportedVersions;  // oldest first

enum class CniFeature {
  kIpVersionField,  // ips[].version, before 1.0.0
  kCheck,           // from 0.4.0
  kGcAndStatus,     // from 1.1.0
  kLinkMtu,         // interfaces[].mtu and socketPath, more fields of a route, from 1.1.0
};

// `version` must be one of kSupportedVersions.
bool has_feature(const std::string& version, CniFeature feature);

bool is_supported(std::string_view version);
// kIncompatibleVersion, with the supported versions in the message.
CniResult<void> check_version(const std::string& version);
// The newest of ours that is not newer than `wanted` and stands in `offered`; empty when there is none.
std::string best_version(const std::string& wanted, const std::vector<std::string>& offered);

// What VERSION prints.
Json version_reply();

}  // namespace podwire::control
