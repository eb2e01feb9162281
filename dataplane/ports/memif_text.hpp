// Text fields of memif messages: of fixed length, ended by a zero or by their end, and from the peer of any
// content.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <string>

namespace podwire::engine::memif {

template <std::size_t N>
std::array<char, N> to_field(const std::string& text) {
  std::array<char, N> field{};
  std::copy_n(text.begin(), std::min(text.size(), N), field.begin());
  return field;
}

// Up to its end, whatever is not printable ASCII replaced: it goes into logs and JSON.
template <std::size_t N>
std::string to_text(const std::array<char, N>& field) {
  std::string text(field.begin(), std::find(field.begin(), field.end(), '\0'));
  for (char& c : text) {
    if (c < ' ' || c > '~') c = '?';
  }
  return text;
}

}  // namespace podwire::engine::memif
