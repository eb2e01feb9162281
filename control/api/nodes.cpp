// `nodes` and `node_forget`: the cluster's nodes as its store has them.
#include <ctime>

#include <algorithm>

#include "control/api/daemon.hpp"
#include "control/api/paging.hpp"
#include "control/api/texts.hpp"

namespace podwire::control {
namespace {

Error no_cluster() {
  return {ErrorCode::kUnsupported,
          "this node is in no cluster: \"cluster\" in podwired.json is \"local\"; its static peers are in: "
          "podwirectl "
          "peer"};
}

std::string utc_text(std::int64_t seconds) {
  const auto time = static_cast<std::time_t>(seconds);
  std::tm parts{};
  char text[32] = {};
  if (::gmtime_r(&time, &parts) == nullptr) return "a time unknown";
  std::strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

std::string state_of(const NodeView& view, const std::string& own) {
  if (view.node.name == own) return "this node";
  if (view.alive) return "alive";
  return view.silent_since_s ? "silent since " + utc_text(*view.silent_since_s) : "silent";
}

}  // namespace

Result<Json> nodes_view(Daemon& daemon, const Json& params) {
  PODWIRE_TRY(const auto page, read_page(params));
  if (daemon.cluster == nullptr) return no_cluster();
  std::map<std::string, std::string> problems;
  for (const auto& view : daemon.remote_nodes->nodes()) problems[view.node.name] = view.problem;
  Json nodes = Json::array();
  for (const auto& view : daemon.cluster->nodes()) {
    Json domains = Json::object();
    for (const auto& [name, prefixes] : view.node.prefixes) domains[name] = {{"prefixes", texts(prefixes)}};
    Json node{{"name", view.node.name},
              {"state", state_of(view, daemon.config.node)},
              {"addresses", texts(view.node.record.addresses)},
              {"udp_port", view.node.record.udp_port},
              {"mac", to_string(view.node.record.mac)},
              {"domains", std::move(domains)}};
    if (const auto& problem = problems[view.node.name]; !problem.empty()) node["problem"] = problem;
    nodes.push_back(std::move(node));
  }
  return make_page("nodes", std::move(nodes), page);
}

Result<Json> node_forget(Daemon& daemon, const Json& params) {
  std::string name;
  ObjectReader r(params, "params");
  r.required("name", name);
  PODWIRE_CHECK(r.finish());
  if (daemon.cluster == nullptr) return no_cluster();
  PODWIRE_CHECK(daemon.cluster->forget(name));
  return Json{{"forgotten", name}};
}

}  // namespace podwire::control
