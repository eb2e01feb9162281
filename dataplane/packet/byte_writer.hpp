// ByteWriter: writes a message into room of fixed size. Every put is whole or not at all, so that what does
// not fit is left out and the message stays well-formed. Called by workers.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

#include "dataplane/base/be.hpp"

namespace podwire::engine {

class ByteWriter {
 public:
  explicit ByteWriter(std::span<std::uint8_t> room) noexcept : room_(room) {}

  std::size_t size() const noexcept { return used_; }
  bool fits(std::size_t bytes) const noexcept { return bytes <= room_.size() - used_; }
  std::span<std::uint8_t> written() const noexcept { return room_.first(used_); }

  bool put(std::span<const std::uint8_t> bytes) noexcept {
    if (!fits(bytes.size())) return false;
    if (!bytes.empty()) std::memcpy(room_.data() + used_, bytes.data(), bytes.size());
    used_ += bytes.size();
    return true;
  }
  // A wire layout or an address.
  template <class T>
  bool put_value(const T& value) noexcept {
    static_assert(alignof(T) == 1);
    return put({reinterpret_cast<const std::uint8_t*>(&value), sizeof value});
  }
  bool put8(std::uint8_t value) noexcept { return put({&value, 1}); }
  bool put16(std::uint16_t value) noexcept { return put_value(Be16(value)); }
  bool put32(std::uint32_t value) noexcept { return put_value(Be32(value)); }
  bool put_zeros(std::size_t bytes) noexcept {
    if (!fits(bytes)) return false;
    std::memset(room_.data() + used_, 0, bytes);
    used_ += bytes;
    return true;
  }

 private:
  std::span<std::uint8_t> room_;
  std::size_t used_ = 0;
};

// The bytes of a list of addresses, which stand side by side.
template <class Address>
std::span<const std::uint8_t> bytes_of(std::span<const Address> list) noexcept {
  static_assert(alignof(Address) == 1);
  return {reinterpret_cast<const std::uint8_t*>(list.data()), list.size_bytes()};
}

// What is to be done with a question of a DHCP client.
enum class DhcpOutcome : std::uint8_t {
  kAnswer,
  kSilence,  // understood; nothing is said to it
  kBad,      // not what a client may send here
};

}  // namespace podwire::engine
