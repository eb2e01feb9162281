// Which prefix of a range a node takes. Pure.
#pragma once

#include <optional>
#include <vector>

#include "dataplane/base/addresses.hpp"

namespace podwire::control {

// The lowest prefix of `length` bits inside `range` that overlaps none of `taken` (in any order, of either
// family, possibly outside of the range). Cost grows with the number of taken ones, not with the range.
std::optional<IpPrefix> lowest_free_prefix(const IpPrefix& range, int length, std::vector<IpPrefix> taken);

}  // namespace podwire::control
