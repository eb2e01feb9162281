// One message a line over a UNIX stream socket, with file descriptors (SCM_RIGHTS) on the sendmsg that starts
// their line. Used by both daemons' servers and by every client. Blocking and non-blocking sockets both work.
#pragma once

#include <cstddef>
#include <deque>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/base/result.hpp"
#include "dataplane/base/unique_fd.hpp"

namespace podwire {

inline constexpr std::size_t kMaxLineBytes = 1u << 20;  // newline included
inline constexpr std::size_t kMaxLineFds = 250;         // the kernel's SCM_MAX_FD is 253

struct Line {
  std::string text;           // without the newline
  std::vector<UniqueFd> fds;  // descriptors that came with this line's first byte
};

// Reassembles lines from a stream. feed() takes what one recvmsg gave. The kernel ends a recvmsg after the
// first buffer that carries descriptors, so they belong to the line in which the last of `bytes` lies.
class LineReader {
 public:
  // Fails with kInvalid once a line exceeds kMaxLineBytes or brings more than kMaxLineFds.
  Result<void> feed(std::string_view bytes, std::vector<UniqueFd> fds);
  bool next(Line& line);
  bool mid_line() const { return !partial_.text.empty() || !partial_.fds.empty(); }

 private:
  Line partial_;
  std::deque<Line> ready_;
};

enum class ReceiveStatus { kData, kWouldBlock, kClosed };

// One recvmsg into the reader. Received descriptors are close-on-exec.
Result<ReceiveStatus> receive_into(int socket, LineReader& reader);

// Sends `text` (no newline inside) plus '\n', descriptors on the first byte. For blocking sockets: returns
// when all is sent; `timeout_ms` < 0 waits for ever.
Result<void> send_line(int socket, std::string_view text, const std::vector<int>& fds = {},
                       int timeout_ms = -1);

// The peer's credentials (SO_PEERCRED).
struct PeerCredentials {
  int pid = 0;
  unsigned uid = 0;
  unsigned gid = 0;
};
Result<PeerCredentials> peer_credentials(int socket);

// Binds and listens on `path` with `mode`; replaces a stale socket file, refuses a live one (kConflict) and a
// path over 107 characters.
Result<UniqueFd> listen_unix(const std::string& path, unsigned mode);
Result<UniqueFd> connect_unix(const std::string& path);

}  // namespace podwire
