// What nodes tell each other of endpoints as keys and values of the store, and whose key is whose.
#include <gtest/gtest.h>

#include <set>

#include "control/cluster/buried_keys.hpp"
#include "control/cluster/endpoint_records.hpp"
#include "control/cluster/etcd_sections.hpp"

namespace podwire::control {
namespace {

TEST(EndpointRecord, ComesBackAsItWas) {
  const EndpointRecord pod{
      "lan", *parse_mac("0a:58:0a:f5:00:02"), {*parse_ip("10.245.0.2"), *parse_ip("fd00::2")}, "shop", "web"};
  EXPECT_EQ(*parse_endpoint_record(to_value(pod)), pod);
  const EndpointRecord nameless{"lan", *parse_mac("0a:58:0a:f5:00:02"), {}, "", ""};
  EXPECT_EQ(*parse_endpoint_record(to_value(nameless)), nameless);
}

TEST(EndpointRecord, MalformedOnesAreRefused) {
  const auto whole =
      to_value({"lan", *parse_mac("0a:58:0a:f5:00:02"), {*parse_ip("10.245.0.2")}, "shop", "web"});
  for (std::size_t length = 0; length < whole.size(); ++length)
    EXPECT_FALSE(parse_endpoint_record(whole.substr(0, length))) << length;
  for (const char* const text :
       {"[]", "{}", R"({"domain":"lan","mac":"01:00:5e:00:00:01","addresses":[]})",
        R"({"domain":"lan","mac":"00:00:00:00:00:00","addresses":[]})",
        R"({"domain":"lan","mac":"02:00:00:00:00:01","addresses":["224.0.0.1"]})",
        R"({"domain":"lan","mac":"02:00:00:00:00:01","addresses":["10.0.0.1","10.0.0.1"]})",
        R"({"domain":"lan","mac":"02:00:00:00:00:01","addresses":["0.0.0.0"]})",
        R"({"domain":"lan","mac":"02:00:00:00:00:01","addresses":"10.0.0.1"})",
        R"({"domain":"lan","mac":"02:00:00:00:00:01","addresses":[],"pod":"web"})"})
    EXPECT_FALSE(parse_endpoint_record(text)) << text;
  EXPECT_FALSE(parse_endpoint_record(whole + std::string(10000, ' ')));
}

TEST(EndpointPlace, HasOneSpelling) {
  EXPECT_EQ(parse_endpoint_place("b/7"), (EndpointPlace{"b", 7}));
  for (const char* const text :
       {"", "b", "b/", "/7", "b/0", "b/07", "b/-1", "b/65536", "b/7/8", "b/x", "b \n/7"})
    EXPECT_FALSE(parse_endpoint_place(text)) << text;
}

// Remembers what it is told.
struct HeardSection final : SharedSection {
  Result<void> listed(const std::vector<EtcdItem>& items) override {
    for (const auto& item : items) heard.insert(item.key);
    return {};
  }
  void changed(const std::vector<EtcdEvent>& events) override {
    for (const auto& event : events) heard.insert((event.erased ? "-" : "+") + event.item.key);
  }
  std::set<std::string> heard;
};

TEST(EtcdSections, EveryKeyIsForTheNarrowest) {
  HeardSection all, own;
  EtcdSections sections;
  sections.add("/p/endpoints/", all);
  sections.add("/p/endpoints/a/", own);
  std::vector<EtcdItem> items{
      {"/p/endpoints/a/1", "", 1}, {"/p/endpoints/b/1", "", 1}, {"/p/nodes/a", "", 1}};
  sections.take_out(items);
  ASSERT_TRUE(sections.tell_listed());
  EXPECT_EQ(items, (std::vector<EtcdItem>{{"/p/nodes/a", "", 1}}));
  const auto rest = sections.take_out(std::vector<EtcdEvent>{{true, {"/p/endpoints/a/1", "", 2}},
                                                             {false, {"/p/endpoints/b/1", "", 2}},
                                                             {false, {"/p/nodes/a", "", 2}}});
  sections.tell_changed();
  ASSERT_EQ(rest.size(), 1u);
  EXPECT_EQ(rest[0].item.key, "/p/nodes/a");
  EXPECT_EQ(own.heard, (std::set<std::string>{"/p/endpoints/a/1", "-/p/endpoints/a/1"}));
  EXPECT_EQ(all.heard, (std::set<std::string>{"/p/endpoints/b/1", "+/p/endpoints/b/1"}));
}

// Takes a listing as it comes.
struct PartSection final : SharedSection {
  bool takes_parts() const override { return true; }
  void begin_listing() override { heard += "begin "; }
  void list_part(const std::vector<EtcdItem>& items) override { heard += texts(items) + "part "; }
  Result<void> listed(const std::vector<EtcdItem>& items) override {
    heard += texts(items) + "end ";
    return {};
  }
  void changed(const std::vector<EtcdEvent>&) override {}
  static std::string texts(const std::vector<EtcdItem>& items) {
    std::string text;
    for (const auto& item : items) text += item.key + " ";
    return text;
  }
  std::string heard;
};

TEST(EtcdSections, WhoTakesPartsIsToldOfThemAsTheyCome) {
  PartSection parts;
  HeardSection whole;
  EtcdSections sections;
  sections.add("/p/endpoints/", parts);
  sections.add("/p/endpoints/a/", whole);
  const auto page = [&](std::vector<EtcdItem> items) {
    sections.take_out(items);
    sections.tell_parts();
    EXPECT_TRUE(items.empty());
  };
  sections.begin_listing();
  page({{"/p/endpoints/a/1", "", 1}, {"/p/endpoints/b/1", "", 1}});
  // One that breaks off has no end.
  sections.begin_listing();
  page({{"/p/endpoints/a/1", "", 1}, {"/p/endpoints/a/2", "", 1}});
  page({{"/p/endpoints/b/1", "", 1}, {"/p/endpoints/b/2", "", 1}});
  EXPECT_TRUE(whole.heard.empty());
  std::vector<EtcdItem> last{{"/p/endpoints/c/1", "", 1}};
  sections.take_out(last);
  ASSERT_TRUE(sections.tell_listed());
  EXPECT_EQ(parts.heard,
            "begin /p/endpoints/b/1 part begin /p/endpoints/b/1 /p/endpoints/b/2 part /p/endpoints/c/1 end ");
  EXPECT_EQ(whole.heard, (std::set<std::string>{"/p/endpoints/a/1", "/p/endpoints/a/2"}));
}

TEST(BuriedKeys, OfThoseThatWentLongAgoTheRevisionIsEnough) {
  BuriedKeys buried;
  buried.bury("/p/first", 5);
  EXPECT_TRUE(buried.is_late("/p/first", 5));
  EXPECT_FALSE(buried.is_late("/p/first", 6));
  EXPECT_FALSE(buried.is_late("/p/other", 4));
  for (int i = 0; i < 50'000; ++i) buried.bury("/p/" + std::to_string(i), 100 + i);
  EXPECT_TRUE(buried.is_late("/p/first", 5));
  EXPECT_TRUE(buried.is_late("/p/49999", 50'099));
  EXPECT_FALSE(buried.is_late("/p/49999", 50'100));
}

}  // namespace
}  // namespace podwire::control
