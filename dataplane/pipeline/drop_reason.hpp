// DropReason: why a packet was lost. The list is drop_reason.def.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

namespace podwire::engine {

enum class DropReason : std::uint8_t {
#define X(name, help) name,
#include "dataplane/pipeline/drop_reason.def"
#undef X
};

inline constexpr std::string_view kDropReasonNames[] = {
#define X(name, help) #name,
#include "dataplane/pipeline/drop_reason.def"
#undef X
};

inline constexpr std::string_view kDropReasonHelp[] = {
#define X(name, help) help,
#include "dataplane/pipeline/drop_reason.def"
#undef X
};

inline constexpr std::size_t kDropReasonCount = sizeof kDropReasonNames / sizeof kDropReasonNames[0];

inline std::string_view name_of(DropReason reason) {
  return kDropReasonNames[static_cast<std::size_t>(reason)];
}
inline std::string_view help_of(DropReason reason) {
  return kDropReasonHelp[static_cast<std::size_t>(reason)];
}

}  // namespace podwire::engine
