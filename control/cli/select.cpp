#include "control/cli/select.hpp"

#include <algorithm>
#include <set>

#include "control/cli/text.hpp"
#include "dataplane/base/addresses.hpp"

namespace podwire::control::cli {
namespace {

constexpr std::size_t kShortIdLength =
    12;  // container ids are accepted from this length on, as tables show them

// The field that an object of this verb is called by.
const char* name_field(const Verb& verb) {
  return verb.name == "route" ? "prefix" : "name";
}

std::string text_at(const Json& object, const char* key) {
  if (!object.is_object()) return "";
  const auto at = object.find(key);
  if (at == object.end()) return "";
  if (at->is_string()) return at->get_ref<const std::string&>();
  return at->is_number_integer() ? at->dump() : "";
}

const Json& child_of(const Json& object, const char* key) {
  static const Json kNothing;
  if (!object.is_object()) return kNothing;
  const auto at = object.find(key);
  return at == object.end() ? kNothing : *at;
}

bool array_holds(const Json& array, const std::string& word) {
  if (!array.is_array()) return false;
  return std::any_of(array.begin(), array.end(), [&](const Json& element) {
    return element.is_string() && element.get_ref<const std::string&>() == word;
  });
}

bool is_container(const Json& holder, const std::string& word) {
  const auto id = text_at(holder, "container_id");
  return !id.empty() && (id == word || (word.size() >= kShortIdLength && id.starts_with(word)));
}

bool is_pod(const Json& holder, const std::string& word) {
  const auto name = text_at(holder, "pod_name");
  return !name.empty() && (name == word || text_at(holder, "pod_namespace") + "/" + name == word);
}

bool matches_port(const Json& port, const std::string& word) {
  const auto& attachment = child_of(port, "attachment");
  return text_at(port, "id") == word || is_container(attachment, word) || is_pod(attachment, word);
}

bool matches_endpoint(const Json& endpoint, const std::string& word) {
  const auto pod = text_at(endpoint, "pod");
  const bool pod_named = pod == word || (pod.size() > word.size() && pod.ends_with("/" + word));
  const auto address = parse_ip(word);
  return text_at(endpoint, "id") == word || text_at(endpoint, "mac") == word || pod_named ||
         is_container(endpoint, word) || is_pod(child_of(endpoint, "pod"), word) ||
         (address && array_holds(child_of(endpoint, "addresses"), to_string(*address)));
}

bool matches_otherwise(const Verb& verb, const Json& object, const std::string& word) {
  if (verb.name == "port") return matches_port(object, word);
  if (verb.name == "endpoint") return matches_endpoint(object, word);
  if (verb.name == "domain") return text_at(object, "id") == word || text_at(object, "vni") == word;
  if (verb.name == "peer") return text_at(object, "address") == word;
  return false;
}

Result<const Json*> list_of(const Verb& verb, const Json& reply) {
  if (!reply.is_object()) return invalid("the reply must be an object, not " + json_type_name(reply));
  const auto at = reply.find(verb.list_key);
  if (at == reply.end()) return invalid(verb.list_key + " is missing");
  if (!at->is_array()) return invalid(verb.list_key + " must be an array, not " + json_type_name(*at));
  return &*at;
}

Json with_list(const Verb& verb, const Json& reply, Json list) {
  Json out = reply;
  out[verb.list_key] = std::move(list);
  return out;
}

Error no_such(const std::string& what, const std::string& word, const std::vector<std::string>& known,
              const std::string& look) {
  const auto near = closest_match(word, known);
  return not_found("there is no " + what + " \"" + word + "\"" +
                   (near.empty() ? "; see: " + look : "; did you mean \"" + printable(near) + "\"?"));
}

// Routes of exactly this prefix, or those that cover this address with the longest first.
Json matching_routes(const Json& list, const std::string& word) {
  std::vector<std::pair<int, const Json*>> found;
  const auto prefix = parse_prefix(word);
  const auto address = parse_ip(word);
  for (const auto& route : list) {
    const auto of_route = parse_prefix(text_at(route, "prefix"));
    if (!of_route) continue;
    const bool same = prefix && *of_route == prefix->network();
    if (same || (address && of_route->contains(*address))) found.emplace_back(of_route->length, &route);
  }
  std::stable_sort(found.begin(), found.end(),
                   [](const auto& a, const auto& b) { return a.first > b.first; });
  Json out = Json::array();
  for (const auto& [length, route] : found) out.push_back(*route);
  return out;
}

}  // namespace

Result<Json> select_named(const Verb& verb, const Json& reply, const std::string& word) {
  PODWIRE_TRY(const Json* list, list_of(verb, reply));
  Json found = Json::array();
  if (verb.name == "route") {
    if (!parse_prefix(word) && !parse_ip(word)) {
      return not_found("\"" + word +
                       "\" is neither a prefix nor an address, such as 10.244.2.0/24 or 10.244.2.17");
    }
    found = matching_routes(*list, word);
  } else {
    const char* field = name_field(verb);
    for (const auto& object : *list) {
      if (text_at(object, field) == word) found.push_back(object);
    }
    if (found.empty()) {
      for (const auto& object : *list) {
        if (matches_otherwise(verb, object, word)) found.push_back(object);
      }
    }
  }
  if (!found.empty()) return with_list(verb, reply, std::move(found));
  PODWIRE_TRY(const auto names, object_names(verb, reply));
  return no_such(verb.name, word, names, "podwirectl " + verb.name);
}

Result<Json> select_domain(const Verb& verb, const Json& reply, const std::string& domain) {
  PODWIRE_TRY(const Json* list, list_of(verb, reply));
  Json found = Json::array();
  std::vector<std::string> known;
  for (const auto& object : *list) {
    known.push_back(text_at(object, "domain"));
    if (known.back() == domain) found.push_back(object);
  }
  if (found.empty()) return no_such(verb.name + " in domain", domain, known, "podwirectl domain");
  return with_list(verb, reply, std::move(found));
}

Result<std::vector<std::string>> object_names(const Verb& verb, const Json& reply) {
  PODWIRE_TRY(const Json* list, list_of(verb, reply));
  std::vector<std::string> names;
  std::set<std::string> seen;
  for (const auto& object : *list) {
    auto name = text_at(object, name_field(verb));
    if (!name.empty() && seen.insert(name).second) names.push_back(std::move(name));
  }
  return names;
}

}  // namespace podwire::control::cli
