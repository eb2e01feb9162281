// Addresses outside: the list, and what a change did.
#include "control/cli/fields.hpp"
#include "control/cli/table.hpp"
#include "control/cli/views.hpp"

namespace podwire::control::cli {
namespace {

struct AddressRow {
  std::string name, kind;
  Labels addresses, pods;
  Label problem;
};

Result<void> read_value(const Json& value, const std::string& path, AddressRow& out) {
  ObjectReader r(value, path);
  r.ignore_unknown();
  r.required("name", out.name);
  r.required("kind", out.kind);
  r.required("addresses", out.addresses);
  r.optional("pods", out.pods);
  r.optional("problem", out.problem);
  return r.finish();
}

}  // namespace

Result<std::string> addresses_view(const Json& reply, const Style& style) {
  PODWIRE_TRY(const auto rows, read_list<AddressRow>(reply, "addresses"));
  if (rows.empty()) return std::string("No namespace and no pod has an address of its own outside.\n");
  Table table({{"NAME"}, {"KIND"}, {"ADDRESSES"}, {"PODS"}, {"PROBLEM"}});
  for (const auto& row : rows)
    table.add({row.name, row.kind, row.addresses.text, row.pods.text, Cell(row.problem.text, Tone::kBad)});
  return table.text(style);
}

Result<std::string> address_change_view(const Json& reply, const Style& style) {
  AddressRow row;
  PODWIRE_CHECK(read_value(reply, "", row));
  std::string out = printable(row.name) + ": " + printable(row.kind) + " " + printable(row.addresses.text);
  if (!row.pods.text.empty() && row.pods.text != "-") out += ", in force for " + printable(row.pods.text);
  out += "\n";
  const auto add = [&](const std::string& text) {
    out += painted("warning: " + printable(text), Tone::kBad, style) + "\n";
  };
  const bool problem = reply.contains("problem") && reply["problem"].is_string();
  if (problem) add(reply["problem"].get<std::string>());
  if (!reply.contains("warnings") || !reply["warnings"].is_array()) return out;
  for (const auto& warning : reply["warnings"]) {
    if (warning.is_string()) add(warning.get<std::string>());
  }
  return out;
}

}  // namespace podwire::control::cli
