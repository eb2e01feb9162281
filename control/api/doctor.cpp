// `doctor`: the other nodes, probed through the tunnel, and what is wrong with them.
#include "control/api/daemon.hpp"

namespace podwire::control {
namespace {

Json underlay_json(const UnderlayHeard& heard) {
  if (!heard.answers) return "not asked";
  return *heard.answers ? "answers" : "silent";
}

Json path_json(const ExaminedPath& path) {
  Json out{{"domain", path.domain}, {"vni", path.vni.value()}};
  if (!path.not_probed.empty()) {
    out["not_probed"] = path.not_probed;
    return out;
  }
  const bool answered = path.answered != 0;
  out.update({{"family", path.v4 ? 4 : 6},
              {"gateway", path.answers ? Json(to_string(*path.answers)) : Json()},
              {"sent", path.sent},
              {"answered", path.answered},
              {"damaged", path.damaged},
              {"rtt_us", answered ? Json{{"min", path.rtt_min_us},
                                         {"avg", path.rtt_sum_us / path.answered},
                                         {"max", path.rtt_max_us}}
                                  : Json()},
              {"mtu", path.mtu},
              {"largest", path.largest != 0 ? Json(path.largest) : Json()}});
  return out;
}

Json peer_json(const Doctor::Diagnosed& one) {
  Json paths = Json::array(), faults = Json::array();
  for (const auto& path : one.peer.paths) paths.push_back(path_json(path));
  for (const auto& finding : one.findings)
    faults.push_back({{"fault", finding.fault}, {"text", finding.text}, {"remedy", finding.remedy}});
  const char* state = !one.findings.empty() ? "faulty" : one.peer.was_probed() ? "well" : "not probed";
  return {{"name", one.peer.name},
          {"address", to_string(one.peer.address)},
          {"udp_port", one.peer.udp_port},
          {"state", state},
          {"underlay", underlay_json(one.peer.underlay)},
          {"paths", std::move(paths)},
          {"paths_left_out", one.peer.left_out},
          {"faults", std::move(faults)}};
}

}  // namespace

Result<Json> doctor_view(Daemon& daemon, const Json& params) {
  std::string name;
  std::uint32_t after = 0;
  ObjectReader r(params, "params");
  r.optional("name", name);
  r.optional("after", after);
  PODWIRE_CHECK(r.finish());
  if (daemon.doctor == nullptr) return unavailable("podwired is starting; try again in a moment");
  PODWIRE_TRY(const auto examined, daemon.doctor->examine(name, after));
  Json peers = Json::array();
  for (const auto& one : examined.peers) peers.push_back(peer_json(one));
  Json reply{{"peers", std::move(peers)}};
  if (examined.next != 0) reply["next_after"] = examined.next;
  return reply;
}

}  // namespace podwire::control
