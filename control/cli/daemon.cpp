#include "control/cli/daemon.hpp"

#include <unistd.h>

#include <cerrno>

#include "control/cli/verbs.hpp"

namespace podwire::control::cli {

Result<Json> Daemon::call(const std::string& method, const Json& params) {
  unreachable_ = false;
  if (!client_) {
    auto connected = RpcClient::connect(socket_);
    if (!connected) return no_answer(connected.error().message);
    client_ = std::move(*connected);
  }
  auto reply = client_->call(method, params, {}, timeout_ms_);
  if (reply || client_->ok()) return reply;
  client_.reset();
  return no_answer(reply.error().message);
}

Error Daemon::no_answer(const std::string& why) {
  unreachable_ = true;
  std::string message = "podwired does not answer at " + socket_ + ": " + why + "\n";
  if (::access(socket_.c_str(), W_OK) != 0 && errno == EACCES) {
    return {ErrorCode::kUnavailable, message + "Its socket is for root only; try: sudo podwirectl ..."};
  }
  message +=
      "Is podwired running? Look: systemctl status podwired\nIs its socket elsewhere? Say so: --socket PATH, "
      "or " +
      std::string(kSocketVariable) + "=PATH";
  return {ErrorCode::kUnavailable, std::move(message)};
}

}  // namespace podwire::control::cli
