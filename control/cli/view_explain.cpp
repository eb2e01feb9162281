// `explain` as a story: the packet, what each stage did, what became of it and which objects decided.
#include <algorithm>

#include "control/cli/fields.hpp"
#include "control/cli/table.hpp"
#include "control/cli/views.hpp"

namespace podwire::control::cli {
namespace {

struct StepRow {
  std::string stage;
  Label note;
};

Result<void> read_value(const Json& value, const std::string& path, StepRow& out) {
  ObjectReader r(value, path);
  r.ignore_unknown();
  r.required("stage", out.stage);
  r.optional("note", out.note);
  return r.finish();
}

struct OutputRow {
  Label port, port_name, note;
  Label frame;  // hexadecimal
};

Result<void> read_value(const Json& value, const std::string& path, OutputRow& out) {
  ObjectReader r(value, path);
  r.ignore_unknown();
  r.optional("port", out.port);
  r.optional("port_name", out.port_name);
  r.optional("frame", out.frame);
  r.optional("note", out.note);
  return r.finish();
}

struct DeciderRow {
  std::string noun;
  Label id, name;
};

Result<void> read_value(const Json& value, const std::string& path, DeciderRow& out) {
  ObjectReader r(value, path);
  r.ignore_unknown();
  r.required("noun", out.noun);
  r.optional("id", out.id);
  r.optional("name", out.name);
  return r.finish();
}

struct ExplainRow {
  std::string verdict;
  Label reason, reason_help;
  std::vector<StepRow> steps;
  std::vector<OutputRow> outputs;
  std::vector<DeciderRow> decided_by;
};

Result<ExplainRow> read_explain(const Json& reply) {
  ExplainRow out;
  ObjectReader r(reply, "");
  r.ignore_unknown();
  r.required("verdict", out.verdict);
  r.optional("reason", out.reason);
  r.optional("reason_help", out.reason_help);
  r.required("steps", out.steps);
  r.optional("outputs", out.outputs);
  r.optional("decided_by", out.decided_by);
  PODWIRE_CHECK(r.finish());
  return out;
}

std::string question_text(const Json& question) {
  const auto part = [&](const char* key) {
    const auto at = question.find(key);
    return at == question.end() ? std::string() : at->is_string() ? at->get<std::string>() : at->dump();
  };
  std::string text = part("protocol") + " from " + part("from") + " to " + part("to");
  for (const char* key : {"sport", "dport", "ttl", "size"}) {
    if (question.contains(key)) text += std::string(", ") + key + " " + part(key);
  }
  return printable(text);
}

std::string steps_text(const std::vector<StepRow>& steps, const Style& style) {
  std::size_t width = 0;
  for (const auto& step : steps) width = std::max(width, display_width(printable(step.stage)));
  std::string out;
  std::size_t n = 0;
  for (const auto& step : steps) {
    const auto stage = printable(step.stage);
    const auto number = std::to_string(++n);
    out += std::string(number.size() < 3 ? 3 - number.size() : 0, ' ') + number + "  " +
           painted(stage, Tone::kHeading, style) + std::string(width - display_width(stage) + 2, ' ') +
           printable(step.note.text) + "\n";
  }
  return out;
}

std::string output_text(const OutputRow& output) {
  const auto& port = output.port_name.text.empty() ? output.port.text : output.port_name.text;
  std::string text = "out of port " + printable(port.empty() ? "?" : port);
  if (!output.frame.text.empty())
    text += ", a frame of " + plural_text(static_cast<std::int64_t>(output.frame.text.size() / 2), "byte");
  if (!output.note.text.empty()) text += ": " + printable(output.note.text);
  return text;
}

std::string verdict_text(const ExplainRow& row, const Style& style) {
  std::string verdict = printable(row.verdict);
  std::transform(verdict.begin(), verdict.end(), verdict.begin(),
                 [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 'a' + 'A') : c; });
  const bool dropped = row.verdict == "dropped";
  const bool well = row.verdict == "sent" || row.verdict == "answered" || row.verdict == "consumed";
  std::string out = painted(verdict, dropped ? Tone::kBad : well ? Tone::kGood : Tone::kPlain, style);
  if (!row.reason.text.empty()) out += ": " + printable(row.reason.text);
  if (!row.reason_help.text.empty())
    out += (row.reason.text.empty() ? ": " : " - ") + printable(row.reason_help.text);
  out += '\n';
  for (const auto& output : row.outputs) out += "  " + output_text(output) + "\n";
  return out;
}

}  // namespace

Result<std::string> explain_view(const Json& reply, const Json& question, const Style& style) {
  PODWIRE_TRY(const auto row, read_explain(reply));
  std::string out =
      question_text(question) + "\n\n" + steps_text(row.steps, style) + "\n" + verdict_text(row, style);
  if (row.decided_by.empty()) return out;
  out += "\n" + painted("Decided by", Tone::kHeading, style) + "\n";
  for (const auto& decider : row.decided_by) {
    out += "  " + printable(decider.noun);
    if (!decider.name.text.empty()) out += " " + printable(decider.name.text);
    if (!decider.id.text.empty()) out += " (id " + printable(decider.id.text) + ")";
    out += '\n';
  }
  return out;
}

Result<std::string> reconcile_view(const Json& reply) {
  std::int64_t generation = 0, changed = 0;
  ObjectReader r(reply, "");
  r.ignore_unknown();
  r.required("generation", generation);
  r.required("changed", changed);
  PODWIRE_CHECK(r.finish());
  const auto text =
      changed == 0 ? std::string("nothing differed") : plural_text(changed, "difference") + " repaired";
  return "Reconciled: " + text + "; the engine is at generation " + std::to_string(generation) + ".\n";
}

}  // namespace podwire::control::cli
