// Vhost-user messages on UNIX stream sockets, with their descriptors, never waiting. No state but a reader's;
// the caller's thread.
#pragma once

#include <cstddef>
#include <string>

#include "dataplane/base/result.hpp"
#include "dataplane/base/unique_fd.hpp"
#include "dataplane/ports/vhost_message.hpp"

namespace podwire::engine {

// Reads messages from a non-blocking stream socket, piece by piece.
class VhostMessageReader {
 public:
  enum class State { kPartial, kHeader, kComplete, kClosed };

  // Reads on, at most to the end of the header (kHeader, once) or of the message (kComplete; take it before
  // reading on). kPartial: nothing more is there now.
  State read(int socket);
  const VhostMessage& message() const { return message_; }
  VhostMessage take();

 private:
  VhostMessage message_;
  std::size_t have_ = 0;  // bytes of header and payload
};

// The result of sending: kFull when the socket takes no more now.
enum class VhostSent { kAll, kFull, kFailed };
VhostSent send_vhost_message(int socket, const VhostMessage& message);

// A socket's path may have 107 characters.
Result<void> check_socket_path(const std::string& path);
// A non-blocking connection. Never waits: a peer's full backlog counts as nobody there.
Result<UniqueFd> connect_now(const std::string& path);

}  // namespace podwire::engine
