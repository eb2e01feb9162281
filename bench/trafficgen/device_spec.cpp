#include "bench/trafficgen/device_spec.hpp"

#include <vector>

#include "dataplane/base/json.hpp"
#include "dataplane/ports/devargs.hpp"

namespace podwire::trafficgen {
namespace {

// sockaddr_un's, and net_memif's with its final zero.
constexpr std::size_t kMaxSocketPath = 107;

Error bad(const std::string& text, const std::string& why) {
  return invalid("--port " + text + ": " + why);
}

Result<bool> take_role(engine::Devargs& devargs, const std::string& text) {
  const auto role = devargs.option("role").value_or("client");
  if (role != "client" && role != "server")
    return bad(text, "role is \"" + role +
                         "\", must be client (the switch listens) or server (the switch connects)");
  std::erase_if(devargs.options, [](const auto& option) { return option.first == "role"; });
  return role == "server";
}

void shared_memory_devargs(DeviceSpec& spec, engine::Devargs given, unsigned index, const MacAddr& mac,
                           unsigned queues) {
  engine::Devargs made;
  if (spec.kind == DeviceSpec::Kind::kMemif) {
    made.device = "net_memif" + std::to_string(index);
    made.options = {
        {"role", spec.listens ? "server" : "client"}, {"socket", spec.socket}, {"socket-abstract", "no"}};
  } else {
    made.device = "net_virtio_user" + std::to_string(index);
    made.options = {{"path", spec.socket}};
    if (spec.listens) made.options.emplace_back("server", "1");
    given.set_default("queue_size", "1024");
    given.set_default("queues", std::to_string(queues));
  }
  given.set_default("mac", to_string(mac));
  made.options.insert(made.options.end(), given.options.begin(), given.options.end());
  spec.devargs = made.text();
}

}  // namespace

Result<DeviceSpec> parse_device(const std::string& text, unsigned index, const MacAddr& mac,
                                unsigned queues) {
  DeviceSpec spec;
  spec.text = text;
  const auto colon = text.find(':');
  const auto scheme = text.substr(0, colon == text.npos ? 0 : colon);
  if (scheme != "memif" && scheme != "vhost") {
    spec.devargs = text;
    if (text.empty())
      return bad("\"\"",
                 "is empty; give devargs such as 0000:01:00.0 or net_af_packet0,iface=eth1, "
                 "memif:/run/x.sock or vhost:/run/x.sock");
    if (const auto meant = closest_match(scheme, {"memif", "vhost"}); !meant.empty())
      return bad(text, "no scheme \"" + scheme + "\"; is " + meant + ": meant?");
    return spec;
  }
  spec.kind = scheme == "memif" ? DeviceSpec::Kind::kMemif : DeviceSpec::Kind::kVhost;
  auto given = engine::Devargs::parse(text.substr(colon + 1));
  spec.socket = given.device;
  if (spec.socket.empty() || spec.socket.front() != '/' || spec.socket.size() > kMaxSocketPath)
    return bad(text,
               "the socket is \"" + spec.socket.substr(0, 200) + "\" (" + std::to_string(spec.socket.size()) +
                   " characters), must be an absolute path of at most " + std::to_string(kMaxSocketPath));
  PODWIRE_TRY(spec.listens, take_role(given, text));
  shared_memory_devargs(spec, std::move(given), index, mac, queues);
  return spec;
}

}  // namespace podwire::trafficgen
