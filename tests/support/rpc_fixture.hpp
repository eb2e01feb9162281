// An RpcServer on a socket of its own in /tmp and clients for it, all on the test's thread: whoever waits for
// the server runs it.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <string>
#include <vector>

#include "dataplane/base/rpc_server.hpp"

namespace podwire::test {

class RpcServerFixture : public testing::Test {
 public:
  void pump(int times) {
    for (int i = 0; i < times; ++i) server_->poll(1);
  }
  const std::string& path() const { return path_; }
  RpcServer& server() { return *server_; }

 protected:
  ~RpcServerFixture() override {
    server_.reset();
    ::unlink(path_.c_str());
  }
  void listen(RpcServerOptions options, RpcServer::Handler handler) {
    options.path = path_;
    auto server = RpcServer::listen(std::move(options), std::move(handler),
                                    [this](std::uint64_t connection) { closed_.push_back(connection); });
    ASSERT_TRUE(server) << server.error().message;
    server_ = std::move(*server);
  }

  const std::string path_ = "/tmp/podwire-rpc-test-" + std::to_string(::getpid());
  std::unique_ptr<RpcServer> server_;
  std::vector<std::uint64_t> closed_;
};

class Client {
 public:
  explicit Client(RpcServerFixture& fixture) : fixture_(&fixture) {
    auto socket = connect_unix(fixture.path());
    EXPECT_TRUE(socket);
    if (socket) socket_ = std::move(*socket);
  }
  int fd() const { return socket_.get(); }

  void send_text(const std::string& text) {
    EXPECT_EQ(::send(fd(), text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
  }
  // For more than a socket buffer holds: sends as the server reads, until all is sent or the server hangs up.
  void send_slowly(const std::string& text) {
    for (std::size_t sent = 0; sent < text.size();) {
      const auto n = ::send(fd(), text.data() + sent, text.size() - sent, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n > 0)
        sent += static_cast<std::size_t>(n);
      else if (n < 0 && errno != EAGAIN)
        return;
      fixture_->server().poll(0);
    }
  }
  // The next message from the server; null (and a failed test) when none comes within two seconds.
  Json receive() {
    for (int i = 0; i < 2000; ++i) {
      Line line;
      if (reader_.next(line)) {
        fds_ = std::move(line.fds);
        auto json = parse_json(line.text, "reply");
        EXPECT_TRUE(json) << line.text;
        return json ? *json : Json();
      }
      fixture_->server().poll(i == 0 ? 0 : 1);
      pollfd p{fd(), POLLIN, 0};
      if (::poll(&p, 1, 0) > 0) {
        const auto status = receive_into(fd(), reader_);
        if (!status || *status == ReceiveStatus::kClosed) break;
      }
    }
    ADD_FAILURE() << "no reply";
    return Json();
  }
  // One request and its reply: the whole message.
  Json call(const std::string& verb, const Json& params, const std::vector<int>& fds = {}) {
    EXPECT_TRUE(send_line(fd(), make_request(verb, params, ++next_id_), fds));
    return receive();
  }
  // The server has closed the connection and nothing is left to read.
  bool closed() {
    for (int i = 0; i < 100; ++i) {
      fixture_->server().poll(1);
      char byte;
      const auto n = ::recv(fd(), &byte, 1, MSG_DONTWAIT);
      if (n == 0 || (n < 0 && errno == ECONNRESET)) return true;
      if (n > 0) return false;
    }
    return false;
  }
  const std::vector<UniqueFd>& last_fds() const { return fds_; }

 private:
  RpcServerFixture* fixture_;
  UniqueFd socket_;
  LineReader reader_;
  std::vector<UniqueFd> fds_;
  int next_id_ = 0;
};

}  // namespace podwire::test
