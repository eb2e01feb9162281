#include "dataplane/base/rpc_server.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "tests/support/rpc_fixture.hpp"

namespace podwire {
namespace {

using test::Client;

class RpcServerTest : public test::RpcServerFixture {
 protected:
  // Handlers the tests choose from by verb.
  void start(RpcServerOptions options = {}) {
    listen(std::move(options), [this](RpcRequest request, Responder responder) {
      ++handled_;
      if (request.method == "echo") return responder.reply(request.params);
      if (request.method == "count_fds") return responder.reply(request.fds.size());
      if (request.method == "keep") return kept_.push_back(std::move(responder));
      if (request.method == "large") return responder.reply(std::string(900000, 'l'));
      if (request.method == "too_large") return responder.reply(std::string(2 << 20, 'l'));
      if (request.method == "give_fd") {
        std::vector<UniqueFd> fds;
        fds.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
        return responder.reply(true, std::move(fds));
      }
      responder.fail({ErrorCode::kUnknownVerb, "unknown"});
    });
  }
  int handled_ = 0;
  std::vector<Responder> kept_;
};

std::string request(int id, const std::string& verb) {
  return make_request(verb, Json::object(), id);
}

// Default options with one of them changed.
template <class T>
RpcServerOptions with(T RpcServerOptions::*field, T value) {
  RpcServerOptions options;
  options.*field = value;
  return options;
}

TEST_F(RpcServerTest, AnswersRequestsInOrder) {
  start();
  Client client(*this);
  client.send_text(request(1, "echo") + "\n" + request(2, "nope") + "\n" + request(3, "echo") + "\n");
  EXPECT_EQ(client.receive().at("id"), 1);
  EXPECT_EQ(client.receive().at("error").at("code"), -32601);
  EXPECT_EQ(client.receive().at("id"), 3);
}

TEST_F(RpcServerTest, AnswersGarbageAndGoesOn) {
  start();
  Client client(*this);
  client.send_text("garbage\n\n{\"jsonrpc\":\"2.0\",\"id\":5}\n" + request(6, "echo") + "\n");
  EXPECT_EQ(client.receive().at("error").at("code"), -32700);
  EXPECT_EQ(client.receive().at("error").at("code"), -32700);
  const auto third = client.receive();
  EXPECT_EQ(third.at("error").at("code"), -32600);
  EXPECT_EQ(third.at("id"), 5);
  EXPECT_EQ(client.receive().at("id"), 6);
}

TEST_F(RpcServerTest, TakesARequestByteByByte) {
  start();
  Client client(*this);
  for (const char c : request(1, "echo") + "\n") {
    client.send_text(std::string(1, c));
    server_->poll(0);
  }
  EXPECT_EQ(client.receive().at("id"), 1);
}

TEST_F(RpcServerTest, SendsNoReplyToANotification) {
  start();
  Client client(*this);
  client.send_text("{\"jsonrpc\":\"2.0\",\"method\":\"echo\"}\n" + request(2, "echo") + "\n");
  EXPECT_EQ(client.receive().at("id"), 2);
  EXPECT_EQ(handled_, 2);
}

TEST_F(RpcServerTest, RefusesAnOverLongLineAndClosesThatConnectionOnly) {
  start();
  Client other(*this);
  Client client(*this);
  client.send_slowly(std::string(kMaxLineBytes + 10, 'x'));
  const auto reply = client.receive();
  EXPECT_EQ(reply.at("error").at("code"), -32600);
  EXPECT_NE(reply.at("error").at("message").get<std::string>().find("1048576"), std::string::npos);
  EXPECT_TRUE(client.closed());
  other.send_text(request(1, "echo") + "\n");
  EXPECT_EQ(other.receive().at("id"), 1);
}

TEST_F(RpcServerTest, AnswersAHalfClosedClientThenCloses) {
  start();
  Client client(*this);
  client.send_text(request(1, "keep") + "\n" + request(2, "echo") + "\n");
  ::shutdown(client.fd(), SHUT_WR);
  EXPECT_EQ(client.receive().at("id"), 2);
  ASSERT_EQ(kept_.size(), 1u);
  kept_[0].reply("late");
  EXPECT_EQ(client.receive().at("result"), "late");
  EXPECT_TRUE(client.closed());
}

TEST_F(RpcServerTest, ForgetsAPartialLineOfAClosedClient) {
  start();
  {
    Client client(*this);
    client.send_text("{\"jsonrpc\":\"2.0\",\"id\":1,\"meth");
    server_->poll(0);
  }
  pump(5);
  EXPECT_EQ(handled_, 0);
  EXPECT_EQ(closed_.size(), 1u);
}

TEST_F(RpcServerTest, DropsTheAnswerToAClientThatIsGone) {
  start();
  {
    Client client(*this);
    client.send_text(request(1, "keep") + "\n");
    pump(5);
  }
  pump(5);
  ASSERT_EQ(kept_.size(), 1u);
  kept_[0].reply("late");
  pump(5);
  EXPECT_TRUE(server_->idle());
}

TEST_F(RpcServerTest, AnswersFromAnotherThread) {
  start();
  Client client(*this);
  client.send_text(request(1, "keep") + "\n");
  pump(5);
  ASSERT_EQ(kept_.size(), 1u);
  std::thread other([this] { kept_[0].reply("from another thread"); });
  EXPECT_EQ(client.receive().at("result"), "from another thread");
  other.join();
}

TEST_F(RpcServerTest, ReadsNoMoreThanMaxUnansweredRequests) {
  start(with(&RpcServerOptions::max_unanswered, std::size_t{4}));
  Client client(*this);
  std::string text;
  for (int i = 0; i < 10; ++i) text += request(i, "keep") + "\n";
  client.send_text(text);
  pump(10);
  EXPECT_EQ(kept_.size(), 4u);
  for (std::size_t i = 0; i < 10; ++i) {
    ASSERT_LT(i, kept_.size());
    kept_[i].reply(i);
    EXPECT_EQ(client.receive().at("result"), i);
  }
}

TEST_F(RpcServerTest, CutsOffAClientThatDoesNotReadItsReplies) {
  start(with(&RpcServerOptions::max_unsent_bytes, std::size_t{2} << 20));
  Client client(*this);
  std::string text;
  for (int i = 0; i < 8; ++i) text += request(i, "large") + "\n";
  client.send_text(text);
  pump(50);
  EXPECT_EQ(closed_.size(), 1u);
}

TEST_F(RpcServerTest, SaysThatAReplyIsTooLong) {
  start();
  Client client(*this);
  client.send_text(request(1, "too_large") + "\n");
  EXPECT_EQ(client.receive().at("error").at("code"), to_rpc_code(ErrorCode::kExhausted));
}

TEST_F(RpcServerTest, TurnsAwayMoreThanMaxConnections) {
  start(with(&RpcServerOptions::max_connections, std::size_t{2}));
  Client a(*this), b(*this), c(*this);
  EXPECT_EQ(c.receive().at("error").at("code"), to_rpc_code(ErrorCode::kExhausted));
  EXPECT_TRUE(c.closed());
  a.send_text(request(1, "echo") + "\n");
  EXPECT_EQ(a.receive().at("id"), 1);
  { const auto closing = std::move(b); }
  pump(5);
  Client d(*this);
  d.send_text(request(1, "echo") + "\n");
  EXPECT_EQ(d.receive().at("id"), 1);
}

TEST_F(RpcServerTest, HandsDescriptorsOverBothWays) {
  start();
  Client client(*this);
  const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  ASSERT_TRUE(send_line(client.fd(), request(1, "count_fds"), {null, null}));
  ::close(null);
  EXPECT_EQ(client.receive().at("result"), 2);
  client.send_text(request(2, "give_fd") + "\n");
  EXPECT_EQ(client.receive().at("result"), true);
  EXPECT_EQ(client.last_fds().size(), 1u);
}

TEST_F(RpcServerTest, SurvivesAFloodOfDescriptors) {
  start();
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  const int null = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  Client flooder(*this);
  Client client(*this);
  pump(5);
  rlimit low = before;
  low.rlim_cur = static_cast<rlim_t>(null) + 40;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
  EXPECT_TRUE(send_line(flooder.fd(), request(1, "count_fds"), std::vector<int>(250, null)));
  pump(10);
  ::setrlimit(RLIMIT_NOFILE, &before);
  ::close(null);
  const auto reply = flooder.receive();
  EXPECT_NE(reply.at("error").at("message").get<std::string>().find("too many open files"),
            std::string::npos);
  EXPECT_TRUE(flooder.closed());
  client.send_text(request(1, "echo") + "\n");
  EXPECT_EQ(client.receive().at("id"), 1);
}

TEST_F(RpcServerTest, DoesNotSpinWhenItCannotAccept) {
  start();
  std::vector<UniqueFd> waiting;
  for (int i = 0; i < 3; ++i) waiting.push_back(std::move(*connect_unix(path_)));
  rlimit before{};
  ASSERT_EQ(::getrlimit(RLIMIT_NOFILE, &before), 0);
  rlimit low = before;
  low.rlim_cur = static_cast<rlim_t>(waiting.back().get()) + 1;
  ASSERT_EQ(::setrlimit(RLIMIT_NOFILE, &low), 0);
  pump(10);
  const auto begin = std::chrono::steady_clock::now();
  server_->poll(50);
  const auto waited = std::chrono::steady_clock::now() - begin;
  ::setrlimit(RLIMIT_NOFILE, &before);
  EXPECT_GE(waited, std::chrono::milliseconds(40))
      << "the backlog was turned away, so there is nothing to do";
}

// Runs `body` as uid and gid nobody in a child; returns what it wrote to the pipe.
template <class Body>
std::string as_nobody(Body body, test::RpcServerFixture& fixture) {
  int pipe_fds[2];
  EXPECT_EQ(::pipe2(pipe_fds, O_CLOEXEC), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    if (::setgid(65534) != 0 || ::setuid(65534) != 0) ::_exit(1);
    body(pipe_fds[1]);
    ::_exit(0);
  }
  ::close(pipe_fds[1]);
  int status = 0;
  while (::waitpid(child, &status, WNOHANG) == 0) fixture.pump(1);
  EXPECT_EQ(status, 0);
  std::string text(65536, '\0');
  const auto n = ::read(pipe_fds[0], text.data(), text.size());
  ::close(pipe_fds[0]);
  text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  return text;
}

TEST_F(RpcServerTest, RefusesAStrangersUid) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  start();
  ASSERT_EQ(::chmod(path_.c_str(), 0666), 0);
  const auto text = as_nobody(
      [this](int out) {
        auto socket = connect_unix(path_);
        if (!socket) return;
        char buffer[4096];
        const auto n = ::recv(socket->get(), buffer, sizeof buffer, 0);
        if (n <= 0) return;
        [[maybe_unused]] const auto written = ::write(out, buffer, static_cast<std::size_t>(n));
      },
      *this);
  const auto reply = Json::parse(text);
  EXPECT_EQ(reply.at("error").at("code"), to_rpc_code(ErrorCode::kDenied));
  EXPECT_NE(reply.at("error").at("message").get<std::string>().find("uid 65534"), std::string::npos);
  EXPECT_EQ(handled_, 0);
}

TEST_F(RpcServerTest, TheKernelKeepsAStrangerFromASocketOfMode0600) {
  if (::geteuid() != 0) GTEST_SKIP() << "only root can become another user";
  start();
  const auto text = as_nobody(
      [this](int out) {
        const auto socket = connect_unix(path_);
        const std::string result = socket ? "connected" : socket.error().message;
        [[maybe_unused]] const auto written = ::write(out, result.data(), result.size());
      },
      *this);
  EXPECT_NE(text.find("Permission denied"), std::string::npos) << text;
}

TEST_F(RpcServerTest, RemovesItsSocketFile) {
  start();
  EXPECT_EQ(::access(path_.c_str(), F_OK), 0);
  server_.reset();
  EXPECT_NE(::access(path_.c_str(), F_OK), 0);
}

TEST_F(RpcServerTest, KeepsServingConnectionsAfterItStoppedListening) {
  start();
  Client client(*this);
  pump(2);
  server_->stop_listening();
  EXPECT_NE(::access(path_.c_str(), F_OK), 0);
  client.send_text(request(1, "echo") + "\n");
  EXPECT_EQ(client.receive().at("id"), 1);
}

}  // namespace
}  // namespace podwire
