// Be<T>: an unsigned integer in network byte order, alignment 1, as it stands on the wire.
// Converted where it is used, never implicitly.
#pragma once

#include <bit>
#include <concepts>
#include <cstdint>
#include <cstring>

namespace podwire {

template <std::unsigned_integral T>
constexpr T byte_swap(T value) {
  if constexpr (sizeof(T) == 1) return value;
  if constexpr (sizeof(T) == 2) return __builtin_bswap16(value);
  if constexpr (sizeof(T) == 4) return __builtin_bswap32(value);
  if constexpr (sizeof(T) == 8) return __builtin_bswap64(value);
}

static_assert(std::endian::native == std::endian::little, "Podwire runs on little-endian machines only");

template <std::unsigned_integral T>
class Be {
 public:
  constexpr Be() = default;
  constexpr explicit Be(T host) : bytes_(std::bit_cast<Bytes>(byte_swap(host))) {}
  // The value in host byte order.
  constexpr T host() const { return byte_swap(raw()); }
  // The value as stored (for comparisons and checksum sums, which do not care about byte order).
  constexpr T raw() const { return std::bit_cast<T>(bytes_); }
  static constexpr Be from_raw(T raw) {
    Be be;
    be.bytes_ = std::bit_cast<Bytes>(raw);
    return be;
  }
  friend constexpr bool operator==(const Be& a, const Be& b) { return a.raw() == b.raw(); }

 private:
  struct Bytes {
    unsigned char at[sizeof(T)];
  };
  Bytes bytes_{};
};

using Be16 = Be<std::uint16_t>;
using Be32 = Be<std::uint32_t>;
using Be64 = Be<std::uint64_t>;
static_assert(sizeof(Be32) == 4 && alignof(Be32) == 1);

}  // namespace podwire
