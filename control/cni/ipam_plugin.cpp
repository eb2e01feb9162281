#include "control/cni/ipam_plugin.hpp"

#include <sys/stat.h>
#include <unistd.h>

#include "control/cni/process.hpp"
#include "control/cni/version.hpp"

namespace podwire::control {
namespace {

constexpr std::chrono::milliseconds kTimeout{30000};
constexpr std::size_t kMaxKnown = 64;  // CNI_PATH comes from outside; the cache must not grow with it

CniError plugin_error(const std::string& type, const std::string& message, const std::string& details) {
  return {CniCode::kIpamPlugin, "IPAM plugin " + type + ": " + message, details};
}

// What a plugin that exited with an error meant. Codes of the specification are passed on, others become
// ours.
CniError reported_error(const std::string& type, const ProcessOutcome& outcome) {
  const auto json = parse_json(outcome.output, "output");
  if (!json || !json->is_object() || !json->contains("code") || !(*json)["code"].is_number_unsigned()) {
    return plugin_error(type, "exited with " + std::to_string(outcome.exit) + " and without a CNI error",
                        outcome.output.substr(0, 1000) + outcome.diagnostics);
  }
  const auto text = [&](const char* key) {
    const auto it = json->find(key);
    return it != json->end() && it->is_string() ? it->get<std::string>() : std::string();
  };
  const auto code = (*json)["code"].get<std::uint64_t>();
  auto error = plugin_error(type, text("msg"), text("details"));
  if (code >= 1 && code < 100) error.code = static_cast<CniCode>(code);
  return error;
}

std::string lookup(const std::map<std::string, std::string>& variables, const char* name) {
  const auto it = variables.find(name);
  return it == variables.end() ? std::string() : it->second;
}

CniResult<std::string> find_in_path(const IpamCall& call) {
  const auto path = lookup(call.variables, "CNI_PATH");
  if (path.empty()) {
    return CniError(CniCode::kBadEnvironment,
                    "required environment variables are missing: CNI_PATH, where the IPAM plugin \"" +
                        call.type + "\" is looked for");
  }
  for (std::size_t begin = 0; begin <= path.size();) {
    const auto end = std::min(path.find(':', begin), path.size());
    const auto candidate = path.substr(begin, end - begin) + "/" + call.type;
    begin = end + 1;
    struct stat status {};
    if (candidate.front() == '/' && ::stat(candidate.c_str(), &status) == 0 && S_ISREG(status.st_mode) &&
        ::access(candidate.c_str(), X_OK) == 0) {
      return candidate;
    }
  }
  return CniError(CniCode::kInvalidConfig,
                  "ipam.type is \"" + call.type + "\", but there is no such program in CNI_PATH (" +
                      path.substr(0, 300) +
                      "); install it (Debian: apt install containernetworking-plugins) or leave ipam out for "
                      "the built-in one");
}

}  // namespace

CniResult<std::string> IpamPlugins::run(const std::string& path, const char* command, const Json& config,
                                        const IpamCall& call) {
  ProcessRequest request;
  request.path = path;
  request.timeout = kTimeout;
  request.give_up = call.give_up;
  request.input = config.dump(-1, ' ', false, Json::error_handler_t::replace);
  for (const auto& [key, value] : call.variables) {
    if (key != "CNI_COMMAND") request.environment.push_back(key + "=" + value);
  }
  request.environment.push_back(std::string("CNI_COMMAND=") + command);
  auto outcome = run_process(request);
  if (!outcome) return plugin_error(call.type, outcome.error().message, {});
  if (outcome->exit != 0) return reported_error(call.type, *outcome);
  return std::move(outcome->output);
}

CniResult<std::string> IpamPlugins::run(const Program& program, const char* command, const IpamCall& call) {
  Json config = call.config;
  config["cniVersion"] = program.version;
  return run(program.path, command, config, call);
}

CniResult<std::vector<std::string>> IpamPlugins::versions_of(const std::string& path, const IpamCall& call) {
  struct stat status {};
  if (::stat(path.c_str(), &status) != 0) return errno_error(path);
  const std::int64_t modified_ns = status.st_mtim.tv_sec * 1'000'000'000 + status.st_mtim.tv_nsec;
  {
    const std::lock_guard lock(mutex_);
    const auto it = known_.find(path);
    if (it != known_.end() && it->second.inode == status.st_ino && it->second.modified_ns == modified_ns &&
        it->second.size == status.st_size) {
      return it->second.versions;
    }
  }
  PODWIRE_TRY(const auto output, run(path, "VERSION", Json{{"cniVersion", call.version}}, call));
  PODWIRE_TRY(const auto json, parse_json(output, "VERSION of " + path));
  std::vector<std::string> versions;
  ObjectReader r(json, "VERSION of " + path);
  r.ignore_unknown();
  r.required("supportedVersions", versions);
  if (auto read = r.finish(); !read) return plugin_error(call.type, read.error().message, {});
  const std::lock_guard lock(mutex_);
  if (known_.size() >= kMaxKnown) known_.clear();
  known_[path] = {status.st_ino, modified_ns, status.st_size, versions};
  return versions;
}

CniResult<IpamPlugins::Program> IpamPlugins::find(const IpamCall& call) {
  PODWIRE_TRY(const auto path, find_in_path(call));
  PODWIRE_TRY(const auto versions, versions_of(path, call));
  auto version = best_version(call.version, versions);
  if (!version.empty()) return Program{path, std::move(version)};
  std::string list;
  for (const auto& v : versions) list += (list.empty() ? "" : ", ") + v;
  return CniError(CniCode::kIncompatibleVersion, "IPAM plugin " + call.type + " supports " +
                                                     list.substr(0, 200) +
                                                     ", none of which suits cniVersion " + call.version);
}

CniResult<Chained> IpamPlugins::add(const IpamCall& call) {
  PODWIRE_TRY(const auto program, find(call));
  PODWIRE_TRY(const auto output, run(program, "ADD", call));
  const auto what = "result of " + call.type;
  auto json = parse_json(output, what);
  if (!json) return plugin_error(call.type, json.error().message, output.substr(0, 1000));
  auto result = read_result(*json, what);
  if (!result) return plugin_error(call.type, result.error().message, {});
  if (result->ips.empty()) return plugin_error(call.type, "its result has no ips", {});
  return result;
}

CniResult<void> IpamPlugins::del(const IpamCall& call) {
  PODWIRE_TRY(const auto program, find(call));
  PODWIRE_TRY(const auto ignored, run(program, "DEL", call));
  return {};
}

CniResult<void> IpamPlugins::check(const IpamCall& call) {
  PODWIRE_TRY(const auto program, find(call));
  if (!has_feature(program.version, CniFeature::kCheck)) return {};
  PODWIRE_TRY(const auto ignored, run(program, "CHECK", call));
  return {};
}

CniResult<void> IpamPlugins::gc(const IpamCall& call) {
  PODWIRE_TRY(const auto program, find(call));
  if (!has_feature(program.version, CniFeature::kGcAndStatus)) return {};
  PODWIRE_TRY(const auto ignored, run(program, "GC", call));
  return {};
}

CniResult<void> IpamPlugins::status(const IpamCall& call) {
  PODWIRE_TRY(const auto program, find(call));
  if (!has_feature(program.version, CniFeature::kGcAndStatus)) return {};
  PODWIRE_TRY(const auto ignored, run(program, "STATUS", call));
  return {};
}

}  // namespace podwire::control
