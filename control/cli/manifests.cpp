#include "control/cli/manifests.hpp"

#include <fcntl.h>
#include <unistd.h>

#include "dataplane/base/framing.hpp"
#include "dataplane/base/unique_fd.hpp"

namespace podwire::control::cli {
namespace {

std::string text_in(const Json& object, const char* key) {
  if (!object.is_object()) return "";
  const auto at = object.find(key);
  return at != object.end() && at->is_string() ? printable(at->get_ref<const std::string&>()) : "";
}

const Json& list_in(const Json& object, const char* key) {
  static const Json kNone = Json::array();
  if (!object.is_object()) return kNone;
  const auto at = object.find(key);
  return at != object.end() && at->is_array() ? *at : kNone;
}

}  // namespace

Result<std::string> read_manifest_file(const std::string& path) {
  const bool is_input = path == "-";
  const UniqueFd file(is_input ? ::dup(STDIN_FILENO) : ::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!file) return errno_error("cannot open " + path);
  std::string text;
  char buffer[65536];
  for (;;) {
    const auto n = ::read(file.get(), buffer, sizeof buffer);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error("cannot read " + path);
    if (n == 0) break;
    text.append(buffer, static_cast<std::size_t>(n));
    if (text.size() > kMaxLineBytes) break;
  }
  // It travels as a JSON string in one line.
  const auto bytes = Json(text).dump(-1, ' ', false, Json::error_handler_t::replace).size();
  constexpr std::size_t kMost = kMaxLineBytes - 8192;
  if (bytes <= kMost) return text;
  return invalid(
      (is_input ? std::string("standard input") : path) + " takes " +
      (text.size() > kMaxLineBytes ? "more than " + std::to_string(kMaxLineBytes) : std::to_string(bytes)) +
      " bytes, at most " + std::to_string(kMost) + " can be applied at once; split it");
}

std::string applied_view(const Json& reply, const Style& style) {
  std::string out;
  for (const auto& object : list_in(reply, "applied"))
    out += text_in(object, "kind") + " " + text_in(object, "name") + " " + text_in(object, "change") + "\n";
  for (const auto& problem : list_in(reply, "not_enforced")) {
    if (problem.is_string())
      out += painted("not enforced: " + printable(problem.get_ref<const std::string&>()), Tone::kBad, style) +
             "\n";
  }
  return out;
}

std::string deleted_view(const Json& reply) {
  std::string out;
  for (const auto& object : list_in(reply, "deleted")) {
    if (object.is_string()) out += printable(object.get_ref<const std::string&>()) + " deleted\n";
  }
  return out.empty() ? "There was nothing to delete.\n" : out;
}

std::string policy_answer_view(const Json& reply, const Style& style) {
  const auto allowed_in = [](const Json& object) {
    return object.is_object() && object.value("allowed", Json()) == Json(true);
  };
  const bool allowed = allowed_in(reply);
  std::string out = painted(allowed ? "allowed" : "denied", allowed ? Tone::kGood : Tone::kBad, style) + "\n";
  for (const char* const side : {"egress", "ingress"}) {
    const Json part = reply.is_object() ? reply.value(side, Json::object()) : Json::object();
    out += std::string("  ") + side + " of " + text_in(part, "pod") + ": " +
           (allowed_in(part) ? "allowed" : "denied") + " (policies: " + text_in(part, "policies") + ")\n";
  }
  return out;
}

}  // namespace podwire::control::cli
