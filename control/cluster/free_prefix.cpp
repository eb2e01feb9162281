#include "control/cluster/free_prefix.hpp"

#include <algorithm>

#include "control/state/ipam.hpp"

namespace podwire::control {
namespace {

AddressNumber last_in(const IpPrefix& prefix) {
  const int host_bits = prefix.address.bits() - prefix.length;
  const auto hosts = host_bits >= 128 ? ~AddressNumber{0} : (AddressNumber{1} << host_bits) - 1;
  return to_number(prefix.network().address) | hosts;
}

}  // namespace

std::optional<IpPrefix> lowest_free_prefix(const IpPrefix& range, int length, std::vector<IpPrefix> taken) {
  const bool v4 = range.address.is_v4();
  std::erase_if(taken, [&](const IpPrefix& p) { return p.address.is_v4() != v4 || !p.overlaps(range); });
  std::sort(taken.begin(), taken.end(), [](const IpPrefix& a, const IpPrefix& b) {
    return to_number(a.network().address) < to_number(b.network().address);
  });
  const auto end = last_in(range);
  const IpPrefix at_start{range.network().address, length};
  auto first = to_number(at_start.address);
  const auto size = last_in(at_start) - first;  // less one
  for (const auto& other : taken) {
    if (to_number(other.network().address) > first + size) break;  // the hole before it is large enough
    if (last_in(other) < first) continue;
    if (last_in(other) >= end) return std::nullopt;
    // The next multiple of the size behind it.
    first = (last_in(other) | size) + 1;
    if (first > end || first == 0) return std::nullopt;
  }
  return IpPrefix{from_number(first, v4), length};
}

}  // namespace podwire::control
