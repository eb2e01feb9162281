// What a node tells the others of its endpoints, below cluster.prefix:
//   endpoints/NODE/ID   {"domain": "...", "mac": "...", "addresses": [...], "namespace": "...", "pod": "..."}
// ID is the endpoint's on its node, 1 to 65535. namespace and pod are left out where they are not known,
// addresses that are not out of the node's own prefixes always. What is read was written by anybody. Pure.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "dataplane/base/addresses.hpp"
#include "dataplane/base/result.hpp"

namespace podwire::control {

struct EndpointRecord {
  std::string domain;
  MacAddr mac;
  std::vector<IpAddr> addresses;
  std::string pod_namespace, pod_name;  // both or none
  bool operator==(const EndpointRecord&) const = default;
};

std::string to_value(const EndpointRecord& record);
Result<EndpointRecord> parse_endpoint_record(const std::string& value);

inline constexpr const char* kEndpointSection = "endpoints/";
inline constexpr std::uint32_t kLastEndpointNumber = 65535;

// "NODE/ID", of a key without what is before it. None: it is no such key.
struct EndpointPlace {
  std::string node;
  std::uint32_t number = 0;
  auto operator<=>(const EndpointPlace&) const = default;
};
std::string to_text(const EndpointPlace& place);
std::optional<EndpointPlace> parse_endpoint_place(const std::string& text);

}  // namespace podwire::control
