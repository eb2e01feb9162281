// Control: the main thread's side of a memif port: makes or finds the socket, shakes hands with one peer at a
// time, notices when it goes, and tells the port. It never waits: a peer that dawdles is cut off. Main thread
// only. No DPDK in here.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "dataplane/base/reactor.hpp"
#include "dataplane/ports/memif_handshake.hpp"
#include "dataplane/ports/memif_socket.hpp"

namespace podwire::engine::memif {

inline constexpr std::chrono::milliseconds kHandshakeTime{5000};
inline constexpr std::chrono::milliseconds kFirstRetry{50}, kLastRetry{1000};

struct ControlOptions {
  std::string port;  // for messages: "port NAME"
  std::string socket;
  Role role = Role::kServer;
  unsigned group = 0, permissions = 0600;
  Terms terms;
  std::chrono::milliseconds handshake_time = kHandshakeTime;
};

class Control {
 public:
  struct Events {
    std::function<void(std::unique_ptr<Link>)> connected;
    std::function<void()>
        disconnected;  // after connected only; the link is not used any more when it returns
  };
  // Server: an error when the socket cannot be made. Client: never, it tries for ever.
  static Result<std::unique_ptr<Control>> open(ControlOptions options, Reactor& reactor, Events events);
  Control(const Control&) = delete;
  Control& operator=(const Control&) = delete;
  ~Control();  // tells the peer

  // The port has found that the peer breaks the rules of its rings.
  void disconnect_for(const std::string& violation);

  bool connected() const { return connected_; }
  const char* state() const;
  const std::string& last_disconnect() const { return last_disconnect_; }  // empty: none so far
  const std::string& last_error() const { return last_error_; }  // why there is no peer, when that is known
  std::uint64_t connects() const { return connects_; }
  std::uint64_t violations() const { return violations_; }

 private:
  Control(ControlOptions options, Reactor& reactor, Events events);
  Result<void> watch_listener();
  void on_listener();
  void refuse(UniqueFd socket) const;
  void start(UniqueFd socket);
  void on_peer();
  Result<void> take_messages();
  void finish(const Error& reason);
  void try_to_connect();
  void retry_later();
  void log(bool bad, const std::string& what);

  const ControlOptions options_;
  Reactor& reactor_;
  const Events events_;
  Listener listener_;
  Reactor::Watch listener_watch_;

  // The peer, from accept or connect on.
  UniqueFd peer_;
  Reactor::Watch peer_watch_;
  std::unique_ptr<Handshake> handshake_;
  Reactor::Watch deadline_;
  bool connected_ = false;

  Reactor::Watch retry_;
  std::chrono::milliseconds retry_delay_ = kFirstRetry;

  std::string last_disconnect_, last_error_;
  std::uint64_t connects_ = 0, violations_ = 0;
  std::chrono::steady_clock::time_point last_log_{};
  unsigned log_credit_ = 10;
  std::uint64_t unlogged_ = 0;
};

}  // namespace podwire::engine::memif
