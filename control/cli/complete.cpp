#include "control/cli/complete.hpp"

#include <algorithm>

#include "control/cli/daemon.hpp"
#include "control/cli/select.hpp"
#include "control/cli/text.hpp"
#include "control/cli/verbs.hpp"
#include "dataplane/tables/conntrack_state.hpp"

namespace podwire::control::cli {
namespace {

constexpr int kTimeoutMs = 1000;

// Letters, digits and what names and addresses are made of: nothing that a shell expands.
bool is_plain(const std::string& word) {
  return std::all_of(word.begin(), word.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("._:/@%+,=-").find(c) != std::string_view::npos;
  });
}

// What the words before the cursor say.
struct Typed {
  const Verb* verb = nullptr;
  std::vector<std::string> words;  // after the verb, without options
  std::string socket;
  const OptionSpec* awaiting = nullptr;  // the option whose value is being typed
};

const OptionSpec* option_in(const std::vector<OptionSpec>& options, const std::string& word) {
  const auto it =
      std::find_if(options.begin(), options.end(), [&](const auto& o) { return "--" + o.name == word; });
  return it == options.end() ? nullptr : &*it;
}

Typed read_words(const std::vector<std::string>& words, const std::string& socket_variable) {
  Typed typed;
  typed.socket = socket_variable.empty() ? kDefaultSocket : socket_variable;
  for (std::size_t i = 0; i + 1 < words.size(); ++i) {
    const auto& word = words[i];
    if (typed.awaiting) {
      if (typed.awaiting->name == "socket") typed.socket = word;
      typed.awaiting = nullptr;
    } else if (word.starts_with("--socket=")) {
      typed.socket = word.substr(std::string_view("--socket=").size());
    } else if (word.starts_with("-")) {
      const auto* option = option_in(global_options(), word);
      if (!option && typed.verb) option = option_in(typed.verb->options, word);
      if (option && !option->value.empty() && option->implied.empty()) typed.awaiting = option;
    } else if (!typed.verb) {
      typed.verb = find_verb(word);
      if (!typed.verb) typed.words.push_back(word);
    } else {
      typed.words.push_back(word);
    }
  }
  return typed;
}

std::vector<std::string> live_names(const Typed& typed, const char* verb_name) {
  const Verb* verb = find_verb(verb_name);
  Daemon daemon(typed.socket, kTimeoutMs);
  const auto reply = daemon.call_whole(verb->method, Json::object(), verb->list_key);
  if (!reply) return {};  // no candidates: a shell prompt is no place for an error
  const auto names = object_names(*verb, *reply);
  return names ? *names : std::vector<std::string>{};
}

std::vector<std::string> option_values(const Typed& typed) {
  const auto& name = typed.awaiting->name;
  if (name == "protocol") return {"icmp", "icmp6", "tcp", "udp", "sctp"};
  if (name == "pod") return live_names(typed, "endpoint");
  if (name == "state") return {engine::kFlowStateNames.begin() + 1, engine::kFlowStateNames.end()};
  const bool of_policy = typed.verb != nullptr && typed.verb->name == "policy";
  if (name == "proto" && of_policy) return {"tcp", "udp", "sctp", "any"};
  if (name == "proto") return {"icmp", "tcp", "udp"};
  if (name == "port" && of_policy) return {};
  if (name == "from") {
    auto names = live_names(typed, "endpoint");
    names.insert(names.end(), {"uplink", "host"});
    return names;
  }
  if (name == "kind") return {"vhost", "memif"};
  if (name == "socket-mode") return {"server", "client"};
  if (name == "port" && typed.verb->name != "flows") return live_names(typed, "port");
  if (name == "domain") return live_names(typed, "domain");
  return {};
}

std::vector<std::string> candidates(const Typed& typed, const std::string& current) {
  if (typed.awaiting) return option_values(typed);
  std::vector<std::string> out;
  if (current.starts_with("-")) {
    for (const auto& option : global_options()) out.push_back("--" + option.name);
    if (!typed.verb) return out;
    const auto sub = typed.words.empty() ? std::string() : typed.words[0];
    for (const auto& option : typed.verb->options) {
      const bool known = std::find(out.begin(), out.end(), "--" + option.name) != out.end();
      if (option.fits(sub) && !known) out.push_back("--" + option.name);
    }
    return out;
  }
  if (!typed.verb) {
    if (!typed.words.empty() && typed.words[0] != "help") return out;
    for (const auto& verb : verbs()) out.push_back(verb.name);
    return out;
  }
  if (typed.words.empty()) {
    for (const auto& sub : typed.verb->subs) out.push_back(sub.name);
    return out;
  }
  const auto* sub = find_sub(*typed.verb, typed.words[0]);
  if (sub && sub->name == "explain") return out;  // takes pods, not what the verb lists
  const bool is_new = sub && sub->name == "add";  // whatever is added has a name that is not there yet
  if (sub && !is_new && !sub->argument.empty() && (typed.words.size() == 1 || !sub->further.empty()))
    return live_names(typed, typed.verb->name.c_str());
  return out;
}

}  // namespace

std::vector<std::string> complete(const std::vector<std::string>& words, const std::string& socket_variable) {
  const std::string current = words.empty() ? "" : words.back();
  auto out = candidates(read_words(words, socket_variable), current);
  std::erase_if(out, [&](const std::string& word) { return !word.starts_with(current) || !is_plain(word); });
  return out;
}

}  // namespace podwire::control::cli
