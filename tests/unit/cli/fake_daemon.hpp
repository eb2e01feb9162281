// A podwired that answers each verb with what the test says, on a socket of its own in a directory of its
// own.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <string>
#include <thread>

#include "dataplane/base/rpc_server.hpp"

namespace podwire::control::cli {

class FakeDaemon {
 public:
  using Answer = std::function<Result<Json>(const RpcRequest&)>;

  explicit FakeDaemon(Answer answer) {
    std::string path = ::testing::TempDir() + "/podwirectl-XXXXXX";
    directory_ = ::mkdtemp(path.data());
    auto server = RpcServer::listen(
        {.path = socket()},
        [answer = std::move(answer)](RpcRequest request, Responder to) { to.answer(answer(request)); });
    if (!server) {
      ADD_FAILURE() << server.error().message;
      return;
    }
    server_ = std::move(*server);
    thread_ = std::thread([this] {
      while (!stop_) server_->poll(20);
    });
  }
  ~FakeDaemon() {
    stop_ = true;
    if (thread_.joinable()) thread_.join();
    server_.reset();
    ::rmdir(directory_.c_str());
  }
  FakeDaemon(const FakeDaemon&) = delete;
  FakeDaemon& operator=(const FakeDaemon&) = delete;

  std::string socket() const { return directory_ + "/control.sock"; }

 private:
  std::string directory_;
  std::unique_ptr<RpcServer> server_;
  std::atomic<bool> stop_ = false;
  std::thread thread_;
};

}  // namespace podwire::control::cli
