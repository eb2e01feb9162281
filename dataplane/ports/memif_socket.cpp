#include "dataplane/ports/memif_socket.hpp"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <utility>

namespace podwire::engine::memif {
namespace {

constexpr std::size_t kMaxDescriptors = 8;  // taken from one message, to be closed if they are too many

Result<sockaddr_un> address_of(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path)
    return invalid("socket " + path + ": the path is longer than 107 characters");
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

Result<UniqueFd> make_socket() {
  UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return errno_error("a UNIX socket");
  return fd;
}

// Only a file that refuses connections is stale: whatever else happens, somebody is behind it.
Result<void> remove_stale(const std::string& path, const sockaddr_un& address) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) {
    if (errno == ENOENT) return {};
    return errno_error("socket " + path);
  }
  if (!S_ISSOCK(status.st_mode))
    return conflict("socket " + path +
                    ": a file that is no socket is in the way; remove it or name another path");
  PODWIRE_TRY(const auto probe, make_socket());
  const int connected = ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address);
  if (connected == 0 || errno != ECONNREFUSED) {
    if (connected != 0 && errno == ENOENT) return {};
    return conflict("socket " + path +
                    ": another process listens there; stop it, or use socket_mode client, or another path");
  }
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return errno_error("removing the stale socket " + path);
  return {};
}

}  // namespace

Result<Listener> Listener::open(const std::string& path, unsigned group, unsigned permissions) {
  PODWIRE_TRY(const auto address, address_of(path));
  PODWIRE_CHECK(remove_stale(path, address));
  Listener listener;
  PODWIRE_TRY(listener.fd_, make_socket());
  if (::bind(listener.fd_.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0) {
    return errno_error("socket " + path +
                       (errno == ENOENT ? ": its directory is missing, make it first" : ": bind"));
  }
  // Connections are refused until listen().
  PODWIRE_TRY(listener.file_, SocketFile::adopt(path, group, permissions));
  if (::listen(listener.fd_.get(), 8) != 0) return errno_error("socket " + path + ": listen");
  return listener;
}

Result<std::optional<UniqueFd>> Listener::accept() const {
  UniqueFd fd(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (fd) return std::optional(std::move(fd));
  if (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED) return std::optional<UniqueFd>();
  return errno_error("a socket: accept");
}

Result<UniqueFd> connect_socket(const std::string& path) {
  PODWIRE_TRY(const auto address, address_of(path));
  PODWIRE_TRY(auto fd, make_socket());
  if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address) != 0)
    return unavailable("socket " + path + ": " + std::strerror(errno));
  return fd;
}

Result<std::optional<ReceivedMessage>> receive_message(int socket) {
  ReceivedMessage received;
  iovec part{&received.message, sizeof received.message};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int) * kMaxDescriptors)> control{};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  header.msg_control = control.data();
  header.msg_controllen = control.size();
  // MSG_TRUNC: the length of the whole packet.
  const auto got = ::recvmsg(socket, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC | MSG_TRUNC);
  if (got < 0) {
    if (errno == EAGAIN || errno == EINTR) return std::optional<ReceivedMessage>();
    return unavailable(std::string("the peer is gone: ") + std::strerror(errno));
  }
  for (cmsghdr* part_of = CMSG_FIRSTHDR(&header); part_of != nullptr;
       part_of = CMSG_NXTHDR(&header, part_of)) {
    if (part_of->cmsg_level != SOL_SOCKET || part_of->cmsg_type != SCM_RIGHTS) continue;
    const auto count = (part_of->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    for (std::size_t i = 0; i < count; ++i) {
      int fd;
      std::memcpy(&fd, CMSG_DATA(part_of) + i * sizeof(int), sizeof fd);
      received.descriptors.emplace_back(fd);
    }
  }
  if (got == 0) return unavailable("the peer closed the connection");
  if (static_cast<std::size_t>(got) != sizeof(Message))
    return invalid("message: " + std::to_string(got) + " bytes came, expected 128");
  if ((header.msg_flags & MSG_CTRUNC) != 0) return invalid("message: more descriptors came than it can have");
  return std::optional(std::move(received));
}

Result<void> send_message(int socket, const Message& message, int descriptor) {
  Message copy = message;
  iovec part{&copy, sizeof copy};
  alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(int))> control{};
  msghdr header{};
  header.msg_iov = &part;
  header.msg_iovlen = 1;
  if (descriptor >= 0) {
    header.msg_control = control.data();
    header.msg_controllen = control.size();
    cmsghdr* rights = CMSG_FIRSTHDR(&header);
    rights->cmsg_level = SOL_SOCKET;
    rights->cmsg_type = SCM_RIGHTS;
    rights->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(rights), &descriptor, sizeof descriptor);
  }
  const auto sent = ::sendmsg(socket, &header, MSG_DONTWAIT | MSG_NOSIGNAL);
  if (sent == static_cast<ssize_t>(sizeof copy)) return {};
  if (sent < 0 && (errno == EAGAIN || errno == ENOBUFS))
    return unavailable("the peer does not read its socket");
  return unavailable(std::string("the peer is gone: ") + (sent < 0 ? std::strerror(errno) : "short message"));
}

}  // namespace podwire::engine::memif
