// JSON-RPC 2.0 (https://www.jsonrpc.org/specification), one message a line: requests, replies, error codes.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "dataplane/base/framing.hpp"
#include "dataplane/base/json.hpp"

namespace podwire {

struct RpcRequest {
  std::string method;
  Json params = Json::object();  // always an object
  Json id;                       // string, integer or null
  bool notification = false;     // no id: no reply is sent
  std::vector<UniqueFd> fds;
  PeerCredentials peer;
  std::uint64_t connection = 0;  // unique for the server's life
};

// Parses one line. On failure `id` is filled as far as it could be read, so that the error reply can carry
// it.
Result<RpcRequest> parse_request(std::string_view line, Json& id);

std::string make_request(std::string_view method, const Json& params, std::int64_t id);
// `params` is an object's text.
std::string make_request_of_text(std::string_view method, std::string_view params, std::int64_t id);
std::string make_reply(const Json& id, const Json& result);
std::string make_error(const Json& id, const Error& error);

int to_rpc_code(ErrorCode code);
ErrorCode from_rpc_code(int code);

// Blocking client. One call at a time; not thread-safe.
class RpcClient {
 public:
  static Result<RpcClient> connect(const std::string& path);
  explicit RpcClient(UniqueFd socket) : socket_(std::move(socket)) {}

  // Sends one request and waits for its reply. An error reply becomes its Error; a closed or silent peer is
  // kUnavailable, after which the client is unusable (ok() is false).
  Result<Json> call(std::string_view method, const Json& params, const std::vector<int>& fds = {},
                    int timeout_ms = 30000);
  // The same, for large parameters that are text already.
  Result<Json> call_with_text(std::string_view method, std::string_view params,
                              const std::vector<int>& fds = {}, int timeout_ms = 30000);
  // The descriptors that came with the last reply.
  std::vector<UniqueFd> take_fds() { return std::move(reply_fds_); }
  bool ok() const { return static_cast<bool>(socket_); }
  int fd() const { return socket_.get(); }

 private:
  UniqueFd socket_;
  std::unique_ptr<LineReader> reader_ = std::make_unique<LineReader>();
  std::vector<UniqueFd> reply_fds_;
  std::int64_t next_id_ = 1;
};

}  // namespace podwire
