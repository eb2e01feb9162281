// What the programmer shows: objects, learned MACs, neighbours, descriptors. Replies are single lines, so
// everything that can be long is limited.
#include "dataplane/tables/programmer_state.hpp"

namespace podwire::engine {
namespace {

constexpr std::size_t kMaxReplyBytes = 768u << 10;  // a line has 1 MiB
constexpr std::size_t kMaxEntries = 6000;

const std::vector<std::string> kNouns{"ports",  "vteps",    "domains", "endpoints",
                                      "routes", "services", "policies"};
enum class Noun { kPorts, kVteps, kDomains, kEndpoints, kRoutes, kServices, kPolicies };

// The objects with ids above `after`, at most `limit` and as many as fit a reply.
template <class Id, class T>
Json page(const std::map<Id, T>& objects, std::uint64_t after, std::size_t limit) {
  Json list = Json::array();
  Json next = nullptr;
  std::size_t bytes = 0;
  const bool beyond = after > std::numeric_limits<typename Id::Value>::max();
  auto it = beyond ? objects.end() : objects.upper_bound(Id(static_cast<typename Id::Value>(after)));
  for (; it != objects.end(); ++it) {
    auto object = api::to_json(it->second);
    bytes += object.dump().size() + 1;
    // One that came in a line fits one by itself.
    if (list.size() == limit || (bytes > kMaxReplyBytes && !list.empty())) {
      next = std::prev(it)->first.value();
      break;
    }
    list.push_back(std::move(object));
  }
  return {{"objects", std::move(list)}, {"next_after_id", std::move(next)}};
}

}  // namespace

Result<Json> Programmer::State::dump(const Json& params) const {
  ObjectReader r(params, "params");
  Noun noun{};
  std::uint64_t after = 0;
  std::size_t limit = 500;
  const bool given = r.choice("noun", noun, kNouns);
  r.optional_in("after_id", after, 0, std::numeric_limits<std::uint32_t>::max());
  r.optional_in("limit", limit, 1, 1000);
  PODWIRE_CHECK(r.finish());
  if (!given) {
    return invalid(
        "params.noun is missing; it is one of ports, vteps, domains, endpoints, routes, services, "
        "policies");
  }
  switch (noun) {
    case Noun::kPorts:
      return page(intent_.ports(), after, limit);
    case Noun::kVteps:
      return page(intent_.vteps(), after, limit);
    case Noun::kDomains:
      return page(intent_.domains(), after, limit);
    case Noun::kEndpoints:
      return page(intent_.endpoints(), after, limit);
    case Noun::kRoutes:
      return page(intent_.routes(), after, limit);
    case Noun::kServices:
      return page(intent_.services(), after, limit);
    case Noun::kPolicies:
      return page(intent_.policies(), after, limit);
  }
  return Error{ErrorCode::kInternal, "unknown noun"};
}

Result<Json> Programmer::State::fdb(const Json& params, std::uint64_t now_ms) const {
  ObjectReader r(params, "params");
  DomainId only;
  const bool one = r.optional("domain", only);
  PODWIRE_CHECK(r.finish());
  if (one && intent_.domain(only) == nullptr) {
    return not_found("params.domain is " + std::to_string(only.value()) +
                     ", which does not exist; see dump of domains");
  }
  Json entries = Json::array();
  const auto& learned = forwarding_.learned();
  std::size_t total = 0;
  for (const auto& [id, domain] : intent_.domains()) {
    if (one && id != only) continue;
    for (const auto& entry : learned.in(id)) {
      if (++total > kMaxEntries) continue;
      Json j{{"domain", id.value()}, {"mac", to_string(entry.mac)}};
      if (entry.port) {
        j["port"] = entry.port.value();
      } else {
        const auto& vtep = environment_.publisher->current_for_main()->vteps;
        const bool known = entry.vtep < vtep.size();
        if (known && vtep[entry.vtep].id) j["vtep"] = vtep[entry.vtep].id.value();
        if (known && !vtep[entry.vtep].id)
          j["address"] = to_string(vtep[entry.vtep].address);  // no configured peer
      }
      j["age_s"] = (now_ms - entry.seen_ms) / 1000;
      entries.push_back(std::move(j));
    }
  }
  return Json{{"entries", std::move(entries)}, {"total", total}, {"truncated", total > kMaxEntries}};
}

Result<Json> Programmer::State::neighbors(const Json& params, std::uint64_t now_ms) const {
  ObjectReader r(params, "params");
  PODWIRE_CHECK(r.finish());
  Json list = Json::array();
  const auto& all = underlay_.neighbors().all();
  for (const auto& [key, neighbor] : all) {
    if (list.size() == kMaxEntries) break;
    list.push_back({{"port", key.port.value()},
                    {"address", to_string(key.address)},
                    {"mac", neighbor.known() ? Json(to_string(neighbor.mac)) : Json(nullptr)},
                    {"state", name_of(neighbor.state)},
                    {"age_s", (now_ms - neighbor.confirmed_ms) / 1000},
                    {"parked", parking_.waiting(key)}});
  }
  return Json{{"neighbors", std::move(list)}, {"total", all.size()}, {"truncated", all.size() > kMaxEntries}};
}

Result<std::vector<UniqueFd>> Programmer::State::port_descriptors(PortId id) const {
  const auto* port = intent_.port(id);
  if (port == nullptr)
    return not_found("port " + std::to_string(id.value()) + " does not exist; see dump of ports");
  if (port->kind != api::PortKind::kTap) {
    return Error{ErrorCode::kUnsupported, label(*port) + " is " +
                                              api::kPortKindNames[static_cast<std::size_t>(port->kind)] +
                                              "; only tap ports have descriptors to give"};
  }
  return duplicate_queues(*port, *devices_.at(id));
}

ObjectCounts Programmer::State::counts() const {
  return {intent_.ports().size(),     intent_.vteps().size(),       intent_.domains().size(),
          intent_.endpoints().size(), intent_.routes().size(),      intent_.services().size(),
          intent_.policies().size(),  underlay_.neighbors().size(), forwarding_.learned().size()};
}

}  // namespace podwire::engine
