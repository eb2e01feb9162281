// MAC and IP addresses as values: stored in wire byte order, trivially copyable, alignment 1, so that they
// may stand in wire headers. Parsing and formatting are in addresses.cpp.
#pragma once

#include <array>
#include <bit>
#include <compare>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <type_traits>

#include "dataplane/base/result.hpp"

namespace podwire {

struct MacAddr {
  std::array<std::uint8_t, 6> bytes{};

  friend constexpr auto operator<=>(const MacAddr&, const MacAddr&) = default;
  // The compiler calls memcmp for the default; workers compare addresses for every packet.
  friend constexpr bool operator==(const MacAddr& a, const MacAddr& b) {
    if (std::is_constant_evaluated()) return a.to_u64() == b.to_u64();
    return a.as_it_lies() == b.as_it_lies();
  }
  constexpr bool is_zero() const { return *this == MacAddr{}; }
  constexpr bool is_multicast() const { return (bytes[0] & 1) != 0; }  // broadcast included
  constexpr bool is_broadcast() const { return *this == MacAddr{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}; }
  // The six bytes as a 48-bit number, first byte most significant.
  constexpr std::uint64_t to_u64() const {
    if (!std::is_constant_evaluated()) {
      static_assert(std::endian::native == std::endian::little);
      std::uint32_t first;
      std::uint16_t last;
      std::memcpy(&first, bytes.data(), sizeof first);
      std::memcpy(&last, bytes.data() + sizeof first, sizeof last);
      return std::uint64_t{__builtin_bswap32(first)} << 16 | __builtin_bswap16(last);
    }
    std::uint64_t v = 0;
    for (auto b : bytes) v = v << 8 | b;
    return v;
  }
  std::uint64_t as_it_lies() const {
    std::uint32_t first;
    std::uint16_t last;
    std::memcpy(&first, bytes.data(), sizeof first);
    std::memcpy(&last, bytes.data() + sizeof first, sizeof last);
    return std::uint64_t{last} << 32 | first;
  }
  static constexpr MacAddr from_u64(std::uint64_t v) {
    MacAddr m;
    for (int i = 5; i >= 0; --i, v >>= 8) m.bytes[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(v);
    return m;
  }
};
static_assert(sizeof(MacAddr) == 6 && alignof(MacAddr) == 1);

struct Ipv4 {
  std::array<std::uint8_t, 4> bytes{};

  friend constexpr auto operator<=>(const Ipv4&, const Ipv4&) = default;
  friend constexpr bool operator==(const Ipv4& a, const Ipv4& b) { return a.to_u32() == b.to_u32(); }
  constexpr bool is_zero() const { return *this == Ipv4{}; }
  constexpr bool is_multicast() const { return (bytes[0] & 0xf0) == 0xe0; }
  constexpr bool is_broadcast() const { return *this == Ipv4{{255, 255, 255, 255}}; }
  constexpr bool is_loopback() const { return bytes[0] == 127; }
  constexpr std::uint32_t to_u32() const {  // host byte order
    return std::uint32_t{bytes[0]} << 24 | std::uint32_t{bytes[1]} << 16 | std::uint32_t{bytes[2]} << 8 |
           bytes[3];
  }
  static constexpr Ipv4 from_u32(std::uint32_t v) {
    return {{static_cast<std::uint8_t>(v >> 24), static_cast<std::uint8_t>(v >> 16),
             static_cast<std::uint8_t>(v >> 8), static_cast<std::uint8_t>(v)}};
  }
};
static_assert(sizeof(Ipv4) == 4 && alignof(Ipv4) == 1);

struct Ipv6 {
  std::array<std::uint8_t, 16> bytes{};

  friend constexpr auto operator<=>(const Ipv6&, const Ipv6&) = default;
  friend constexpr bool operator==(const Ipv6& a, const Ipv6& b) {
    using Words = std::array<std::uint64_t, 2>;
    const auto x = std::bit_cast<Words>(a.bytes), y = std::bit_cast<Words>(b.bytes);
    return ((x[0] ^ y[0]) | (x[1] ^ y[1])) == 0;
  }
  constexpr bool is_zero() const { return *this == Ipv6{}; }
  constexpr bool is_multicast() const { return bytes[0] == 0xff; }
  constexpr bool is_link_local() const { return bytes[0] == 0xfe && (bytes[1] & 0xc0) == 0x80; }
  constexpr bool is_loopback() const {
    Ipv6 one;
    one.bytes[15] = 1;
    return *this == one;
  }
  // fe80::/64 with the modified EUI-64 of `mac` (RFC 4291 appendix A).
  static Ipv6 link_local_of(const MacAddr& mac);
  // ff02::1:ffXX:XXXX for this address (RFC 4291 section 2.7.1).
  Ipv6 solicited_node() const;
};
static_assert(sizeof(Ipv6) == 16 && alignof(Ipv6) == 1);

// An address of either family.
class IpAddr {
 public:
  constexpr IpAddr() = default;  // 0.0.0.0
  constexpr explicit IpAddr(Ipv4 v4) : v4_(true) {
    for (std::size_t i = 0; i < 4; ++i) bytes_[i] = v4.bytes[i];
  }
  constexpr explicit IpAddr(Ipv6 v6) : bytes_(v6.bytes), v4_(false) {}

  constexpr bool is_v4() const { return v4_; }
  constexpr bool is_v6() const { return !v4_; }
  constexpr Ipv4 v4() const { return {{bytes_[0], bytes_[1], bytes_[2], bytes_[3]}}; }  // only when is_v4()
  constexpr Ipv6 v6() const { return {bytes_}; }                                        // only when is_v6()
  constexpr int bits() const { return v4_ ? 32 : 128; }
  // The 4 or 16 bytes in wire order; the rest of the array is zero.
  constexpr const std::array<std::uint8_t, 16>& bytes() const { return bytes_; }
  constexpr bool is_zero() const { return v4_ ? v4().is_zero() : v6().is_zero(); }
  constexpr bool is_multicast() const { return v4_ ? v4().is_multicast() : v6().is_multicast(); }
  friend constexpr auto operator<=>(const IpAddr&, const IpAddr&) = default;
  friend constexpr bool operator==(const IpAddr& a, const IpAddr& b) {
    return a.v4_ == b.v4_ && Ipv6{a.bytes_} == Ipv6{b.bytes_};
  }

 private:
  std::array<std::uint8_t, 16> bytes_{};
  bool v4_ = true;
};

// Address with a prefix length. As an interface address the host bits count; as a network use network().
struct IpPrefix {
  IpAddr address;
  int length = 0;  // 0..32 or 0..128

  friend constexpr auto operator<=>(const IpPrefix&, const IpPrefix&) = default;
  IpPrefix network() const;  // host bits cleared
  bool contains(const IpAddr& other) const;
  bool overlaps(const IpPrefix& other) const;
};

// All parsers take the whole text or fail; the error quotes the text and says what was expected.
Result<MacAddr> parse_mac(std::string_view text);      // "02:00:00:00:00:01"
Result<Ipv4> parse_ipv4(std::string_view text);        // dotted quad
Result<Ipv6> parse_ipv6(std::string_view text);        // RFC 4291, no zone
Result<IpAddr> parse_ip(std::string_view text);        // either
Result<IpPrefix> parse_prefix(std::string_view text);  // "10.0.0.1/24"; the length is required

std::string to_string(const MacAddr&);
std::string to_string(const Ipv4&);
std::string to_string(const Ipv6&);  // RFC 5952
std::string to_string(const IpAddr&);
std::string to_string(const IpPrefix&);

}  // namespace podwire
