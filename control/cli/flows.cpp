#include "control/cli/flows.hpp"

#include <algorithm>
#include <charconv>

#include "control/cli/fields.hpp"
#include "control/cli/table.hpp"
#include "dataplane/base/addresses.hpp"

namespace podwire::control::cli {
namespace {

Result<Json> read_number(const std::string& option, const std::string& text, std::int64_t low,
                         std::int64_t high) {
  std::int64_t n = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), n);
  if (error == std::errc{} && end == text.data() + text.size() && n >= low && n <= high) return Json(n);
  return invalid("--" + option + " " + text + ": must be a whole number from " + std::to_string(low) +
                 " to " + std::to_string(high));
}

struct TupleRow {
  Label domain, source, destination, source_port, destination_port, icmp_id, source_pod, destination_pod;
};

void read_tuple(ObjectReader& r, TupleRow& out) {
  r.optional("domain", out.domain);
  r.required("source", out.source);
  r.required("destination", out.destination);
  r.optional("source_port", out.source_port);
  r.optional("destination_port", out.destination_port);
  r.optional("icmp_id", out.icmp_id);
  r.optional("source_pod", out.source_pod);
  r.optional("destination_pod", out.destination_pod);
}

Result<void> read_value(const Json& value, const std::string& path, TupleRow& out) {
  ObjectReader r(value, path);
  r.ignore_unknown();
  read_tuple(r, out);
  return r.finish();
}

struct FlowRow {
  std::string protocol, state;
  TupleRow original;
  std::optional<TupleRow> reply;
  Label idle, left;
};

Result<void> read_value(const Json& value, const std::string& path, FlowRow& out) {
  ObjectReader r(value, path);
  r.ignore_unknown();
  r.required("protocol", out.protocol);
  r.required("state", out.state);
  read_tuple(r, out.original);
  r.optional("reply", out.reply);
  r.optional("idle_s", out.idle);
  r.optional("expires_s", out.left);
  return r.finish();
}

std::string end_text(const Label& address, const Label& port) {
  if (port.text.empty()) return address.text;
  const bool v6 = address.text.find(':') != std::string::npos;
  return (v6 ? "[" + address.text + "]" : address.text) + ":" + port.text;
}

std::string source_text(const TupleRow& tuple) {
  const auto id = tuple.icmp_id.text;
  return end_text(tuple.source, tuple.source_port) + (id.empty() ? "" : " id " + id);
}

std::string reply_text(const FlowRow& row) {
  if (!row.reply) return "";
  const auto& reply = *row.reply;
  const bool elsewhere = reply.domain.text != row.original.domain.text;
  return source_text(reply) + " > " + end_text(reply.destination, reply.destination_port) +
         (elsewhere ? " in " + reply.domain.text : "");
}

// A service's or node's address is nobody's; then the reply's sender is the pod.
std::string pods_text(const FlowRow& row) {
  auto to = row.original.destination_pod.text;
  if (to.empty() && row.reply) to = row.reply->source_pod.text;
  const auto& from = row.original.source_pod.text;
  if (from.empty() && to.empty()) return "";
  return (from.empty() ? "-" : from) + " > " + (to.empty() ? "-" : to);
}

}  // namespace

Result<Json> flow_parameters(const std::string& sub, const std::map<std::string, std::string>& typed,
                             bool all) {
  Json params = Json::object();
  for (const auto& [option, text] : typed) {
    if (text.empty()) continue;
    if (option == "limit") {
      if (sub != "list") return invalid("--limit belongs to: podwirectl flows list");
      PODWIRE_TRY(params["limit"], read_number(option, text, 1, 1'000'000));
    } else if (option == "port") {
      PODWIRE_TRY(params["port"], read_number(option, text, 0, 65535));
    } else {
      if (option == "address" && !parse_ip(text) && !parse_prefix(text))
        return invalid("--address " + text + ": must be an address or a prefix, such as 10.244.1.10");
      params[option] = text;
    }
  }
  if (params.contains("pod") && params.contains("address"))
    return invalid("--pod and --address exclude each other; choose one");
  if (all && sub != "flush") return invalid("--all belongs to: podwirectl flows flush");
  if (sub != "flush") return params;
  if (all && !params.empty()) return invalid("--all and options that say which exclude each other");
  if (!all && params.empty()) {
    return invalid(
        "flows flush needs to know which, as in: podwirectl flows flush --pod web-0; or --all for every one");
  }
  if (all) params["all"] = true;
  return params;
}

Result<std::string> flows_view(const Json& reply, bool more, const Style& style) {
  PODWIRE_TRY(const auto rows, read_list<FlowRow>(reply, "flows"));
  if (rows.empty()) return std::string("There are no such connections.\n");
  const bool translated =
      std::any_of(rows.begin(), rows.end(), [](const FlowRow& row) { return row.reply.has_value(); });
  std::vector<Column> columns{{"DOMAIN"}, {"PROTOCOL"}, {"SOURCE"}, {"DESTINATION"}};
  if (translated) columns.push_back({"REPLY"});
  for (const auto& column : {Column{"STATE"}, {"IDLE", Align::kRight}, {"LEFT", Align::kRight}, {"PODS"}})
    columns.push_back(column);
  Table table(columns);
  for (const auto& row : rows) {
    std::vector<Cell> cells{row.original.domain.text, row.protocol, source_text(row.original),
                            end_text(row.original.destination, row.original.destination_port)};
    if (translated) cells.emplace_back(reply_text(row));
    for (const auto& text : {row.state, row.idle.text, row.left.text, pods_text(row)})
      cells.emplace_back(text);
    table.add(std::move(cells));
  }
  return table.text(style) + (more ? "\nThere are more. Say which with options, or raise --limit.\n" : "");
}

Result<std::string> flushed_view(const Json& reply) {
  std::uint64_t flushed = 0;
  ObjectReader r(reply, "");
  r.ignore_unknown();
  r.required("flushed", flushed);
  PODWIRE_CHECK(r.finish());
  return std::to_string(flushed) + (flushed == 1 ? " connection" : " connections") + " forgotten\n";
}

}  // namespace podwire::control::cli
