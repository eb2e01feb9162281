#include "dataplane/base/json.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <fstream>

namespace podwire {
namespace {

// What went wrong, or "" when nothing did.
template <class T>
std::string message_of(const Result<T>& result) {
  return result ? "" : result.error().message;
}

Json object(std::string_view text) {
  return *parse_json(text, "test");
}

TEST(ParseJson, RefusesTextThatIsNoJson) {
  for (const char* text : {"", "{", "{\"a\":}", "[1,]", "nul", "{\"a\":1}x", "\"\xff\"", "1e999"}) {
    const auto json = parse_json(text, "request");
    ASSERT_FALSE(json) << text;
    EXPECT_EQ(json.error().code, ErrorCode::kParse) << text;
    EXPECT_EQ(json.error().message.rfind("request: ", 0), 0u) << json.error().message;
  }
}

TEST(ParseJson, RefusesDeepNestingWithoutExhaustingTheStack) {
  EXPECT_TRUE(parse_json(std::string(64, '[') + std::string(64, ']'), "request"));
  const auto json = parse_json(std::string(500000, '['), "request");
  ASSERT_FALSE(json);
  EXPECT_NE(json.error().message.find("64 levels"), std::string::npos) << json.error().message;
}

TEST(ParseJson, CountsOnlyBracketsThatNest) {
  const std::string deepest = std::string(64, '[') + std::string(64, ']');
  EXPECT_TRUE(parse_json(deepest, "reply"));
  EXPECT_FALSE(parse_json("[" + deepest + "]", "reply"));
  std::string wide = "[" + deepest.substr(1, 126);
  for (int i = 0; i < 100; ++i) wide += R"(, [], {"a": "[[[[\"[[[[{{\\"})";
  EXPECT_TRUE(parse_json(wide + "]", "reply"));
}

TEST(ParseJson, KeepsTheOrderOfKeysAndTheLastOfTwo) {
  std::string text = "{";
  for (int i = 0; i < 100; ++i) text += "\"k" + std::to_string(i) + "\": " + std::to_string(i) + ", ";
  const auto json = parse_json(text + R"("k3": [1, {"b": 2, "a": {}, "b": -3}], "k99": null})", "request");
  ASSERT_TRUE(json) << message_of(json);
  ASSERT_EQ(json->size(), 100u);
  int i = 0;
  for (const auto& [key, value] : json->items()) EXPECT_EQ(key, "k" + std::to_string(i++));
  EXPECT_EQ((*json)["k3"].dump(), R"([1,{"b":-3,"a":{}}])");
  EXPECT_EQ((*json)["k98"], 98);
  EXPECT_TRUE((*json)["k99"].is_null());
}

TEST(ParseJson, ReadsWhatTheLibraryReads) {
  for (const char* text :
       {"null", "true", "-1", "18446744073709551615", "-9223372036854775808", "1.5e3", "\"x\"", "[]", "{}",
        R"([[], {}, [null, [1, 2], {"a": [{"b": "\u00e9"}]}], "s", 0.25])"}) {
    const auto json = parse_json(text, "request");
    ASSERT_TRUE(json) << text << ": " << message_of(json);
    EXPECT_EQ(*json, Json::parse(text)) << text;
  }
}

// With time that grows with the square of the keys nobody would wait for it.
TEST(ParseJson, TakesAnObjectWithManyKeys) {
  constexpr int kKeys = 200'000;
  std::string text = "{";
  for (int i = 0; i < kKeys; ++i) text += "\"" + std::to_string(i) + "\":0,";
  const auto json = parse_json(text + "\"0\":1}", "request");
  ASSERT_TRUE(json);
  EXPECT_EQ(json->size(), static_cast<std::size_t>(kKeys));
  EXPECT_EQ(json->begin().value(), 1);
}

TEST(ReadJsonFile, NamesTheFile) {
  EXPECT_NE(message_of(read_json_file("/nonexistent/engine.json")).find("/nonexistent/engine.json"),
            std::string::npos);
  EXPECT_NE(message_of(read_json_file("/tmp")).find("directory"), std::string::npos);
  const std::string path = "/tmp/podwire-json-test-" + std::to_string(::getpid());
  std::ofstream(path) << "{\n \"a\": \n}";
  const auto message = message_of(read_json_file(path));
  ::unlink(path.c_str());
  EXPECT_NE(message.find(path), std::string::npos);
  EXPECT_NE(message.find("line 3"), std::string::npos) << message;
}

TEST(ClosestMatch, FindsTyposOnly) {
  const std::vector<std::string> words{"workers", "mbufs", "socket"};
  EXPECT_EQ(closest_match("worker", words), "workers");
  EXPECT_EQ(closest_match("sokcet", words), "socket");
  EXPECT_EQ(closest_match("unrelated_word", words), "");
  EXPECT_EQ(closest_match(std::string(100000, 'a'), words), "");
}

struct Sample {
  int number = 7;
  std::string text;
  bool flag = false;
  MacAddr mac;
  IpPrefix prefix;
  Vni vni;
  PortId port;
  std::optional<std::string> maybe;
  std::vector<IpAddr> list;
  int mode = 0;
};

Result<void> read_sample(const Json& json, Sample& out) {
  ObjectReader r(json, "sample");
  r.required("number", out.number);
  r.optional("text", out.text);
  r.optional("flag", out.flag);
  r.optional("mac", out.mac);
  r.optional("prefix", out.prefix);
  r.optional("vni", out.vni);
  r.optional("port", out.port);
  r.optional("maybe", out.maybe);
  r.optional("list", out.list);
  r.choice("mode", out.mode, {"l2", "l3"});
  return r.finish();
}

TEST(ObjectReader, ReadsEveryKindOfField) {
  Sample s;
  s.maybe = "before";
  ASSERT_TRUE(read_sample(object(R"({"number":-3,"text":"x","flag":true,"mac":"02:00:00:00:00:01","mode":"l3",
      "prefix":"10.0.0.0/8","vni":16777215,"port":65535,"maybe":null,"list":["10.0.0.1","fd00::1"]})"),
                          s));
  EXPECT_EQ(s.number, -3);
  EXPECT_TRUE(s.flag);
  EXPECT_EQ(to_string(s.mac), "02:00:00:00:00:01");
  EXPECT_EQ(to_string(s.prefix), "10.0.0.0/8");
  EXPECT_EQ(s.vni, Vni(16777215));
  EXPECT_EQ(s.port, PortId(65535));
  EXPECT_FALSE(s.maybe);
  EXPECT_EQ(s.list.size(), 2u);
  EXPECT_EQ(s.mode, 1);
}

TEST(ObjectReader, LeavesAbsentFieldsAlone) {
  Sample s;
  s.text = "default";
  ASSERT_TRUE(read_sample(object(R"({"number":1})"), s));
  EXPECT_EQ(s.text, "default");
}

struct Refusal {
  const char* json;
  const char* message;
};

TEST(ObjectReader, NamesThePathOfEveryMistake) {
  const Refusal refusals[] = {
      {R"({})", "sample.number is missing"},
      {R"([])", "sample must be an object, not an array"},
      {R"({"number":"1"})", "sample.number must be an integer, not a string"},
      {R"({"number":1.5})", "sample.number must be an integer, not a fraction"},
      {R"({"number":null})", "sample.number must be an integer, not null"},
      {R"({"number":3000000000})", "sample.number is 3000000000, must be from -2147483648 to 2147483647"},
      {R"({"number":18446744073709551615})", "sample.number is 18446744073709551615, must be from"},
      {R"({"number":1,"flag":1})", "sample.flag must be true or false, not an integer"},
      {R"({"number":1,"text":{}})", "sample.text must be a string, not an object"},
      {R"({"number":1,"text":"a\u0000b"})", "sample.text contains a zero byte"},
      {R"({"number":1,"mac":"nonsense"})", "sample.mac: \"nonsense\" is not a MAC address"},
      {R"({"number":1,"mac":5})", "sample.mac must be a string, not an integer"},
      {R"({"number":1,"prefix":"10.0.0.1"})",
       "sample.prefix: \"10.0.0.1\" is not an address with a prefix length"},
      {R"({"number":1,"vni":16777216})", "sample.vni is 16777216, must be from 0 to 16777215"},
      {R"({"number":1,"port":0})", "sample.port is 0, must be from 1 to 65535"},
      {R"({"number":1,"list":"10.0.0.1"})", "sample.list must be an array, not a string"},
      {R"({"number":1,"list":["10.0.0.1","x"]})", "sample.list[1]: \"x\" is not an IP address"},
      {R"({"number":1,"mode":"l4"})", "sample.mode is \"l4\", must be one of \"l2\", \"l3\""},
      {R"({"number":1,"mode":2})", "sample.mode must be one of \"l2\", \"l3\", not an integer"},
      {R"({"number":1,"prefx":"10.0.0.0/8"})", "unknown key \"prefx\" in sample; did you mean \"prefix\"?"},
      {R"({"number":1,"something_else":1})",
       "unknown key \"something_else\" in sample; known keys: number, text"},
  };
  for (const auto& refusal : refusals) {
    Sample s;
    const auto message = message_of(read_sample(object(refusal.json), s));
    EXPECT_EQ(message.rfind(refusal.message, 0), 0u) << refusal.json << " gave: " << message;
  }
}

TEST(ObjectReader, KeepsTheFirstMistake) {
  Sample s;
  EXPECT_NE(message_of(read_sample(object(R"({"number":"x","flag":3,"zzz":1})"), s)).find("number"),
            std::string::npos);
}

TEST(ObjectReader, QuotesAtMost64CharactersOfAnUnknownKey) {
  Sample s;
  const auto message =
      message_of(read_sample(object("{\"number\":1,\"" + std::string(100000, 'k') + "\":1}"), s));
  EXPECT_LT(message.size(), 300u);
}

}  // namespace
}  // namespace podwire
