#include "control/cluster/etcd_client.hpp"

#include <fstream>
#include <iterator>

#include "control/cluster/base64.hpp"
#include "control/cluster/etcd_messages.hpp"
#include "control/cluster/etcd_pages.hpp"

namespace podwire::control {
namespace {

std::string dump(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

Result<std::string> read_password(const std::string& path) {
  std::ifstream file(path);
  std::string password;
  if (!file || !std::getline(file, password))
    return io_error("cluster.password_file: cannot read a line of " + path);
  return password;
}

}  // namespace

std::string end_of_prefix(std::string prefix) {
  while (!prefix.empty() && static_cast<unsigned char>(prefix.back()) == 0xff) prefix.pop_back();
  if (prefix.empty()) return std::string(1, '\0');  // etcd: to the end
  prefix.back() = static_cast<char>(static_cast<unsigned char>(prefix.back()) + 1);
  return prefix;
}

Result<EtcdOptions> EtcdOptions::of(const ClusterConfig& config) {
  EtcdOptions options;
  for (const auto& text : config.endpoints) {
    PODWIRE_TRY(auto endpoint, parse_endpoint(text));
    options.endpoints.push_back(std::move(endpoint));
  }
  options.tls = config.tls;
  options.user = config.user;
  options.password_file = config.password_file;
  return options;
}

Result<HttpConnection*> EtcdClient::connection() {
  if (!connection_) {
    PODWIRE_TRY(std::shared_ptr<HttpConnection> fresh,
                HttpConnection::make(options_.endpoints[server_], options_.tls, options_.timeouts));
    const std::lock_guard lock(mutex_);
    connection_ = std::move(fresh);
  }
  return connection_.get();
}

void EtcdClient::change_server() {
  server_ = (server_ + 1) % options_.endpoints.size();
  const std::lock_guard lock(mutex_);
  connection_.reset();
}

void EtcdClient::cancel() {
  std::shared_ptr<HttpConnection> running;
  {
    const std::lock_guard lock(mutex_);
    running = connection_;
  }
  if (running) running->cancel();
}

// Every server once, each with a new token if it wants one.
template <class T>
Result<T> EtcdClient::call(const char* path, const Json& body, ReadAnswer<T> read) {
  std::string failures;
  for (std::size_t tried = 0; tried < options_.endpoints.size(); ++tried) {
    auto reply = call_once(path, body, read);
    if (!reply && wants_token(reply.error()) && !options_.user.empty()) {
      token_.clear();
      reply = call_once(path, body, read);
    }
    if (reply || reply.error().code != ErrorCode::kUnavailable) return reply;
    failures += (failures.empty() ? "" : "; ") + reply.error().message;
    change_server();
  }
  return unavailable(failures);
}

template <class T>
Result<T> EtcdClient::call_once(const char* path, const Json& body, ReadAnswer<T> read) {
  PODWIRE_TRY(const auto text, answer_to(path, body));
  auto reply = read(text);
  if (!reply) return unavailable(options_.endpoints[server_].text + path + ": " + reply.error().message);
  return reply;
}

Result<std::string> EtcdClient::answer_to(const char* path, const Json& body) {
  PODWIRE_TRY(auto* const to, connection());
  if (token_.empty() && !options_.user.empty()) PODWIRE_CHECK(authenticate());
  PODWIRE_TRY(auto answer, to->post(path, dump(body), token_));
  if (answer.status == 200) return std::move(answer.body);
  auto error = etcd_error(options_.endpoints[server_], answer);
  if (wants_token(error) && options_.user.empty())
    error.message += "; set cluster.user and cluster.password_file";
  return error;
}

Result<void> EtcdClient::authenticate() {
  PODWIRE_TRY(const auto password, read_password(options_.password_file));
  PODWIRE_TRY(auto* const to, connection());
  const Json body{{"name", options_.user}, {"password", password}};
  PODWIRE_TRY(const auto answer, to->post("/v3/auth/authenticate", dump(body), ""));
  if (answer.status != 200) {
    auto error = etcd_error(options_.endpoints[server_], answer);
    if (error.code != ErrorCode::kUnavailable)
      error = {ErrorCode::kDenied, error.message + "; check cluster.user and cluster.password_file"};
    return error;
  }
  const auto reply = parse_json(answer.body, "etcd's token");
  if (reply && reply->is_object() && reply->contains("token") && (*reply)["token"].is_string()) {
    token_ = (*reply)["token"].get<std::string>();
    const bool plain = token_.find_first_of("\r\n") == token_.npos;
    if (plain && !token_.empty() && token_.size() <= 8192) return {};
    token_.clear();
  }
  return unavailable(options_.endpoints[server_].text + ": no usable token in etcd's answer");
}

Result<EtcdPage> EtcdClient::page(const std::string& from, const std::string& end, std::int64_t revision,
                                  int limit) {
  Json body{{"key", to_base64(from)}, {"limit", limit}};
  if (!end.empty()) body["range_end"] = to_base64(end);
  if (revision != 0) body["revision"] = std::to_string(revision);
  return call<EtcdPage>("/v3/kv/range", body, read_etcd_page);
}

Result<EtcdRange> EtcdClient::list(const std::string& prefix) {
  EtcdPages pages(*this, {EtcdSpan::below(prefix)});
  EtcdRange all;
  for (;;) {
    PODWIRE_TRY(auto some, pages.next());
    all.revision = pages.revision();
    if (some.empty()) return all;
    std::move(some.begin(), some.end(), std::back_inserter(all.items));
  }
}

Result<std::optional<EtcdItem>> EtcdClient::get(const std::string& key) {
  PODWIRE_TRY(auto found, page(key, "", 0, 1));
  if (found.items.empty()) return std::optional<EtcdItem>();
  if (found.items.front().key != key) return unavailable("etcd's answer is malformed: another key");
  return std::optional<EtcdItem>(std::move(found.items.front()));
}

Result<std::int64_t> EtcdClient::commit(const EtcdTransaction& transaction) {
  PODWIRE_TRY(const Json reply, call<Json>("/v3/kv/txn", etcd_json(transaction), read_etcd_answer));
  const auto at = reply.find("succeeded");
  if (at == reply.end() || *at != true) return 0;
  return read_etcd_revision(reply);
}

Result<std::int64_t> EtcdClient::grant(int seconds) {
  PODWIRE_TRY(const Json reply, call<Json>("/v3/lease/grant", {{"TTL", seconds}}, read_etcd_answer));
  PODWIRE_TRY(const auto id, read_etcd_number(reply, "ID"));
  if (id == 0) return unavailable("etcd's answer is malformed: the lease has no ID");
  return id;
}

Result<bool> EtcdClient::keep_alive(std::int64_t lease) {
  PODWIRE_TRY(const Json reply,
              call<Json>("/v3/lease/keepalive", {{"ID", std::to_string(lease)}}, read_etcd_answer));
  const auto result = reply.find("result");
  if (result == reply.end() || !result->is_object())
    return unavailable("etcd's answer is malformed: nothing is said of the lease");
  PODWIRE_TRY(const auto ttl, read_etcd_number(*result, "TTL"));
  return ttl > 0;
}

Result<bool> EtcdClient::watch(const std::string& prefix, std::int64_t revision, const Changed& changed) {
  PODWIRE_TRY(auto* const to, connection());
  if (token_.empty() && !options_.user.empty()) PODWIRE_CHECK(authenticate());
  const Json body{{"create_request",
                   {{"key", to_base64(prefix)},
                    {"range_end", to_base64(end_of_prefix(prefix))},
                    {"start_revision", std::to_string(revision)},
                    {"fragment", true}}}};
  std::optional<Error> failed;
  const auto line = [&](std::string_view text) {
    auto read = read_etcd_watch(text);
    if (!read) {
      failed = unavailable(read.error().message);
    } else if (read->compacted) {
      failed = not_found("etcd has compacted revision " + std::to_string(revision) + " away");
    } else if (read->ended) {
      failed = unavailable("etcd ended the watch: " + read->why);
      token_.clear();  // the one thing here that may have been wrong
    } else if (read->events.empty()) {
      return true;
    } else {
      return changed(read->events);
    }
    return false;
  };
  PODWIRE_TRY(const auto answer, to->stream("/v3/watch", dump(body), token_, line));
  if (failed) return *failed;
  if (answer.status == 200) return true;
  token_.clear();
  return etcd_error(options_.endpoints[server_], answer);
}

}  // namespace podwire::control
