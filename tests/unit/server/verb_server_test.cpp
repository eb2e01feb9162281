#include "dataplane/server/verb_server.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "tests/support/rpc_fixture.hpp"

namespace podwire::engine {
namespace {

using test::Client;

// Notes what it was asked to do.
class FakeBackend final : public Backend {
 public:
  std::uint64_t generation() const override { return generation_; }
  const std::string& instance() const override { return instance_; }
  Result<std::uint64_t> patch(api::ObjectSet put, const api::IdSet& remove,
                              std::vector<UniqueFd> fds) override {
    did.push_back("patch " + std::to_string(put.ports.size()) + " " + std::to_string(remove.ports.size()) +
                  " " + std::to_string(fds.size()));
    if (refuse) return conflict("the domain does not exist");
    return ++generation_;
  }
  void replace_begin() override { did.push_back("begin"); }
  Result<void> replace_chunk(api::ObjectSet put, std::vector<UniqueFd> fds) override {
    did.push_back("chunk " + std::to_string(put.ports.size()) + " " + std::to_string(fds.size()));
    return {};
  }
  Result<std::uint64_t> replace_commit() override {
    did.push_back("commit");
    return ++generation_;
  }
  void replace_abort() override { did.push_back("abort"); }
  Result<std::vector<UniqueFd>> port_descriptors(PortId id) override {
    if (id != PortId(4)) return not_found("port " + std::to_string(id.value()) + " does not exist");
    std::vector<UniqueFd> fds;
    for (int i = 0; i < 2; ++i) fds.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    return fds;
  }
  void shut_down() override { did.push_back("shut down"); }
  Json status() override {
    Json reply{{"generation", generation_}};
    if (!ports.is_null()) reply["ports"] = ports;
    return reply;
  }
  Json stats(bool all) override { return {{"all", all}}; }
  Result<Json> dump(const Json& params) override { return Json{{"dump", params}}; }
  Result<Json> fdb(const Json& params) override { return Json{{"fdb", params}}; }
  Result<Json> neighbors(const Json& params) override { return Json{{"neighbors", params}}; }
  Result<Json> explain(const Json& params) override { return Json{{"explain", params}}; }
  Result<Json> flows(const Json& params) override { return Json{{"flows", params}}; }
  Result<Json> flows_flush(const Json& params) override { return Json{{"flushed", params}}; }
  Result<Json> probe(const Json& params) override { return Json{{"probe", params}}; }
  Result<Json> probe_results(const Json& params) override { return Json{{"results", params}}; }
  Json unknown_vnis() override { return {{"unknown_vnis", Json::array()}}; }
  Result<Json> flows_sample(const Json& params) override { return Json{{"sampled", params}}; }
  Result<Json> flows_top(const Json& params) override { return Json{{"top", params}}; }

  std::vector<std::string> did;
  Json ports;  // of status; null: left out
  bool refuse = false;

 private:
  std::uint64_t generation_ = 6;
  std::string instance_ = "abc";
};

constexpr const char* kTap =
    R"({"ports":[{"id":4,"name":"a","domain":2,"mac":"02:00:00:00:00:04","mtu":1450,"queues":1,"descriptors":1}]})";

class VerbServerTest : public test::RpcServerFixture {
 protected:
  VerbServerTest() {
    RpcServerOptions options;
    listen(std::move(options), [this](RpcRequest request, Responder responder) {
      verbs_.handle(std::move(request), std::move(responder));
    });
  }
  // The fixture notes closed connections; the server hears of them here.
  void pump_closed() {
    pump(5);
    for (const auto connection : closed_) verbs_.connection_closed(connection);
    closed_.clear();
  }
  static Json error(const Json& reply) {
    EXPECT_TRUE(reply.contains("error")) << reply.dump();
    return reply.value("error", Json::object());
  }
  static std::string message(const Json& reply) { return error(reply).value("message", ""); }
  static int code(const Json& reply) { return error(reply).value("code", 0); }

  FakeBackend backend_;
  VerbServer verbs_{backend_};
};

TEST_F(VerbServerTest, HelloTellsWhoAnswers) {
  Client client(*this);
  const auto result = client.call("hello", {{"epoch", 3}}).at("result");
  EXPECT_EQ(result.at("version"), PODWIRE_VERSION);
  EXPECT_EQ(result.at("pid"), ::getpid());
  EXPECT_EQ(result.at("instance"), "abc");
  EXPECT_EQ(result.at("generation"), 6);
}

TEST_F(VerbServerTest, OnlyTheWriterWritesAndOthersAreToldWhatToDo) {
  Client client(*this);
  for (const char* verb :
       {"patch", "replace_begin", "replace_chunk", "replace_commit", "port_descriptors", "shutdown"}) {
    const auto reply = client.call(verb, Json::object());
    EXPECT_EQ(code(reply), to_rpc_code(ErrorCode::kDenied)) << verb;
    EXPECT_NE(message(reply).find("hello {\"epoch\": N}"), std::string::npos) << message(reply);
  }
  EXPECT_TRUE(backend_.did.empty());
  for (const char* verb : {"status", "stats", "dump", "fdb", "neighbors", "explain", "drop_reasons", "probe",
                           "probe_results", "unknown_vnis"}) {
    EXPECT_TRUE(client.call(verb, Json::object()).contains("result")) << verb << " is open to readers";
  }
}

TEST_F(VerbServerTest, ThousandsOfPortsComeInPages) {
  backend_.ports = Json::array();
  for (unsigned id = 1; id <= 4000; ++id)
    backend_.ports.push_back({{"id", id}, {"name", std::string(400, 'x')}});
  Client client(*this);
  unsigned seen = 0;
  for (Json params = Json::object();;) {
    const auto page = client.call("status", params).at("result");
    for (const auto& port : page.at("ports")) ASSERT_EQ(port.at("id"), ++seen);
    EXPECT_TRUE(page.contains("generation"));
    if (!page.contains("next_after_id")) break;
    params["after_id"] = page.at("next_after_id");
  }
  EXPECT_EQ(seen, 4000u);
  EXPECT_NE(message(client.call("status", {{"after", 1}})).find("after_id"), std::string::npos);
}

TEST_F(VerbServerTest, RefusesALowerEpoch) {
  Client writer(*this), other(*this);
  ASSERT_TRUE(writer.call("hello", {{"epoch", 5}}).contains("result"));
  const auto refused = other.call("hello", {{"epoch", 4}});
  EXPECT_EQ(code(refused), to_rpc_code(ErrorCode::kDenied));
  EXPECT_NE(message(refused).find("epoch is 4"), std::string::npos);
  EXPECT_NE(message(refused).find("epoch 5"), std::string::npos);
  EXPECT_TRUE(writer.call("patch", Json::object()).contains("result")) << "the writer still is";
  EXPECT_EQ(code(writer.call("hello", {{"epoch", 4}})), to_rpc_code(ErrorCode::kDenied)) << "its own as well";
}

TEST_F(VerbServerTest, AnEqualOrHigherEpochTakesOver) {
  Client first(*this), second(*this), third(*this);
  ASSERT_TRUE(first.call("hello", {{"epoch", 5}}).contains("result"));
  ASSERT_TRUE(second.call("hello", {{"epoch", 5}}).contains("result"));
  const auto refused = first.call("patch", Json::object());
  EXPECT_EQ(code(refused), to_rpc_code(ErrorCode::kDenied));
  EXPECT_NE(message(refused).find("at least 5"), std::string::npos) << message(refused);
  ASSERT_TRUE(third.call("hello", {{"epoch", 6}}).contains("result"));
  EXPECT_EQ(code(second.call("patch", Json::object())), to_rpc_code(ErrorCode::kDenied));
  EXPECT_TRUE(third.call("patch", Json::object()).contains("result"));
}

TEST_F(VerbServerTest, TheEpochOutlivesItsWriter) {
  {
    Client writer(*this);
    ASSERT_TRUE(writer.call("hello", {{"epoch", 5}}).contains("result"));
  }
  pump_closed();
  Client next(*this);
  EXPECT_EQ(code(next.call("hello", {{"epoch", 4}})), to_rpc_code(ErrorCode::kDenied));
  EXPECT_EQ(next.call("status", Json::object()).at("result").at("epoch"), 5);
}

TEST_F(VerbServerTest, AbortsTheReplaceOfAWriterThatGoesOrIsReplaced) {
  {
    Client writer(*this);
    writer.call("hello", {{"epoch", 1}});
    writer.call("replace_begin", Json::object());
    backend_.did.clear();
  }
  pump_closed();
  EXPECT_EQ(backend_.did, std::vector<std::string>{"abort"});
  Client writer(*this), other(*this);
  writer.call("hello", {{"epoch", 1}});
  writer.call("replace_begin", Json::object());
  backend_.did.clear();
  other.call("hello", {{"epoch", 1}});
  EXPECT_EQ(backend_.did, std::vector<std::string>{"abort"});
}

TEST_F(VerbServerTest, ASecondHelloOfTheWriterKeepsItsReplace) {
  Client writer(*this);
  writer.call("hello", {{"epoch", 1}});
  writer.call("replace_begin", Json::object());
  backend_.did.clear();
  writer.call("hello", {{"epoch", 2}});
  EXPECT_TRUE(backend_.did.empty());
}

TEST_F(VerbServerTest, StatusHasNoEpochBeforeTheFirstWriter) {
  Client client(*this);
  EXPECT_TRUE(client.call("status", Json::object()).at("result").at("epoch").is_null());
}

TEST_F(VerbServerTest, RunsAReplaceInChunks) {
  Client writer(*this);
  writer.call("hello", {{"epoch", 1}});
  backend_.did.clear();
  const UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const Json put = *parse_json(kTap, "test");
  EXPECT_EQ(writer.call("replace_begin", Json::object()).at("result"), Json::object());
  EXPECT_EQ(writer.call("replace_chunk", {{"put", put}}, {null.get()}).at("result"), Json::object());
  EXPECT_EQ(writer.call("replace_commit", Json::object()).at("result").at("generation"), 7);
  EXPECT_EQ(backend_.did, (std::vector<std::string>{"begin", "chunk 1 1", "commit"}));
}

TEST_F(VerbServerTest, PatchesWithDescriptors) {
  Client writer(*this);
  writer.call("hello", {{"epoch", 1}});
  backend_.did.clear();
  const UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  const Json params{{"put", *parse_json(kTap, "test")}, {"delete", {{"ports", {1, 2}}}}};
  EXPECT_EQ(writer.call("patch", params, {null.get()}).at("result").at("generation"), 7);
  EXPECT_EQ(backend_.did, std::vector<std::string>{"patch 1 2 1"});
  EXPECT_NE(message(writer.call("patch", params)).find("announce 1 descriptors, but 0 came"),
            std::string::npos);
  EXPECT_NE(message(writer.call("patch", params, {null.get(), null.get()})).find("but 2 came"),
            std::string::npos);
}

TEST_F(VerbServerTest, HandsOutAPortsDescriptors) {
  Client writer(*this);
  writer.call("hello", {{"epoch", 1}});
  EXPECT_EQ(writer.call("port_descriptors", {{"id", 4}}).at("result").at("count"), 2);
  EXPECT_EQ(writer.last_fds().size(), 2u);
  EXPECT_EQ(code(writer.call("port_descriptors", {{"id", 5}})), to_rpc_code(ErrorCode::kNotFound));
}

TEST_F(VerbServerTest, RefusesAndClosesDescriptorsThatAVerbDoesNotTake) {
  Client client(*this);
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
  const UniqueFd read_end(ends[0]);
  const auto reply = client.call("status", Json::object(), {ends[1]});
  ::close(ends[1]);
  EXPECT_NE(message(reply).find("\"status\" takes no descriptors, 1 came"), std::string::npos)
      << message(reply);
  char byte;
  EXPECT_EQ(::read(read_end.get(), &byte, 1), 0) << "the server's copy of the other end is closed";
}

TEST_F(VerbServerTest, SuggestsTheVerbThatWasMeant) {
  Client client(*this);
  const auto near = client.call("stat", Json::object());
  EXPECT_EQ(code(near), -32601);
  EXPECT_EQ(message(near), "unknown verb \"stat\"; did you mean \"stats\"?");
  const auto far = message(client.call("frobnicate", Json::object()));
  EXPECT_EQ(far.rfind("unknown verb \"frobnicate\"; the verbs are hello, ", 0), 0u) << far;
  EXPECT_LT(message(client.call(std::string(100000, 'v'), Json::object())).size(), 400u);
}

TEST_F(VerbServerTest, RefusesBadParametersByName) {
  Client client(*this);
  client.call("hello", {{"epoch", 1}});
  const struct {
    const char* verb;
    const char* params;
    const char* message;
  } cases[] = {
      {"hello", "{}", "params.epoch is missing"},
      {"hello", R"({"epoch":"1"})", "params.epoch must be an integer, not a string"},
      {"hello", R"({"epoch":-1})", "params.epoch is -1, must be 0 or more"},
      {"hello", R"({"epoch":2,"name":"x"})", "unknown key \"name\" in params"},
      {"status", R"({"verbose":true})", "unknown key \"verbose\" in params"},
      {"stats", R"({"al":true})", "unknown key \"al\" in params; did you mean \"all\"?"},
      {"stats", R"({"all":1})", "params.all must be true or false, not an integer"},
      {"patch", R"({"puts":{}})", "unknown key \"puts\" in params; did you mean \"put\"?"},
      {"patch", R"({"put":[]})", "params.put must be an object, not an array"},
      {"patch", R"({"put":{"ports":{}}})", "params.put.ports must be an array, not an object"},
      {"patch", R"({"put":{"ports":[{"id":0}]}})", "params.put.ports[0].id is 0"},
      {"patch", R"({"delete":{"ports":[0]}})", "params.delete.ports[0] is 0"},
      {"replace_chunk", "{}", "params.put is missing"},
      {"replace_begin", R"({"x":1})", "unknown key \"x\" in params"},
      {"replace_commit", R"({"x":1})", "unknown key \"x\" in params"},
      {"port_descriptors", "{}", "params.id is missing"},
      {"port_descriptors", R"({"id":70000})", "params.id is 70000, must be from 1 to 65535"},
      {"shutdown", R"({"now":true})", "unknown key \"now\" in params"},
      {"drop_reasons", R"({"all":true})", "unknown key \"all\" in params"},
  };
  for (const auto& c : cases) {
    const auto reply = client.call(c.verb, *parse_json(c.params, "test"));
    EXPECT_EQ(code(reply), -32602) << c.verb << c.params;
    EXPECT_EQ(message(reply).rfind(c.message, 0), 0u) << c.verb << c.params << " gave: " << message(reply);
  }
}

TEST_F(VerbServerTest, PassesOnTheBackendsRefusal) {
  Client client(*this);
  client.call("hello", {{"epoch", 1}});
  backend_.refuse = true;
  const auto reply = client.call("patch", Json::object());
  EXPECT_EQ(code(reply), to_rpc_code(ErrorCode::kConflict));
  EXPECT_EQ(message(reply), "the domain does not exist");
}

TEST_F(VerbServerTest, AnswersEveryVerbToEveryKindOfParameter) {
  Client client(*this);
  client.call("hello", {{"epoch", 1}});
  const char* values[] = {"null", "1", "-1", "1.5", "1e300", "\"x\"", "[]", "{}", "true", "[[[]]]"};
  const char* keys[] = {"epoch", "put", "delete", "id", "all", "noun", "port", "frame", ""};
  for (const char* verb : {"hello", "patch", "replace_begin", "replace_chunk", "replace_commit",
                           "port_descriptors", "status", "stats", "drop_reasons"}) {
    for (const char* key : keys) {
      for (const char* value : values) {
        if (std::string(verb) == "hello" && std::string(key) == "epoch" && std::string(value) == "1")
          continue;
        const auto reply = client.call(verb, {{key, *parse_json(value, "test")}});
        ASSERT_TRUE(reply.contains("result") || !message(reply).empty()) << verb << key << value;
      }
    }
  }
}

TEST_F(VerbServerTest, ShutdownIsAnsweredFirst) {
  Client writer(*this);
  writer.call("hello", {{"epoch", 1}});
  EXPECT_EQ(writer.call("shutdown", Json::object()).at("result"), Json::object());
  EXPECT_EQ(backend_.did.back(), "shut down");
}

TEST_F(VerbServerTest, ExplainsEveryDropReason) {
  Client client(*this);
  const auto reasons = client.call("drop_reasons", Json::object()).at("result").at("reasons");
  EXPECT_GT(reasons.size(), 30u);
  for (const auto& reason : reasons) {
    EXPECT_FALSE(reason.at("name").get<std::string>().empty());
    EXPECT_GT(reason.at("help").get<std::string>().size(), 10u) << reason.at("name");
  }
}

TEST(VerbHelp, HasALineForEveryVerb) {
  const auto help = VerbServer::help();
  constexpr int kVerbs = 0
#define X(name, who, text) +1
#include "dataplane/api/verbs.def"
#undef X
      ;
  EXPECT_EQ(std::count(help.begin(), help.end(), '\n'), kVerbs);
  EXPECT_NE(help.find("patch"), std::string::npos);
  EXPECT_NE(help.find("[writer only]"), std::string::npos);
}

}  // namespace
}  // namespace podwire::engine
