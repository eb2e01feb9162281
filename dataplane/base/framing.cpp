#include "dataplane/base/framing.hpp"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <ctime>

namespace podwire {
namespace {

Result<sockaddr_un> unix_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof address.sun_path) {
    return invalid("socket path \"" + path + "\" has " + std::to_string(path.size()) +
                   " characters, must have from 1 to " + std::to_string(sizeof address.sun_path - 1));
  }
  std::memcpy(address.sun_path, path.c_str(), path.size() + 1);
  return address;
}

std::int64_t now_ms() {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

}  // namespace

Result<void> LineReader::feed(std::string_view bytes, std::vector<UniqueFd> fds) {
  while (!bytes.empty()) {
    const auto newline = bytes.find('\n');
    const auto take = newline == bytes.npos ? bytes.size() : newline;
    if (partial_.text.size() + take >= kMaxLineBytes) {
      return invalid("a line is longer than " + std::to_string(kMaxLineBytes) + " bytes");
    }
    const bool last = newline == bytes.npos || newline + 1 == bytes.size();
    if (last) {
      for (auto& fd : fds) partial_.fds.push_back(std::move(fd));
      if (partial_.fds.size() > kMaxLineFds) {
        return invalid("a line came with more than " + std::to_string(kMaxLineFds) + " descriptors");
      }
    }
    partial_.text.append(bytes.substr(0, take));
    if (newline == bytes.npos) break;
    ready_.push_back(std::exchange(partial_, Line{}));
    bytes.remove_prefix(newline + 1);
  }
  return {};
}

bool LineReader::next(Line& line) {
  if (ready_.empty()) return false;
  line = std::move(ready_.front());
  ready_.pop_front();
  return true;
}

Result<ReceiveStatus> receive_into(int socket, LineReader& reader) {
  char buffer[65536];
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * 253)];
  iovec io{buffer, sizeof buffer};
  msghdr message{};
  message.msg_iov = &io;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  ssize_t n;
  do {
    n = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  } while (n < 0 && errno == EINTR);
  if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return ReceiveStatus::kWouldBlock;
  if (n < 0 && errno == ECONNRESET) return ReceiveStatus::kClosed;
  if (n < 0) return errno_error("recvmsg");
  std::vector<UniqueFd> fds;
  for (cmsghdr* c = CMSG_FIRSTHDR(&message); c != nullptr; c = CMSG_NXTHDR(&message, c)) {
    if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS) continue;
    const auto count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
      fds.emplace_back(fd);
    }
  }
  if (message.msg_flags & MSG_CTRUNC)
    return invalid("descriptors were lost on the socket: too many open files");
  if (n == 0) return ReceiveStatus::kClosed;
  PODWIRE_CHECK(reader.feed({buffer, static_cast<std::size_t>(n)}, std::move(fds)));
  return ReceiveStatus::kData;
}

Result<void> send_line(int socket, std::string_view text, const std::vector<int>& fds, int timeout_ms) {
  if (text.size() + 1 > kMaxLineBytes) {
    return invalid("message of " + std::to_string(text.size()) + " bytes does not fit a line of " +
                   std::to_string(kMaxLineBytes));
  }
  if (fds.size() > kMaxLineFds)
    return invalid("more than " + std::to_string(kMaxLineFds) + " descriptors in one line");
  std::string bytes(text);
  bytes += '\n';
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxLineFds)]{};
  const std::int64_t deadline = timeout_ms < 0 ? 0 : now_ms() + timeout_ms;
  std::size_t sent = 0;
  while (sent < bytes.size()) {
    iovec io{bytes.data() + sent, bytes.size() - sent};
    msghdr message{};
    message.msg_iov = &io;
    message.msg_iovlen = 1;
    if (sent == 0 && !fds.empty()) {
      message.msg_control = control;
      message.msg_controllen = CMSG_SPACE(sizeof(int) * fds.size());
      cmsghdr* c = CMSG_FIRSTHDR(&message);
      c->cmsg_level = SOL_SOCKET;
      c->cmsg_type = SCM_RIGHTS;
      c->cmsg_len = CMSG_LEN(sizeof(int) * fds.size());
      std::memcpy(CMSG_DATA(c), fds.data(), sizeof(int) * fds.size());
    }
    const auto n = ::sendmsg(socket, &message, MSG_NOSIGNAL | (timeout_ms < 0 ? 0 : MSG_DONTWAIT));
    if (n >= 0) {
      sent += static_cast<std::size_t>(n);
      continue;
    }
    if (errno == EINTR) continue;
    if (errno != EAGAIN && errno != EWOULDBLOCK) return errno_error("sendmsg");
    const auto left = timeout_ms < 0 ? -1 : deadline - now_ms();
    if (timeout_ms >= 0 && left <= 0)
      return unavailable("the peer did not read within " + std::to_string(timeout_ms) + " ms");
    pollfd p{socket, POLLOUT, 0};
    ::poll(&p, 1, static_cast<int>(left));
  }
  return {};
}

Result<PeerCredentials> peer_credentials(int socket) {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (::getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0)
    return errno_error("SO_PEERCRED");
  return PeerCredentials{credentials.pid, credentials.uid, credentials.gid};
}

Result<UniqueFd> listen_unix(const std::string& path, unsigned mode) {
  PODWIRE_TRY(const sockaddr_un address, unix_address(path));
  struct stat status {};
  if (::lstat(path.c_str(), &status) == 0) {
    if (!S_ISSOCK(status.st_mode)) {
      return conflict(path + " exists and is no socket; remove it or configure another socket path");
    }
    if (connect_unix(path)) return conflict(path + " is in use by a running process");
    if (::unlink(path.c_str()) != 0) return errno_error("cannot remove the stale socket " + path);
  }
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return errno_error("socket");
  // fchmod before bind decides the mode of the file that bind creates, so there is no moment with a wider
  // one.
  if (::fchmod(fd.get(), mode) != 0) return errno_error("fchmod " + path);
  const auto* raw = reinterpret_cast<const sockaddr*>(&address);
  if (::bind(fd.get(), raw, sizeof address) != 0) return errno_error("cannot bind " + path);
  if (::listen(fd.get(), 512) != 0) return errno_error("cannot listen on " + path);
  return fd;
}

Result<UniqueFd> connect_unix(const std::string& path) {
  PODWIRE_TRY(const sockaddr_un address, unix_address(path));
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!fd) return errno_error("socket");
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return unavailable("cannot connect to " + path + ": " + std::strerror(errno));
  }
  return fd;
}

}  // namespace podwire
