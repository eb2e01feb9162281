#include "control/cluster/etcd_table.hpp"

#include <gtest/gtest.h>

namespace podwire::control {
namespace {

const EtcdKeys kTableKeys("/podwire");

IpPrefix prefix_of(const char* text) {
  return *parse_prefix(text);
}

std::string record_at(int number) {
  return to_value({{IpAddr(Ipv4{{192, 168, 100, static_cast<std::uint8_t>(number)}})},
                   4789,
                   *parse_mac("02:00:00:00:00:01")});
}

EtcdEvent put_event(const std::string& key, const std::string& value, std::int64_t revision) {
  return {false, {key, value, revision}};
}

EtcdEvent erase_event(const std::string& key, std::int64_t revision) {
  return {true, {key, "", revision}};
}

std::vector<std::string> told_names(const ClusterChange& change) {
  std::vector<std::string> out;
  for (const auto& node : change.put) out.push_back("+" + node.name);
  for (const auto& name : change.gone) out.push_back("-" + name);
  return out;
}

using NodeNames = std::vector<std::string>;

class EtcdTableTest : public ::testing::Test {
 protected:
  // Node b with a prefix, node c without, and this one: a.
  EtcdTableTest() {
    first_ = table_.replace({{kTableKeys.node("a"), record_at(1), 2},
                             {kTableKeys.alive("a"), "instance a", 3},
                             {kTableKeys.prefix("default", prefix_of("10.244.0.0/24")), owner_value("a"), 4},
                             {kTableKeys.node("b"), record_at(2), 5},
                             {kTableKeys.alive("b"), "instance b", 5},
                             {kTableKeys.prefix("default", prefix_of("10.244.1.0/24")), owner_value("b"), 6},
                             {kTableKeys.node("c"), record_at(3), 7}});
  }
  EtcdTable table_{"/podwire", "a"};
  ClusterChange first_;
};

TEST_F(EtcdTableTest, TellsEverythingButThisNode) {
  EXPECT_TRUE(first_.everything);
  EXPECT_EQ(told_names(first_), (NodeNames{"+b", "+c"}));
  EXPECT_EQ(first_.put[0].prefixes.at("default"), std::vector{prefix_of("10.244.1.0/24")});
  EXPECT_TRUE(first_.put[1].prefixes.empty());
  EXPECT_EQ(table_.taken("default"), (std::vector{prefix_of("10.244.0.0/24"), prefix_of("10.244.1.0/24")}));
  EXPECT_EQ(table_.taken_by("a", "default"), std::vector{prefix_of("10.244.0.0/24")});
  EXPECT_EQ(*table_.instance("b"), "instance b");
  EXPECT_EQ(table_.instance("c"), nullptr);
  EXPECT_EQ(table_.revision(kTableKeys.node("b")), 5);
  EXPECT_EQ(table_.revision(kTableKeys.node("d")), 0);
}

TEST_F(EtcdTableTest, LivenessAloneChangesNothing) {
  EXPECT_TRUE(told_names(table_.apply({erase_event(kTableKeys.alive("b"), 8)})).empty());
  EXPECT_TRUE(told_names(table_.apply({put_event(kTableKeys.silent("b"), silence_value(1000), 9)})).empty());
  const auto nodes = table_.nodes();
  EXPECT_FALSE(nodes[1].alive);
  EXPECT_EQ(nodes[1].silent_since_s, 1000);
  EXPECT_EQ(nodes[1].node.prefixes.at("default"), std::vector{prefix_of("10.244.1.0/24")});
}

TEST_F(EtcdTableTest, EventsThatComeTwiceOrLateChangeNothing) {
  const auto key = kTableKeys.prefix("default", prefix_of("10.244.2.0/24"));
  EXPECT_EQ(told_names(table_.apply({put_event(key, owner_value("c"), 10)})), NodeNames{"+c"});
  EXPECT_TRUE(told_names(table_.apply({put_event(key, owner_value("c"), 10)})).empty());
  EXPECT_EQ(told_names(table_.apply({erase_event(key, 12)})), NodeNames{"+c"});
  // What was so before it was erased.
  EXPECT_TRUE(told_names(table_.apply({put_event(key, owner_value("b"), 11)})).empty());
  EXPECT_EQ(table_.owner("default", prefix_of("10.244.2.0/24")), "");
  EXPECT_TRUE(told_names(table_.apply({put_event(kTableKeys.node("b"), record_at(9), 4)})).empty());
}

TEST_F(EtcdTableTest, APrefixThatChangesHandsChangesBoth) {
  const auto key = kTableKeys.prefix("default", prefix_of("10.244.1.0/24"));
  const auto change = table_.apply({put_event(key, owner_value("c"), 10)});
  EXPECT_EQ(told_names(change), (NodeNames{"+b", "+c"}));
  EXPECT_TRUE(change.put[0].prefixes.empty());
  EXPECT_EQ(change.put[1].prefixes.at("default"), std::vector{prefix_of("10.244.1.0/24")});
  EXPECT_FALSE(table_.was_robbed());
}

TEST_F(EtcdTableTest, ANodeWithoutRecordIsGone) {
  EXPECT_EQ(told_names(table_.apply({erase_event(kTableKeys.node("b"), 10)})), NodeNames{"-b"});
  // Its prefix still is nobody else's.
  EXPECT_EQ(table_.owner("default", prefix_of("10.244.1.0/24")), "b");
  EXPECT_EQ(told_names(table_.apply({put_event(kTableKeys.node("b"), "{\"addresses\": 7}", 11)})),
            NodeNames{"-b"});
  EXPECT_EQ(told_names(table_.apply({put_event(kTableKeys.node("b"), record_at(8), 12)})), NodeNames{"+b"});
}

TEST_F(EtcdTableTest, TellsWhenThisNodeIsRobbed) {
  const auto own = kTableKeys.prefix("default", prefix_of("10.244.0.0/24"));
  EXPECT_TRUE(told_names(table_.apply({put_event(own, owner_value("a"), 10),
                                       put_event(kTableKeys.node("a"), record_at(1), 11)}))
                  .empty());
  EXPECT_FALSE(table_.was_robbed());
  EXPECT_EQ(told_names(table_.apply({put_event(own, owner_value("c"), 12)})), NodeNames{"+c"});
  EXPECT_TRUE(table_.was_robbed());
  EXPECT_FALSE(table_.was_robbed());
  table_.apply({erase_event(kTableKeys.node("a"), 13)});
  EXPECT_TRUE(table_.was_robbed());
}

TEST_F(EtcdTableTest, ForeignKeysAndValuesAreLeftOut) {
  EXPECT_TRUE(
      told_names(table_.apply({put_event("/podwire/nodes/", "x", 20), put_event("/podwire/what/b", "x", 21),
                               put_event("/podwire/prefixes/default/10.0.0.0-99", owner_value("b"), 22),
                               put_event("/podwire/prefixes/default/10.0.0.0-24", "{}", 23),
                               put_event("/podwire/prefixes/default/10.0.1.0-24", owner_value("b/d"), 24),
                               put_event(kTableKeys.silent("b"), "soon", 25)}))
          .empty());
  EXPECT_EQ(table_.nodes().size(), 3u);
}

TEST_F(EtcdTableTest, ANewListingForgetsWhatWasBefore) {
  const auto change = table_.replace({{kTableKeys.node("c"), record_at(3), 7}});
  EXPECT_EQ(told_names(change), NodeNames{"+c"});
  EXPECT_TRUE(table_.taken("default").empty());
  EXPECT_EQ(table_.nodes().size(), 1u);
}

}  // namespace
}  // namespace podwire::control
