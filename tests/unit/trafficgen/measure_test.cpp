#include "bench/trafficgen/measure.hpp"

#include <gtest/gtest.h>

#include "tests/unit/trafficgen/simulated_device.hpp"

namespace podwire::trafficgen {
namespace {

using tests::SimulatedDevice;

Result<Cell> measured(const Method& method, SimulatedDevice& device) {
  return measure(
      method, {64}, 1, [&](const TrialPlan& plan) { return device.run(plan); }, [](const auto&) {});
}

TEST(Measure, FindsAKnownCapacity) {
  SimulatedDevice device;
  const auto cell = measured({}, device);
  ASSERT_TRUE(cell);
  EXPECT_EQ(cell->max_offered, 20e6);
  EXPECT_EQ(cell->max_forwarded, 5e6);
  ASSERT_EQ(cell->rates.size(), 1u);
  const auto& rate = cell->rates[0];
  EXPECT_EQ(rate.searches.size(), 3u);
  EXPECT_LE(rate.median(), 5e6);
  EXPECT_GE(rate.median(), 4.95e6);
  EXPECT_EQ(rate.spread(), 0);
  ASSERT_NE(rate.typical().best(), nullptr);
  EXPECT_EQ(rate.typical().best()->trial.loss(), 0);
}

TEST(Measure, AllowsTheToleratedLoss) {
  SimulatedDevice device;
  Method method;
  method.losses = {0, 0.2};
  const auto cell = measured(method, device);
  ASSERT_TRUE(cell);
  // A fifth is lost at 5/4 of the capacity.
  EXPECT_NEAR(cell->rates[1].median(), 6.25e6, 0.07e6);
}

TEST(Measure, MajorityOfTrialsWithstandsNoise) {
  Method method;
  method.trials = 7;
  method.repeat = 9;
  SimulatedDevice noisy;
  noisy.noise = 0.15;
  const auto cell = measured(method, noisy);
  ASSERT_TRUE(cell);
  EXPECT_GE(cell->rates[0].median(), 4.95e6);
  EXPECT_LE(cell->rates[0].highest(), 5e6);
  // With single trials the spread tells that they do not agree.
  method.trials = 1;
  SimulatedDevice again;
  again.noise = 0.3;
  const auto single = measured(method, again);
  ASSERT_TRUE(single);
  EXPECT_GT(single->rates[0].spread(), 0.01);
}

TEST(Measure, RepeatsTrialsThatTheGeneratorDisturbed) {
  SimulatedDevice device;
  device.disturbed_share = 0.3;
  Method method;
  method.retries = 20;
  const auto cell = measured(method, device);
  ASSERT_TRUE(cell);
  EXPECT_GE(cell->rates[0].lowest(), 4.95e6);
}

TEST(Measure, SaysThatTheGeneratorIsTheLimit) {
  SimulatedDevice device;
  device.capacity = 50e6;
  device.generator_limit = 8e6;
  const auto cell = measured({}, device);
  ASSERT_TRUE(cell);
  EXPECT_EQ(cell->rates[0].median(), 8e6);
  EXPECT_EQ(cell->rates[0].typical().limit, Verdict::kNotOffered);
}

TEST(Measure, StaysBelowTheHighestRateAskedFor) {
  SimulatedDevice device;
  Method method;
  method.max_rate = 1e6;
  const auto cell = measured(method, device);
  ASSERT_TRUE(cell);
  EXPECT_EQ(cell->rates[0].median(), 1e6);
  EXPECT_EQ(cell->rates[0].typical().limit, Verdict::kPassed);
}

TEST(Measure, TakesLatencyAtSharesOfTheRate) {
  SimulatedDevice device;
  Method method;
  method.latency_shares = {0.1, 0.9};
  const auto cell = measured(method, device);
  ASSERT_TRUE(cell);
  ASSERT_EQ(cell->latency.size(), 2u);
  EXPECT_NEAR(cell->latency[1].trial.plan.rate, 0.9 * cell->rates[0].median(), 1);
  ASSERT_TRUE(cell->latency[1].trial.direction[0].latency);
  EXPECT_EQ(cell->latency[1].trial.direction[0].latency->count(), 1000u);
}

TEST(Measure, HasNoRateWhenEveryTrialLoses) {
  SimulatedDevice device;
  device.noise = 1;
  const auto cell = measured({}, device);
  ASSERT_TRUE(cell);
  EXPECT_EQ(cell->rates[0].median(), 0);
  EXPECT_EQ(cell->rates[0].spread(), 0);
  EXPECT_TRUE(cell->latency.empty());
}

TEST(Measure, FailsWhenNothingArrives) {
  SimulatedDevice device;
  device.capacity = 0;
  const auto cell = measured({}, device);
  ASSERT_FALSE(cell);
  EXPECT_NE(cell.error().message.find("none arrived"), std::string::npos);
}

}  // namespace
}  // namespace podwire::trafficgen
