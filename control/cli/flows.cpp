#include "control/cli/flows.hpp"

#include <algorithm>
#include <array>
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
  std::uint64_t packets_per_s = 0, bits_per_s = 0;
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
  r.optional("packets_per_s", out.packets_per_s);
  r.optional("bits_per_s", out.bits_per_s);
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

// `measured`: two columns, and measure(row) what is in them.
template <class Measure>
std::string flows_table(const std::vector<FlowRow>& rows, const std::array<Column, 2>& measured,
                        const Style& style, Measure measure) {
  const bool translated =
      std::any_of(rows.begin(), rows.end(), [](const FlowRow& row) { return row.reply.has_value(); });
  std::vector<Column> columns{{"DOMAIN"}, {"PROTOCOL"}, {"SOURCE"}, {"DESTINATION"}};
  if (translated) columns.push_back({"REPLY"});
  for (const auto& column : {Column{"STATE"}, measured[0], measured[1], Column{"PODS"}})
    columns.push_back(column);
  Table table(columns);
  for (const auto& row : rows) {
    std::vector<Cell> cells{row.original.domain.text, row.protocol, source_text(row.original),
                            end_text(row.original.destination, row.original.destination_port)};
    if (translated) cells.emplace_back(reply_text(row));
    const auto values = measure(row);
    for (const auto& text : {row.state, values[0], values[1], pods_text(row)}) cells.emplace_back(text);
    table.add(std::move(cells));
  }
  return table.text(style);
}

}  // namespace

Result<Json> flow_parameters(const std::string& sub, const std::map<std::string, std::string>& typed,
                             bool all) {
  Json params = Json::object();
  for (const auto& [option, text] : typed) {
    if (text.empty()) continue;
    const bool of_list = option == "limit" || option == "top" || option == "seconds";
    if (of_list && sub != "list") return invalid("--" + option + " belongs to: podwirectl flows list");
    if (option == "limit") {
      PODWIRE_TRY(params["limit"], read_number(option, text, 1, 1'000'000));
    } else if (option == "top") {
      PODWIRE_TRY(params["top"], read_number(option, text, 1, 1000));
    } else if (option == "seconds") {
      PODWIRE_TRY(params["seconds"], read_number(option, text, 1, 30));
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
  if (params.contains("seconds") && !params.contains("top"))
    return invalid("--seconds goes with --top, as in: podwirectl flows --top --seconds 5");
  if (params.contains("limit") && params.contains("top"))
    return invalid("--limit and --top exclude each other; --top itself says how many");
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
  const auto text =
      flows_table(rows, std::array{Column{"IDLE", Align::kRight}, Column{"LEFT", Align::kRight}}, style,
                  [](const FlowRow& row) {
                    return std::array{row.idle.text, row.left.text};
                  });
  return text + (more ? "\nThere are more. Say which with options, or raise --limit.\n" : "");
}

Result<std::string> top_flows_view(const Json& reply, const Style& style) {
  PODWIRE_TRY(const auto rows, read_list<FlowRow>(reply, "flows"));
  double seconds = 0;
  std::uint64_t seen = 0, sampled = 0;
  ObjectReader r(reply, "");
  r.ignore_unknown();
  r.required("seconds", seconds);
  r.required("packets_seen", seen);
  r.required("packets_sampled", sampled);
  PODWIRE_CHECK(r.finish());
  const auto all = count_text(static_cast<std::int64_t>(seen)) + " packets were received in " +
                   decimal_text(seconds, 1) + " s";
  const auto share = sampled == seen
                         ? std::string("all of them counted")
                         : percent_text(static_cast<double>(sampled) / static_cast<double>(seen)) +
                               " of them looked at, so rates are estimates";
  const auto note = all + (seen == 0 ? ".\n" : ", " + share + ".\n");
  if (rows.empty()) return "There was no such traffic. " + note;
  return flows_table(rows, std::array{Column{"PACKETS/S", Align::kRight}, Column{"MBIT/S", Align::kRight}},
                     style,
                     [](const FlowRow& row) {
                       return std::array{rate_text(static_cast<double>(row.packets_per_s)),
                                         megabits_text(static_cast<double>(row.bits_per_s))};
                     }) +
         "\n" + note;
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
