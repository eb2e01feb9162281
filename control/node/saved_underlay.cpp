#include "control/node/saved_underlay.hpp"

namespace podwire::control {
namespace {

constexpr const char* kFact = "underlay";

Json to_json(const netlink::Address& a) {
  return {{"address", to_string(a.prefix)}, {"scope", a.scope}, {"noprefixroute", a.noprefixroute}};
}

Json to_json(const netlink::Route& r) {
  Json j{{"destination", to_string(r.destination)},
         {"metric", r.metric},
         {"protocol", r.protocol},
         {"scope", r.scope},
         {"mtu", r.mtu},
         {"onlink", r.onlink}};
  if (r.gateway) j["gateway"] = to_string(*r.gateway);
  if (r.source) j["source"] = to_string(*r.source);
  return j;
}

Result<netlink::Address> read_address(const Json& value) {
  netlink::Address a;
  ObjectReader r(value, "address");
  r.required("address", a.prefix);
  r.required("scope", a.scope);
  r.required("noprefixroute", a.noprefixroute);
  PODWIRE_CHECK(r.finish());
  return a;
}

Result<netlink::Route> read_route(const Json& value) {
  netlink::Route route;
  ObjectReader r(value, "route");
  r.required("destination", route.destination);
  r.optional("gateway", route.gateway);
  r.optional("source", route.source);
  r.required("metric", route.metric);
  r.required("protocol", route.protocol);
  r.required("scope", route.scope);
  r.required("mtu", route.mtu);
  r.required("onlink", route.onlink);
  PODWIRE_CHECK(r.finish());
  return route;
}

template <class T>
Result<void> read_all(const Json& array, Result<T> (*read)(const Json&), std::vector<T>& out) {
  for (const auto& entry : array) {
    PODWIRE_TRY(T value, read(entry));
    out.push_back(std::move(value));
  }
  return {};
}

}  // namespace

Json to_json(const SavedUnderlay& s) {
  Json addresses = Json::array();
  Json routes = Json::array();
  for (const auto& a : s.addresses) addresses.push_back(to_json(a));
  for (const auto& r : s.routes) routes.push_back(to_json(r));
  return {{"device", s.device}, {"host_interface", s.host_interface}, {"mac", to_string(s.mac)},
          {"mtu", s.mtu},       {"disable_ipv6", s.disable_ipv6},     {"addresses", addresses},
          {"routes", routes}};
}

Result<SavedUnderlay> read_saved_underlay(const Json& value) {
  SavedUnderlay s;
  Json addresses = Json::array();
  Json routes = Json::array();
  ObjectReader r(value, "saved underlay");
  r.required("device", s.device);
  r.required("host_interface", s.host_interface);
  r.required("mac", s.mac);
  r.required("mtu", s.mtu);
  r.required("disable_ipv6", s.disable_ipv6);
  r.required("addresses", addresses);
  r.required("routes", routes);
  PODWIRE_CHECK(r.finish());
  PODWIRE_CHECK(read_all(addresses, read_address, s.addresses));
  PODWIRE_CHECK(read_all(routes, read_route, s.routes));
  return s;
}

Result<std::optional<SavedUnderlay>> load_saved_underlay(Store& store) {
  PODWIRE_TRY(const auto text, store.get_fact(kFact));
  if (!text) return std::optional<SavedUnderlay>();
  PODWIRE_TRY(const Json json, parse_json(*text, "the store's fact \"underlay\""));
  PODWIRE_TRY(auto saved, read_saved_underlay(json));
  return std::optional<SavedUnderlay>(std::move(saved));
}

Result<void> store_saved_underlay(Store& store, const std::optional<SavedUnderlay>& saved) {
  return store.set_fact(kFact, saved ? std::optional<std::string>(to_json(*saved).dump()) : std::nullopt);
}

}  // namespace podwire::control
