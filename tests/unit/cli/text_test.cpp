#include "control/cli/text.hpp"

#include <gtest/gtest.h>

#include <limits>

namespace podwire::control::cli {
namespace {

TEST(Printable, LeavesPlainTextAndUtf8AsTheyAre) {
  EXPECT_EQ(printable("web-0 größe 日本 🐧"), "web-0 größe 日本 🐧");
  EXPECT_EQ(printable(""), "");
}

TEST(Printable, EscapesWhatTerminalsInterpret) {
  EXPECT_EQ(printable("a\033[31mb"), "a\\x1b[31mb");
  EXPECT_EQ(printable("a\nb\tc\x7f"), "a\\x0ab\\x09c\\x7f");
  EXPECT_EQ(printable("\xc2\x9b"
                      "31m"),
            "\\xc2\\x9b31m");                               // CSI as a C1 control character
  EXPECT_EQ(printable("\xe2\x80\xae"), "\\xe2\\x80\\xae");  // right-to-left override
  EXPECT_EQ(printable("\xe2\x80\xa8"), "\\xe2\\x80\\xa8");  // line separator
}

TEST(Printable, EscapesBrokenUtf8AtEveryLength) {
  const std::string whole = "\xf0\x9f\x90\xa7";
  for (std::size_t n = 1; n < whole.size(); ++n) {
    EXPECT_EQ(printable(whole.substr(0, n)).size(), n * 4) << n;
  }
  EXPECT_EQ(printable("\xc0\xaf"), "\\xc0\\xaf");                    // overlong
  EXPECT_EQ(printable("\xed\xa0\x80"), "\\xed\\xa0\\x80");           // surrogate
  EXPECT_EQ(printable("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");  // beyond U+10FFFF
  EXPECT_EQ(printable("\xff"), "\\xff");
  EXPECT_EQ(printable("\xe2\x28\xa1"), "\\xe2(\\xa1");
}

TEST(Painted, ColoursOnlyWhenTheStyleDoes) {
  EXPECT_EQ(painted("up", Tone::kGood, Style{}), "up");
  EXPECT_EQ(painted("up", Tone::kGood, Style{.colour = true}), "\033[32mup\033[0m");
  EXPECT_EQ(painted("up", Tone::kPlain, Style{.colour = true}), "up");
}

TEST(Units, CountsHaveSeparators) {
  EXPECT_EQ(count_text(0), "0");
  EXPECT_EQ(count_text(999), "999");
  EXPECT_EQ(count_text(1000), "1,000");
  EXPECT_EQ(count_text(-1234567), "-1,234,567");
  EXPECT_EQ(count_text(-100), "-100");
  EXPECT_EQ(count_text(std::numeric_limits<std::int64_t>::min()), "-9,223,372,036,854,775,808");
  EXPECT_EQ(plural_text(1, "port"), "1 port");
  EXPECT_EQ(plural_text(0, "port"), "0 ports");
}

TEST(Units, BytesAreBinary) {
  EXPECT_EQ(bytes_text(0), "0 B");
  EXPECT_EQ(bytes_text(1023), "1023 B");
  EXPECT_EQ(bytes_text(1024), "1 KiB");
  EXPECT_EQ(bytes_text(1536), "1.5 KiB");
  EXPECT_EQ(bytes_text(268435456), "256 MiB");
  EXPECT_EQ(bytes_text(std::numeric_limits<double>::infinity()), "- EiB");
}

TEST(Units, RatesAreDecimal) {
  EXPECT_EQ(rate_text(0), "0");
  EXPECT_EQ(rate_text(0.4), "0.4");
  EXPECT_EQ(rate_text(999), "999");
  EXPECT_EQ(rate_text(1234), "1.23k");
  EXPECT_EQ(rate_text(12345678), "12.3M");
  EXPECT_EQ(rate_text(std::numeric_limits<double>::quiet_NaN()), "-");
  EXPECT_EQ(megabits_text(12345678), "12.35");
  EXPECT_EQ(megabits_text(9876543210), "9877");
}

TEST(Units, DurationsUseTheTwoLargestUnits) {
  EXPECT_EQ(duration_text(0), "0s");
  EXPECT_EQ(duration_text(59.9), "59s");
  EXPECT_EQ(duration_text(61), "1m 01s");
  EXPECT_EQ(duration_text(7512), "2h 05m");
  EXPECT_EQ(duration_text(90000), "1d 01h");
  EXPECT_EQ(duration_text(-1), "-");
  EXPECT_EQ(duration_text(1e300), "-");
  EXPECT_EQ(duration_text(std::numeric_limits<double>::quiet_NaN()), "-");
}

TEST(Units, DecimalNeverOverflowsItsBuffer) {
  EXPECT_EQ(decimal_text(std::numeric_limits<double>::max(), 3).size(), 309u + 4);
  EXPECT_EQ(percent_text(0.0312), "3.1 %");
}

}  // namespace
}  // namespace podwire::control::cli
