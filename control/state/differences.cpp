#include "control/state/differences.hpp"

#include <map>

namespace podwire::control {
namespace {

std::string title(const char* noun, std::uint32_t id, const std::string& name) {
  return std::string(noun) + " " + std::to_string(id) + " (" + name + ")";
}

std::string name_of(const api::Route& route) {
  return to_string(route.prefix);
}
template <class T>
std::string name_of(const T& object) {
  return object.name;
}

// What a port's device decides for itself when the desired value leaves it open is no difference.
api::Port normalized(api::Port port, const api::Port& desired) {
  port.descriptors = 0;
  if (desired.mac.is_zero()) port.mac = {};
  if (desired.mtu == 0) port.mtu = 0;
  return port;
}
template <class T>
const T& normalized(const T& object, const T&) {
  return object;
}

std::string differing_fields(const Json& desired, const Json& actual) {
  std::string fields;
  const auto add = [&](const std::string& key, const Json& wanted, const Json& found) {
    if (wanted == found) return;
    fields += (fields.empty() ? "" : ", ") + key + " is " + found.dump() + " instead of " + wanted.dump();
  };
  for (const auto& [key, value] : desired.items())
    add(key, value, actual.contains(key) ? actual[key] : Json());
  for (const auto& [key, value] : actual.items()) {
    if (!desired.contains(key)) add(key, Json(), value);
  }
  return fields;
}

template <class T>
void compare(const char* noun, const std::vector<T>& desired, const std::vector<T>& actual,
             std::vector<std::string>& out) {
  std::map<std::uint32_t, const T*> found;
  for (const auto& object : actual) found[object.id.value()] = &object;
  for (const auto& wanted : desired) {
    const auto at = found.find(wanted.id.value());
    const auto what = title(noun, wanted.id.value(), name_of(wanted));
    if (at == found.end()) {
      out.push_back("the engine lacks " + what + "; type: podwirectl reconcile");
      continue;
    }
    if (normalized(wanted, wanted) == normalized(*at->second, wanted)) {  // the usual case, without any text
      found.erase(at);
      continue;
    }
    const auto fields =
        differing_fields(to_json(normalized(wanted, wanted)), to_json(normalized(*at->second, wanted)));
    if (!fields.empty())
      out.push_back("the engine's " + what + " differs: " + fields + "; type: podwirectl reconcile");
    found.erase(at);
  }
  for (const auto& [id, extra] : found) {
    out.push_back("the engine has " + title(noun, id, name_of(*extra)) +
                  " which nobody asked for; type: podwirectl reconcile");
  }
}

}  // namespace

std::vector<std::string> compare_objects(const api::ObjectSet& desired, const api::ObjectSet& actual) {
  std::vector<std::string> out;
  compare("port", desired.ports, actual.ports, out);
  compare("vtep", desired.vteps, actual.vteps, out);
  compare("domain", desired.domains, actual.domains, out);
  compare("endpoint", desired.endpoints, actual.endpoints, out);
  compare("route", desired.routes, actual.routes, out);
  compare("policy", desired.policies, actual.policies, out);
  compare("service", desired.services, actual.services, out);
  return out;
}

}  // namespace podwire::control
