#include "control/cni/environment.hpp"

#include <algorithm>
#include <cctype>

namespace podwire::control {
namespace {

constexpr std::size_t kMaxContainerIdBytes = 255;
constexpr std::size_t kMaxArgsBytes = 65536;

struct CommandRule {
  const char* name;
  CniCommand command;
  bool needs_container;  // CNI_CONTAINERID and CNI_IFNAME
  bool needs_netns;
};
constexpr CommandRule kCommands[] = {
    {"ADD", CniCommand::kAdd, true, true},         {"DEL", CniCommand::kDel, true, false},
    {"CHECK", CniCommand::kCheck, true, true},     {"GC", CniCommand::kGc, false, false},
    {"STATUS", CniCommand::kStatus, false, false}, {"VERSION", CniCommand::kVersion, false, false},
};

// Keys that every Kubernetes runtime passes, and the two of the CNI conventions that we honour.
const std::vector<std::string> kKnownArgs{"IgnoreUnknown",
                                          "K8S_POD_NAMESPACE",
                                          "K8S_POD_NAME",
                                          "K8S_POD_INFRA_CONTAINER_ID",
                                          "K8S_POD_UID",
                                          "IP",
                                          "MAC"};

CniError bad(std::string message) {
  return {CniCode::kBadEnvironment, std::move(message)};
}

std::string quoted(const std::string& text) {
  return "\"" + text.substr(0, 80) + "\"";
}

std::string lookup(const std::map<std::string, std::string>& variables, const char* name) {
  const auto it = variables.find(name);
  return it == variables.end() ? std::string() : it->second;
}

bool is_true(const std::string& text) {
  std::string lower = text;
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return lower == "1" || lower == "true";
}

template <class Visit>
void split(const std::string& text, char separator, Visit visit) {
  for (std::size_t begin = 0; begin <= text.size();) {
    const auto end = std::min(text.find(separator, begin), text.size());
    if (end > begin) visit(text.substr(begin, end - begin));
    begin = end + 1;
  }
}

}  // namespace

CniResult<void> check_ifname(const std::string& name) {
  const bool bad_character = std::any_of(name.begin(), name.end(), [](unsigned char c) {
    return c == '/' || c == ':' || std::isspace(c) != 0 || c < 0x20 || c == 0x7f;
  });
  if (!name.empty() && name.size() <= 15 && !bad_character && name != "." && name != "..") return {};
  return bad("CNI_IFNAME is " + quoted(name) +
             ", must have 1 to 15 characters, none of / : and white space, and not be . or ..");
}

CniResult<void> check_container_id(const std::string& id) {
  const auto allowed = [](unsigned char c) {
    return std::isalnum(c) != 0 || c == '_' || c == '.' || c == '-';
  };
  if (!id.empty() && id.size() <= kMaxContainerIdBytes &&
      std::isalnum(static_cast<unsigned char>(id[0])) != 0 && std::all_of(id.begin(), id.end(), allowed)) {
    return {};
  }
  return bad("CNI_CONTAINERID is " + quoted(id) +
             ", must begin with a letter or digit and hold only letters, digits, "
             "_ . and -, at most " +
             std::to_string(kMaxContainerIdBytes) + " of them");
}

CniResult<std::map<std::string, std::string>> read_cni_args(const std::string& text) {
  if (text.size() > kMaxArgsBytes)
    return bad("CNI_ARGS is longer than " + std::to_string(kMaxArgsBytes) + " bytes");
  std::map<std::string, std::string> args;
  std::optional<CniError> error;
  split(text, ';', [&](const std::string& pair) {
    const auto equals = pair.find('=');
    if ((equals == pair.npos || equals == 0) && !error) {
      error = bad("CNI_ARGS: " + quoted(pair) + " is not KEY=VALUE");
    }
    if (!error) args[pair.substr(0, equals)] = pair.substr(equals + 1);
  });
  if (error) return *error;
  const bool ignore_unknown = args.contains("IgnoreUnknown") && is_true(args["IgnoreUnknown"]);
  for (auto it = args.begin(); it != args.end();) {
    if (std::find(kKnownArgs.begin(), kKnownArgs.end(), it->first) != kKnownArgs.end()) {
      ++it;
      continue;
    }
    if (!ignore_unknown) {
      const auto near = closest_match(it->first, kKnownArgs);
      return bad("CNI_ARGS: unknown key " + quoted(it->first) +
                 (near.empty() ? "" : "; did you mean " + quoted(near) + "?") +
                 "; IgnoreUnknown=1 lets unknown keys pass");
    }
    it = args.erase(it);
  }
  return args;
}

CniResult<CniEnvironment> read_environment(const std::map<std::string, std::string>& variables) {
  const auto command = lookup(variables, "CNI_COMMAND");
  const CommandRule* rule = nullptr;
  for (const auto& candidate : kCommands) {
    if (command == candidate.name) rule = &candidate;
  }
  if (rule == nullptr && !command.empty()) {
    return bad("CNI_COMMAND is " + quoted(command) + ", must be ADD, DEL, CHECK, GC, STATUS or VERSION");
  }
  std::string missing;
  const auto need = [&](const char* name, bool needed) {
    if (needed && lookup(variables, name).empty())
      missing += (missing.empty() ? "" : ", ") + std::string(name);
  };
  // Without a command, name what the commonest one needs too: whoever calls by hand gets the whole list at
  // once.
  need("CNI_COMMAND", true);
  need("CNI_CONTAINERID", rule == nullptr || rule->needs_container);
  need("CNI_NETNS", rule == nullptr || rule->needs_netns);
  need("CNI_IFNAME", rule == nullptr || rule->needs_container);
  if (!missing.empty()) return bad("required environment variables are missing: " + missing);

  CniEnvironment environment;
  environment.command = rule->command;
  split(lookup(variables, "CNI_PATH"), ':', [&](const std::string& dir) { environment.path.push_back(dir); });
  if (!rule->needs_container) return environment;
  environment.container_id = lookup(variables, "CNI_CONTAINERID");
  environment.netns = lookup(variables, "CNI_NETNS");
  environment.ifname = lookup(variables, "CNI_IFNAME");
  PODWIRE_CHECK(check_container_id(environment.container_id));
  PODWIRE_CHECK(check_ifname(environment.ifname));
  // A DEL must get through whatever the arguments are.
  if (rule->command != CniCommand::kDel) {
    PODWIRE_TRY(environment.args, read_cni_args(lookup(variables, "CNI_ARGS")));
  }
  return environment;
}

}  // namespace podwire::control
