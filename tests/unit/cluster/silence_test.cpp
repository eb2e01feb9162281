// Who sees to nodes that have fallen silent, when, and how many at a time.
#include "control/cluster/silence.hpp"

#include <gtest/gtest.h>

#include <set>

namespace podwire::control {
namespace {

class SilenceTest : public ::testing::Test {
 protected:
  static constexpr std::int64_t kNow = 1'000'000;

  static std::vector<NodeView> silent_nodes(int count, std::optional<std::int64_t> since = {}) {
    std::vector<NodeView> views;
    for (int i = 0; i < count; ++i) {
      NodeView view;
      view.node.name = "n" + std::to_string(10000 + i);
      view.silent_since_s = since;
      views.push_back(view);
    }
    return views;
  }
  std::vector<SilenceWatch::Task> round(const std::vector<NodeView>& views, int seconds) {
    return watch_.round(views, begun_ + std::chrono::seconds(seconds), kNow + seconds);
  }

  SilenceWatch watch_{"own", SilenceLimits{}};
  const SilenceWatch::Clock::time_point begun_ = SilenceWatch::Clock::now();
};

TEST_F(SilenceTest, EveryNodeHasItsTurnWithinTheTime) {
  auto views = silent_nodes(15);
  views[3].alive = true;
  views[4].node.name = "own";
  std::set<std::string> noted;
  for (int seconds = 0; seconds <= 30; ++seconds) {
    for (const auto& task : round(views, seconds)) {
      EXPECT_FALSE(task.forget);
      noted.insert(task.node);
    }
    if (seconds == 0) {
      EXPECT_LT(noted.size(), 13u) << "others may be faster";
    }
  }
  EXPECT_EQ(noted.size(), 13u);
}

TEST_F(SilenceTest, ForgetsAfterADayOfWhichThisDaemonHasSeenSome) {
  const auto day = std::chrono::seconds(SilenceLimits{}.forget_after).count();
  const auto views = silent_nodes(1, kNow - day);
  EXPECT_TRUE(round(views, 0).empty());
  EXPECT_TRUE(round(views, 599).empty()) << "its clock may have been wrong";
  EXPECT_EQ(round(views, 600), (std::vector<SilenceWatch::Task>{{"n10000", true}}));
  // One that was back meanwhile begins anew.
  auto back = views;
  back[0].alive = true;
  EXPECT_TRUE(round(back, 700).empty());
  EXPECT_TRUE(round(views, 710).empty());
  EXPECT_TRUE(round(silent_nodes(1, kNow), 5000).empty()) << "not a day yet";
}

TEST_F(SilenceTest, ARoundIsBoundedAndTheNextGoesOn) {
  const auto day = std::chrono::seconds(SilenceLimits{}.forget_after).count();
  const auto views = silent_nodes(5000, kNow - day);
  EXPECT_TRUE(round(views, 0).empty());
  std::set<std::string> seen;
  for (int i = 0; i < 250; ++i) {
    const auto tasks = round(views, 1000 + i);
    ASSERT_EQ(tasks.size(), SilenceLimits{}.at_once);
    for (const auto& task : tasks) EXPECT_TRUE(task.forget && seen.insert(task.node).second) << task.node;
  }
  EXPECT_EQ(seen.size(), 5000u);
  EXPECT_EQ(round(views, 2000).front().node, "n10000") << "and from the beginning";
}

}  // namespace
}  // namespace podwire::control
