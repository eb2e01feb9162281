// Takes values off the front of a fuzzer's input; zeros when it is used up.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>
#include <span>

namespace podwire::fuzz {

class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size) : left_(data, size) {}
  bool empty() const { return left_.empty(); }
  template <class T>
  T take() {
    T value{};
    fill(&value, sizeof value);
    return value;
  }
  bool flag() { return take<std::uint8_t>() % 2 != 0; }
  void fill(void* out, std::size_t size) {
    const auto part = left_.size() < size ? left_.size() : size;
    if (part != 0) std::memcpy(out, left_.data(), part);
    left_ = left_.subspan(part);
  }

 private:
  std::span<const std::uint8_t> left_;
};

}  // namespace podwire::fuzz
