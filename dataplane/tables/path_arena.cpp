#include "dataplane/tables/path_arena.hpp"

#include <numeric>

namespace podwire::engine {

std::vector<std::uint32_t> expand_weights(
    std::span<const std::pair<std::uint32_t, std::uint32_t>> slots_and_weights) {
  std::uint32_t divisor = 0;
  for (const auto& [slot, weight] : slots_and_weights) divisor = std::gcd(divisor, weight);
  std::uint32_t sum = 0;
  std::vector<std::uint32_t> shares;
  for (const auto& [slot, weight] : slots_and_weights) {
    shares.push_back(weight / std::max(divisor, 1u));
    sum += shares.back();
  }
  if (sum > kMaxPaths) {
    const auto wanted = shares;  // the exact share of i is wanted[i] * kMaxPaths / sum
    std::size_t total = 0;
    for (auto& share : shares) {
      share = std::max<std::uint32_t>(1, static_cast<std::uint32_t>(share * kMaxPaths / sum));
      total += share;
    }
    // Rounding leaves some to give away, or (many tiny weights) took too many: even out where the error is
    // largest.
    const auto error = [&](std::size_t i) {
      return static_cast<std::int64_t>(wanted[i] * kMaxPaths) - static_cast<std::int64_t>(shares[i]) * sum;
    };
    for (; total != kMaxPaths; total < kMaxPaths ? ++total : --total) {
      std::size_t worst = 0;
      for (std::size_t i = 1; i < shares.size(); ++i) {
        if (total < kMaxPaths ? error(i) > error(worst)
                              : shares[i] > 1 && (shares[worst] == 1 || error(i) < error(worst))) {
          worst = i;
        }
      }
      total < kMaxPaths ? ++shares[worst] : --shares[worst];
    }
  }
  std::vector<std::uint32_t> expanded;
  for (std::size_t i = 0; i < shares.size(); ++i) {
    expanded.insert(expanded.end(), shares[i], slots_and_weights[i].first);
  }
  return expanded;
}

}  // namespace podwire::engine
