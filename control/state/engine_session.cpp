#include "control/state/engine_session.hpp"

namespace podwire::control {
namespace {

constexpr int kHelloTimeoutMs = 5000;
// Well below the line limit, so that what surrounds the objects never matters.
constexpr std::size_t kChunkBytes = kMaxLineBytes / 2;

Result<std::uint64_t> read_generation(const Json& reply) {
  std::uint64_t generation = 0;
  ObjectReader r(reply, "the engine's reply");
  r.required("generation", generation);
  r.ignore_unknown();
  PODWIRE_CHECK(r.finish());
  return generation;
}

// Collects objects' texts until a line is full, then hands them to `send` as the text of a `put`.
class ChunkWriter {
 public:
  using Send = std::function<Result<void>(const std::string& put, const std::vector<int>& fds)>;
  explicit ChunkWriter(Send send) : send_(std::move(send)) {}

  Result<void> add(const char* noun, const Json& object, const std::vector<int>& fds = {}) {
    const auto text = object.dump(-1, ' ', false, Json::error_handler_t::replace);
    if (!put_.empty() && (put_.size() + text.size() > kChunkBytes || fds_.size() + fds.size() > kMaxLineFds))
      PODWIRE_CHECK(flush());
    if (noun != noun_) {
      put_ += std::string(put_.empty() ? "{\"" : "],\"") + noun + "\":[";
      noun_ = noun;
    } else {
      put_ += ',';
    }
    put_ += text;
    fds_.insert(fds_.end(), fds.begin(), fds.end());
    return {};
  }

  Result<void> flush() {
    if (put_.empty()) return {};
    put_ += "]}";
    auto sent = send_(put_, fds_);
    put_.clear();
    noun_.clear();
    fds_.clear();
    return sent;
  }

 private:
  Send send_;
  std::string put_, noun_;  // that the last object was of
  std::vector<int> fds_;
};

// The port as it is sent: with as many descriptors as `queues` has for it.
Json port_json(api::Port port, const PortQueues& queues, std::vector<int>& fds) {
  const auto at = queues.find(port.id);
  fds = at == queues.end() ? std::vector<int>() : at->second;
  port.descriptors = static_cast<std::uint16_t>(fds.size());
  return to_json(port);
}

}  // namespace

template <class T>
Result<std::vector<T>> dump_objects(RpcClient& client, const char* noun) {
  std::vector<T> all;
  Json after = 0;
  for (;;) {
    Json params{{"noun", noun}};
    if (after != 0) params["after_id"] = after;
    PODWIRE_TRY(const Json reply, client.call("dump", params));
    std::vector<T> page;
    std::optional<std::int64_t> next;
    ObjectReader r(reply, "the engine's dump of " + std::string(noun));
    r.required("objects", page);
    r.optional("next_after_id", next);
    r.ignore_unknown();
    PODWIRE_CHECK(r.finish());
    all.insert(all.end(), std::make_move_iterator(page.begin()), std::make_move_iterator(page.end()));
    if (!next) return all;
    if (*next <= after.get<std::int64_t>())
      return unavailable("the engine's dump of " + std::string(noun) + " does not advance");
    after = *next;
  }
}

template Result<std::vector<api::Port>> dump_objects(RpcClient&, const char*);
template Result<std::vector<api::Vtep>> dump_objects(RpcClient&, const char*);
template Result<std::vector<api::Domain>> dump_objects(RpcClient&, const char*);
template Result<std::vector<api::Endpoint>> dump_objects(RpcClient&, const char*);
template Result<std::vector<api::Route>> dump_objects(RpcClient&, const char*);
template Result<std::vector<api::Policy>> dump_objects(RpcClient&, const char*);
template Result<std::vector<api::Service>> dump_objects(RpcClient&, const char*);

Result<EngineSession> EngineSession::open(const std::string& socket, std::uint64_t epoch) {
  PODWIRE_TRY(RpcClient client, RpcClient::connect(socket));
  PODWIRE_TRY(const Json reply, client.call("hello", {{"epoch", epoch}}, {}, kHelloTimeoutMs));
  EngineIdentity identity;
  ObjectReader r(reply, "the engine's hello");
  r.required("version", identity.version);
  r.required("instance", identity.instance);
  r.required("pid", identity.pid);
  r.required("generation", identity.generation);
  r.ignore_unknown();
  PODWIRE_CHECK(r.finish());
  return EngineSession(std::move(client), std::move(identity));
}

Result<std::uint64_t> EngineSession::replace(const api::ObjectSet& objects, const PortQueues& queues) {
  PODWIRE_TRY(const Json begun, client_.call("replace_begin", Json::object()));
  ChunkWriter writer([this](const std::string& put, const std::vector<int>& fds) -> Result<void> {
    PODWIRE_TRY(const Json ignored, client_.call_with_text("replace_chunk", "{\"put\":" + put + "}", fds));
    return {};
  });
  for (const auto& port : objects.ports) {
    std::vector<int> fds;
    const auto json = port_json(port, queues, fds);
    PODWIRE_CHECK(writer.add("ports", json, fds));
  }
  for (const auto& vtep : objects.vteps) PODWIRE_CHECK(writer.add("vteps", to_json(vtep)));
  for (const auto& domain : objects.domains) PODWIRE_CHECK(writer.add("domains", to_json(domain)));
  for (const auto& policy : objects.policies) PODWIRE_CHECK(writer.add("policies", to_json(policy)));
  for (const auto& endpoint : objects.endpoints) PODWIRE_CHECK(writer.add("endpoints", to_json(endpoint)));
  for (const auto& route : objects.routes) PODWIRE_CHECK(writer.add("routes", to_json(route)));
  for (const auto& service : objects.services) PODWIRE_CHECK(writer.add("services", to_json(service)));
  PODWIRE_CHECK(writer.flush());
  PODWIRE_TRY(const Json reply, client_.call("replace_commit", Json::object()));
  return read_generation(reply);
}

Result<std::uint64_t> EngineSession::patch(const api::ObjectSet& put, const api::IdSet& remove,
                                           const PortQueues& queues) {
  Json sent = to_json(put);
  std::vector<int> fds;
  for (std::size_t i = 0; i < put.ports.size(); ++i) {
    std::vector<int> own;
    sent["ports"][i] = port_json(put.ports[i], queues, own);
    fds.insert(fds.end(), own.begin(), own.end());
  }
  PODWIRE_TRY(const Json reply,
              client_.call("patch", {{"put", std::move(sent)}, {"delete", to_json(remove)}}, fds));
  return read_generation(reply);
}

Result<std::vector<UniqueFd>> EngineSession::port_descriptors(PortId port) {
  PODWIRE_TRY(const Json reply, client_.call("port_descriptors", {{"id", port.value()}}));
  auto fds = client_.take_fds();
  std::size_t count = 0;
  ObjectReader r(reply, "the engine's reply");
  r.required("count", count);
  r.ignore_unknown();
  PODWIRE_CHECK(r.finish());
  if (count == 0 || fds.size() != count) {
    return unavailable("the engine sent " + std::to_string(fds.size()) + " descriptors of port " +
                       std::to_string(port.value()) + " and announced " + std::to_string(count));
  }
  return fds;
}

Result<void> EngineSession::shutdown() {
  PODWIRE_TRY(const Json ignored, client_.call("shutdown", Json::object()));
  return {};
}

}  // namespace podwire::control
