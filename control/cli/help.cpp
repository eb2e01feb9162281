#include "control/cli/help.hpp"

#include <algorithm>

namespace podwire::control::cli {
namespace {

std::string heading(const char* text, const Style& style) {
  return "\n" + painted(text, Tone::kHeading, style) + "\n";
}

std::string listing(const std::vector<Explained>& lines) {
  std::size_t width = 0;
  for (const auto& line : lines) width = std::max(width, line.what.size());
  std::string out;
  for (const auto& line : lines) {
    out += "  " + line.what + std::string(width - line.what.size() + 2, ' ') + line.help + "\n";
  }
  return out;
}

std::string option_listing(const std::vector<OptionSpec>& options) {
  std::vector<Explained> lines;
  for (const auto& option : options) {
    const auto letter = option.letter == 0 ? std::string() : std::string("-") + option.letter + ", ";
    lines.push_back(
        {letter + "--" + option.name + (option.value.empty() ? "" : " " + option.value), option.help});
  }
  return listing(lines);
}

std::string form_of(const SubVerb& sub) {
  return sub.name + (sub.argument.empty() ? "" : " " + sub.argument) +
         (sub.further.empty() ? "" : " " + sub.further + (sub.only_one ? "" : "..."));
}

// What may stand after "podwirectl VERB".
std::string synopsis(const Verb& verb) {
  std::string out = verb.name;
  std::vector<std::string> subs;
  for (const auto& sub : verb.subs) subs.push_back(form_of(sub));
  if (!subs.empty()) out += " [" + join(subs, "|") + "]";
  if (!verb.argument.empty()) out += " " + verb.argument;
  return out + (verb.options.empty() ? "" : " [options]");
}

}  // namespace

std::string general_help(const Style& style) {
  std::string out =
      "podwirectl shows what Podwire does on this node, and why. It asks podwired over its control socket.\n";
  out += heading("Usage", style) + "  podwirectl [options] VERB [...]\n";
  std::vector<Explained> lines;
  for (const auto& verb : verbs()) lines.push_back({verb.name, verb.summary});
  out += heading("Verbs", style) + listing(lines);
  out += heading("Options", style) + option_listing(global_options());
  out += heading("Examples", style) +
         listing({{"podwirectl status", "start here: is all well, and if not, what to do"},
                  {"podwirectl stats drops", "why packets were lost"},
                  {"podwirectl explain --from web-0 --to 10.244.2.11", "where a packet would go"},
                  {"podwirectl port --help", "what a verb shows, column by column"}});
  out += heading("Exit status", style) +
         listing({{"0", "done"},
                  {"1", "refused by podwired, or no such object; `doctor`: something is wrong"},
                  {"2", "the command line is wrong"},
                  {"3", "podwired cannot be reached"},
                  {"4", "`status`: there are differences, or the engine is down"}});
  return out;
}

std::string verb_help(const Verb& verb, const Style& style) {
  std::string out = "podwirectl " + verb.name + ": " + verb.summary + "\n\n" + verb.about + "\n";
  out += heading("Usage", style) + "  podwirectl " + synopsis(verb) + "\n";
  std::vector<Explained> subs;
  for (const auto& sub : verb.subs) {
    const bool is_default = &sub == &verb.subs.front();
    subs.push_back({form_of(sub), sub.help + (is_default ? " (what the verb alone means)" : "")});
  }
  if (!subs.empty()) out += listing(subs);
  if (!verb.options.empty()) out += heading("Options", style) + option_listing(verb.options);
  out += heading("Options of every verb", style) + option_listing(global_options());
  if (!verb.columns.empty()) out += heading("What it means", style) + listing(verb.columns);
  out += heading(verb.examples.size() == 1 ? "Example" : "Examples", style) + listing(verb.examples);
  return out;
}

}  // namespace podwire::control::cli
