// The status page.
#include "control/cli/fields.hpp"
#include "control/cli/table.hpp"
#include "control/cli/views.hpp"

namespace podwire::control::cli {
namespace {

using OptionalInteger = std::optional<std::int64_t>;

struct MbufsRow {
  OptionalInteger size, in_use, jumbo_size, jumbo_in_use;
};

Result<void> read_value(const Json& value, const std::string& path, MbufsRow& out) {
  ObjectReader r(value, path);
  r.ignore_unknown();
  r.optional("size", out.size);
  r.optional("in_use", out.in_use);
  r.optional("jumbo_size", out.jumbo_size);
  r.optional("jumbo_in_use", out.jumbo_in_use);
  return r.finish();
}

struct MemoryRow {
  Label mode;
  OptionalInteger bytes;
  std::optional<MbufsRow> mbufs;
};

Result<void> read_value(const Json& value, const std::string& path, MemoryRow& out) {
  ObjectReader r(value, path);
  r.ignore_unknown();
  r.optional("mode", out.mode);
  r.optional("bytes", out.bytes);
  r.optional("mbufs", out.mbufs);
  return r.finish();
}

struct ConnectionsRow {
  OptionalInteger capacity, entries;
};

Result<void> read_value(const Json& value, const std::string& path, ConnectionsRow& out) {
  ObjectReader r(value, path);
  r.ignore_unknown();
  r.optional("capacity", out.capacity);
  r.optional("entries", out.entries);
  return r.finish();
}

struct WorkerRow {
  Label index;
  Labels cpus;
  Amount ports;
  std::optional<double> busy_ratio;
};

Result<void> read_value(const Json& value, const std::string& path, WorkerRow& out) {
  ObjectReader r(value, path);
  r.ignore_unknown();
  r.required("index", out.index);
  r.optional("cpus", out.cpus);
  r.optional("ports", out.ports);
  r.optional("busy_ratio", out.busy_ratio);
  return r.finish();
}

struct Workers {
  std::vector<WorkerRow> rows;  // none while the engine is away (null)
};

Result<void> read_value(const Json& value, const std::string& path, Workers& out) {
  return value.is_null() ? Result<void>() : podwire::read_value(value, path, out.rows);
}

struct EngineRow {
  bool connected = false;
  Label socket, pid, version, idle, last_error;
  OptionalInteger generation, restarts;
  std::optional<double> uptime_s;
  std::optional<MemoryRow> memory;
  std::optional<ConnectionsRow> flows;
  Workers workers;
};

Result<void> read_value(const Json& value, const std::string& path, EngineRow& out) {
  ObjectReader r(value, path);
  r.ignore_unknown();
  r.required("connected", out.connected);
  r.optional("socket", out.socket);
  r.optional("pid", out.pid);
  r.optional("version", out.version);
  r.optional("idle", out.idle);
  r.optional("last_error", out.last_error);
  r.optional("generation", out.generation);
  r.optional("restarts", out.restarts);
  r.optional("uptime_s", out.uptime_s);
  r.optional("memory", out.memory);
  r.optional("flows", out.flows);
  r.optional("workers", out.workers);
  return r.finish();
}

struct UnderlayRow {
  Label device, driver, devargs, mtu, vlan, host_interface, link;
  Labels addresses;
};

Result<void> read_value(const Json& value, const std::string& path, UnderlayRow& out) {
  ObjectReader r(value, path);
  r.ignore_unknown();
  r.optional("device", out.device);
  r.optional("driver", out.driver);
  r.optional("devargs", out.devargs);
  r.optional("mtu", out.mtu);
  r.optional("vlan", out.vlan);
  r.optional("addresses", out.addresses);
  r.optional("host_interface", out.host_interface);
  r.optional("link", out.link);
  return r.finish();
}

struct StatusRow {
  std::string node, version;
  Label pid;
  std::optional<double> uptime_s;
  EngineRow engine;
  std::optional<UnderlayRow> underlay;
  Json counts;
  std::vector<std::string> differences;
  std::vector<std::string> doctor;  // of the last check of the other nodes
};

Result<StatusRow> read_status(const Json& reply) {
  StatusRow out;
  ObjectReader r(reply, "");
  r.ignore_unknown();
  r.required("node", out.node);
  r.required("version", out.version);
  r.optional("pid", out.pid);
  r.optional("uptime_s", out.uptime_s);
  r.required("engine", out.engine);
  r.optional("underlay", out.underlay);
  r.optional("counts", out.counts);
  r.required("differences", out.differences);
  r.optional("doctor", out.doctor);
  PODWIRE_CHECK(r.finish());
  return out;
}

// Appends "prefix text" as one more part when there is a text.
void add_part(std::vector<std::string>& parts, const std::string& prefix, const std::string& text) {
  if (!text.empty()) parts.push_back(prefix + text);
}

std::string uptime_text(const std::optional<double>& uptime_s) {
  return uptime_s ? duration_text(*uptime_s) : std::string();
}

void add_memory(FactList& facts, const MemoryRow& memory) {
  std::vector<std::string> parts;
  add_part(parts, "", memory.mode.text);
  if (memory.bytes) add_part(parts, "", bytes_text(static_cast<double>(*memory.bytes)));
  if (memory.mbufs) {
    const auto& m = *memory.mbufs;
    if (m.in_use && m.size)
      add_part(parts, "packet buffers ", count_text(*m.in_use) + " of " + count_text(*m.size));
    if (m.jumbo_in_use && m.jumbo_size) {
      add_part(parts, "jumbo ", count_text(*m.jumbo_in_use) + " of " + count_text(*m.jumbo_size));
    }
  }
  facts.add("Memory", join(parts, ", "));
}

void add_engine(FactList& facts, const EngineRow& engine) {
  if (!engine.connected) {
    std::string text = "down";
    if (!engine.last_error.text.empty()) text += ": " + engine.last_error.text;
    facts.add("Engine", text + "; see: systemctl status podwire-engine", Tone::kBad);
    facts.add("Engine socket", engine.socket.text);
    return;
  }
  std::vector<std::string> parts;
  add_part(parts, "podwire-engine ", engine.version.text);
  add_part(parts, "pid ", engine.pid.text);
  add_part(parts, "up ", uptime_text(engine.uptime_s));
  if (engine.generation) add_part(parts, "generation ", std::to_string(*engine.generation));
  if (engine.restarts && *engine.restarts > 0)
    add_part(parts, "", plural_text(*engine.restarts, "restart") + " seen");
  add_part(parts, "idle policy ", engine.idle.text);
  facts.add("Engine", join(parts, ", "));
  if (!engine.last_error.text.empty()) facts.add("Last error", engine.last_error.text, Tone::kBad);
  if (engine.memory) add_memory(facts, *engine.memory);
  if (engine.flows && engine.flows->entries && engine.flows->capacity) {
    facts.add("Connections",
              count_text(*engine.flows->entries) + " of " + count_text(*engine.flows->capacity) + " tracked");
  }
  for (const auto& worker : engine.workers.rows) {
    std::vector<std::string> shown;
    add_part(shown, "cpu ", worker.cpus.text);
    if (!worker.ports.text.empty())
      shown.push_back(worker.ports.text + (worker.ports.text == "1" ? " port" : " ports"));
    if (worker.busy_ratio) shown.push_back(percent_text(*worker.busy_ratio) + " busy");
    facts.add("Worker " + worker.index.text, join(shown, ", "));
  }
}

void add_underlay(FactList& facts, const UnderlayRow& underlay) {
  std::vector<std::string> parts;
  add_part(parts, "", underlay.device.text);
  add_part(parts, "by ", underlay.driver.text);
  add_part(parts, "devargs ", underlay.devargs.text);
  add_part(parts, "link ", underlay.link.text);
  add_part(parts, "MTU ", underlay.mtu.text);
  if (underlay.vlan.text != "0") add_part(parts, "VLAN ", underlay.vlan.text);
  add_part(parts, "", underlay.addresses.text);
  add_part(parts, "host interface ", underlay.host_interface.text);
  facts.add("Underlay", join(parts, ", "), underlay.link.text == "down" ? Tone::kBad : Tone::kPlain);
}

Result<std::string> counts_text(const Json& counts) {
  if (counts.is_null()) return std::string();
  if (!counts.is_object()) return invalid("counts must be an object, not " + json_type_name(counts));
  std::vector<std::string> parts;
  for (const auto& [key, value] : counts.items()) {
    Amount amount;
    PODWIRE_CHECK(podwire::control::cli::read_value(value, "counts." + key, amount));
    if (amount.text.empty()) continue;
    const bool one = amount.text == "1" && key.ends_with('s');
    parts.push_back(amount.text + " " + (one ? key.substr(0, key.size() - 1) : key));
  }
  return join(parts, ", ");
}

std::string differences_text(const StatusRow& status, const Style& style) {
  if (status.differences.empty() && status.engine.connected) {
    return painted("No differences: desired state, engine and kernel agree.", Tone::kGood, style) + "\n";
  }
  if (status.differences.empty()) return "";
  const auto n = static_cast<std::int64_t>(status.differences.size());
  std::string out = painted(plural_text(n, "difference") + ":", Tone::kBad, style) + "\n";
  for (const auto& difference : status.differences) out += "  - " + printable(difference) + "\n";
  return out;
}

std::string doctor_text(const StatusRow& status, const Style& style) {
  if (status.doctor.empty()) return "";
  std::string out = painted("The last check of the other nodes found:", Tone::kBad, style) + "\n";
  for (const auto& problem : status.doctor) out += "  - " + printable(problem) + "\n";
  return out;
}

}  // namespace

Result<bool> is_healthy(const Json& status) {
  PODWIRE_TRY(const auto row, read_status(status));
  return row.engine.connected && row.differences.empty();
}

Result<std::string> status_view(const Json& reply, const Style& style) {
  PODWIRE_TRY(const auto status, read_status(reply));
  FactList facts;
  facts.add("Node", status.node);
  std::vector<std::string> daemon{"podwired " + status.version};
  add_part(daemon, "pid ", status.pid.text);
  add_part(daemon, "up ", uptime_text(status.uptime_s));
  facts.add("Daemon", join(daemon, ", "));
  add_engine(facts, status.engine);
  if (status.underlay) add_underlay(facts, *status.underlay);
  PODWIRE_TRY(const std::string counts, counts_text(status.counts));
  if (!counts.empty()) facts.add("Objects", counts);
  std::string out = facts.text(style) + "\n";
  if (reply.contains("domains")) {
    PODWIRE_TRY(const std::string domains, domains_view(reply, style));
    out += domains + "\n";
  }
  return out + differences_text(status, style) + doctor_text(status, style);
}

}  // namespace podwire::control::cli
