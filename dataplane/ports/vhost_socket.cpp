#include "dataplane/ports/vhost_socket.hpp"

#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace podwire::engine {
namespace {

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return invalid("socket " + path + " has " + std::to_string(path.size()) + " characters, at most " +
                   std::to_string(sizeof address.sun_path - 1) + " are possible");
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

}  // namespace

Result<void> check_socket_path(const std::string& path) {
  const auto address = address_of(path);
  return address ? Result<void>() : address.error();
}

Result<UniqueFd> connect_now(const std::string& path) {
  PODWIRE_TRY(const sockaddr_un address, address_of(path));
  UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return errno_error("socket");
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return unavailable("cannot connect to " + path + ": " + std::strerror(errno));
  return fd;
}

VhostSent send_vhost_message(int socket, const VhostMessage& message) {
  iovec parts[2] = {{const_cast<VhostHeader*>(&message.header), sizeof message.header},
                    {const_cast<std::byte*>(message.payload.data()), message.header.size}};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kVhostMaxRegions)> control{};
  msghdr out{};
  out.msg_iov = parts;
  out.msg_iovlen = message.header.size != 0 ? 2 : 1;
  if (!message.fds.empty()) {
    out.msg_control = control.data();
    out.msg_controllen = CMSG_SPACE(sizeof(int) * message.fds.size());
    cmsghdr* header = CMSG_FIRSTHDR(&out);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * message.fds.size());
    for (std::size_t i = 0; i < message.fds.size(); ++i) {
      const int fd = message.fds[i].get();
      std::memcpy(CMSG_DATA(header) + i * sizeof fd, &fd, sizeof fd);
    }
  }
  const auto bytes = sizeof message.header + message.header.size;
  for (;;) {
    const auto sent = ::sendmsg(socket, &out, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (sent == static_cast<ssize_t>(bytes)) return VhostSent::kAll;
    if (sent < 0 && errno == EINTR) continue;
    // A message is one buffer of the socket, so it is never cut.
    return sent < 0 && errno == EAGAIN ? VhostSent::kFull : VhostSent::kFailed;
  }
}

VhostMessageReader::State VhostMessageReader::read(int socket) {
  const bool in_header = have_ < sizeof message_.header;
  const std::size_t end = in_header ? sizeof message_.header : sizeof message_.header + message_.header.size;
  while (have_ < end) {
    char* const place =
        in_header ? reinterpret_cast<char*>(&message_.header) + have_
                  : reinterpret_cast<char*>(message_.payload.data()) + (have_ - sizeof message_.header);
    iovec part{place, end - have_};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kVhostMaxRegions)> control;
    msghdr in{};
    in.msg_iov = &part;
    in.msg_iovlen = 1;
    in.msg_control = control.data();
    in.msg_controllen = control.size();
    const auto got = ::recvmsg(socket, &in, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0 && errno == EAGAIN) return State::kPartial;
    if (got <= 0) return State::kClosed;
    for (cmsghdr* header = CMSG_FIRSTHDR(&in); header != nullptr; header = CMSG_NXTHDR(&in, header)) {
      if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
      for (std::size_t at = 0; CMSG_LEN(at + sizeof(int)) <= header->cmsg_len; at += sizeof(int)) {
        int fd;
        std::memcpy(&fd, CMSG_DATA(header) + at, sizeof fd);
        message_.fds.emplace_back(fd);
      }
    }
    // More descriptors than any message has: the kernel has dropped the rest.
    if ((in.msg_flags & MSG_CTRUNC) != 0 || message_.fds.size() > kVhostMaxRegions) return State::kClosed;
    have_ += static_cast<std::size_t>(got);
  }
  if (in_header && message_.header.size != 0) return State::kHeader;
  return State::kComplete;
}

VhostMessage VhostMessageReader::take() {
  have_ = 0;
  return std::exchange(message_, VhostMessage{});
}

}  // namespace podwire::engine
