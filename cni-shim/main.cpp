// podwire, the CNI plugin: takes the environment, stdin and CNI_NETNS to podwired and prints its answer. No
// state, no netlink, one thread. A runtime starts it thousands of times, so it does as little as it can.
#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>

#include "control/cni/environment.hpp"
#include "control/cni/error.hpp"
#include "control/cni/version.hpp"
#include "dataplane/base/rpc.hpp"

extern char** environ;

namespace podwire::control {
namespace {

constexpr const char* kDefaultSocket = "/run/podwire/control.sock";
constexpr std::size_t kMaxInputBytes = 1u << 20;
constexpr int kCallTimeoutMs = 110'000;  // kubelet gives up after two minutes

int print(const Json& object, int exit_status) {
  const auto text = object.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
  std::fwrite(text.data(), 1, text.size(), stdout);
  return std::fflush(stdout) == 0 ? exit_status : 1;
}

std::map<std::string, std::string> cni_variables() {
  std::map<std::string, std::string> variables;
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string_view text(*entry);
    const auto equals = text.find('=');
    if (equals == text.npos || (!text.starts_with("CNI_") && !text.starts_with("PATH="))) continue;
    variables.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return variables;
}

CniResult<std::string> read_stdin() {
  std::string input;
  char buffer[65536];
  for (;;) {
    const auto n = ::read(STDIN_FILENO, buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return CniError(errno_error("read the network configuration from stdin"));
    if (n == 0) return input;
    input.append(buffer, static_cast<std::size_t>(n));
    if (input.size() > kMaxInputBytes) {
      return CniError(CniCode::kUndecodable, "the network configuration on stdin is longer than " +
                                                 std::to_string(kMaxInputBytes) + " bytes");
    }
  }
}

// What the plugin itself wants of the configuration; podwired looks at the rest.
struct Outline {
  std::string version;  // empty unless it is one of ours
  std::string socket = kDefaultSocket;
};

CniResult<Outline> read_outline(const std::string& input) {
  Outline outline;
  if (const char* from_environment = std::getenv("PODWIRE_SOCKET")) outline.socket = from_environment;
  PODWIRE_TRY(const auto config, parse_json(input, "network configuration on stdin"));
  if (!config.is_object()) {
    return CniError(CniCode::kUndecodable,
                    "the network configuration must be an object, not " + json_type_name(config));
  }
  if (const auto it = config.find("cniVersion");
      it != config.end() && it->is_string() && is_supported(it->get<std::string>())) {
    outline.version = it->get<std::string>();
  }
  if (const auto it = config.find("socket"); it != config.end()) {
    PODWIRE_CHECK(read_value(*it, "socket", outline.socket));
  }
  return outline;
}

// The namespace travels as a descriptor, so that podwired's mount namespace does not matter. One that cannot
// be opened is not sent; what that means depends on the command.
UniqueFd open_netns(const std::map<std::string, std::string>& variables) {
  const auto it = variables.find("CNI_NETNS");
  if (it == variables.end() || it->second.empty()) return UniqueFd();
  return UniqueFd(::open(it->second.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
}

CniError daemon_error(const Error& error, CniCommand command, const std::string& socket) {
  if (error.code == ErrorCode::kInvalid) return error;
  const auto what = "podwired does not answer on " + socket + ": " + error.message;
  const auto remedy = std::string(
      "; start it (systemctl start podwired) or look at why it is not running (systemctl status podwired)");
  return {command == CniCommand::kStatus ? CniCode::kNotAvailable : CniCode::kTryAgain, what + remedy};
}

// Returns podwired's reply {exit, stdout}.
CniResult<Json> ask_daemon(const std::map<std::string, std::string>& variables, CniCommand command,
                           const std::string& input, const std::string& socket) {
  auto client = RpcClient::connect(socket);
  if (!client) return daemon_error(client.error(), command, socket);
  Json env = Json::object();
  for (const auto& [key, value] : variables) env[key] = value;
  const UniqueFd netns = open_netns(variables);
  std::vector<int> fds;
  if (netns) fds.push_back(netns.get());
  auto reply = client->call("cni", {{"env", std::move(env)}, {"stdin", input}}, fds, kCallTimeoutMs);
  if (!reply) return daemon_error(reply.error(), command, socket);
  return std::move(*reply);
}

int run() {
  const auto variables = cni_variables();
  const auto environment = read_environment(variables);
  if (!environment) return print(to_json(environment.error(), {}), 1);
  if (environment->command == CniCommand::kVersion) return print(version_reply(), 0);
  const auto input = read_stdin();
  if (!input) return print(to_json(input.error(), {}), 1);
  const auto outline = read_outline(*input);
  if (!outline) return print(to_json(outline.error(), {}), 1);
  const auto reply = ask_daemon(variables, environment->command, *input, outline->socket);
  if (!reply) return print(to_json(reply.error(), outline->version), 1);
  int exit_status = 1;
  std::string text;
  ObjectReader r(*reply, "podwired's reply");
  r.ignore_unknown();
  r.required("exit", exit_status);
  r.required("stdout", text);
  if (auto read = r.finish(); !read) {
    return print(to_json(CniError(CniCode::kInternal, read.error().message), outline->version), 1);
  }
  if (!text.empty()) std::puts(text.c_str());
  return std::fflush(stdout) == 0 ? exit_status : 1;
}

}  // namespace
}  // namespace podwire::control

int main() {
  try {
    return podwire::control::run();
  } catch (const std::exception& e) {
    const podwire::control::CniError error(podwire::control::CniCode::kInternal,
                                           std::string("internal error: ") + e.what());
    return podwire::control::print(podwire::control::to_json(error, {}), 1);
  }
}
