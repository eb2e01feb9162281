#include "control/cli/arguments.hpp"

#include <algorithm>
#include <boost/program_options.hpp>
#include <charconv>
#include <cmath>

#include "control/cli/changes.hpp"
#include "control/cli/flows.hpp"
#include "control/cli/text.hpp"
#include "dataplane/base/addresses.hpp"

namespace podwire::control::cli {
namespace {

namespace po = boost::program_options;

std::string suggestion(std::string_view word, const std::vector<std::string>& candidates) {
  const auto near = closest_match(word, candidates);
  return near.empty() ? "" : "; did you mean \"" + near + "\"?";
}

const OptionSpec* find_option(const std::vector<OptionSpec>& options, std::string_view name) {
  const auto it =
      std::find_if(options.begin(), options.end(), [&](const OptionSpec& o) { return o.name == name; });
  return it == options.end() ? nullptr : &*it;
}

std::vector<std::string> option_names(const Verb* verb) {
  std::vector<std::string> names;
  for (const auto& option : global_options()) names.push_back("--" + option.name);
  if (verb) {
    for (const auto& option : verb->options) names.push_back("--" + option.name);
  }
  return names;
}

// Where in `args` the verb stands: the first word that is neither an option nor a global option's value.
// args.size() when there is none.
Result<std::size_t> find_verb_position(const std::vector<std::string>& args) {
  for (std::size_t i = 0; i < args.size(); ++i) {
    const auto& word = args[i];
    if (word.size() < 2 || word[0] != '-') return i;
    if (word.substr(0, 2) != "--" || word == "--") continue;
    const auto equals = word.find('=');
    const auto name = word.substr(2, equals == word.npos ? word.npos : equals - 2);
    if (const auto* option = find_option(global_options(), name)) {
      if (!option->value.empty() && equals == word.npos) ++i;
      continue;
    }
    for (const auto& verb : verbs()) {
      if (!find_option(verb.options, name)) continue;
      return invalid("--" + name + " belongs after its verb, as in: podwirectl " + verb.name + " --" + name);
    }
  }
  return args.size();
}

Result<const Verb*> verb_named(const std::string& name) {
  if (const auto* verb = find_verb(name)) return verb;
  std::vector<std::string> names;
  for (const auto& verb : verbs()) names.push_back(verb.name);
  const auto hint = suggestion(name, names);
  return invalid("there is no verb \"" + name + "\"" +
                 (hint.empty() ? "; the verbs are " + join(names, ", ") : hint));
}

// Sub-verb and argument from the words after the verb.
Result<void> take_words(const std::vector<std::string>& words, Command& command) {
  const Verb& verb = *command.verb;
  if (verb.subs.empty()) {
    if (words.empty()) return {};
    return invalid(verb.name + " takes no \"" + words[0] + "\"; see: podwirectl " + verb.name + " --help");
  }
  command.sub = words.empty() ? &verb.subs.front() : find_sub(verb, words[0]);
  if (!command.sub) {
    std::vector<std::string> names;
    for (const auto& sub : verb.subs) names.push_back(sub.name);
    auto hint = suggestion(words[0], names);
    if (hint.empty() && find_sub(verb, "show")) {
      hint = "; did you mean: podwirectl " + verb.name + " show " + words[0];
    } else if (hint.empty()) {
      hint = "; it takes " + join(names, ", ");
    }
    return invalid(verb.name + " has no \"" + words[0] + "\"" + hint);
  }
  const bool wants_argument = !command.sub->argument.empty();
  const bool may_lack_it = command.sub->argument.starts_with('[') && words.size() < 2;
  const auto& further = command.sub->further;
  const std::string usage = "podwirectl " + verb.name + " " + command.sub->name +
                            (wants_argument ? " " + command.sub->argument : std::string()) +
                            (further.empty() ? std::string() : " " + further + " [" + further + "...]");
  if (may_lack_it) return {};
  if (wants_argument && (words.size() < 2 || words[1].empty())) {
    return invalid(verb.name + " " + command.sub->name + " needs a " + command.sub->argument +
                   "; type: " + usage);
  }
  const std::size_t expected = wants_argument ? 2 : 1;
  if (!further.empty()) {
    command.further.assign(words.begin() + 2, words.end());
    if (command.further.empty())
      return invalid(verb.name + " " + command.sub->name + " needs a second " + further + "; type: " + usage);
  } else if (words.size() > expected) {
    return invalid("\"" + words[expected] + "\" is one word too many; type: " + usage);
  }
  if (wants_argument) command.argument = words[1];
  return {};
}

// The values of the options that were given, read with their limits.
class Values {
 public:
  explicit Values(const po::variables_map& given) : given_(given) {}

  bool flag(const char* name) const { return given_.count(name) > 0; }
  bool text(const char* name, std::string& out) const {
    const auto it = given_.find(name);
    if (it == given_.end()) return false;
    out = it->second.as<std::string>();
    return true;
  }
  Result<bool> integer(const char* name, int low, int high, int& out) const {
    std::string value;
    if (!text(name, value)) return false;
    int n = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), n);
    if (error != std::errc{} || end != value.data() + value.size() || n < low || n > high) {
      return invalid("--" + std::string(name) + " " + value + ": must be a whole number from " +
                     std::to_string(low) + " to " + std::to_string(high));
    }
    out = n;
    return true;
  }
  Result<bool> seconds(const char* name, double& out) const {
    std::string value;
    if (!text(name, value)) return false;
    double n = 0;
    const auto [end, error] =
        std::from_chars(value.data(), value.data() + value.size(), n, std::chars_format::fixed);
    if (error != std::errc{} || end != value.data() + value.size() || !(n >= 0.1 && n <= 3600)) {
      return invalid("--" + std::string(name) + " " + value + ": must be seconds from 0.1 to 3600");
    }
    out = n;
    return true;
  }

 private:
  const po::variables_map& given_;
};

Result<void> take_question(const Values& values, Command& command) {
  std::string from, to, protocol;
  if (!values.text("from", from) || from.empty() || !values.text("to", to)) {
    return invalid(
        "explain needs a sender and a destination, as in: podwirectl explain --from web-0 --to 10.244.2.11");
  }
  const auto address = parse_ip(to);
  if (!address) return invalid("--to " + to + ": must be an IPv4 or IPv6 address, such as 10.244.2.11");
  const std::vector<std::string> protocols{"icmp", "icmp6", "tcp", "udp"};
  if (values.text("proto", protocol)) {
    if (std::find(protocols.begin(), protocols.end(), protocol) == protocols.end()) {
      const auto hint = suggestion(protocol, protocols);
      return invalid("--proto " + protocol + ": must be icmp, tcp or udp" + hint);
    }
    if (protocol == "icmp6" && address->is_v4())
      return invalid("--proto icmp6 needs an IPv6 address after --to, not " + to);
  } else {
    protocol = "icmp";
  }
  if (protocol == "icmp" && address->is_v6())
    protocol = "icmp6";  // a person's "icmp" is a ping in either family
  command.question = {{"from", from}, {"to", to_string(*address)}, {"protocol", protocol}};
  struct Number {
    const char* name;
    int low;
    int high;
  };
  for (const auto& [name, low, high] :
       {Number{"sport", 0, 65535}, {"dport", 0, 65535}, {"ttl", 1, 255}, {"size", 28, 65535}}) {
    int n = 0;
    PODWIRE_TRY(const bool given, values.integer(name, low, high, n));
    if (!given) continue;
    const bool is_port = std::string_view(name).ends_with("port");
    if (is_port && protocol != "tcp" && protocol != "udp") {
      return invalid("--" + std::string(name) + " needs --proto tcp or --proto udp");
    }
    command.question[name] = n;
  }
  return {};
}

// Options that belong to another sub-verb, and the parameters of one that changes something. `socket` is then
// the port's: podwired's stands before the verb.
Result<void> take_change(const po::variables_map& given, Command& command) {
  const auto& verb = *command.verb;
  std::map<std::string, std::vector<std::string>> typed;
  for (const auto& option : verb.options) {
    const auto it = given.find(option.name);
    if (it == given.end()) continue;
    if (!option.fits(command.sub->name)) {
      return invalid("--" + option.name + " belongs to: podwirectl " + verb.name + " " + option.subs.front() +
                     "; see: podwirectl " + verb.name + " --help");
    }
    auto& values = typed[option.name];
    if (option.repeats) {
      values = it->second.as<std::vector<std::string>>();
    } else if (!option.value.empty()) {
      values = {it->second.as<std::string>()};
    }
  }
  if (command.sub->method.empty()) return {};
  if (const auto file = typed.find("file"); file != typed.end()) command.file = file->second.front();
  PODWIRE_TRY(command.question, change_parameters(verb, *command.sub, command.argument, typed));
  if (!command.further.empty()) command.question["domains"] = command.further;
  return {};
}

Result<void> take_options(const po::variables_map& given, Command& command) {
  const Values values(given);
  command.json = values.flag("json");
  command.colour = !values.flag("no-colour");
  command.names = values.flag("names");
  command.all = values.flag("all");
  command.yes = values.flag("yes");
  std::string ports_own;
  const bool adds_port = command.sub != nullptr && command.sub->method == "port_add";
  if (values.text("socket", adds_port ? ports_own : command.socket) && command.socket.empty())
    return invalid("--socket needs a path");
  const auto& subs = command.verb->subs;
  if (std::any_of(subs.begin(), subs.end(), [](const SubVerb& s) { return !s.method.empty(); })) {
    PODWIRE_CHECK(take_change(given, command));
  } else if (command.verb->name == "flows") {
    std::map<std::string, std::string> typed;
    for (const auto& option : command.verb->options) values.text(option.name.c_str(), typed[option.name]);
    PODWIRE_TRY(command.question, flow_parameters(command.sub->name, typed, command.all));
  } else {
    values.text("domain", command.domain);
  }
  double timeout_s = command.timeout_ms / 1000.0;
  PODWIRE_CHECK(values.seconds("timeout", timeout_s));
  command.timeout_ms = static_cast<int>(std::lround(timeout_s * 1000));
  PODWIRE_CHECK(values.seconds("watch", command.watch_s));
  PODWIRE_TRY(const bool counted, values.integer("count", 1, 1000000, command.count));
  if (counted && command.watch_s == 0)
    return invalid("--count needs --watch, as in: podwirectl stats --watch 1 --count 5");
  if (command.names && command.json) return invalid("--names and --json exclude each other; choose one");
  if (command.verb->name == "explain") return take_question(values, command);
  return {};
}

// podwired's socket from before the verb, which is at `at`; taken out of `args`, so that the verb may have a
// --socket of its own.
Result<void> take_leading_socket(std::vector<std::string>& args, std::size_t& at, Command& command) {
  constexpr std::string_view kOption = "--socket";
  for (std::size_t i = 0; i < at; ++i) {
    const bool joined = args[i].starts_with(std::string(kOption) + "=");
    if (args[i] != kOption && !joined) continue;
    const std::size_t words = joined ? 1 : 2;
    command.socket = joined ? args[i].substr(kOption.size() + 1) : args[i + 1];
    if (command.socket.empty()) return invalid("--socket needs a path");
    const auto first = args.begin() + static_cast<std::ptrdiff_t>(i);
    args.erase(first, first + static_cast<std::ptrdiff_t>(words));
    at -= words;
    return {};
  }
  return {};
}

po::options_description describe(const Verb& verb) {
  po::options_description description;
  for (const auto* list : {&global_options(), &verb.options}) {
    for (const auto& option : *list) {
      const bool shadows = list == &verb.options && find_option(global_options(), option.name) != nullptr;
      if (shadows) continue;
      if (option.repeats) {
        description.add_options()(option.name.c_str(), po::value<std::vector<std::string>>(), "");
        continue;
      }
      auto name = option.name == "help" ? "help,h" : option.name;
      if (option.letter != 0) name += std::string(",") + option.letter;
      if (option.value.empty()) {
        description.add_options()(name.c_str(), "");
      } else if (!option.implied.empty()) {
        description.add_options()(name.c_str(), po::value<std::string>()->implicit_value(option.implied), "");
      } else {
        description.add_options()(name.c_str(), po::value<std::string>(), "");
      }
    }
  }
  return description;
}

// The parser gives an option that can do without a value the one after = only; a number that follows as a
// word of its own is meant for it too.
void join_numbers(const Verb& verb, std::vector<std::string>& args) {
  for (std::size_t i = 0; i + 1 < args.size(); ++i) {
    const auto& next = args[i + 1];
    const bool is_number = !next.empty() && next.find_first_not_of("0123456789") == next.npos;
    const auto* option = args[i].starts_with("--") ? find_option(verb.options, args[i].substr(2)) : nullptr;
    if (option == nullptr || option->implied.empty() || !is_number) continue;
    args[i] += "=" + next;
    args.erase(args.begin() + static_cast<std::ptrdiff_t>(i) + 1);
  }
}

Error explain_failure(const po::error& error, const Verb& verb) {
  std::string message = error.what();
  if (const auto* unknown = dynamic_cast<const po::unknown_option*>(&error)) {
    const auto name = unknown->get_option_name();
    message = "there is no option \"" + name + "\"" + suggestion(name, option_names(&verb));
  }
  return invalid(message + (message.ends_with('?') ? " See" : "; see") + ": podwirectl " + verb.name +
                 " --help");
}

bool wants_help(const std::vector<std::string>& args) {
  return std::any_of(args.begin(), args.end(),
                     [](const auto& word) { return word == "--help" || word == "-h"; });
}

}  // namespace

Result<Command> parse_arguments(const std::vector<std::string>& args, const std::string& socket_variable) {
  for (const auto& arg : args) {
    if (printable(arg) != arg)
      return invalid("\"" + printable(arg) + "\" holds a control character or is no UTF-8");
  }
  Command command;
  command.socket = socket_variable.empty() ? kDefaultSocket : socket_variable;
  PODWIRE_TRY(const std::size_t at, find_verb_position(args));
  const bool help_verb = at < args.size() && args[at] == "help";
  if (wants_help(args) || help_verb) {
    command.help = true;
    command.colour = std::find(args.begin(), args.end(), "--no-colour") == args.end();
    const std::size_t subject = at + (help_verb ? 1 : 0);
    if (subject < args.size() && args[subject][0] != '-') {
      PODWIRE_TRY(command.verb, verb_named(args[subject]));
    }
    return command;
  }
  std::vector<std::string> rest = args;
  std::size_t verb_at = at;
  if (at < args.size()) {
    PODWIRE_CHECK(take_leading_socket(rest, verb_at, command));
    rest.erase(rest.begin() + static_cast<std::ptrdiff_t>(verb_at));
  }
  if (at == args.size()) {
    const auto version = std::find(rest.begin(), rest.end(), "--version");
    if (version == rest.end()) return invalid("a verb is missing; podwirectl --help lists them");
    rest.erase(version);
    command.verb = find_verb("version");
  } else {
    PODWIRE_TRY(command.verb, verb_named(args[at]));
  }
  join_numbers(*command.verb, rest);
  po::variables_map given;
  std::vector<std::string> words;
  try {
    const auto description = describe(*command.verb);
    const int style = po::command_line_style::unix_style & ~po::command_line_style::allow_guessing;
    const auto parsed = po::command_line_parser(rest).options(description).style(style).run();
    for (const auto& option : parsed.options) {
      if (option.string_key.empty()) words.insert(words.end(), option.value.begin(), option.value.end());
    }
    po::store(parsed, given);
  } catch (const po::error& error) {
    return explain_failure(error, *command.verb);
  }
  PODWIRE_CHECK(take_words(words, command));
  PODWIRE_CHECK(take_options(given, command));
  return command;
}

}  // namespace podwire::control::cli
