#include "dataplane/base/rpc.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <array>
#include <thread>

namespace podwire {
namespace {

TEST(ParseRequest, ReadsARequest) {
  Json id;
  const auto request =
      parse_request(R"({"jsonrpc":"2.0","id":"a7","method":"stats","params":{"all":true}})", id);
  ASSERT_TRUE(request);
  EXPECT_EQ(request->method, "stats");
  EXPECT_EQ(request->params.at("all"), true);
  EXPECT_FALSE(request->notification);
  EXPECT_EQ(id, "a7");
}

TEST(ParseRequest, TakesAbsentParamsAsEmptyAndAbsentIdAsNotification) {
  Json id;
  const auto request = parse_request(R"({"jsonrpc":"2.0","method":"stats"})", id);
  ASSERT_TRUE(request);
  EXPECT_TRUE(request->notification);
  EXPECT_TRUE(request->params.is_object() && request->params.empty());
}

struct BadRequest {
  const char* line;
  ErrorCode code;
  const char* message;
  const char* id;
};

TEST(ParseRequest, RefusesWhatIsNoRequestAndKeepsTheId) {
  const BadRequest bad[] = {
      {"", ErrorCode::kParse, "request:", "null"},
      {"{\"jsonrpc\":\"2.0\",\"id\":1,\"meth", ErrorCode::kParse, "request:", "null"},
      {"[]", ErrorCode::kInvalidRequest, "batches are not supported", "null"},
      {"7", ErrorCode::kInvalidRequest, "a request must be an object, not an integer", "null"},
      {R"({"id":1,"method":"stats"})", ErrorCode::kInvalidRequest, "jsonrpc must be \"2.0\"", "1"},
      {R"({"jsonrpc":2.0,"id":1,"method":"stats"})", ErrorCode::kInvalidRequest, "jsonrpc must be \"2.0\"",
       "1"},
      {R"({"jsonrpc":"2.0","id":2})", ErrorCode::kInvalidRequest, "method must be a string", "2"},
      {R"({"jsonrpc":"2.0","id":2,"method":7})", ErrorCode::kInvalidRequest, "method must be a string", "2"},
      {R"({"jsonrpc":"2.0","id":{},"method":"stats"})", ErrorCode::kInvalidRequest, "id must be", "null"},
      {R"({"jsonrpc":"2.0","id":1.5,"method":"stats"})", ErrorCode::kInvalidRequest, "id must be", "null"},
      {R"({"jsonrpc":"2.0","id":3,"method":"stats","params":[1]})", ErrorCode::kInvalidRequest,
       "params must be an object, not an array", "3"},
      {R"({"jsonrpc":"2.0","id":4,"method":"stats","parms":{}})", ErrorCode::kInvalidRequest,
       "unknown key \"parms\"", "4"},
  };
  for (const auto& b : bad) {
    Json id;
    const auto request = parse_request(b.line, id);
    ASSERT_FALSE(request) << b.line;
    EXPECT_EQ(request.error().code, b.code) << b.line;
    EXPECT_EQ(request.error().message.rfind(b.message, 0), 0u)
        << b.line << " gave: " << request.error().message;
    EXPECT_EQ(id.dump(), b.id) << b.line;
  }
}

TEST(ParseRequest, SurvivesTruncationAtEveryLength) {
  const std::string line =
      R"({"jsonrpc":"2.0","id":1,"method":"explain","params":{"port":1,"source":"10.0.0.1"}})";
  for (std::size_t length = 0; length < line.size(); ++length) {
    Json id;
    EXPECT_FALSE(parse_request(line.substr(0, length), id)) << length;
  }
}

TEST(RpcCodes, RoundTrip) {
  for (int i = 0; i <= static_cast<int>(ErrorCode::kInternal); ++i) {
    const auto code = static_cast<ErrorCode>(i);
    EXPECT_EQ(from_rpc_code(to_rpc_code(code)), code);
  }
  EXPECT_EQ(to_rpc_code(ErrorCode::kUnknownVerb), -32601);
  EXPECT_EQ(from_rpc_code(12345), ErrorCode::kInternal);
}

TEST(MakeReply, ReplacesBytesThatAreNoUtf8) {
  const auto text = make_error(1, {ErrorCode::kInvalid, "bad \xff name"});
  EXPECT_TRUE(Json::accept(text)) << text;
}

// A peer that reads one line and then sends what the test says.
class ScriptedPeer {
 public:
  explicit ScriptedPeer(std::string answer, bool read_first = true) {
    std::array<int, 2> fds{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()), 0);
    client = RpcClient(UniqueFd(fds[0]));
    thread_ = std::thread([socket = UniqueFd(fds[1]), answer = std::move(answer), read_first]() {
      char buffer[4096];
      const auto received = read_first ? ::recv(socket.get(), buffer, sizeof buffer, 0) : 1;
      EXPECT_GT(received, 0);
      EXPECT_EQ(::send(socket.get(), answer.data(), answer.size(), MSG_NOSIGNAL),
                static_cast<ssize_t>(answer.size()));
    });
  }
  ~ScriptedPeer() {
    if (thread_.joinable()) thread_.join();
  }
  void wait_until_gone() { thread_.join(); }

  RpcClient client{UniqueFd()};

 private:
  std::thread thread_;
};

TEST(RpcClient, ReturnsTheResultOfItsOwnRequest) {
  ScriptedPeer peer(
      "{\"jsonrpc\":\"2.0\",\"id\":99,\"result\":\"old\"}\n{\"jsonrpc\":\"2.0\",\"id\":1,\"result\":[1,2]}"
      "\n");
  const auto reply = peer.client.call("stats", Json::object());
  ASSERT_TRUE(reply);
  EXPECT_EQ(reply->dump(), "[1,2]");
}

TEST(RpcClient, TurnsAnErrorReplyIntoItsError) {
  ScriptedPeer peer("{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":-32001,\"message\":\"no port 9\"}}\n");
  const auto reply = peer.client.call("stats", Json::object());
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(reply.error().message, "no port 9");
  EXPECT_TRUE(peer.client.ok());
}

TEST(RpcClient, SurvivesAnErrorOfTheWrongShape) {
  ScriptedPeer peer("{\"jsonrpc\":\"2.0\",\"id\":1,\"error\":{\"code\":\"x\",\"message\":[]}}\n");
  EXPECT_FALSE(peer.client.call("stats", Json::object()));
}

TEST(RpcClient, GivesUpOnAMalformedReply) {
  for (const char* answer : {"nonsense\n", "[]\n", "{\"jsonrpc\":\"2.0\",\"id\":1}\n"}) {
    ScriptedPeer peer(answer);
    const auto reply = peer.client.call("stats", Json::object());
    ASSERT_FALSE(reply);
    EXPECT_EQ(reply.error().code, ErrorCode::kUnavailable);
    EXPECT_FALSE(peer.client.ok());
    EXPECT_FALSE(peer.client.call("stats", Json::object())) << "a broken client stays broken";
  }
}

TEST(RpcClient, GivesUpOnAPeerThatCloses) {
  ScriptedPeer peer("");
  const auto reply = peer.client.call("stats", Json::object());
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, ErrorCode::kUnavailable);
}

TEST(RpcClient, GivesUpOnASilentPeer) {
  std::array<int, 2> fds{};
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()), 0);
  const UniqueFd silent(fds[1]);
  RpcClient client{UniqueFd(fds[0])};
  const auto reply = client.call("stats", Json::object(), {}, 50);
  ASSERT_FALSE(reply);
  EXPECT_NE(reply.error().message.find("within 50 ms"), std::string::npos) << reply.error().message;
}

TEST(RpcClient, ReportsARefusalThatCameBeforeItsRequest) {
  ScriptedPeer peer(
      "{\"jsonrpc\":\"2.0\",\"id\":null,\"error\":{\"code\":-32004,\"message\":\"uid 7 may not\"}}\n", false);
  peer.wait_until_gone();
  const auto reply = peer.client.call("stats", Json::object());
  ASSERT_FALSE(reply);
  EXPECT_EQ(reply.error().code, ErrorCode::kDenied) << reply.error().message;
}

}  // namespace
}  // namespace podwire
