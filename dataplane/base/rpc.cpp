#include "dataplane/base/rpc.hpp"

#include <poll.h>

#include <array>
#include <cerrno>
#include <chrono>

namespace podwire {
namespace {

struct CodePair {
  ErrorCode code;
  int rpc;
};
constexpr std::array kCodes{
    CodePair{ErrorCode::kParse, -32700},       CodePair{ErrorCode::kInvalidRequest, -32600},
    CodePair{ErrorCode::kUnknownVerb, -32601}, CodePair{ErrorCode::kInvalid, -32602},
    CodePair{ErrorCode::kInternal, -32603},    CodePair{ErrorCode::kNotFound, -32001},
    CodePair{ErrorCode::kConflict, -32002},    CodePair{ErrorCode::kUnavailable, -32003},
    CodePair{ErrorCode::kDenied, -32004},      CodePair{ErrorCode::kExhausted, -32005},
    CodePair{ErrorCode::kIo, -32006},          CodePair{ErrorCode::kUnsupported, -32007},
};

Error bad_request(std::string message) {
  return {ErrorCode::kInvalidRequest, std::move(message)};
}

// The error of a reply. The peer may have written anything: a code or a message of another type is left out.
Error read_error(const Json& error) {
  Error out{ErrorCode::kInternal, "unknown error"};
  std::int64_t code = 0;
  if (const auto at = error.find("code"); at != error.end()) {
    if (read_value(*at, "code", code) && code == static_cast<int>(code))
      out.code = from_rpc_code(static_cast<int>(code));
  }
  if (const auto at = error.find("message"); at != error.end() && at->is_string()) {
    out.message = at->get_ref<const std::string&>();
  }
  return out;
}

// Foreign text (names, file contents) may hold bytes that are no UTF-8; they must not make dump() throw.
std::string dump(const Json& value) {
  return value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

// What the peer sent before it hung up, if that is an error.
std::optional<Error> pending_refusal(int socket, LineReader& reader) {
  pollfd p{socket, POLLIN, 0};
  if (::poll(&p, 1, 0) <= 0 || !receive_into(socket, reader)) return std::nullopt;
  Line line;
  if (!reader.next(line)) return std::nullopt;
  const auto message = parse_json(line.text, "reply");
  if (!message || !message->is_object()) return std::nullopt;
  const auto error = message->find("error");
  if (error == message->end() || !error->is_object()) return std::nullopt;
  return read_error(*error);
}

}  // namespace

int to_rpc_code(ErrorCode code) {
  for (const auto& pair : kCodes) {
    if (pair.code == code) return pair.rpc;
  }
  return -32603;
}

ErrorCode from_rpc_code(int rpc) {
  for (const auto& pair : kCodes) {
    if (pair.rpc == rpc) return pair.code;
  }
  return ErrorCode::kInternal;
}

Result<RpcRequest> parse_request(std::string_view line, Json& id) {
  PODWIRE_TRY(Json message, parse_json(line, "request"));
  if (message.is_array()) return bad_request("batches are not supported; send one request a line");
  if (!message.is_object()) return bad_request("a request must be an object, not " + json_type_name(message));
  RpcRequest request;
  const auto id_at = message.find("id");
  request.notification = id_at == message.end();
  if (!request.notification) {
    if (!id_at->is_string() && !id_at->is_number_integer() && !id_at->is_null()) {
      return bad_request("id must be a string, an integer or null, not " + json_type_name(*id_at));
    }
    id = request.id = *id_at;
  }
  const auto version = message.find("jsonrpc");
  if (version == message.end() || *version != "2.0") return bad_request("jsonrpc must be \"2.0\"");
  const auto method = message.find("method");
  if (method == message.end() || !method->is_string()) return bad_request("method must be a string");
  request.method = method->get<std::string>();
  if (const auto params = message.find("params"); params != message.end()) {
    if (!params->is_object()) return bad_request("params must be an object, not " + json_type_name(*params));
    request.params = std::move(*params);
  }
  for (const auto& [key, value] : message.items()) {
    if (key != "id" && key != "jsonrpc" && key != "method" && key != "params") {
      return bad_request("unknown key \"" + key.substr(0, 64) + "\" in request");
    }
  }
  return request;
}

// Parameters and results may be of a megabyte: they are not copied to be put into a message.
std::string make_request(std::string_view method, const Json& params, std::int64_t id) {
  return make_request_of_text(method, dump(params), id);
}

std::string make_request_of_text(std::string_view method, std::string_view params, std::int64_t id) {
  std::string text =
      "{\"jsonrpc\":\"2.0\",\"id\":" + std::to_string(id) + ",\"method\":" + dump(Json(method));
  text.reserve(text.size() + params.size() + 16);
  return text.append(",\"params\":").append(params).append("}");
}

std::string make_reply(const Json& id, const Json& result) {
  return "{\"jsonrpc\":\"2.0\",\"id\":" + dump(id) + ",\"result\":" + dump(result) + "}";
}

std::string make_error(const Json& id, const Error& error) {
  return dump(Json{{"jsonrpc", "2.0"},
                   {"id", id},
                   {"error", {{"code", to_rpc_code(error.code)}, {"message", error.message}}}});
}

Result<RpcClient> RpcClient::connect(const std::string& path) {
  PODWIRE_TRY(UniqueFd socket, connect_unix(path));
  return RpcClient(std::move(socket));
}

Result<Json> RpcClient::call(std::string_view method, const Json& params, const std::vector<int>& fds,
                             int timeout_ms) {
  return call_with_text(method, dump(params), fds, timeout_ms);
}

Result<Json> RpcClient::call_with_text(std::string_view method, std::string_view params,
                                       const std::vector<int>& fds, int timeout_ms) {
  if (!socket_) return unavailable("the connection is closed");
  reply_fds_.clear();
  const std::int64_t id = next_id_++;
  const auto fail = [this](Error error) {
    socket_.reset();
    return error;
  };
  const auto text = make_request_of_text(method, params, id);
  if (text.size() + 1 > kMaxLineBytes)
    return invalid("request \"" + std::string(method) + "\" is longer than 1 MiB");
  if (auto sent = send_line(socket_.get(), text, fds, timeout_ms); !sent) {
    // A server that turns a client away says why and hangs up, perhaps before the request is on its way.
    const auto refusal = pending_refusal(socket_.get(), *reader_);
    return fail(refusal ? *refusal : unavailable(sent.error().message));
  }
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
  for (;;) {
    Line line;
    while (reader_->next(line)) {
      auto message = parse_json(line.text, "reply");
      if (!message || !message->is_object()) return fail(unavailable("the peer sent a malformed reply"));
      const auto reply_id = message->find("id");
      if (reply_id == message->end() || (*reply_id != id && !reply_id->is_null())) continue;
      reply_fds_ = std::move(line.fds);
      if (const auto error = message->find("error"); error != message->end() && error->is_object()) {
        return read_error(*error);
      }
      const auto result = message->find("result");
      if (result == message->end()) return fail(unavailable("the peer sent a malformed reply"));
      return std::move(*result);
    }
    const auto left =
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
    pollfd p{socket_.get(), POLLIN, 0};
    const int ready = left.count() <= 0 ? 0 : ::poll(&p, 1, static_cast<int>(left.count()));
    if (ready < 0 && errno == EINTR) continue;
    if (ready <= 0)
      return fail(unavailable("no answer to \"" + std::string(method) + "\" within " +
                              std::to_string(timeout_ms) + " ms"));
    auto status = receive_into(socket_.get(), *reader_);
    if (!status) return fail(unavailable(status.error().message));
    if (*status == ReceiveStatus::kClosed) return fail(unavailable("the peer closed the connection"));
  }
}

}  // namespace podwire
