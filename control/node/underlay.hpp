// The node's side of the underlay: reads what the NIC has, moves its addresses and routes to the host
// interface so that the engine can own the NIC while the node keeps its network, and moves them back. Every
// step is idempotent and recorded in the store beforehand, so a kill at any point is mended by the next
// take() or restore(). Used by the main thread at start and by one request at a time afterwards; works in the
// daemon's own network namespace.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "control/config.hpp"
#include "control/netlink/netlink.hpp"
#include "control/node/saved_underlay.hpp"
#include "control/state/desired.hpp"
#include "dataplane/base/unique_fd.hpp"

namespace podwire::control {

class Underlay {
 public:
  Underlay(const Config& config, Store& store) : config_(config), store_(store) {}

  // Reads the device and what an earlier run recorded; puts back what that run took when the configuration
  // now names another device. Touches nothing of the configured device. kNotFound names the devices there
  // are.
  Result<void> inspect();
  // True when this daemon's predecessor has not taken the device already, so that it still serves the node.
  bool is_fresh() const { return fresh_; }
  // Things that work badly though nothing is wrong, one sentence each. After inspect().
  std::vector<std::string> warnings() const;

  // Where the domain with host_access has pods beside its prefixes and those of peers. Before take().
  void reach(std::vector<IpPrefix> prefixes) { pods_elsewhere_ = std::move(prefixes); }
  // Moves everything. When it fails and is_fresh(), everything is back where it was.
  Result<void> take();
  // devargs mode: the device's MAC, which only the engine can tell, makes the host interface possible.
  Result<void> set_mac(const MacAddr& mac);
  // Puts everything back and forgets the record. No error when nothing was taken.
  Result<void> restore();

  const NodeUnderlay& node() const { return node_; }
  const std::string& driver() const { return driver_; }  // "af_xdp", "af_packet", or empty with devargs
  // The host tap's queue when take() or set_mac() has just created it, else nothing.
  std::vector<UniqueFd> take_host_queues() { return std::move(host_queues_); }

  // What somebody changed since: addresses back on the NIC, addresses missing from the host interface.
  Result<std::vector<std::string>> differences() const;

 private:
  Result<void> inspect_device(netlink::Netlink& netlink, const std::optional<SavedUnderlay>& earlier);
  Result<void> inspect_devargs(const std::optional<SavedUnderlay>& earlier);
  Result<void> check_uplink() const;
  Result<void> describe_node();
  Result<void> move_to_host_interface(netlink::Netlink& netlink);
  Result<void> set_up_host_interface(netlink::Netlink& netlink);
  Result<void> silence_device(netlink::Netlink& netlink);
  static Result<void> restore_saved(const SavedUnderlay& saved);

  const Config& config_;
  Store& store_;
  bool fresh_ = true;
  std::string driver_;
  netlink::Link link_;
  std::uint16_t device_queues_ = 1;
  SavedUnderlay saved_;
  NodeUnderlay node_;
  std::vector<IpPrefix> pods_elsewhere_;
  std::vector<UniqueFd> host_queues_;
};

}  // namespace podwire::control
