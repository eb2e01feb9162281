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

Result<Json> Daemon::call_whole(const std::string& method, Json params, const std::string& list_key) {
  auto whole = call(method, params);
  if (!whole || list_key.empty() || !whole->is_object()) return whole;
  for (std::int64_t after = 0; whole->contains("next_after");) {
    std::int64_t next = 0;
    PODWIRE_CHECK(read_value((*whole)["next_after"], "next_after", next));
    whole->erase("next_after");
    if (next <= after) return unavailable("podwired's pages of " + list_key + " do not advance");
    params["after"] = after = next;
    PODWIRE_TRY(Json more, call(method, params));
    auto& list = (*whole)[list_key];
    if (!more.is_object() || !more.contains(list_key) || !more[list_key].is_array() || !list.is_array())
      return invalid(list_key + " of a page must be an array");
    for (auto& object : more[list_key]) list.push_back(std::move(object));
    if (more.contains("next_after")) (*whole)["next_after"] = more["next_after"];
  }
  return whole;
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
