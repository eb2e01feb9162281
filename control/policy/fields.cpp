#include "control/policy/fields.hpp"

#include <algorithm>

namespace podwire::control {
namespace {

const std::vector<std::string> kProtocols{"TCP", "UDP", "SCTP"};

bool is_port_name(std::string_view name) {
  const auto is_letter = [](char c) { return c >= 'a' && c <= 'z'; };
  const auto allowed = [&](char c) { return is_letter(c) || (c >= '0' && c <= '9') || c == '-'; };
  return !name.empty() && name.size() <= 15 && std::all_of(name.begin(), name.end(), allowed) &&
         std::any_of(name.begin(), name.end(), is_letter) && name.front() != '-' && name.back() != '-' &&
         name.find("--") == name.npos;
}

}  // namespace

const Json* member(const Json& object, const char* key) {
  const auto at = object.find(key);
  return at == object.end() || at->is_null() ? nullptr : &*at;
}

Result<api::RuleProtocol> read_protocol(const Json& value, const std::string& path) {
  std::string text;
  PODWIRE_CHECK(podwire::read_value(value, path, text));
  if (text == "TCP") return api::RuleProtocol::kTcp;
  if (text == "UDP") return api::RuleProtocol::kUdp;
  if (text == "SCTP") return api::RuleProtocol::kSctp;
  const auto near = closest_match(text, kProtocols);
  return invalid(path + " is \"" + text.substr(0, 64) + "\", must be TCP, UDP or SCTP" +
                 (near.empty() ? "" : "; did you mean \"" + near + "\"?"));
}

Result<void> check_port_name(const std::string& path, const std::string& name) {
  if (is_port_name(name)) return {};
  return invalid(
      path + " is \"" + name.substr(0, 64) +
      "\", which is no port's name: 1 to 15 lower-case letters, digits and single -, with a letter; a "
      "number stands without quotes");
}

}  // namespace podwire::control
