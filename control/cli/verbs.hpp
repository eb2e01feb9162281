// Every verb of podwirectl with its sub-verbs, options and help: the one list that the parser, the help pages
// and the completion are made from.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace podwire::control::cli {

struct OptionSpec {
  std::string name;
  std::string value;  // what its value is called in help; empty: a flag
  std::string help;
  // The sub-verbs that it is for; none: all of them.
  std::vector<std::string> subs{};
  bool repeats = false;   // may be given several times
  char letter = 0;        // its short form; 0: none
  std::string implied{};  // its value where no number follows it; empty: it needs one

  bool fits(const std::string& sub) const;
};

struct SubVerb {
  std::string name;
  std::string argument;  // its one argument's name in help, in [] when it may be left out; empty: takes none
  std::string help;
  // The daemon's verb, of a sub-verb that changes something: its argument is the parameter "name", its
  // options are the others. Empty: it looks, by the verb's own method.
  std::string method{};
  // What those that follow the argument are called in help, of which one must be there: the parameter
  // "domains".
  std::string further{};
};

struct Explained {
  std::string what;
  std::string help;
};

struct Verb {
  std::string name{};
  std::string summary{};        // one line
  std::string about{};          // what it shows, in full
  std::string method{};         // the daemon's verb
  std::string list_key{};       // of the daemon's reply: the array that list and show are about; empty: none
  std::vector<SubVerb> subs{};  // the first is what the verb alone means; empty: takes none
  std::vector<OptionSpec> options{};
  std::vector<Explained> columns{};
  std::vector<Explained> examples{};
};

const std::vector<Verb>& verbs();
const std::vector<OptionSpec>& global_options();
const Verb* find_verb(std::string_view name);
const SubVerb* find_sub(const Verb& verb, std::string_view name);

inline constexpr const char* kDefaultSocket = "/run/podwire/control.sock";
inline constexpr const char* kSocketVariable = "PODWIRE_SOCKET";

}  // namespace podwire::control::cli
