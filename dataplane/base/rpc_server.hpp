// JSON-RPC server over a UNIX socket, driven by one thread (the loop). Handlers run on the loop thread; a
// handler that needs time keeps its Responder and answers later from any thread. One slow or hostile client
// costs itself only: its input line, its unsent replies and the number of its unanswered requests are
// bounded.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "dataplane/base/rpc.hpp"

namespace podwire {

class RpcServer;

// Answers one request, once. Copyable and thread-safe; answering after the client has gone does nothing.
class Responder {
 public:
  void reply(const Json& result) const { send(make_reply(id_, result), {}); }
  void reply(const Json& result, std::vector<UniqueFd> fds) const {
    send(make_reply(id_, result), std::move(fds));
  }
  void fail(const Error& error) const { send(make_error(id_, error), {}); }
  void answer(const Result<Json>& result) const { result ? reply(*result) : fail(result.error()); }

 private:
  friend class RpcServer;
  struct Mailbox;
  void send(std::string text, std::vector<UniqueFd> fds) const;

  std::shared_ptr<Mailbox> mailbox_;
  std::uint64_t connection_ = 0;
  Json id_;
  bool silent_ = false;
};

struct RpcServerOptions {
  std::string path;
  unsigned mode = 0600;
  std::vector<unsigned> allowed_uids{0};  // the server's own uid is always allowed
  std::size_t max_connections = 256;
  std::size_t max_unanswered = 64;          // per connection; more are not read until some are answered
  std::size_t max_unsent_bytes = 8u << 20;  // per connection; beyond it the client is cut off
};

class RpcServer {
 public:
  using Handler = std::function<void(RpcRequest, Responder)>;
  using Closed = std::function<void(std::uint64_t connection)>;

  static Result<std::unique_ptr<RpcServer>> listen(RpcServerOptions options, Handler handler,
                                                   Closed closed = {});
  ~RpcServer();  // closes everything and removes the socket file
  RpcServer(const RpcServer&) = delete;
  RpcServer& operator=(const RpcServer&) = delete;

  // A pollable descriptor: readable when poll() has something to do.
  int fd() const { return epoll_.get(); }
  // Serves what is ready, waiting at most `timeout_ms` (0: not at all, -1: for ever).
  void poll(int timeout_ms);
  // Stops accepting and removes the socket file; existing connections go on.
  void stop_listening();
  bool idle() const;  // nothing unanswered and nothing unsent

 private:
  struct Connection;
  RpcServer(RpcServerOptions options, Handler handler, Closed closed);
  void accept_all();
  bool turn_away_one();
  void serve(Connection& connection);
  void dispatch_lines(Connection& connection);
  void flush(Connection& connection);
  void drop(std::uint64_t id);
  void deliver_mail();
  void update_interest(Connection& connection);

  RpcServerOptions options_;
  Handler handler_;
  Closed closed_;
  UniqueFd listener_;
  UniqueFd spare_;  // given up for a moment to turn a client away when descriptors have run out
  UniqueFd epoll_;
  std::shared_ptr<Responder::Mailbox> mailbox_;
  std::map<std::uint64_t, std::unique_ptr<Connection>> connections_;
  std::uint64_t next_connection_ = 2;  // 0 is the listener, 1 the mailbox in epoll data
};

}  // namespace podwire
