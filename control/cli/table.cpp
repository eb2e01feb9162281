#include "control/cli/table.hpp"

#include <algorithm>

namespace podwire::control::cli {
namespace {

constexpr std::size_t kGap = 2;

std::string blanks(std::size_t n) {
  return std::string(n, ' ');
}

}  // namespace

void Table::add(std::vector<Cell> cells) {
  cells.resize(columns_.size(), Cell(""));
  for (auto& cell : cells) cell.text = cell.text.empty() ? "-" : printable(cell.text);
  rows_.push_back(std::move(cells));
}

std::string Table::text(const Style& style) const {
  std::vector<std::size_t> widths;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    std::size_t width = display_width(columns_[i].title);
    for (const auto& row : rows_) width = std::max(width, display_width(row[i].text));
    widths.push_back(width);
  }
  std::string out;
  const auto add_line = [&](const auto& cell_at) {
    std::string pending;  // blanks that are written only when something follows
    for (std::size_t i = 0; i < columns_.size(); ++i) {
      const Cell cell = cell_at(i);
      const auto padding = blanks(widths[i] - display_width(cell.text));
      const bool right = columns_[i].align == Align::kRight;
      out += pending + (right ? padding : "") + painted(cell.text, cell.tone, style);
      pending = (right ? "" : padding) + blanks(kGap);
    }
    out += '\n';
  };
  add_line([&](std::size_t i) { return Cell(columns_[i].title, Tone::kHeading); });
  for (const auto& row : rows_) add_line([&](std::size_t i) { return row[i]; });
  return out;
}

void FactList::add(std::string key, std::string value, Tone tone) {
  facts_.push_back({printable(key), value.empty() ? "-" : printable(value), tone});
}

std::string FactList::text(const Style& style) const {
  std::size_t width = 0;
  for (const auto& fact : facts_) width = std::max(width, display_width(fact.key));
  std::string out;
  for (const auto& fact : facts_) {
    out += painted(fact.key, Tone::kHeading, style) + blanks(width - display_width(fact.key) + kGap) +
           painted(fact.value, fact.tone, style) + "\n";
  }
  return out;
}

}  // namespace podwire::control::cli
