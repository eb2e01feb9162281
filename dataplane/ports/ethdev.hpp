// Ethdev: one DPDK Ethernet device, probed by devargs and removed again, so that the same device can be
// opened anew. Main thread only.
#pragma once

#include <rte_ethdev.h>

#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "dataplane/base/result.hpp"
#include "dataplane/ports/devargs.hpp"

namespace podwire::engine {

// A descriptor, and what tells its BPF object from another that gets its number later: its kind and the
// kernel's id of it. (All of them share one inode.)
using BpfDescriptor = std::pair<int, std::string>;

class Ethdev {
 public:
  // Probes the device. A virtual device's name that is taken is made unique. The error says what stands in
  // the way and what to type.
  static Result<std::unique_ptr<Ethdev>> probe(const std::string& port_name, Devargs devargs);
  Ethdev(const Ethdev&) = delete;
  Ethdev& operator=(const Ethdev&) = delete;
  ~Ethdev();  // stops, closes, removes

  std::uint16_t id() const { return id_; }
  const Devargs& devargs() const { return devargs_; }
  std::string driver() const;
  rte_eth_dev_info info() const;
  // The kernel interface below it, empty when there is none.
  std::string interface() const { return devargs_.option("iface").value_or(""); }
  // A socket that the driver opened and must close. DPDK 22.11.11's net_af_xdp forgets to (it deletes the
  // umem, whose socket this is, only when a second user is left), and its queue would stay busy for as long
  // as the process lives.
  void remember_socket(int fd);
  // A BPF program or map that the driver opened and must close, likewise: it loads the XDP program anew every
  // time and forgets it.
  void remember_bpf(const BpfDescriptor& opened) { bpf_.insert(opened); }
  // "port NAME: DEVARGS: what: reason", with what the driver logged while `during` ran.
  template <class Step>
  Result<void> step(const char* what, Step&& run);

 private:
  Ethdev(std::string port_name, Devargs devargs)
      : port_name_(std::move(port_name)), devargs_(std::move(devargs)) {}
  Error failure(const char* what, int code, const std::string& logged) const;

  std::string port_name_;
  Devargs devargs_;
  struct Socket {
    int fd;
    std::uint64_t inode;
  };
  std::vector<Socket> sockets_;
  std::set<BpfDescriptor> bpf_;
  std::uint16_t id_ = RTE_MAX_ETHPORTS;
};

// Collects what DPDK logs while it lives, and passes it on at the end.
class LogCapture {
 public:
  LogCapture();
  LogCapture(const LogCapture&) = delete;
  LogCapture& operator=(const LogCapture&) = delete;
  ~LogCapture();
  // What was logged so far, on one line, at most 300 characters.
  std::string summary();

 private:
  FILE* previous_;
  char* text_ = nullptr;
  std::size_t size_ = 0;
  FILE* stream_;
};

template <class Step>
Result<void> Ethdev::step(const char* what, Step&& run) {
  LogCapture log;
  const int code = run();
  if (code < 0) return failure(what, code, log.summary());
  return {};
}

// Descriptors of this process that are AF_XDP or AF_PACKET sockets.
std::set<int> packet_sockets();

// Descriptors of this process that are BPF programs, maps or links.
std::set<BpfDescriptor> bpf_descriptors();

// Facts about a kernel interface in this network namespace; 0 or false when it does not exist.
unsigned interface_mtu(const std::string& name);
Result<void> set_interface_mtu(const std::string& name, unsigned mtu);
bool interface_running(const std::string& name);
unsigned interface_channels(const std::string& name);  // combined receive/transmit channels, at least 1

}  // namespace podwire::engine
