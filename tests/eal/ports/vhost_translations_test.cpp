#include "dataplane/ports/vhost_translations.hpp"

#include <gtest/gtest.h>

namespace podwire::engine {
namespace {

using std::chrono_literals::operator""ms;

constexpr std::uint8_t kRead = 1, kReadAndWrite = 3;

class VhostTranslationsTest : public ::testing::Test {
 protected:
  void ask(std::uint64_t address, std::uint8_t permissions = kReadAndWrite) {
    asked_.asked(VhostTranslations::question(address, permissions), now_);
  }
  void tell(VhostTranslation type, std::uint64_t address, std::uint64_t bytes, std::uint8_t permissions) {
    VhostMessage message;
    message.header = {static_cast<std::uint32_t>(VhostRequest::kIotlb), VhostHeader::kVersion, 32};
    message.set(0, address);
    message.set(8, bytes);
    message.set(24, permissions);
    message.set(25, type);
    asked_.told(message);
  }
  std::vector<std::uint64_t> repeated() {
    std::vector<std::uint64_t> addresses;
    for (const auto& question : asked_.to_repeat(now_)) addresses.push_back(question.at<std::uint64_t>(0));
    return addresses;
  }

  VhostTranslations asked_;
  VhostTranslations::Clock::time_point now_{};
};

TEST_F(VhostTranslationsTest, AQuestionIsWhatTheLibraryAsks) {
  const auto question = VhostTranslations::question(0x1'2345'6000, kRead);
  EXPECT_EQ(question.header.request, kVhostBackendIotlb);
  EXPECT_EQ(question.header.flags, VhostHeader::kVersion);
  EXPECT_EQ(question.header.size, 32u);
  EXPECT_EQ(question.at<std::uint64_t>(0), 0x1'2345'6000u);
  EXPECT_EQ(question.at<std::uint8_t>(24), kRead);
  EXPECT_EQ(question.translation(), VhostTranslation::kMiss);
}

TEST_F(VhostTranslationsTest, OpenQuestionsAreRepeatedAfterAWhileUntilTheyAreAnswered) {
  ask(0x1000);
  now_ += 5ms;
  ask(0x5010);
  EXPECT_TRUE(repeated().empty());
  now_ += VhostTranslations::kAskAgain;
  EXPECT_EQ(repeated(), (std::vector<std::uint64_t>{0x1000, 0x5010})) << "the longest waiting first";
  EXPECT_TRUE(repeated().empty());
  tell(VhostTranslation::kUpdate, 0x5000, 4096, kReadAndWrite);
  now_ += VhostTranslations::kAskAgain;
  EXPECT_EQ(repeated(), std::vector<std::uint64_t>{0x1000});
  tell(VhostTranslation::kUpdate, 0, ~std::uint64_t{0}, kReadAndWrite);
  EXPECT_FALSE(asked_.any_open());
  EXPECT_EQ(asked_.describe(),
            (Json{{"misses", 2}, {"repeats", 3}, {"unanswered", 0}, {"updates", 2}, {"invalidations", 0}}));
}

TEST_F(VhostTranslationsTest, AnAnswerIsForItsRangeAndAllThatWasAskedFor) {
  ask(0x0fff);
  ask(0x1000);
  ask(0x1fff, kRead);
  ask(0x1fff, kReadAndWrite);
  ask(0x2000);
  tell(VhostTranslation::kInvalidate, 0x1000, 4096, 0);
  tell(VhostTranslation::kUpdate, 0x1000, 4096, kRead);
  now_ += VhostTranslations::kAskAgain;
  EXPECT_EQ(repeated(), (std::vector<std::uint64_t>{0x0fff, 0x1000, 0x1fff, 0x2000}));
  tell(VhostTranslation::kUpdate, 0x1000, 4096, kReadAndWrite);
  now_ += VhostTranslations::kAskAgain;
  EXPECT_EQ(repeated(), (std::vector<std::uint64_t>{0x0fff, 0x2000}));
}

TEST_F(VhostTranslationsTest, AHostileGuestsQuestionsAreBounded) {
  constexpr auto kMost = VhostTranslations::kMostOpen;
  for (std::uint64_t i = 0; i < 3 * kMost; ++i) ask(i << 12);
  EXPECT_EQ(asked_.describe()["unanswered"], kMost);
  now_ += VhostTranslations::kAskAgain;
  std::size_t all = 0;
  for (std::size_t got; (got = repeated().size()) != 0; all += got)
    EXPECT_LE(got, VhostTranslations::kMostAtOnce);
  EXPECT_EQ(all, kMost) << "each has its turn";
  asked_.forget_open();
  EXPECT_FALSE(asked_.any_open());
}

}  // namespace
}  // namespace podwire::engine
