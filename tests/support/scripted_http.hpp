// An HTTP/1.1 server that answers as it is told, also wrongly: late, cut short, endless. One thread accepts,
// one serves each connection; all end with it.
#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <atomic>
#include <chrono>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "dataplane/base/unique_fd.hpp"

namespace podwire::control {

class ScriptedHttp {
 public:
  struct Request {
    std::string path, body, authorization;
  };
  struct Reply {
    int status = 200;
    std::string body = "{}";
    std::chrono::milliseconds delay{0};    // before anything is sent
    std::chrono::milliseconds between{0};  // after every byte of the body
    std::size_t sent = std::string::npos;  // bytes of the whole answer that are sent, then the end
    std::string raw{};                     // sent in place of an answer, then the end
    bool streams = false;                  // chunked, and left open when the body has been sent
  };
  using Script = std::function<Reply(const Request&)>;

  explicit ScriptedHttp(Script script)
      : script_(std::move(script)), listener_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t length = sizeof address;
    EXPECT_EQ(::bind(listener_.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::getsockname(listener_.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
    EXPECT_EQ(::listen(listener_.get(), 16), 0);
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { accept_all(); });
  }
  ~ScriptedHttp() {
    stopping_ = true;
    acceptor_.join();
    for (auto& connection : connections_) connection.join();
  }

  std::string url() const { return "http://127.0.0.1:" + std::to_string(port_); }
  std::vector<Request> requests() const {
    const std::lock_guard lock(mutex_);
    return requests_;
  }

 private:
  bool wait(int fd, short events) const {
    while (!stopping_) {
      pollfd p{fd, events, 0};
      if (::poll(&p, 1, 10) > 0) return true;
    }
    return false;
  }

  void accept_all() {
    while (wait(listener_.get(), POLLIN)) {
      const int fd = ::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC);
      if (fd >= 0) connections_.emplace_back([this, fd] { serve(UniqueFd(fd)); });
    }
  }

  void serve(UniqueFd fd) {
    std::string pending;
    Request request;
    while (read_request(fd.get(), pending, request)) {
      {
        const std::lock_guard lock(mutex_);
        requests_.push_back(request);
      }
      if (!answer(fd.get(), script_(request))) return;
    }
  }

  bool more(int fd, std::string& pending) const {
    char buffer[4096];
    if (!wait(fd, POLLIN)) return false;
    const auto n = ::recv(fd, buffer, sizeof buffer, 0);
    if (n <= 0) return false;
    pending.append(buffer, static_cast<std::size_t>(n));
    return true;
  }

  static std::string header(const std::string& head, const std::string& name) {
    const auto at = head.find("\r\n" + name + ": ");
    if (at == head.npos) return {};
    const auto begin = at + name.size() + 4;
    return head.substr(begin, head.find("\r\n", begin) - begin);
  }

  bool read_request(int fd, std::string& pending, Request& out) const {
    std::size_t end;
    while ((end = pending.find("\r\n\r\n")) == pending.npos) {
      if (!more(fd, pending)) return false;
    }
    const auto head = pending.substr(0, end + 2);
    const auto space = head.find(' ');
    out.path = head.substr(space + 1, head.find(' ', space + 1) - space - 1);
    out.authorization = header(head, "Authorization");
    const auto length = static_cast<std::size_t>(std::atoi(header(head, "Content-Length").c_str()));
    while (pending.size() < end + 4 + length) {
      if (!more(fd, pending)) return false;
    }
    out.body = pending.substr(end + 4, length);
    pending.erase(0, end + 4 + length);
    return true;
  }

  bool send_all(int fd, const std::string& bytes) const {
    for (std::size_t sent = 0; sent < bytes.size();) {
      if (!wait(fd, POLLOUT)) return false;
      const auto n = ::send(fd, bytes.data() + sent, bytes.size() - sent, MSG_NOSIGNAL);
      if (n <= 0) return false;
      sent += static_cast<std::size_t>(n);
    }
    return true;
  }

  void sleep(std::chrono::milliseconds time) const {
    const auto until = std::chrono::steady_clock::now() + time;
    while (!stopping_ && std::chrono::steady_clock::now() < until)
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }

  // Whether another request may follow.
  bool answer(int fd, const Reply& reply) const {
    sleep(reply.delay);
    if (!reply.raw.empty()) {
      send_all(fd, reply.raw);
      return false;
    }
    std::string whole =
        "HTTP/1.1 " + std::to_string(reply.status) + " X\r\nContent-Type: application/json\r\n";
    char size[20];
    std::snprintf(size, sizeof size, "%zx", reply.body.size());
    if (reply.streams) {
      whole += "Transfer-Encoding: chunked\r\n\r\n" + std::string(size) + "\r\n" + reply.body + "\r\n";
    } else {
      whole += "Content-Length: " + std::to_string(reply.body.size()) + "\r\n\r\n";
      if (reply.between.count() == 0) whole += reply.body;
    }
    if (!send_all(fd, whole.substr(0, reply.sent)) || reply.sent < whole.size()) return false;
    if (reply.between.count() > 0) {
      for (const char c : reply.body) {
        if (!send_all(fd, std::string(1, c))) return false;
        sleep(reply.between);
      }
    }
    if (!reply.streams) return true;
    wait(fd, POLLIN);  // until the client goes
    return false;
  }

  const Script script_;
  UniqueFd listener_;
  std::uint16_t port_ = 0;
  std::atomic<bool> stopping_{false};
  std::thread acceptor_;
  std::vector<std::thread> connections_;  // the acceptor's until it has ended
  mutable std::mutex mutex_;
  std::vector<Request> requests_;
};

}  // namespace podwire::control
