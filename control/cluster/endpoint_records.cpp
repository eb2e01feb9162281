#include "control/cluster/endpoint_records.hpp"

#include <algorithm>
#include <charconv>
#include <set>

#include "dataplane/base/json.hpp"

namespace podwire::control {
namespace {

constexpr std::size_t kMostRecordBytes = 8192;
constexpr std::size_t kMostRecordAddresses = 64;
constexpr std::size_t kLongestText = 253;

}  // namespace

std::string to_value(const EndpointRecord& record) {
  Json json{{"domain", record.domain}, {"mac", to_string(record.mac)}, {"addresses", Json::array()}};
  for (const auto& address : record.addresses) json["addresses"].push_back(to_string(address));
  if (!record.pod_name.empty()) {
    json["namespace"] = record.pod_namespace;
    json["pod"] = record.pod_name;
  }
  return json.dump();
}

Result<EndpointRecord> parse_endpoint_record(const std::string& value) {
  if (value.size() > kMostRecordBytes)
    return invalid("it has " + std::to_string(value.size()) + " bytes, at most " +
                   std::to_string(kMostRecordBytes) + " are read");
  PODWIRE_TRY(const Json json, parse_json(value, "its value"));
  EndpointRecord record;
  ObjectReader r(json, "its value");
  r.required("domain", record.domain);
  r.required("mac", record.mac);
  r.required("addresses", record.addresses);
  r.optional("namespace", record.pod_namespace);
  r.optional("pod", record.pod_name);
  r.ignore_unknown();  // of newer versions
  PODWIRE_CHECK(r.finish());
  if (record.mac.is_zero() || record.mac.is_multicast())
    return invalid("its MAC " + to_string(record.mac) + " is none of an interface");
  if (record.addresses.size() > kMostRecordAddresses)
    return invalid("it has " + std::to_string(record.addresses.size()) + " addresses, at most " +
                   std::to_string(kMostRecordAddresses) + " are read");
  const std::set<IpAddr> distinct(record.addresses.begin(), record.addresses.end());
  const auto unusable = [](const IpAddr& address) { return address.is_zero() || address.is_multicast(); };
  if (distinct.size() != record.addresses.size() || std::any_of(distinct.begin(), distinct.end(), unusable))
    return invalid("its addresses are not unicast ones, each once");
  for (const auto& text : {record.domain, record.pod_namespace, record.pod_name}) {
    if (text.size() > kLongestText)
      return invalid("a name in it is longer than " + std::to_string(kLongestText));
  }
  if (record.pod_namespace.empty() != record.pod_name.empty())
    return invalid("it has one of namespace and pod, not both");
  return record;
}

std::string to_text(const EndpointPlace& place) {
  return place.node + "/" + std::to_string(place.number);
}

std::optional<EndpointPlace> parse_endpoint_place(const std::string& text) {
  const auto slash = text.find('/');
  const bool plain = std::all_of(text.begin(), text.end(), [](char c) { return c > ' ' && c < 0x7f; });
  if (slash == text.npos || slash == 0 || !plain) return std::nullopt;
  // An endpoint has one key, not several spellings of it.
  if (text.find_first_of("123456789", slash) != slash + 1) return std::nullopt;
  EndpointPlace place{text.substr(0, slash), 0};
  const char* const end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data() + slash + 1, end, place.number);
  const bool number = error == std::errc{} && stop == end && place.number <= kLastEndpointNumber;
  return number ? std::optional<EndpointPlace>(std::move(place)) : std::nullopt;
}

}  // namespace podwire::control
