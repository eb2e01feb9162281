#include "dataplane/base/rpc_server.hpp"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <deque>

namespace podwire {
namespace {
constexpr std::uint64_t kListenerTag = 0;
constexpr std::uint64_t kMailboxTag = 1;
}  // namespace

struct Responder::Mailbox {
  struct Letter {
    std::uint64_t connection;
    std::string text;
    std::vector<UniqueFd> fds;
    bool silent;
  };
  std::mutex mutex;
  std::vector<Letter> letters;
  UniqueFd wakeup{::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)};
};

void Responder::send(std::string text, std::vector<UniqueFd> fds) const {
  {
    const std::lock_guard lock(mailbox_->mutex);
    mailbox_->letters.push_back({connection_, std::move(text), std::move(fds), silent_});
  }
  const std::uint64_t one = 1;
  // A full eventfd counter already wakes the loop, so a failed write needs no handling.
  [[maybe_unused]] const auto n = ::write(mailbox_->wakeup.get(), &one, sizeof one);
}

struct RpcServer::Connection {
  struct Unsent {
    std::string bytes;
    std::vector<UniqueFd> fds;
  };
  std::uint64_t id = 0;
  UniqueFd socket;
  PeerCredentials peer;
  LineReader reader;
  std::deque<Unsent> unsent;
  std::size_t unsent_bytes = 0;
  std::size_t unanswered = 0;
  std::uint32_t interest = EPOLLIN;
  bool input_closed = false;
  bool close_after_flush = false;
};

RpcServer::RpcServer(RpcServerOptions options, Handler handler, Closed closed)
    : options_(std::move(options)),
      handler_(std::move(handler)),
      closed_(std::move(closed)),
      mailbox_(std::make_shared<Responder::Mailbox>()) {}

Result<std::unique_ptr<RpcServer>> RpcServer::listen(RpcServerOptions options, Handler handler,
                                                     Closed closed) {
  std::unique_ptr<RpcServer> server(new RpcServer(std::move(options), std::move(handler), std::move(closed)));
  server->epoll_.reset(::epoll_create1(EPOLL_CLOEXEC));
  if (!server->epoll_ || !server->mailbox_->wakeup) return errno_error("epoll_create1");
  server->spare_.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  PODWIRE_TRY(server->listener_, listen_unix(server->options_.path, server->options_.mode));
  epoll_event event{};
  event.events = EPOLLIN;
  event.data.u64 = kListenerTag;
  if (::epoll_ctl(server->epoll_.get(), EPOLL_CTL_ADD, server->listener_.get(), &event) != 0)
    return errno_error("epoll_ctl");
  event.data.u64 = kMailboxTag;
  if (::epoll_ctl(server->epoll_.get(), EPOLL_CTL_ADD, server->mailbox_->wakeup.get(), &event) != 0)
    return errno_error("epoll_ctl");
  return server;
}

RpcServer::~RpcServer() {
  stop_listening();
}

void RpcServer::stop_listening() {
  if (!listener_) return;
  ::unlink(options_.path.c_str());
  listener_.reset();
}

bool RpcServer::idle() const {
  return std::all_of(connections_.begin(), connections_.end(), [](const auto& entry) {
    return entry.second->unanswered == 0 && entry.second->unsent.empty();
  });
}

void RpcServer::poll(int timeout_ms) {
  std::array<epoll_event, 64> events{};
  const int count = ::epoll_wait(epoll_.get(), events.data(), static_cast<int>(events.size()), timeout_ms);
  for (int i = 0; i < count; ++i) {
    const auto& event = events[static_cast<std::size_t>(i)];
    if (event.data.u64 == kListenerTag) {
      accept_all();
    } else if (event.data.u64 == kMailboxTag) {
      std::uint64_t ignored;
      [[maybe_unused]] const auto n = ::read(mailbox_->wakeup.get(), &ignored, sizeof ignored);
    } else if (const auto it = connections_.find(event.data.u64); it != connections_.end()) {
      if (event.events & EPOLLOUT) flush(*it->second);
      // flush() may have dropped it, so look again.
      if ((event.events & (EPOLLIN | EPOLLHUP | EPOLLERR)) && connections_.contains(event.data.u64)) {
        serve(*connections_.at(event.data.u64));
      }
    }
  }
  deliver_mail();
}

void RpcServer::accept_all() {
  for (int accepted = 0; accepted < 64; ++accepted) {
    UniqueFd socket(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (!socket && (errno == EMFILE || errno == ENFILE) && turn_away_one()) continue;
    if (!socket) return;
    auto connection = std::make_unique<Connection>();
    auto peer = peer_credentials(socket.get());
    if (!peer) continue;
    connection->peer = *peer;
    connection->id = next_connection_++;
    connection->socket = std::move(socket);
    epoll_event event{};
    event.events = EPOLLIN;
    event.data.u64 = connection->id;
    if (::epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, connection->socket.get(), &event) != 0) continue;
    auto& kept = *(connections_[connection->id] = std::move(connection));

    const auto uid = kept.peer.uid;
    const bool allowed =
        uid == ::geteuid() || std::find(options_.allowed_uids.begin(), options_.allowed_uids.end(), uid) !=
                                  options_.allowed_uids.end();
    std::string refusal;
    if (!allowed) {
      refusal = make_error(nullptr, {ErrorCode::kDenied, "uid " + std::to_string(uid) + " may not use " +
                                                             options_.path + "; run this as root"});
    } else if (connections_.size() > options_.max_connections) {
      refusal = make_error(nullptr, {ErrorCode::kExhausted, options_.path + " has " +
                                                                std::to_string(options_.max_connections) +
                                                                " connections already; try again later"});
    }
    if (!refusal.empty()) {
      kept.input_closed = true;
      kept.close_after_flush = true;
      kept.unsent_bytes += refusal.size() + 1;
      kept.unsent.push_back({refusal + "\n", {}});
      flush(kept);
    }
  }
}

// Out of descriptors: whoever waits in the backlog is accepted and closed, because a listener that stays
// readable would keep the loop busy for nothing.
bool RpcServer::turn_away_one() {
  spare_.reset();
  UniqueFd turned_away(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  const bool any = static_cast<bool>(turned_away);
  turned_away.reset();
  spare_.reset(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  return any;
}

void RpcServer::serve(Connection& connection) {
  if (connection.input_closed) {
    // Only a hang-up can bring us here: the peer will read no reply.
    drop(connection.id);
    return;
  }
  const auto id = connection.id;
  auto status = receive_into(connection.socket.get(), connection.reader);
  if (!status) {
    connection.input_closed = true;
    connection.close_after_flush = true;
    const auto text = make_error(nullptr, {ErrorCode::kInvalidRequest, status.error().message}) + "\n";
    connection.unsent_bytes += text.size();
    connection.unsent.push_back({text, {}});
    flush(connection);
    return;
  }
  if (*status == ReceiveStatus::kClosed) {
    // A half-closed client (shutdown(SHUT_WR)) still gets the answers it waits for.
    connection.input_closed = true;
    connection.close_after_flush = true;
    dispatch_lines(connection);
    if (const auto it = connections_.find(id); it != connections_.end()) flush(*it->second);
    return;
  }
  dispatch_lines(connection);
  if (const auto it = connections_.find(id); it != connections_.end()) update_interest(*it->second);
}

void RpcServer::dispatch_lines(Connection& connection) {
  Line line;
  while (connection.unanswered < options_.max_unanswered && connection.reader.next(line)) {
    Responder responder;
    responder.mailbox_ = mailbox_;
    responder.connection_ = connection.id;
    auto request = parse_request(line.text, responder.id_);
    ++connection.unanswered;
    if (!request) {
      responder.fail(request.error());
      continue;
    }
    responder.silent_ = request->notification;
    request->fds = std::move(line.fds);
    request->peer = connection.peer;
    request->connection = connection.id;
    handler_(std::move(*request), std::move(responder));
  }
}

void RpcServer::deliver_mail() {
  for (;;) {
    std::vector<Responder::Mailbox::Letter> letters;
    {
      const std::lock_guard lock(mailbox_->mutex);
      letters.swap(mailbox_->letters);
    }
    if (letters.empty()) return;
    for (auto& letter : letters) {
      const auto it = connections_.find(letter.connection);
      if (it == connections_.end()) continue;
      auto& connection = *it->second;
      --connection.unanswered;
      if (!letter.silent) {
        if (letter.text.size() + 1 > kMaxLineBytes) {
          letter.text = make_error(
              nullptr, {ErrorCode::kExhausted, "the reply is longer than 1 MiB; ask for a part of it"});
        }
        connection.unsent_bytes += letter.text.size() + 1;
        connection.unsent.push_back({std::move(letter.text) + "\n", std::move(letter.fds)});
      }
      dispatch_lines(connection);
      flush(connection);
    }
  }
}

void RpcServer::flush(Connection& connection) {
  while (!connection.unsent.empty()) {
    auto& front = connection.unsent.front();
    iovec io{front.bytes.data(), front.bytes.size()};
    msghdr message{};
    message.msg_iov = &io;
    message.msg_iovlen = 1;
    alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int) * kMaxLineFds)]{};
    if (!front.fds.empty()) {
      const auto count = std::min(front.fds.size(), kMaxLineFds);
      message.msg_control = control;
      message.msg_controllen = CMSG_SPACE(sizeof(int) * count);
      cmsghdr* c = CMSG_FIRSTHDR(&message);
      c->cmsg_level = SOL_SOCKET;
      c->cmsg_type = SCM_RIGHTS;
      c->cmsg_len = CMSG_LEN(sizeof(int) * count);
      for (std::size_t i = 0; i < count; ++i) {
        const int fd = front.fds[i].get();
        std::memcpy(CMSG_DATA(c) + i * sizeof fd, &fd, sizeof fd);
      }
    }
    const auto n = ::sendmsg(connection.socket.get(), &message, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) break;
    if (n < 0) {
      drop(connection.id);
      return;
    }
    front.fds.clear();
    connection.unsent_bytes -= static_cast<std::size_t>(n);
    front.bytes.erase(0, static_cast<std::size_t>(n));
    if (front.bytes.empty()) connection.unsent.pop_front();
  }
  const bool done = connection.close_after_flush && connection.unsent.empty() && connection.unanswered == 0;
  if (done || connection.unsent_bytes > options_.max_unsent_bytes) {
    drop(connection.id);
    return;
  }
  update_interest(connection);
}

void RpcServer::update_interest(Connection& connection) {
  std::uint32_t wanted = 0;
  if (!connection.unsent.empty()) wanted |= EPOLLOUT;
  if (!connection.input_closed && connection.unanswered < options_.max_unanswered) wanted |= EPOLLIN;
  if (wanted == connection.interest) return;
  epoll_event event{};
  event.events = connection.interest = wanted;
  event.data.u64 = connection.id;
  ::epoll_ctl(epoll_.get(), EPOLL_CTL_MOD, connection.socket.get(), &event);
}

void RpcServer::drop(std::uint64_t id) {
  connections_.erase(id);
  if (closed_) closed_(id);
}

}  // namespace podwire
