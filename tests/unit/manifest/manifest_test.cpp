#include "control/manifest/manifest.hpp"

#include <gtest/gtest.h>

namespace podwire::control {
namespace {

std::string dumped(const Result<std::vector<Json>>& manifests) {
  if (!manifests) return "error: " + manifests.error().message;
  std::string out;
  for (const auto& manifest : *manifests) out += manifest.dump() + "\n";
  return out;
}

std::string read(std::string_view text) {
  return dumped(read_manifests(text, "m.yaml"));
}

// The value of `field` in a Pod.
std::string field(const std::string& yaml) {
  const auto manifests = read_manifests("apiVersion: v1\nkind: Pod\n" + yaml + "\n", "m.yaml");
  if (!manifests) return "error: " + manifests.error().message;
  return manifests->at(0)["x"].dump();
}

TEST(Manifest, ReadsSeveralDocumentsAndSkipsEmptyOnes) {
  EXPECT_EQ(
      read("# nothing\n---\napiVersion: v1\nkind: Pod\n---\n---\napiVersion: v1\nkind: Namespace\n...\n"),
      "{\"apiVersion\":\"v1\",\"kind\":\"Pod\"}\n{\"apiVersion\":\"v1\",\"kind\":\"Namespace\"}\n");
  EXPECT_EQ(read(""), "");
  EXPECT_EQ(read("---\n"), "");
}

TEST(Manifest, ReadsJson) {
  EXPECT_EQ(read(R"( {"apiVersion": "v1", "kind": "Pod", "x": "a\/\ud83d\ude00", "n": 1.0})"),
            "{\"apiVersion\":\"v1\",\"kind\":\"Pod\",\"x\":\"a/\xf0\x9f\x98\x80\",\"n\":1.0}\n");
  EXPECT_EQ(read("{apiVersion: v1, kind: Pod}"), "{\"apiVersion\":\"v1\",\"kind\":\"Pod\"}\n");
}

TEST(Manifest, TakesListsApart) {
  EXPECT_EQ(read("apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod}\n"
                 "- {apiVersion: v1, kind: List, items: [{apiVersion: v1, kind: Namespace}]}\n"),
            "{\"apiVersion\":\"v1\",\"kind\":\"Pod\"}\n{\"apiVersion\":\"v1\",\"kind\":\"Namespace\"}\n");
  EXPECT_EQ(read("{apiVersion: v1, kind: PodList, items: [{x: 1}]}"),
            "{\"x\":1,\"apiVersion\":\"v1\",\"kind\":\"Pod\"}\n");
  EXPECT_EQ(read("{apiVersion: v1, kind: List}"), "");
}

TEST(Manifest, QuotedScalarsStayStrings) {
  EXPECT_EQ(field("x: [80, \"80\", '80', yes, \"yes\", ~, '']"), R"([80,"80","80",true,"yes",null,""])");
  EXPECT_EQ(field("x: |\n  12\n"), R"("12\n")");
  EXPECT_EQ(field("x: !!str 80"), R"("80")");
  EXPECT_EQ(field("x: !!int 80"), "80");
  EXPECT_EQ(field("x:"), "null");
}

TEST(Manifest, KeysBecomeStrings) {
  EXPECT_EQ(field("x: {1: a, true: b, yes it is: c}"), R"({"1":"a","true":"b","yes it is":"c"})");
  EXPECT_NE(field("x: {[a]: b}").find("line 3: a key must be a string, not an array"), std::string::npos)
      << field("x: {[a]: b}");
}

TEST(Manifest, ExpandsAnchorsAndMergeKeys) {
  EXPECT_EQ(field("a: &a {p: 1, q: 2}\nx: {<<: *a, q: 3}"), R"({"q":3,"p":1})");
  EXPECT_EQ(field("a: &a {p: 1}\nb: &b {p: 2, r: 4}\nx: {<<: [*a, *b]}"), R"({"p":1,"r":4})");
  EXPECT_EQ(field("a: &a [1, 2]\nx: [*a, *a]"), "[[1,2],[1,2]]");
  EXPECT_NE(field("x: {<<: 1}").find("merges a mapping"), std::string::npos);
  EXPECT_EQ(field("x: {\"<<\": 1}"), R"({"<<":1})");
}

struct Broken {
  const char* text;
  const char* message;
};
class BrokenManifest : public testing::TestWithParam<Broken> {};

TEST_P(BrokenManifest, IsRefusedWithItsLine) {
  const auto message = read(GetParam().text);
  EXPECT_NE(message.find(GetParam().message), std::string::npos) << message;
  EXPECT_TRUE(message.starts_with("error: m.yaml: ")) << message;
}

INSTANTIATE_TEST_SUITE_P(
    Table, BrokenManifest,
    testing::Values(
        Broken{"a: 1\n b: 2\n", "line 2"}, Broken{"a: [1\n", "line 2"}, Broken{"{\"a\": \n", "line 2"},
        Broken{"a: 1\na: 2\n", "line 2: the key \"a\" stands twice"}, Broken{"a: *b\n", "line 1"},
        Broken{"a: &a [*a]\n", "line 1: an alias inside"}, Broken{"a: .inf\n", "line 1: .inf is a number"},
        Broken{"a: !Ref x\n", "line 1: \"x\" under the tag !Ref"},
        Broken{"a: !!set {x}\n", "line 1: the tag"}, Broken{"a: \"\\ud800\"\n", "line 1"},
        Broken{"a: 1\nb: \x01\n", "line 2 has a control character (byte 1)"},
        Broken{"a: 1\nb: \xff\n", "line 2 is no UTF-8"}, Broken{"a: \xed\xa0\x80\n", "line 1 is no UTF-8"},
        Broken{"---\n- 1\n", "the object at line 1: must be a mapping, not an array"},
        Broken{"kind: Pod\n", "apiVersion is missing"},
        Broken{"apiVersion: v1\n---\nx: 1\n", "the object at line 1: kind is missing"},
        Broken{"apiVersion: v1\nkind: 1\n", "kind must be a string"},
        Broken{"apiVersion: v1\nkind: List\nitems: {}\n", "items must be an array"},
        Broken{"apiVersion: v1\nkind: List\nitems: [1]\n", "must be a mapping, not an integer"}));

TEST(Manifest, BoundsWhatAliasesExpandTo) {
  std::string text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 12; ++i) {
    const auto inner = "*a" + std::to_string(i - 1);
    text += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + inner;
    for (int n = 1; n < 10; ++n) text += ", " + inner;
    text += "]\n";
  }
  EXPECT_NE(read(text).find("more than 500000 values"), std::string::npos) << read(text).substr(0, 200);
}

TEST(Manifest, BoundsDepth) {
  for (const std::size_t depth : {kMaxManifestDepth + 1, std::size_t{5'000}, std::size_t{500'000}}) {
    EXPECT_TRUE(read(std::string(depth, '[')).starts_with("error: m.yaml: line 1: ")) << depth;
    EXPECT_TRUE(read("x: " + std::string(depth, '{')).starts_with("error: m.yaml: line 1: ")) << depth;
  }
  std::string text = "a0: &a0 [x]\n";
  for (int i = 1; i < 70; ++i)
    text += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [*a" + std::to_string(i - 1) + "]\n";
  EXPECT_NE(read(text).find("through an alias"), std::string::npos) << read(text);
}

TEST(Manifest, BoundsSize) {
  EXPECT_NE(read(std::string(kMaxManifestBytes + 1, ' ')).find("split it"), std::string::npos);
  // Many keys in one mapping cost no more than many mappings.
  std::string text = "apiVersion: v1\nkind: Pod\nx:\n";
  for (int i = 0; i < 60'000; ++i) text += "  key" + std::to_string(i) + ": v\n";
  const auto manifests = read_manifests(text, "m.yaml");
  ASSERT_TRUE(manifests) << manifests.error().message;
  EXPECT_EQ(manifests->at(0)["x"].size(), 60'000u);
}

TEST(Manifest, SurvivesTruncationAtEveryLength) {
  const std::string text =
      "apiVersion: v1\nkind: Pod\nmetadata: &m {name: \"a\\u00e9\\x41\", labels: {<<: [*m]}}\n"
      "spec:\n  - 'q' # c\n  - |\n    text\n  - >-\n    folded\n  - ? k\n    : v\n--- !!map\n{\"a\": [1, "
      "0x2, *m]}\n";
  for (std::size_t length = 0; length <= text.size(); ++length) {
    const auto part = text.substr(0, length);
    const auto manifests = read_manifests(part, "m.yaml");
    if (!manifests) {
      EXPECT_TRUE(manifests.error().message.starts_with("m.yaml: ")) << manifests.error().message;
    }
  }
}

}  // namespace
}  // namespace podwire::control
