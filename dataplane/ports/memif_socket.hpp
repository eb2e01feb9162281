// The UNIX socket of a memif connection: SOCK_SEQPACKET, one message a packet. Nothing in here waits. Main
// thread only. No DPDK in here.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "dataplane/base/result.hpp"
#include "dataplane/base/unique_fd.hpp"
#include "dataplane/ports/memif_protocol.hpp"
#include "dataplane/ports/socket_file.hpp"

namespace podwire::engine::memif {

// A socket file that listens. Its end removes the file, unless another one has taken the path since.
class Listener {
 public:
  // Replaces a socket file that nobody listens on any more; one that somebody does is left alone and an
  // error. Nobody can connect before group and permissions are set.
  static Result<Listener> open(const std::string& path, unsigned group, unsigned permissions);
  int fd() const { return fd_.get(); }
  // The next connection, if one waits. An error: none can be taken at the moment (descriptors have run out).
  Result<std::optional<UniqueFd>> accept() const;

 private:
  UniqueFd fd_;
  SocketFile file_;
};

Result<UniqueFd> connect_socket(const std::string& path);

struct ReceivedMessage {
  Message message;
  std::vector<UniqueFd> descriptors;
};
// Empty: nothing is there now. kUnavailable: the peer has closed; kInvalid: what came is no message.
Result<std::optional<ReceivedMessage>> receive_message(int socket);
// kUnavailable when the peer does not take it.
Result<void> send_message(int socket, const Message& message, int descriptor = -1);

}  // namespace podwire::engine::memif
