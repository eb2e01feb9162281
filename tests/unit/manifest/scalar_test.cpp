#include "control/manifest/scalar.hpp"

#include <gtest/gtest.h>

namespace podwire::control {
namespace {

struct Case {
  const char* text;
  const char* json;
};

class PlainScalar : public testing::TestWithParam<Case> {};

TEST_P(PlainScalar, IsTypedAsKubectlDoes) {
  const auto value = plain_scalar(GetParam().text);
  ASSERT_TRUE(value) << value.error().message;
  EXPECT_EQ(value->dump(), GetParam().json);
}

INSTANTIATE_TEST_SUITE_P(
    Table, PlainScalar,
    testing::Values(Case{"", "null"}, Case{"~", "null"}, Case{"null", "null"}, Case{"NULL", "null"},
                    Case{"nULL", R"("nULL")"}, Case{"true", "true"}, Case{"True", "true"},
                    Case{"tRUE", R"("tRUE")"}, Case{"yes", "true"}, Case{"on", "true"}, Case{"y", "true"},
                    Case{"no", "false"}, Case{"Off", "false"}, Case{"N", "false"}, Case{"yep", R"("yep")"},
                    Case{"0", "0"}, Case{"80", "80"}, Case{"+80", "80"}, Case{"-1", "-1"},
                    Case{"0777", "511"}, Case{"0o17", "15"}, Case{"0x1F", "31"}, Case{"-0x1f", "-31"},
                    Case{"0b101", "5"}, Case{"1_000", "1000"}, Case{"08", "8"}, Case{"0x", R"("0x")"},
                    Case{"0xg", R"("0xg")"}, Case{"9223372036854775807", "9223372036854775807"},
                    Case{"-9223372036854775808", "-9223372036854775808"},
                    Case{"18446744073709551615", "18446744073709551615"}, Case{"1.5", "1.5"},
                    Case{".5", "0.5"}, Case{"-.5", "-0.5"}, Case{"1.", "1"}, Case{"1e3", "1000"},
                    Case{"1E-1", "0.1"}, Case{"1e", R"("1e")"}, Case{".", R"(".")"}, Case{"-", R"("-")"},
                    Case{"+", R"("+")"}, Case{"1.2.3", R"("1.2.3")"}, Case{"10.0.0.0/8", R"("10.0.0.0/8")"},
                    Case{"2001-12-14", R"("2001-12-14")"}, Case{"12:30:45", R"("12:30:45")"},
                    Case{"inf", R"("inf")"}, Case{"http", R"("http")"}));

TEST(PlainScalar, RefusesWhatJsonDoesNotHave) {
  for (const char* text : {".inf", "-.Inf", "+.INF", ".nan", ".NaN"}) {
    const auto value = plain_scalar(text);
    ASSERT_FALSE(value) << text;
    EXPECT_NE(value.error().message.find("quote it"), std::string::npos);
  }
}

}  // namespace
}  // namespace podwire::control
