// Aligned tables and key-value lists for people. Cells are made printable here, so callers pass foreign text
// as it is.
#pragma once

#include <string>
#include <vector>

#include "control/cli/text.hpp"

namespace podwire::control::cli {

enum class Align { kLeft, kRight };

struct Column {
  std::string title;
  Align align = Align::kLeft;
};

struct Cell {
  Cell(std::string value, Tone with = Tone::kPlain) : text(std::move(value)), tone(with) {}
  Cell(const char* value) : text(value) {}

  std::string text;  // empty is shown as "-"
  Tone tone = Tone::kPlain;
};

class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  // One cell a column; missing ones are shown as "-", extra ones are left out.
  void add(std::vector<Cell> cells);
  bool empty() const { return rows_.empty(); }
  // Title row and rows, each ending in a newline; no blanks at the end of a line.
  std::string text(const Style& style) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

// "Key    value" lines with the values in one column.
class FactList {
 public:
  void add(std::string key, std::string value, Tone tone = Tone::kPlain);
  std::string text(const Style& style) const;

 private:
  struct Fact {
    std::string key;
    std::string value;
    Tone tone;
  };
  std::vector<Fact> facts_;
};

}  // namespace podwire::control::cli
