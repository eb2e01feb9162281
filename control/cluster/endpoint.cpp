#include "control/cluster/endpoint.hpp"

#include <algorithm>
#include <charconv>

#include "dataplane/base/addresses.hpp"

namespace podwire::control {
namespace {

Error bad(std::string_view text, const char* why) {
  return invalid(
      "\"" + std::string(text.substr(0, 128)) + "\" " + why +
      "; an endpoint is http://HOST:PORT or https://HOST:PORT, such as https://etcd-1.example:2379");
}

bool is_name(std::string_view host) {
  return !host.empty() && host.size() <= 253 && std::all_of(host.begin(), host.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' ||
           c == '.' || c == '_';
  });
}

}  // namespace

Result<StoreEndpoint> parse_endpoint(std::string_view text) {
  StoreEndpoint out;
  out.text = text;
  auto rest = text;
  if (rest.starts_with("https://")) {
    out.tls = true;
    rest.remove_prefix(8);
  } else if (rest.starts_with("http://")) {
    rest.remove_prefix(7);
  } else {
    return bad(text, "does not begin with http:// or https://");
  }
  if (rest.ends_with('/')) rest.remove_suffix(1);
  std::string_view port;
  if (rest.starts_with('[')) {
    const auto end = rest.find(']');
    if (end == rest.npos || !parse_ipv6(rest.substr(1, end - 1)))
      return bad(text, "has no IPv6 address in its brackets");
    out.host = rest.substr(1, end - 1);
    port = rest.substr(end + 1);
  } else {
    const auto colon = rest.find(':');
    out.host = rest.substr(0, colon);
    port = colon == rest.npos ? std::string_view() : rest.substr(colon);
    if (!is_name(out.host)) return bad(text, "names no host");
  }
  if (port.empty()) return out;
  const auto [end, error] = std::from_chars(port.data() + 1, port.data() + port.size(), out.port);
  if (port.front() == ':' && error == std::errc{} && end == port.data() + port.size() && out.port != 0)
    return out;
  return bad(text, "has no port from 1 to 65535 after the colon");
}

}  // namespace podwire::control
