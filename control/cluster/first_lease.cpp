#include "control/cluster/first_lease.hpp"

#include <spdlog/spdlog.h>

#include "control/node/underlay.hpp"
#include "dataplane/base/rpc.hpp"

namespace podwire::control {
namespace {

// An engine that was started anew has no ports before podwired gives it some.
bool engine_has_uplink(const std::string& socket) {
  auto client = RpcClient::connect(socket);
  if (!client) return false;
  const auto status = client->call("status", Json::object());
  if (!status || !status->is_object()) return false;
  const auto ports = status->find("ports");
  return ports != status->end() && ports->is_array() && !ports->empty();
}

}  // namespace

Result<std::optional<DomainPrefixes>> wait_for_prefixes(
    Cluster& cluster, const Config& config, Store& store,
    const std::function<bool(std::chrono::milliseconds)>& stopped) {
  constexpr auto kPause = std::chrono::milliseconds(1000);
  for (std::string told;;) {
    auto leased = cluster.lease_prefixes();
    if (leased) return std::optional<DomainPrefixes>(std::move(*leased));
    if (leased.error().code != ErrorCode::kUnavailable) return leased.error();
    if (told != leased.error().message)
      spdlog::warn("waiting for the cluster's store, which has this node's prefixes: {}",
                   leased.error().message);
    told = leased.error().message;
    if (!engine_has_uplink(config.engine.socket)) PODWIRE_CHECK(Underlay(config, store).restore());
    if (stopped(kPause)) return std::optional<DomainPrefixes>();
  }
}

}  // namespace podwire::control
