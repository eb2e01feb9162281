#include "control/cni/version.hpp"

#include <algorithm>

namespace podwire::control {
namespace {

std::size_t rank_of(std::string_view version) {
  return static_cast<std::size_t>(std::find(kSupportedVersions.begin(), kSupportedVersions.end(), version) -
                                  kSupportedVersions.begin());
}

}  // namespace

const std::vector<std::string> kSupportedVersions{"0.3.1", "0.4.0", "1.0.0", "1.1.0"};

bool has_feature(const std::string& version, CniFeature feature) {
  switch (feature) {
    case CniFeature::kIpVersionField:
      return rank_of(version) < rank_of("1.0.0");
    case CniFeature::kCheck:
      return rank_of(version) >= rank_of("0.4.0");
    case CniFeature::kGcAndStatus:
    case CniFeature::kLinkMtu:
      return rank_of(version) >= rank_of("1.1.0");
  }
  return false;
}

bool is_supported(std::string_view version) {
  return rank_of(version) < kSupportedVersions.size();
}

CniResult<void> check_version(const std::string& version) {
  if (is_supported(version)) return {};
  std::string list;
  for (const auto& v : kSupportedVersions) list += (list.empty() ? "" : ", ") + v;
  if (version.empty()) {
    return CniError(CniCode::kIncompatibleVersion,
                    "cniVersion is missing (which means 0.1.0); supported are " + list);
  }
  return CniError(CniCode::kIncompatibleVersion,
                  "cniVersion \"" + version.substr(0, 64) + "\" is not supported; supported are " + list);
}

std::string best_version(const std::string& wanted, const std::vector<std::string>& offered) {
  for (std::size_t i = std::min(rank_of(wanted) + 1, kSupportedVersions.size()); i-- > 0;) {
    if (std::find(offered.begin(), offered.end(), kSupportedVersions[i]) != offered.end())
      return kSupportedVersions[i];
  }
  return {};
}

Json version_reply() {
  return {{"cniVersion", kLatestVersion}, {"supportedVersions", kSupportedVersions}};
}

}  // namespace podwire::control
