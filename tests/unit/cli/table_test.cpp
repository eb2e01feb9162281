#include "control/cli/table.hpp"

#include <gtest/gtest.h>

namespace podwire::control::cli {
namespace {

TEST(Table, AlignsColumnsAndLeavesNoTrailingBlanks) {
  Table table({{"NAME"}, {"PACKETS", Align::kRight}, {"NOTE"}});
  table.add({"a", "7", "x"});
  table.add({"longer", "1,234", "y"});
  EXPECT_EQ(table.text({}),
            "NAME    PACKETS  NOTE\n"
            "a             7  x\n"
            "longer    1,234  y\n");
}

TEST(Table, ShowsEmptyAndMissingCellsAsDash) {
  Table table({{"A"}, {"B"}});
  table.add({""});
  EXPECT_EQ(table.text({}), "A  B\n-  -\n");
}

TEST(Table, LeavesOutSurplusCells) {
  Table table({{"A"}});
  table.add({"1", "2"});
  EXPECT_EQ(table.text({}), "A\n1\n");
}

TEST(Table, AlignsByCharactersNotBytes) {
  Table table({{"NAME"}, {"B"}});
  table.add({"größe", "1"});
  table.add({"plain", "2"});
  EXPECT_EQ(table.text({}), "NAME   B\ngröße  1\nplain  2\n");
}

TEST(Table, EscapesForeignText) {
  Table table({{"NAME"}});
  table.add({"a\nb\033[2J"});
  EXPECT_EQ(table.text({}), "NAME\na\\x0ab\\x1b[2J\n");
}

TEST(Table, ColourDoesNotChangeTheAlignment) {
  Table table({{"LINK"}, {"N"}});
  table.add({Cell("up", Tone::kGood), "1"});
  EXPECT_EQ(table.text(Style{.colour = true}),
            "\033[1mLINK\033[0m  \033[1mN\033[0m\n\033[32mup\033[0m    1\n");
}

TEST(FactList, PutsValuesInOneColumn) {
  FactList facts;
  facts.add("Node", "a\x07");
  facts.add("Uptime", "");
  EXPECT_EQ(facts.text({}), "Node    a\\x07\nUptime  -\n");
}

}  // namespace
}  // namespace podwire::control::cli
