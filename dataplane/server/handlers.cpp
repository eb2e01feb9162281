// The handlers of the engine's verbs: read the parameters strictly, call the backend, shape the reply.
#include <unistd.h>

#include "dataplane/pipeline/drop_reason.hpp"
#include "dataplane/server/verb_server.hpp"

namespace podwire::engine {
namespace {

// For verbs without parameters.
Result<void> expect_none(const Json& params) {
  return ObjectReader(params, "params").finish();
}

Json generation_reply(std::uint64_t generation) {
  return {{"generation", generation}};
}

// {put} of patch and replace_chunk. As many descriptors must have come as the ports announce.
Result<void> check_descriptors(const api::ObjectSet& put, std::size_t came) {
  std::size_t announced = 0;
  for (const auto& port : put.ports) announced += port.descriptors;
  if (announced == came) return {};
  return invalid("the ports in params.put announce " + std::to_string(announced) + " descriptors, but " +
                 std::to_string(came) + " came with the request");
}

// Thousands of ports do not fit a line: keeps those with ids above `after` that do, in the reply's order by
// id, and says in next_after_id from where to go on.
void page_ports(Json& reply, std::uint32_t after) {
  constexpr std::size_t kMaxPortsBytes = 512u << 10;  // what else a reply holds is far below the other half
  const auto ports = reply.find("ports");
  if (ports == reply.end()) return;
  Json kept = Json::array();
  std::size_t bytes = 0;
  for (auto& port : *ports) {
    if (port.at("id") <= after) continue;
    bytes += port.dump(-1, ' ', false, Json::error_handler_t::replace).size() + 1;
    if (bytes > kMaxPortsBytes && !kept.empty()) {
      reply["next_after_id"] = kept.back().at("id");
      break;
    }
    kept.push_back(std::move(port));
  }
  *reply.find("ports") = std::move(kept);
}

}  // namespace

Result<Json> VerbServer::hello(Call& call) {
  std::int64_t epoch = 0;
  ObjectReader r(call.params, "params");
  r.required("epoch", epoch);
  PODWIRE_CHECK(r.finish());
  if (epoch < 0) return invalid("params.epoch is " + std::to_string(epoch) + ", must be 0 or more");
  if (epoch_ && epoch < *epoch_) {
    return Error{ErrorCode::kDenied, "params.epoch is " + std::to_string(epoch) +
                                         ", but a writer with epoch " + std::to_string(*epoch_) +
                                         " was here: another podwired has taken over"};
  }
  if (writer_ != call.connection) release_writer();
  writer_ = call.connection;
  epoch_ = epoch;
  return Json{{"version", PODWIRE_VERSION},
              {"pid", ::getpid()},
              {"instance", backend_.instance()},
              {"generation", backend_.generation()}};
}

Result<Json> VerbServer::replace_begin(Call& call) {
  PODWIRE_CHECK(expect_none(call.params));
  backend_.replace_begin();
  return Json::object();
}

Result<Json> VerbServer::replace_chunk(Call& call) {
  api::ObjectSet put;
  ObjectReader r(call.params, "params");
  r.required("put", put);
  PODWIRE_CHECK(r.finish());
  PODWIRE_CHECK(check_descriptors(put, call.fds.size()));
  PODWIRE_CHECK(backend_.replace_chunk(std::move(put), std::move(call.fds)));
  return Json::object();
}

Result<Json> VerbServer::replace_commit(Call& call) {
  PODWIRE_CHECK(expect_none(call.params));
  PODWIRE_TRY(const auto generation, backend_.replace_commit());
  return generation_reply(generation);
}

Result<Json> VerbServer::patch(Call& call) {
  api::ObjectSet put;
  api::IdSet remove;
  ObjectReader r(call.params, "params");
  r.optional("put", put);
  r.optional("delete", remove);
  PODWIRE_CHECK(r.finish());
  PODWIRE_CHECK(check_descriptors(put, call.fds.size()));
  PODWIRE_TRY(const auto generation, backend_.patch(std::move(put), remove, std::move(call.fds)));
  return generation_reply(generation);
}

Result<Json> VerbServer::port_descriptors(Call& call) {
  PortId id;
  ObjectReader r(call.params, "params");
  r.required("id", id);
  PODWIRE_CHECK(r.finish());
  PODWIRE_TRY(call.reply_fds, backend_.port_descriptors(id));
  return Json{{"count", call.reply_fds.size()}};
}

Result<Json> VerbServer::shutdown(Call& call) {
  PODWIRE_CHECK(expect_none(call.params));
  backend_.shut_down();
  return Json::object();
}

Result<Json> VerbServer::status(Call& call) {
  std::uint32_t after = 0;
  ObjectReader r(call.params, "params");
  r.optional("after_id", after);
  PODWIRE_CHECK(r.finish());
  Json reply = backend_.status();
  page_ports(reply, after);
  reply["epoch"] = epoch_ ? Json(*epoch_) : Json(nullptr);
  return reply;
}

Result<Json> VerbServer::stats(Call& call) {
  bool all = false;
  ObjectReader r(call.params, "params");
  std::uint32_t after = 0;
  r.optional("all", all);
  r.optional("after_id", after);
  PODWIRE_CHECK(r.finish());
  Json reply = backend_.stats(all);
  page_ports(reply, after);
  return reply;
}

Result<Json> VerbServer::dump(Call& call) {
  return backend_.dump(call.params);
}
Result<Json> VerbServer::fdb(Call& call) {
  return backend_.fdb(call.params);
}
Result<Json> VerbServer::neighbors(Call& call) {
  return backend_.neighbors(call.params);
}
Result<Json> VerbServer::explain(Call& call) {
  return backend_.explain(call.params);
}
Result<Json> VerbServer::flows(Call& call) {
  return backend_.flows(call.params);
}
Result<Json> VerbServer::flows_flush(Call& call) {
  return backend_.flows_flush(call.params);
}
Result<Json> VerbServer::flows_sample(Call& call) {
  return backend_.flows_sample(call.params);
}
Result<Json> VerbServer::flows_top(Call& call) {
  return backend_.flows_top(call.params);
}

Result<Json> VerbServer::drop_reasons(Call& call) {
  PODWIRE_CHECK(expect_none(call.params));
  Json reasons = Json::array();
  for (std::size_t i = 0; i < kDropReasonCount; ++i) {
    reasons.push_back({{"name", kDropReasonNames[i]}, {"help", kDropReasonHelp[i]}});
  }
  return Json{{"reasons", std::move(reasons)}};
}

}  // namespace podwire::engine
