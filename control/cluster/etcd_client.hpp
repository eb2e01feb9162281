// A client of etcd's v3 API by its HTTP/JSON gateway (etcd: "gRPC gateway", /v3/...): reads, transactions,
// leases, and one watch. Owns a connection to one of the configured servers at a time and goes on to the next
// when that one fails; a token of etcd's own authentication is got and renewed as needed. One thread at a
// time calls it, cancel() apart. Whatever a server answers is checked: what is malformed counts as an answer
// that did not come (kUnavailable).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "control/cluster/http_connection.hpp"
#include "dataplane/base/json.hpp"

namespace podwire::control {

struct EtcdOptions {
  std::vector<StoreEndpoint> endpoints;  // at least one
  TlsConfig tls;
  std::string user, password_file;
  HttpTimeouts timeouts;

  static Result<EtcdOptions> of(const ClusterConfig& config);
};

struct EtcdItem {
  std::string key, value;
  std::int64_t mod_revision = 0;  // of the change that made it so
  std::int64_t lease = 0;         // that it goes with; 0: none
  bool operator==(const EtcdItem&) const = default;
};

struct EtcdEvent {
  bool erased = false;  // then the item has no value
  EtcdItem item;
};

struct EtcdRange {
  std::int64_t revision = 0;  // of the store, at which all of it was so
  std::vector<EtcdItem> items;
};

// One answer of a range.
struct EtcdPage {
  std::int64_t revision = 0;  // the store's present one
  std::vector<EtcdItem> items;
  bool more = false;  // there are keys behind these
};

// Puts and deletes together when all conditions hold, else nothing.
struct EtcdTransaction {
  struct Condition {
    std::string key;
    std::int64_t mod_revision = 0;  // that it must have; 0: it must not exist
  };
  struct Put {
    std::string key, value;
    std::int64_t lease = 0;
  };
  std::vector<Condition> conditions;
  std::vector<Put> puts;
  std::vector<std::string> erased;
  std::vector<std::string> erased_below{};  // every key that begins so
};

class EtcdClient {
 public:
  explicit EtcdClient(EtcdOptions options) : options_(std::move(options)) {}

  // Everything below `prefix` as it was at one revision. What may be much is read by etcd_pages.hpp.
  Result<EtcdRange> list(const std::string& prefix);
  // At most `limit` keys from `from` up to, but not with, `end` (empty: `from` alone), as they were at
  // `revision` (0: now).
  Result<EtcdPage> page(const std::string& from, const std::string& end, std::int64_t revision, int limit);
  Result<std::optional<EtcdItem>> get(const std::string& key);
  // The store's revision with it; 0: a condition did not hold. An answer that was lost leaves open whether it
  // was done.
  Result<std::int64_t> commit(const EtcdTransaction& transaction);

  // A lease of about `seconds`; its id is never 0.
  Result<std::int64_t> grant(int seconds);
  // False: it has run out.
  Result<bool> keep_alive(std::int64_t lease);

  // Every change below `prefix` from `revision` on. Calls `changed` with those of one answer, in order, until
  // it returns false (then true is returned). kNotFound: the store has compacted `revision` away; list anew.
  using Changed = std::function<bool(const std::vector<EtcdEvent>&)>;
  Result<bool> watch(const std::string& prefix, std::int64_t revision, const Changed& changed);

  // From any thread: what is under way ends with kUnavailable.
  void cancel();
  // The next call goes to another server, if there is one.
  void change_server();

 private:
  Result<HttpConnection*> connection();
  template <class T>
  using ReadAnswer = Result<T> (*)(std::string_view text);
  template <class T>
  Result<T> call(const char* path, const Json& body, ReadAnswer<T> read);
  template <class T>
  Result<T> call_once(const char* path, const Json& body, ReadAnswer<T> read);
  Result<std::string> answer_to(const char* path, const Json& body);
  Result<void> authenticate();

  const EtcdOptions options_;
  std::size_t server_ = 0;
  std::string token_;
  std::mutex mutex_;  // connection_ is replaced under it, so that cancel() finds a whole one
  std::shared_ptr<HttpConnection> connection_;
};

// The key after all those that begin with `prefix`.
std::string end_of_prefix(std::string prefix);

}  // namespace podwire::control
