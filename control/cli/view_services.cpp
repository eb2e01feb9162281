// The list of services.
#include <algorithm>

#include "control/cli/fields.hpp"
#include "control/cli/table.hpp"
#include "control/cli/views.hpp"

namespace podwire::control::cli {
namespace {

struct EndpointState {
  std::string state;
};

Result<void> read_value(const Json& value, const std::string& path, EndpointState& out) {
  ObjectReader r(value, path);
  r.ignore_unknown();
  r.required("state", out.state);
  return r.finish();
}

struct ServiceRow {
  std::string name;
  Label type, problem;
  Labels cluster_ips, ports;
  std::vector<EndpointState> endpoints;
};

Result<void> read_value(const Json& value, const std::string& path, ServiceRow& out) {
  ObjectReader r(value, path);
  r.ignore_unknown();
  r.required("name", out.name);
  r.required("type", out.type);
  r.required("cluster_ips", out.cluster_ips);
  r.required("ports", out.ports);
  r.required("endpoints", out.endpoints);
  r.optional("problem", out.problem);
  return r.finish();
}

}  // namespace

Result<std::string> services_view(const Json& reply, const Style& style) {
  PODWIRE_TRY(const auto rows, read_list<ServiceRow>(reply, "services"));
  if (rows.empty()) return std::string("There are no services.\n");
  Table table({{"NAME"}, {"TYPE"}, {"CLUSTER IPS"}, {"PORTS"}, {"READY", Align::kRight}, {"PROBLEM"}});
  for (const auto& row : rows) {
    const auto ready = std::count_if(row.endpoints.begin(), row.endpoints.end(),
                                     [](const EndpointState& e) { return e.state == "ready"; });
    table.add({row.name, row.type.text, row.cluster_ips.text, row.ports.text,
               Cell(std::to_string(ready) + "/" + std::to_string(row.endpoints.size()),
                    ready == 0 ? Tone::kBad : Tone::kPlain),
               Cell(row.problem.text, Tone::kBad)});
  }
  return table.text(style);
}

}  // namespace podwire::control::cli
