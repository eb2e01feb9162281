// VhostRelay: the socket of a vhost port that peers see, and the connection of the one peer that it serves.
// It passes the peer's messages on to librte_vhost's private socket, complete and after VhostMessageCheck,
// and the replies back. So a peer that stops in the middle of a message, does not read its replies or breaks
// the protocol holds up nobody, and can be disconnected at any time (the library offers no way to). It
// listens or connects as configured, and does so again whenever a connection has ended. Main thread only.
#pragma once

#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <string>

#include "dataplane/api/objects.hpp"
#include "dataplane/base/reactor.hpp"
#include "dataplane/base/unique_fd.hpp"
#include "dataplane/ports/socket_file.hpp"
#include "dataplane/ports/vhost_driver.hpp"
#include "dataplane/ports/vhost_message.hpp"
#include "dataplane/ports/vhost_socket.hpp"
#include "dataplane/ports/vhost_translations.hpp"

namespace podwire::engine {

class VhostRelay {
 public:
  // `driver` and `reactor` outlive it. Fails when the engine is to listen and cannot.
  static Result<std::unique_ptr<VhostRelay>> open(const api::Port& config, Reactor& reactor,
                                                  VhostDriver& driver);
  // Ends the connection and waits until the library is done with it; removes the socket if it is still ours.
  ~VhostRelay();
  VhostRelay(const VhostRelay&) = delete;
  VhostRelay& operator=(const VhostRelay&) = delete;

  Json describe() const;
  std::string last_error() const;

 private:
  using Clock = std::chrono::steady_clock;
  enum class State {
    kWaiting,    // for a peer
    kConnected,  // to one
    kEnding,     // until the library is done with the last one
  };
  struct Peer {
    int pid = 0;
    unsigned uid = 0;
    std::string name;
  };
  VhostRelay(const api::Port& config, Reactor& reactor, VhostDriver& driver)
      : config_(config), reactor_(reactor), driver_(driver), check_(config.queues, config.iommu) {}

  Result<void> listen();
  Result<void> start_waiting();
  void tick();
  void accept_peer();
  void connect_peer();
  void serve(UniqueFd peer);
  Result<void> join(UniqueFd peer);
  void watch_peer();
  void peer_readable();
  void library_readable();
  bool pass_on();
  bool ask_for(const std::vector<std::uint64_t>& addresses);
  bool pass_to_library(VhostMessage message);
  void flush_to_library();
  Result<void> interpose(VhostMessage& message);
  Result<void> interpose_backend_requests(VhostMessage& message);
  void backend_request_readable();
  void ask_again_later();
  void ask_again();
  void end(const std::string& reason);
  void finish_ending();
  void report(const std::string& event);

  const api::Port config_;
  Reactor& reactor_;
  VhostDriver& driver_;
  UniqueFd listener_;
  SocketFile socket_file_;  // of the socket that we made
  Reactor::Watch listener_watch_, ended_watch_, tick_;

  State state_ = State::kWaiting;
  UniqueFd peer_, library_;
  Reactor::Watch peer_watch_, library_watch_, flush_timer_;
  std::optional<VhostMessageCheck> connection_check_;
  VhostMessageCheck check_;  // as a connection begins with it
  VhostMessageReader from_peer_, from_library_;
  std::deque<VhostMessage> held_;  // for the library, whose socket is full
  unsigned replies_due_ = 0;
  std::string last_request_;
  // The IOMMU's requests from the library to the peer: what the library writes into, and the peer's end.
  UniqueFd backend_requests_, backend_peer_;
  Reactor::Watch backend_watch_;
  VhostMessageReader from_backend_;
  VhostTranslations translations_;
  Reactor::Watch ask_again_;  // while questions are open

  Peer facts_;
  std::uint64_t connects_ = 0, violations_ = 0, memory_faults_ = 0;
  std::string last_disconnect_;
  std::uint64_t opened_ = 0;  // connections to the library
  Clock::time_point ending_since_, last_report_;
  std::uint64_t unreported_ = 0;
};

}  // namespace podwire::engine
