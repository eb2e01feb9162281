#include "dataplane/ports/devargs.hpp"

namespace podwire::engine {

Devargs Devargs::parse(const std::string& text) {
  Devargs result;
  const auto comma = text.find(',');
  result.device = text.substr(0, comma);
  std::size_t at = comma;
  while (at != std::string::npos) {
    const auto next = text.find(',', at + 1);
    const auto item = text.substr(at + 1, next == std::string::npos ? next : next - at - 1);
    const auto equals = item.find('=');
    if (equals == std::string::npos)
      result.options.emplace_back(item, "");
    else
      result.options.emplace_back(item.substr(0, equals), item.substr(equals + 1));
    at = next;
  }
  return result;
}

std::string Devargs::options_text() const {
  std::string text;
  for (const auto& [key, value] : options) {
    if (!text.empty()) text += ',';
    text += key;
    if (!value.empty()) text += '=' + value;
  }
  return text;
}

std::string Devargs::text() const {
  return options.empty() ? device : device + ',' + options_text();
}

std::optional<std::string> Devargs::option(const std::string& key) const {
  for (const auto& [name, value] : options) {
    if (name == key) return value;
  }
  return std::nullopt;
}

void Devargs::set_default(const std::string& key, const std::string& value) {
  if (!option(key)) options.emplace_back(key, value);
}

}  // namespace podwire::engine
