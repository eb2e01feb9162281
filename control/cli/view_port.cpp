// `port show`: what the daemon and the device say about a port. Facts one a line, lists of things (rings,
// queues, regions) as tables, so that whatever a kind of port tells appears without a change here.
#include <algorithm>

#include "control/cli/table.hpp"
#include "control/cli/views.hpp"

namespace podwire::control::cli {
namespace {

bool is_table(const Json& value) {
  return value.is_array() && !value.empty() &&
         std::all_of(value.begin(), value.end(), [](const Json& row) { return row.is_object(); });
}

struct NamedTable {
  std::string title;
  const Json* rows;
};

// Takes the tables out of `object` and its members.
Json without_tables(const std::string& prefix, const Json& object, std::vector<NamedTable>& tables) {
  Json rest = Json::object();
  for (const auto& [key, value] : object.items()) {
    const auto title = prefix + (prefix.empty() ? "" : " ") + key;
    if (is_table(value)) {
      tables.push_back({title, &value});
    } else if (value.is_object()) {
      rest[key] = without_tables(title, value, tables);
    } else {
      rest[key] = value;
    }
  }
  return rest;
}

std::string title_text(std::string text) {
  std::replace(text.begin(), text.end(), '_', ' ');
  return text;
}

std::string upper(std::string text) {
  for (auto& c : text) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return text;
}

std::string cell_text(const Json& value) {
  if (value.is_string()) return value.get_ref<const std::string&>();
  if (value.is_boolean()) return value.get<bool>() ? "yes" : "no";
  if (value.is_number_integer()) return count_text(value.get<std::int64_t>());
  return value.is_null() ? "" : value.dump(-1, ' ', false, Json::error_handler_t::replace);
}

std::string table_text(const NamedTable& named, const Style& style) {
  std::vector<std::string> keys;
  std::vector<Column> columns;
  for (const auto& row : *named.rows) {
    for (const auto& [key, value] : row.items()) {
      if (std::find(keys.begin(), keys.end(), key) != keys.end()) continue;
      keys.push_back(key);
      columns.push_back(
          {printable(upper(title_text(key))), value.is_number() ? Align::kRight : Align::kLeft});
    }
  }
  Table table(std::move(columns));
  for (const auto& row : *named.rows) {
    std::vector<Cell> cells;
    for (const auto& key : keys) cells.emplace_back(row.contains(key) ? cell_text(row.at(key)) : "");
    table.add(std::move(cells));
  }
  auto title = printable(title_text(named.title));
  if (!title.empty()) title[0] = upper(title.substr(0, 1))[0];
  return "\n" + painted(title, Tone::kHeading, style) + "\n" + table.text(style);
}

}  // namespace

Result<std::string> port_view(const Json& reply, const Style& style) {
  std::vector<Json> ports;
  ObjectReader reader(reply, "");
  reader.ignore_unknown();
  reader.required("ports", ports);
  PODWIRE_CHECK(reader.finish());
  std::string out;
  for (const auto& port : ports) {
    if (!port.is_object()) return invalid("ports must hold objects, not " + json_type_name(port));
    std::vector<NamedTable> tables;
    const Json facts{{"ports", {without_tables("", port, tables)}}};
    PODWIRE_TRY(const std::string page, details_view(facts, "ports", style));
    out += (out.empty() ? "" : "\n") + page;
    for (const auto& table : tables) out += table_text(table, style);
  }
  return out;
}

Json with_counters(Json reply, const Json& stats) {
  const auto ports = reply.find("ports");
  const auto counted = stats.is_object() ? stats.find("ports") : stats.end();
  if (ports == reply.end() || !ports->is_array() || counted == stats.end() || !counted->is_array())
    return reply;
  for (auto& port : *ports) {
    for (const auto& counters : *counted) {
      const bool both =
          port.is_object() && counters.is_object() && port.contains("id") && counters.contains("id");
      if (!both || port["id"] != counters["id"]) continue;
      for (const char* key :
           {"received_packets", "received_bytes", "sent_packets", "sent_bytes", "dropped_packets"}) {
        if (counters.contains(key)) port["counters"][key] = counters[key];
      }
      if (counters.contains("queues")) port["queue_counters"] = counters["queues"];
    }
  }
  return reply;
}

std::string change_view(const std::string& verb, const std::string& sub, const std::string& name,
                        const Json& reply) {
  const auto what = printable(verb + " " + name);
  if (sub == "del") {
    const bool was_there = reply.is_object() && reply.value("deleted", Json()) == Json(true);
    return (was_there ? "Deleted " : "There was no ") + what + ".\n";
  }
  const auto text_of = [&](const char* key) {
    if (!reply.is_object() || !reply.contains(key)) return std::string();
    const auto& value = reply[key];
    if (!value.is_array()) return cell_text(value);
    std::vector<std::string> parts;
    for (const auto& element : value) parts.push_back(cell_text(element));
    return join(parts, ", ");
  };
  FactList facts;
  for (const char* key : {"domain", "mac", "addresses", "gateways", "mtu", "port", "hostname", "socket"}) {
    if (const auto text = text_of(key); !text.empty()) facts.add(key, text);
  }
  if (const auto mode = text_of("socket_mode"); !mode.empty())
    facts.add("made by",
              mode == "server" ? "the engine; the peer connects" : "the peer; the engine connects");
  return "Added " + what + ".\n" + facts.text({});
}

}  // namespace podwire::control::cli
