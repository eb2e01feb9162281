// The connection to podwired. Owns one socket, opened at the first call and again after a failure.
#pragma once

#include <optional>
#include <string>

#include "dataplane/base/rpc.hpp"

namespace podwire::control::cli {

class Daemon {
 public:
  Daemon(std::string socket, int timeout_ms) : socket_(std::move(socket)), timeout_ms_(timeout_ms) {}

  // One verb. An error of the daemon's comes as it is; when there was no answer at all, unreachable() is true
  // and the message says what to try.
  Result<Json> call(const std::string& method, const Json& params);
  // A verb whose list under `list_key` may come in pages, as one reply. Without a key the same as call().
  Result<Json> call_whole(const std::string& method, Json params, const std::string& list_key);
  bool unreachable() const { return unreachable_; }

 private:
  Error no_answer(const std::string& why);

  std::string socket_;
  int timeout_ms_;
  std::optional<RpcClient> client_;
  bool unreachable_ = false;
};

}  // namespace podwire::control::cli
