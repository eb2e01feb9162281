#include "control/state/ipam.hpp"

#include <algorithm>
#include <limits>

namespace podwire::control {
namespace {

AddressNumber last_of(const IpPrefix& prefix) {
  const int host_bits = prefix.address.bits() - prefix.length;
  const AddressNumber hosts = host_bits >= 128 ? ~AddressNumber{0} : (AddressNumber{1} << host_bits) - 1;
  return to_number(prefix.network().address) | hosts;
}

AddressNumber first_of(const IpPrefix& prefix) {
  return to_number(prefix.network().address);
}

// Point-to-point prefixes have no network and broadcast address (RFC 3021, RFC 6164).
bool has_reserved_ends(const IpPrefix& prefix) {
  return prefix.address.bits() - prefix.length > 1;
}

}  // namespace

AddressNumber to_number(const IpAddr& address) {
  if (address.is_v4()) return address.v4().to_u32();
  AddressNumber n = 0;
  for (const auto byte : address.bytes()) n = n << 8 | byte;
  return n;
}

IpAddr from_number(AddressNumber number, bool v4) {
  if (v4) return IpAddr(Ipv4::from_u32(static_cast<std::uint32_t>(number)));
  Ipv6 a;
  for (std::size_t i = 16; i-- > 0; number >>= 8) a.bytes[i] = static_cast<std::uint8_t>(number);
  return IpAddr(a);
}

AddressPool::AddressPool(const Spec& spec)
    : prefix_(spec.prefix.network()), gateway_(spec.gateway), exclude_(spec.exclude) {
  for (const auto& [start, end] : spec.ranges) {
    if (prefix_.contains(start) && prefix_.contains(end))
      intervals_.push_back({to_number(start), to_number(end)});
  }
  const bool limited = std::any_of(spec.ranges.begin(), spec.ranges.end(), [&](const auto& range) {
    return range.first.is_v4() == prefix_.address.is_v4();
  });
  if (!limited) intervals_.push_back({first_of(prefix_), last_of(prefix_)});
  std::sort(intervals_.begin(), intervals_.end(),
            [](const Interval& a, const Interval& b) { return a.first < b.first; });
  std::vector<Interval> merged;
  for (const auto& interval : intervals_) {
    if (!merged.empty() && interval.first <= merged.back().last) {
      merged.back().last = std::max(merged.back().last, interval.last);
    } else {
      merged.push_back(interval);
    }
  }
  intervals_ = std::move(merged);
  if (has_reserved_ends(prefix_)) {
    remove(first_of(prefix_), first_of(prefix_));
    if (prefix_.address.is_v4()) remove(last_of(prefix_), last_of(prefix_));
  }
  if (prefix_.contains(gateway_)) remove(to_number(gateway_), to_number(gateway_));
  for (const auto& prefix : exclude_) {
    if (prefix.address.is_v4() == prefix_.address.is_v4()) remove(first_of(prefix), last_of(prefix));
  }
}

void AddressPool::remove(AddressNumber first, AddressNumber last) {
  std::vector<Interval> kept;
  for (const auto& interval : intervals_) {
    if (interval.last < first || interval.first > last) {
      kept.push_back(interval);
      continue;
    }
    if (interval.first < first) kept.push_back({interval.first, first - 1});
    if (interval.last > last) kept.push_back({last + 1, interval.last});
  }
  intervals_ = std::move(kept);
}

std::optional<IpAddr> AddressPool::next_free(const std::optional<IpAddr>& after, const Taken& taken) const {
  const bool v4 = prefix_.address.is_v4();
  const bool resumes = after && after->is_v4() == v4;
  const AddressNumber cursor = resumes ? to_number(*after) : 0;
  // Two passes: behind the cursor first, then from the start up to it.
  for (int pass = resumes ? 0 : 1; pass < 2; ++pass) {
    for (const auto& interval : intervals_) {
      const bool behind = pass == 0;
      if (behind && interval.last <= cursor) continue;
      const AddressNumber begin = behind ? std::max(interval.first, cursor + 1) : interval.first;
      const AddressNumber end = !behind && resumes ? std::min(interval.last, cursor) : interval.last;
      if (begin > end) continue;
      for (AddressNumber n = begin;; ++n) {
        const auto address = from_number(n, v4);
        if (!taken(address)) return address;
        if (n == end) break;
      }
    }
  }
  return std::nullopt;
}

bool AddressPool::offers(const IpAddr& address) const {
  if (!prefix_.contains(address)) return false;
  const auto n = to_number(address);
  return std::any_of(intervals_.begin(), intervals_.end(),
                     [n](const Interval& i) { return i.first <= n && n <= i.last; });
}

bool AddressPool::excluded(const IpAddr& address) const {
  return std::any_of(exclude_.begin(), exclude_.end(),
                     [&](const IpPrefix& p) { return p.contains(address); });
}

Result<void> AddressPool::check_requested(const IpAddr& address) const {
  const auto text = to_string(address);
  if (!prefix_.contains(address)) return invalid(text + " is outside " + to_string(prefix_));
  if (address == gateway_) return invalid(text + " is the gateway of " + to_string(prefix_));
  if (has_reserved_ends(prefix_)) {
    const auto n = to_number(address);
    if (n == first_of(prefix_)) return invalid(text + " is the network address of " + to_string(prefix_));
    if (address.is_v4() && n == last_of(prefix_))
      return invalid(text + " is the broadcast address of " + to_string(prefix_));
  }
  if (excluded(address))
    return invalid(text + " is excluded from " + to_string(prefix_) + " by the configuration");
  return {};
}

std::uint64_t AddressPool::capacity() const {
  constexpr AddressNumber kMost = std::numeric_limits<std::int64_t>::max();
  AddressNumber sum = 0;
  for (const auto& i : intervals_) {
    sum += std::min(kMost, i.last - i.first) + 1;
    if (sum > kMost) return static_cast<std::uint64_t>(kMost);
  }
  return static_cast<std::uint64_t>(sum);
}

}  // namespace podwire::control
