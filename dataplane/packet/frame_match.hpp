// FrameMatch: several fields of a frame compared at once. A pattern of 32 consecutive bytes with a mask is
// built once for a burst; a packet matches when the masked bytes are equal. Called by workers.
#pragma once

#ifdef __AVX2__
#include <immintrin.h>
#endif

#include <cstddef>
#include <cstdint>
#include <cstring>

namespace podwire::engine {

struct alignas(32) FrameMatch {
  std::uint8_t value[32];
  std::uint8_t mask[32];

  void clear() noexcept {  // matches everything
    std::memset(value, 0, sizeof value);
    std::memset(mask, 0, sizeof mask);
  }

  // Bytes [offset, offset + count) shall be those at `bytes`, as far as `bits` says.
  void require(std::size_t offset, const void* bytes, std::size_t count, std::uint8_t bits = 0xff) noexcept {
    std::memcpy(value + offset, bytes, count);
    for (std::size_t i = offset; i < offset + count; ++i) {
      value[i] &= bits;
      mask[i] = bits;
    }
  }
  void require_byte(std::size_t offset, std::uint8_t byte, std::uint8_t bits = 0xff) noexcept {
    require(offset, &byte, 1, bits);
  }

  // `bytes` has at least 32.
  bool matches(const std::uint8_t* bytes) const noexcept {
#ifdef __AVX2__
    const __m256i packet = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(bytes));
    const __m256i wanted = _mm256_load_si256(reinterpret_cast<const __m256i*>(value));
    const __m256i bits = _mm256_load_si256(reinterpret_cast<const __m256i*>(mask));
    return _mm256_testz_si256(_mm256_xor_si256(packet, wanted), bits) != 0;
#else
    std::uint64_t packet[4], wanted[4], bits[4];
    std::memcpy(packet, bytes, sizeof packet);
    std::memcpy(wanted, value, sizeof wanted);
    std::memcpy(bits, mask, sizeof bits);
    std::uint64_t differs = 0;
    for (int i = 0; i < 4; ++i) differs |= (packet[i] ^ wanted[i]) & bits[i];
    return differs == 0;
#endif
  }
};

}  // namespace podwire::engine
