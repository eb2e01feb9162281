#include "control/node/held_port.hpp"

#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>

namespace podwire::control {
namespace {

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;
};

SocketAddress socket_address(const HostPort& port) {
  SocketAddress out;
  if (port.v4) {
    auto& to = reinterpret_cast<sockaddr_in&>(out.storage);
    to.sin_family = AF_INET;
    to.sin_port = htons(port.port);
    if (port.address) std::memcpy(&to.sin_addr, port.address->bytes().data(), sizeof to.sin_addr);
    out.length = sizeof to;
  } else {
    auto& to = reinterpret_cast<sockaddr_in6&>(out.storage);
    to.sin6_family = AF_INET6;
    to.sin6_port = htons(port.port);
    if (port.address) std::memcpy(&to.sin6_addr, port.address->bytes().data(), sizeof to.sin6_addr);
    out.length = sizeof to;
  }
  return out;
}

UniqueFd open_socket(const HostPort& port) {
  const int family = port.v4 ? AF_INET : AF_INET6;
  const bool tcp = port.protocol == api::ServiceProtocol::kTcp;
  const bool udp = port.protocol == api::ServiceProtocol::kUdp;
  const int protocol = tcp ? IPPROTO_TCP : udp ? IPPROTO_UDP : IPPROTO_SCTP;
  UniqueFd fd(::socket(family, (udp ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, protocol));
  if (!fd) return fd;
  const int on = 1;
  // Each family for itself; and the node's addresses may not be back yet when the daemon starts.
  if (!port.v4) ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  ::setsockopt(fd.get(), port.v4 ? int{IPPROTO_IP} : int{IPPROTO_IPV6}, port.v4 ? IP_FREEBIND : IPV6_FREEBIND,
               &on, sizeof on);
  return fd;
}

// 0, or the errno. `reuse`: connections of a program that is gone do not matter.
int bind_socket(const UniqueFd& fd, const HostPort& port, bool reuse) {
  const int on = 1, off = 0;
  if (reuse) ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  const auto to = socket_address(port);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&to.storage), to.length) != 0) return errno;
  // Whoever allows sharing as well could listen beside us otherwise.
  if (reuse) ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &off, sizeof off);
  return 0;
}

bool is_lacking(int error) {
  return error == EPROTONOSUPPORT || error == EAFNOSUPPORT || error == ESOCKTNOSUPPORT ||
         error == EADDRNOTAVAIL;
}

}  // namespace

Result<UniqueFd> hold_port(const HostPort& port) {
  int error = 0;
  for (const bool reuse : {false, true}) {
    auto fd = open_socket(port);
    error = fd ? bind_socket(fd, port, reuse) : errno;
    if (error == 0) return fd;
    if (is_lacking(error)) return UniqueFd();
    // With SO_REUSEADDR two UDP sockets always share, whatever they are used for.
    if (error != EADDRINUSE || port.protocol == api::ServiceProtocol::kUdp) break;
  }
  if (error != EADDRINUSE)
    return io_error("host port " + to_text(port) + " cannot be held: " + std::strerror(error));
  const auto owner = find_port_owner(port.protocol, port.port);
  return conflict("host port " + to_text(port) +
                  " is taken: " + (owner.empty() ? "a program of this node" : owner) +
                  " has it; publish another port, or stop that program");
}

}  // namespace podwire::control
