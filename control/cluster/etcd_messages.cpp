#include "control/cluster/etcd_messages.hpp"

#include <charconv>

#include "control/cluster/base64.hpp"

namespace podwire::control {
namespace {

// Of gRPC, as the gateway's errors carry them.
enum GrpcCode { kPermissionDenied = 7, kUnauthenticated = 16 };

constexpr const char* kTokenWanted = "etcd wants a token: ";

Error malformed(const std::string& what) {
  return unavailable("etcd's answer is malformed: " + what);
}

// A protobuf object that is left out is an empty one.
const Json& member_or_empty(const Json& object, const char* key) {
  static const Json kNone = Json::object();
  const auto at = object.find(key);
  return at == object.end() || at->is_null() ? kNone : *at;
}

Result<std::string> read_bytes(const Json& object, const char* key) {
  const auto at = object.find(key);
  if (at == object.end()) return std::string();
  if (!at->is_string()) return malformed(std::string(key) + " is no text");
  auto bytes = from_base64(at->get_ref<const std::string&>());
  if (!bytes) return malformed(std::string(key) + " is no base64");
  return std::move(*bytes);
}

bool read_flag(const Json& object, const char* key) {
  const auto at = object.find(key);
  return at != object.end() && *at == true;
}

}  // namespace

Error etcd_error(const StoreEndpoint& endpoint, const HttpAnswer& answer) {
  std::string message;
  int code = 0;
  if (const auto body = parse_json(answer.body, "etcd's answer"); body && body->is_object()) {
    const auto* error = &*body;
    // A stream wraps it.
    if (const auto at = body->find("error"); at != body->end() && at->is_object()) error = &*at;
    for (const char* const key : {"message", "error"}) {
      const auto at = error->find(key);
      if (message.empty() && at != error->end() && at->is_string()) message = at->get<std::string>();
    }
    for (const char* const key : {"code", "grpc_code"}) {
      const auto at = error->find(key);
      if (code == 0 && at != error->end() && at->is_number_integer()) code = at->get<int>();
    }
  }
  if (message.empty()) message = "HTTP status " + std::to_string(answer.status);
  message = message.substr(0, 200);
  const bool token =
      code == kUnauthenticated || answer.status == 401 || message.find("auth token") != message.npos ||
      message.find("auth store is old") != message.npos || message.find("user name is empty") != message.npos;
  if (token) return {ErrorCode::kDenied, kTokenWanted + message + " (" + endpoint.text + ")"};
  if (code == kPermissionDenied || answer.status == 403) {
    return {ErrorCode::kDenied, endpoint.text + ": " + message +
                                    "; grant the role of cluster.user read and write below cluster.prefix"};
  }
  return {answer.status >= 500 ? ErrorCode::kUnavailable : ErrorCode::kInvalid,
          endpoint.text + ": " + message};
}

bool wants_token(const Error& error) {
  return error.code == ErrorCode::kDenied && error.message.starts_with(kTokenWanted);
}

Result<Json> read_etcd_answer(std::string_view text) {
  PODWIRE_TRY(auto answer, parse_json(text, "etcd's answer"));
  if (!answer.is_object()) return unavailable("the answer is no object");
  return answer;
}

std::optional<std::int64_t> to_etcd_number(std::string_view text) {
  std::int64_t n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  const bool whole = error == std::errc{} && end == text.data() + text.size();
  return whole && n >= 0 ? std::optional<std::int64_t>(n) : std::nullopt;
}

Result<std::int64_t> read_etcd_number(const Json& object, const char* key) {
  const auto at = object.find(key);
  if (at == object.end()) return std::int64_t{0};
  if (at->is_number_integer() && *at >= 0) return at->get<std::int64_t>();
  if (at->is_string()) {
    if (const auto n = to_etcd_number(at->get_ref<const std::string&>())) return *n;
  }
  return malformed(std::string(key) + " is no number");
}

Result<std::int64_t> read_etcd_revision(const Json& reply) {
  const auto& header = member_or_empty(reply, "header");
  if (!header.is_object()) return malformed("header is no object");
  PODWIRE_TRY(const auto revision, read_etcd_number(header, "revision"));
  if (revision == 0) return malformed("header.revision is missing");
  return revision;
}

Result<EtcdItem> read_etcd_item(const Json& value) {
  if (!value.is_object()) return malformed("a key and its value are no object");
  EtcdItem item;
  PODWIRE_TRY(item.key, read_bytes(value, "key"));
  PODWIRE_TRY(item.value, read_bytes(value, "value"));
  PODWIRE_TRY(item.mod_revision, read_etcd_number(value, "mod_revision"));
  PODWIRE_TRY(item.lease, read_etcd_number(value, "lease"));
  if (item.key.empty() || item.mod_revision == 0) return malformed("a key or its revision is missing");
  return item;
}

Json etcd_json(const EtcdTransaction& transaction) {
  Json compare = Json::array(), success = Json::array();
  for (const auto& condition : transaction.conditions) {
    // What does not exist has the revision 0.
    compare.push_back({{"target", "MOD"},
                       {"result", "EQUAL"},
                       {"key", to_base64(condition.key)},
                       {"mod_revision", std::to_string(condition.mod_revision)}});
  }
  for (const auto& put : transaction.puts) {
    Json request{{"key", to_base64(put.key)}, {"value", to_base64(put.value)}};
    if (put.lease != 0) request["lease"] = std::to_string(put.lease);
    success.push_back({{"request_put", std::move(request)}});
  }
  for (const auto& key : transaction.erased)
    success.push_back({{"request_delete_range", {{"key", to_base64(key)}}}});
  for (const auto& start : transaction.erased_below) {
    success.push_back({{"request_delete_range",
                        {{"key", to_base64(start)}, {"range_end", to_base64(end_of_prefix(start))}}}});
  }
  return {{"compare", std::move(compare)}, {"success", std::move(success)}};
}

Result<EtcdWatchLine> read_etcd_watch(std::string_view line) {
  PODWIRE_TRY(const Json whole, parse_json(line, "a line of etcd's watch"));
  if (!whole.is_object()) return malformed("a line of the watch is no object");
  EtcdWatchLine out;
  if (const auto error = whole.find("error"); error != whole.end()) {
    out.ended = true;
    out.why = error->is_object() && error->contains("message") ? (*error)["message"].dump() : error->dump();
    out.why = out.why.substr(0, 200);
    return out;
  }
  const auto& result = member_or_empty(whole, "result");
  if (!result.is_object()) return malformed("result of the watch is no object");
  PODWIRE_TRY(const auto compacted, read_etcd_number(result, "compact_revision"));
  out.compacted = compacted != 0;
  out.ended = read_flag(result, "canceled");
  if (out.ended) out.why = member_or_empty(result, "cancel_reason").dump().substr(0, 200);
  const auto events = result.find("events");
  if (events == result.end()) return out;
  if (!events->is_array()) return malformed("events is no array");
  out.events.reserve(events->size());
  for (const auto& value : *events) {
    if (!value.is_object()) return malformed("an event is no object");
    EtcdEvent event;
    const auto type = value.find("type");
    event.erased = type != value.end() && *type == "DELETE";
    if (type != value.end() && !event.erased && *type != "PUT")
      return malformed("an event is neither PUT nor DELETE");
    PODWIRE_TRY(event.item, read_etcd_item(member_or_empty(value, "kv")));
    out.events.push_back(std::move(event));
  }
  return out;
}

}  // namespace podwire::control
