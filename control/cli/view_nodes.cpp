// The list of the cluster's nodes.
#include "control/cli/fields.hpp"
#include "control/cli/table.hpp"
#include "control/cli/views.hpp"

namespace podwire::control::cli {
namespace {

struct NodeRow {
  std::string name, state;
  Labels addresses;
  Json domains;
  Label problem;
};

Result<void> read_value(const Json& value, const std::string& path, NodeRow& out) {
  ObjectReader r(value, path);
  r.ignore_unknown();
  r.required("name", out.name);
  r.required("state", out.state);
  r.required("addresses", out.addresses);
  r.required("domains", out.domains);
  r.optional("problem", out.problem);
  return r.finish();
}

// "default: 10.244.2.0/24, fd00::/64; blue: ..."
Result<std::string> leases_text(const NodeRow& row) {
  if (!row.domains.is_object())
    return invalid("domains of node " + row.name + " must be an object, not " + json_type_name(row.domains));
  std::vector<std::string> parts;
  for (const auto& [name, domain] : row.domains.items()) {
    Labels prefixes;
    ObjectReader r(domain, "domain " + name + " of node " + row.name);
    r.ignore_unknown();
    r.required("prefixes", prefixes);
    PODWIRE_CHECK(r.finish());
    parts.push_back(name + ": " + prefixes.text);
  }
  return join(parts, "; ");
}

}  // namespace

Result<std::string> nodes_view(const Json& reply, const Style& style) {
  PODWIRE_TRY(const auto rows, read_list<NodeRow>(reply, "nodes"));
  Table table({{"NAME"}, {"STATE"}, {"ADDRESSES"}, {"PREFIXES"}});
  std::string problems;
  for (const auto& row : rows) {
    PODWIRE_TRY(auto leases, leases_text(row));
    const auto tone = row.state.starts_with("silent") ? Tone::kBad : Tone::kGood;
    table.add({row.name, Cell(row.state, tone), row.addresses.text, leases});
    if (row.problem.text.empty()) continue;
    problems +=
        painted("node " + printable(row.name) + ": " + printable(row.problem.text), Tone::kBad, style) + "\n";
  }
  if (table.empty()) return std::string("There are no nodes.\n");
  return table.text(style) + (problems.empty() ? "" : "\n" + problems);
}

std::string forgotten_view(const std::string& name) {
  return "Forgot node " + printable(name) + "; its prefixes are free.\n";
}

}  // namespace podwire::control::cli
