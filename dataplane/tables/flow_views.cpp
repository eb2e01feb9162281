#include "dataplane/tables/flow_views.hpp"

#include "dataplane/tables/flow_filter.hpp"

namespace podwire::engine {
namespace {

constexpr std::uint32_t kMaxLooked = 1u << 16;
constexpr std::size_t kMaxLimit = 1000;  // of some 400 bytes each; a reply has 1 MiB

struct Wanted {
  FlowFilter filter;
  std::uint32_t after = 0;
};

Result<Wanted> read_wanted(ObjectReader& r) {
  Wanted wanted;
  r.optional("after_id", wanted.after);
  PODWIRE_TRY(wanted.filter, read_flow_filter(r));
  return wanted;
}

Json next_json(std::uint32_t next) {
  return next == 0 ? Json() : Json(next);
}

}  // namespace

Result<Json> list_flows(const FlowTable& table, const Json& params, std::uint32_t now_s) {
  std::size_t limit = kMaxLimit;
  ObjectReader r(params, "params");
  r.optional_in("limit", limit, 1, kMaxLimit);
  PODWIRE_TRY(const auto wanted, read_wanted(r));
  Json flows = Json::array();
  const auto next = table.scan(
      wanted.after, kMaxLooked, [&](std::uint32_t id, const FlowView& original, const FlowView& reply) {
        if (wanted.filter.matches(original, reply))
          flows.push_back(flow_json(id, table.owner_of({id * 2, 0}), original, reply, now_s));
        return flows.size() < limit;
      });
  return Json{{"flows", std::move(flows)}, {"next_after_id", next_json(next)}};
}

Result<Json> flush_flows(FlowTable& table, const Json& params) {
  bool all = false;
  ObjectReader r(params, "params");
  r.optional("all", all);
  PODWIRE_TRY(const auto wanted, read_wanted(r));
  if (all && !wanted.filter.empty()) return invalid("params has all and filters; it takes one or the other");
  if (!all && wanted.filter.empty()) {
    return invalid(
        "params names no connections; give domain, addresses, protocol, port or state, or {\"all\": true}");
  }
  std::uint64_t flushed = 0;
  const auto next = table.scan(wanted.after, kMaxLooked,
                               [&](std::uint32_t, const FlowView& original, const FlowView& reply) {
                                 // By its key: the entry may be another's by now.
                                 if (wanted.filter.matches(original, reply))
                                   flushed += table.remove(table.find(original.key)) ? 1 : 0;
                                 return true;
                               });
  return Json{{"flushed", flushed}, {"next_after_id", next_json(next)}};
}

}  // namespace podwire::engine
