// What the underlay device had before the engine took it: the fact "underlay" in the store, written before
// anything is touched, so that a crash at any point can be undone. Values and their JSON; touches nothing
// itself.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "control/netlink/netlink.hpp"
#include "control/state/store.hpp"
#include "dataplane/base/json.hpp"

namespace podwire::control {

struct SavedUnderlay {
  std::string device;          // empty: devargs mode, there is no kernel device
  std::string host_interface;  // empty: none
  MacAddr mac;
  std::uint16_t mtu = 1500;
  int disable_ipv6 = -1;                    // the sysctl's value; -1: the kernel has no IPv6
  std::vector<netlink::Address> addresses;  // `link` unused
  std::vector<netlink::Route> routes;       // `link` unused
};

Json to_json(const SavedUnderlay& saved);
Result<SavedUnderlay> read_saved_underlay(const Json& value);

Result<std::optional<SavedUnderlay>> load_saved_underlay(Store& store);
Result<void> store_saved_underlay(Store& store, const std::optional<SavedUnderlay>& saved);

}  // namespace podwire::control
