#include "dataplane/base/addresses.hpp"

#include <arpa/inet.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

namespace podwire {

Error errno_error(std::string what) {
  const int saved = errno;
  return {ErrorCode::kIo, std::move(what) + ": " + std::strerror(saved)};
}

namespace {

Error bad(std::string_view text, const char* expected) {
  return invalid("\"" + std::string(text.substr(0, 64)) + "\" is not " + expected);
}

template <class Address>
bool presentation(int family, std::string_view text, Address& out) {
  char buffer[INET6_ADDRSTRLEN + 1];
  if (text.empty() || text.size() >= sizeof buffer || text.find('\0') != text.npos) return false;
  std::copy(text.begin(), text.end(), buffer);
  buffer[text.size()] = 0;
  return inet_pton(family, buffer, out.bytes.data()) == 1;
}

bool same_bits(const IpAddr& a, const IpAddr& b, int length) {
  for (int i = 0; i < length; i += 8) {
    const int keep = std::min(8, length - i);
    const auto mask = static_cast<std::uint8_t>(0xff << (8 - keep));
    const auto at = static_cast<std::size_t>(i / 8);
    if ((a.bytes()[at] & mask) != (b.bytes()[at] & mask)) return false;
  }
  return true;
}

}  // namespace

Ipv6 Ipv6::link_local_of(const MacAddr& mac) {
  const auto& m = mac.bytes;
  Ipv6 a;
  a.bytes = {0xfe, 0x80, 0,    0,    0,    0,    0,   0, static_cast<std::uint8_t>(m[0] ^ 2),
             m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]};
  return a;
}

Ipv6 Ipv6::solicited_node() const {
  Ipv6 a;
  a.bytes = {0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, bytes[13], bytes[14], bytes[15]};
  return a;
}

IpPrefix IpPrefix::network() const {
  auto bytes = address.bytes();
  const int total = address.bits();
  for (int bit = length; bit < total; ++bit) {
    bytes[static_cast<std::size_t>(bit / 8)] &= static_cast<std::uint8_t>(~(0x80 >> (bit % 8)));
  }
  if (address.is_v4()) return {IpAddr(Ipv4{{bytes[0], bytes[1], bytes[2], bytes[3]}}), length};
  return {IpAddr(Ipv6{bytes}), length};
}

bool IpPrefix::contains(const IpAddr& other) const {
  return other.is_v4() == address.is_v4() && same_bits(address, other, length);
}

bool IpPrefix::overlaps(const IpPrefix& other) const {
  return other.address.is_v4() == address.is_v4() &&
         same_bits(address, other.address, std::min(length, other.length));
}

Result<MacAddr> parse_mac(std::string_view text) {
  const char* const expected = "a MAC address such as 02:00:00:00:00:01";
  if (text.size() != 17) return bad(text, expected);
  MacAddr mac;
  for (std::size_t i = 0; i < 6; ++i) {
    const char* const at = text.data() + i * 3;
    const auto [end, err] = std::from_chars(at, at + 2, mac.bytes[i], 16);
    if (err != std::errc{} || end != at + 2 || (i < 5 && at[2] != ':')) return bad(text, expected);
  }
  return mac;
}

Result<Ipv4> parse_ipv4(std::string_view text) {
  Ipv4 a;
  if (!presentation(AF_INET, text, a)) return bad(text, "an IPv4 address such as 10.244.1.5");
  return a;
}

Result<Ipv6> parse_ipv6(std::string_view text) {
  Ipv6 a;
  if (!presentation(AF_INET6, text, a)) return bad(text, "an IPv6 address such as fd00:10:244::5");
  return a;
}

Result<IpAddr> parse_ip(std::string_view text) {
  Ipv4 v4;
  if (presentation(AF_INET, text, v4)) return IpAddr(v4);
  Ipv6 v6;
  if (presentation(AF_INET6, text, v6)) return IpAddr(v6);
  return bad(text, "an IP address such as 10.244.1.5 or fd00:10:244::5");
}

Result<IpPrefix> parse_prefix(std::string_view text) {
  const char* const expected = "an address with a prefix length such as 10.244.1.0/24 or fd00:10:244:1::/64";
  const auto slash = text.find('/');
  if (slash == text.npos) return bad(text, expected);
  auto address = parse_ip(text.substr(0, slash));
  if (!address) return bad(text, expected);
  const auto digits = text.substr(slash + 1);
  int length = -1;
  const auto [end, err] = std::from_chars(digits.data(), digits.data() + digits.size(), length);
  if (err != std::errc{} || end != digits.data() + digits.size() || length < 0 || length > address->bits()) {
    return bad(text, expected);
  }
  return IpPrefix{*address, length};
}

std::string to_string(const MacAddr& mac) {
  char text[18];
  const auto& b = mac.bytes;
  std::snprintf(text, sizeof text, "%02x:%02x:%02x:%02x:%02x:%02x", b[0], b[1], b[2], b[3], b[4], b[5]);
  return text;
}

std::string to_string(const Ipv4& a) {
  char text[INET_ADDRSTRLEN];
  return inet_ntop(AF_INET, a.bytes.data(), text, sizeof text);
}

std::string to_string(const Ipv6& a) {
  char text[INET6_ADDRSTRLEN];
  return inet_ntop(AF_INET6, a.bytes.data(), text, sizeof text);
}

std::string to_string(const IpAddr& a) {
  return a.is_v4() ? to_string(a.v4()) : to_string(a.v6());
}

std::string to_string(const IpPrefix& p) {
  return to_string(p.address) + "/" + std::to_string(p.length);
}

}  // namespace podwire
