#include "control/cli/stats.hpp"

#include <algorithm>
#include <array>

namespace podwire::control::cli {

Result<void> read_value(const Json& value, const std::string& path, Ledger& out) {
  ObjectReader r(value, path);
  r.ignore_unknown();
  r.required("received", out.received);
  r.required("generated", out.generated);
  r.required("clones", out.clones);
  r.required("segments", out.segments);
  r.required("sent", out.sent);
  r.required("dropped", out.dropped);
  r.required("consumed", out.consumed);
  r.required("parked", out.parked);
  r.required("merged", out.merged);
  r.required("balance", out.balance);
  return r.finish();
}

Result<void> read_value(const Json& value, const std::string& path, PortStats& out) {
  ObjectReader r(value, path);
  r.ignore_unknown();
  r.required("id", out.id);
  r.required("name", out.name);
  r.optional("kind", out.kind);
  r.optional("role", out.role);
  r.optional("domain", out.domain);
  r.required("received_packets", out.received_packets);
  r.required("received_bytes", out.received_bytes);
  r.required("sent_packets", out.sent_packets);
  r.required("sent_bytes", out.sent_bytes);
  r.required("dropped_packets", out.dropped_packets);
  return r.finish();
}

Result<void> read_value(const Json& value, const std::string& path, StageStats& out) {
  ObjectReader r(value, path);
  r.ignore_unknown();
  r.required("name", out.name);
  r.required("packets", out.packets);
  r.required("bursts", out.bursts);
  r.required("dropped", out.dropped);
  r.required("cycles", out.cycles);
  return r.finish();
}

Result<void> read_value(const Json& value, const std::string& path, DropStats& out) {
  ObjectReader r(value, path);
  r.ignore_unknown();
  r.required("reason", out.reason);
  r.required("packets", out.packets);
  r.optional("help", out.help);
  return r.finish();
}

Result<void> read_value(const Json& value, const std::string& path, DomainStats& out) {
  ObjectReader r(value, path);
  r.ignore_unknown();
  r.optional("id", out.id);
  r.required("name", out.name);
  r.optional("vni", out.vni);
  r.required("ledger", out.ledger);
  return r.finish();
}

Result<void> read_value(const Json& value, const std::string& path, WorkerStats& out) {
  ObjectReader r(value, path);
  r.ignore_unknown();
  r.required("polls", out.polls);
  r.required("empty_polls", out.empty_polls);
  r.required("sleeps", out.sleeps);
  return r.finish();
}

namespace {

constexpr std::array kSections{"ports", "stages", "worker", "drops", "domains", "ledger"};

bool wants(std::string_view section, std::string_view part) {
  return section == "all" || section == part;
}

}  // namespace

Result<Stats> read_stats(const Json& reply, std::string_view section) {
  Stats out;
  ObjectReader r(reply, "");
  r.ignore_unknown();
  if (wants(section, "ports")) r.required("ports", out.ports);
  if (wants(section, "stages")) {
    r.required("stages", out.stages);
    r.optional("worker", out.worker);
  }
  if (wants(section, "drops")) r.required("drops", out.drops);
  if (wants(section, "domains")) r.required("domains", out.domains);
  if (wants(section, "ledger")) r.required("ledger", out.ledger);
  PODWIRE_CHECK(r.finish());
  return out;
}

Json filter_stats(const Json& reply, std::string_view section) {
  if (section == "all" || !reply.is_object()) return reply;
  Json out = Json::object();
  for (const auto& [key, value] : reply.items()) {
    const bool other = std::any_of(kSections.begin(), kSections.end(), [&](const char* name) {
      return key == name && section != name && !(key == "worker" && section == "stages");
    });
    if (!other) out[key] = value;
  }
  return out;
}

}  // namespace podwire::control::cli
