// Devargs: the text that names a DPDK device, "net_af_xdp0,iface=eth0" or "0000:01:00.0", taken apart. No
// DPDK in here; main thread.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace podwire::engine {

struct Devargs {
  std::string device;                                        // up to the first comma
  std::vector<std::pair<std::string, std::string>> options;  // key, value; value empty when there was no '='

  static Devargs parse(const std::string& text);
  std::string text() const;
  std::string options_text() const;  // without the device

  bool is_virtual() const { return device.starts_with("net_") || device.starts_with("eth_"); }
  // A virtual device's driver is the one whose name its own begins with.
  bool is_driver(const char* driver) const { return device.starts_with(driver); }
  std::optional<std::string> option(const std::string& key) const;
  void set_default(const std::string& key, const std::string& value);  // unless the key is there
};

}  // namespace podwire::engine
