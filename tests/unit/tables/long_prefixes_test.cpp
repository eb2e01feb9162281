#include "dataplane/tables/long_prefixes.hpp"

#include <gtest/gtest.h>

#include <memory>

namespace podwire::engine::tests {
namespace {

constexpr DomainId kDomain(2), kOther(3);
constexpr std::uint32_t kAddress = 0x0af40105;  // 10.244.1.5

TEST(LongPrefixesTest, KnowsTheNetworksOfWhatIsThere) {
  const auto prefixes = std::make_unique<LongPrefixes>();
  EXPECT_FALSE(prefixes->may_have(kDomain, kAddress));
  prefixes->add(kDomain, kAddress);
  for (const std::uint32_t host : {0u, 5u, 255u}) EXPECT_TRUE(prefixes->may_have(kDomain, 0x0af40100 + host));
  EXPECT_FALSE(prefixes->may_have(kDomain, 0x0af40205));
  EXPECT_FALSE(prefixes->may_have(kOther, kAddress));
}

TEST(LongPrefixesTest, ANetworkIsForgottenWithItsLastPrefix) {
  const auto prefixes = std::make_unique<LongPrefixes>();
  prefixes->add(kDomain, kAddress);
  prefixes->add(kDomain, kAddress + 1);
  prefixes->remove(kDomain, kAddress);
  EXPECT_TRUE(prefixes->may_have(kDomain, kAddress));
  prefixes->remove(kDomain, kAddress + 1);
  EXPECT_FALSE(prefixes->may_have(kDomain, kAddress));
}

// "None" is never wrong, however many share a bit.
TEST(LongPrefixesTest, NeverForgetsOneForAnother) {
  const auto prefixes = std::make_unique<LongPrefixes>();
  for (std::uint32_t i = 0; i < 40'000; ++i) prefixes->add(kDomain, i << 8);
  for (std::uint32_t i = 0; i < 40'000; i += 2) prefixes->remove(kDomain, i << 8);
  for (std::uint32_t i = 1; i < 40'000; i += 2) ASSERT_TRUE(prefixes->may_have(kDomain, i << 8 | 9)) << i;
  for (std::uint32_t i = 1; i < 40'000; i += 2) prefixes->remove(kDomain, i << 8);
  for (std::uint32_t i = 0; i < 40'000; ++i) ASSERT_FALSE(prefixes->may_have(kDomain, i << 8)) << i;
}

}  // namespace
}  // namespace podwire::engine::tests
