// What --port names: a DPDK device by its devargs, or a shared-memory socket in a shorter form. Pure.
#pragma once

#include <string>

#include "dataplane/base/addresses.hpp"

namespace podwire::trafficgen {

struct DeviceSpec {
  enum class Kind { kMemif, kVhost, kOther };

  std::string text;  // as it was given
  Kind kind = Kind::kOther;
  std::string devargs;   // for rte_dev_probe
  std::string socket;    // of kMemif and kVhost
  bool listens = false;  // this side makes the socket
};

// `index` makes a virtual device's name unique, `mac` and `queues` are what a shared-memory device is given.
//   memif:PATH[,role=client|server][,KEY=VALUE...]   net_memif (client unless told otherwise)
//   vhost:PATH[,role=client|server][,KEY=VALUE...]   net_virtio_user (client unless told otherwise)
//   anything else                                    devargs as they are
Result<DeviceSpec> parse_device(const std::string& text, unsigned index, const MacAddr& mac, unsigned queues);

}  // namespace podwire::trafficgen
