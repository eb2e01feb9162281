#include "dataplane/ports/ethdev.hpp"

#include <dirent.h>
#include <linux/ethtool.h>
#include <linux/if_xdp.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_log.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <thread>
#include <vector>

#include "dataplane/base/unique_fd.hpp"

namespace podwire::engine {
namespace {

std::string hint_for(const Devargs& devargs, const std::string& logged) {
  const std::string interface = devargs.option("iface").value_or("");
  if (::geteuid() != 0) return "; the engine needs root (CAP_NET_ADMIN, CAP_NET_RAW, CAP_BPF)";
  if (!devargs.is_virtual()) {
    if (rte_eal_has_hugepages() == 0) {
      return "; PCI devices need hugepages: sysctl vm.nr_hugepages=512, and no \"hugepages\": \"never\" in "
             "the engine's "
             "configuration";
    }
    return "; bind it to a user space driver: dpdk-devbind.py --bind=vfio-pci " + devargs.device +
           " (dpdk-devbind.py --status lists devices)";
  }
  if (devargs.is_driver("net_af_xdp") && logged.find("xdp") != std::string::npos) {
    return "; is another program using " + interface + " with XDP? `ip -d link show " + interface +
           "` shows its program, `ip link set " + interface +
           " xdp off` removes it; net_af_packet works everywhere";
  }
  return "; check the driver's name and its options";
}

std::vector<std::uint16_t> open_devices() {
  std::vector<std::uint16_t> ids;
  for (auto id = rte_eth_find_next_owned_by(0, RTE_ETH_DEV_NO_OWNER); id < RTE_MAX_ETHPORTS;
       id = rte_eth_find_next_owned_by(static_cast<std::uint16_t>(id + 1), RTE_ETH_DEV_NO_OWNER)) {
    ids.push_back(static_cast<std::uint16_t>(id));
  }
  return ids;
}

// The device that is open already on this kernel interface, empty when none.
std::string user_of_interface(unsigned index) {
  for (const auto id : open_devices()) {
    rte_eth_dev_info info{};
    if (rte_eth_dev_info_get(id, &info) == 0 && info.if_index == index) return rte_dev_name(info.device);
  }
  return "";
}

bool name_is_taken(const std::string& name) {
  std::uint16_t id;
  return rte_eth_dev_get_port_by_name(name.c_str(), &id) == 0;
}

Result<void> check_before(const std::string& port_name, const Devargs& devargs) {
  const auto refused = [&](ErrorCode code, const std::string& why) {
    return Error{code, "port " + port_name + ": " + devargs.text() + ": " + why};
  };
  if (!devargs.is_virtual() && name_is_taken(devargs.device)) {
    return refused(ErrorCode::kConflict, "the device is another port's already; delete that port first");
  }
  const auto interface = devargs.option("iface");
  if (!interface) return {};
  const unsigned index = if_nametoindex(interface->c_str());
  if (index == 0) {
    return refused(ErrorCode::kNotFound, "there is no interface \"" + *interface +
                                             "\" in the engine's network namespace; `ip link` lists them");
  }
  if (const auto user = user_of_interface(index); !user.empty()) {
    return refused(ErrorCode::kConflict, "interface " + *interface + " is used by device " + user +
                                             " already; delete that port first");
  }
  return {};
}

// When an AF_XDP port was closed last. The kernel releases its queue a little later.
std::chrono::steady_clock::time_point last_socket_closed{};
constexpr std::chrono::milliseconds kReleaseTime{30};

// Tells one open socket from another that gets its number later; 0 when `fd` is closed.
std::uint64_t inode_of(int fd) {
  struct stat status {};
  return ::fstat(fd, &status) == 0 ? status.st_ino : 0;
}

// The descriptors that are open now; the one that lists them is not among them.
std::vector<int> open_descriptors() {
  std::vector<int> open;
  DIR* directory = ::opendir("/proc/self/fd");
  if (directory == nullptr) return open;
  while (const dirent* entry = ::readdir(directory)) {
    const int fd = std::atoi(entry->d_name);
    if (entry->d_name[0] != '.' && fd != ::dirfd(directory)) open.push_back(fd);
  }
  ::closedir(directory);
  return open;
}

// "anon_inode:bpf-map map_id: 7"; empty for what is no BPF descriptor. All of them share one inode.
std::string bpf_identity(int fd) {
  char link[64];
  const auto path = "/proc/self/fd/" + std::to_string(fd);
  const auto length = ::readlink(path.c_str(), link, sizeof link);
  std::string identity(link, static_cast<std::size_t>(std::max<ssize_t>(length, 0)));
  if (!identity.starts_with("anon_inode:bpf")) return {};
  std::ifstream facts("/proc/self/fdinfo/" + std::to_string(fd));
  for (std::string line; std::getline(facts, line);) {
    const auto key = line.substr(0, line.find(':'));
    if (key == "prog_id" || key == "map_id" || key == "link_id") identity += " " + line;
  }
  return identity;
}

std::uint16_t find_device(const std::string& name) {
  std::uint16_t id;
  if (rte_eth_dev_get_port_by_name(name.c_str(), &id) == 0) return id;
  for (const auto other : open_devices()) {
    rte_eth_dev_info info{};
    if (rte_eth_dev_info_get(other, &info) == 0 && name == rte_dev_name(info.device)) return other;
  }
  return RTE_MAX_ETHPORTS;
}

}  // namespace

LogCapture::LogCapture() : previous_(rte_log_get_stream()), stream_(::open_memstream(&text_, &size_)) {
  if (stream_ != nullptr) rte_openlog_stream(stream_);
}

LogCapture::~LogCapture() {
  if (stream_ == nullptr) return;
  rte_openlog_stream(previous_);
  ::fclose(stream_);
  if (previous_ != nullptr && size_ != 0) {
    ::fwrite(text_, 1, size_, previous_);
    ::fflush(previous_);
  }
  ::free(text_);
}

std::string LogCapture::summary() {
  if (stream_ == nullptr) return "";
  ::fflush(stream_);
  std::string line(text_, size_);
  while (!line.empty() && line.back() == '\n') line.pop_back();
  for (std::size_t at; (at = line.find('\n')) != std::string::npos;) line.replace(at, 1, "; ");
  return line.substr(0, 300);
}

Error Ethdev::failure(const char* what, int code, const std::string& logged) const {
  std::string text =
      "port " + port_name_ + ": " + devargs_.text() + ": " + what + ": " + std::strerror(-code);
  if (!logged.empty()) text += " (driver: " + logged + ")";
  return unavailable(text + hint_for(devargs_, logged));
}

Result<std::unique_ptr<Ethdev>> Ethdev::probe(const std::string& port_name, Devargs devargs) {
  if (devargs.device.empty())
    return invalid("port " + port_name + ": devargs are empty; e.g. net_af_xdp0,iface=eth0");
  PODWIRE_CHECK(check_before(port_name, devargs));
  const std::string wanted = devargs.device;
  for (unsigned n = 1; devargs.is_virtual() && name_is_taken(devargs.device); ++n) {
    devargs.device = wanted + "_" + std::to_string(n);
  }
  std::unique_ptr<Ethdev> device(new Ethdev(port_name, std::move(devargs)));
  const std::string text = device->devargs_.text();
  if (device->devargs_.is_driver("net_af_xdp"))
    std::this_thread::sleep_until(last_socket_closed + kReleaseTime);
  PODWIRE_CHECK(device->step("cannot be opened", [&] { return rte_dev_probe(text.c_str()); }));
  device->id_ = find_device(device->devargs_.device);
  if (device->id_ == RTE_MAX_ETHPORTS) {
    return invalid("port " + port_name + ": " + text + ": is no Ethernet device");
  }
  return device;
}

Ethdev::~Ethdev() {
  if (id_ == RTE_MAX_ETHPORTS) return;
  const auto device = info().device;
  const auto bpf_before = bpf_descriptors();
  rte_eth_dev_stop(id_);
  rte_eth_dev_close(id_);
  if (device != nullptr) rte_dev_remove(device);
  for (const auto& socket : sockets_) {
    if (inode_of(socket.fd) == socket.inode) ::close(socket.fd);
  }
  // Closing opens one more, to look at the interface's program, often with the number of one just closed.
  for (const auto& one : bpf_descriptors()) {
    if (!bpf_before.contains(one)) bpf_.insert(one);
  }
  for (const auto& [fd, identity] : bpf_) {
    if (bpf_identity(fd) == identity) ::close(fd);
  }
  if (!sockets_.empty()) last_socket_closed = std::chrono::steady_clock::now();
}

void Ethdev::remember_socket(int fd) {
  sockets_.push_back({fd, inode_of(fd)});
}

rte_eth_dev_info Ethdev::info() const {
  rte_eth_dev_info info{};
  if (rte_eth_dev_info_get(id_, &info) != 0) info = {};
  return info;
}

std::string Ethdev::driver() const {
  const auto facts = info();
  return facts.driver_name != nullptr ? facts.driver_name : "";
}

std::set<int> packet_sockets() {
  std::set<int> found;
  for (const int fd : open_descriptors()) {
    int domain = 0;
    socklen_t size = sizeof domain;
    if (::getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) != 0) continue;
    if (domain == AF_XDP || domain == AF_PACKET) found.insert(fd);
  }
  return found;
}

std::set<BpfDescriptor> bpf_descriptors() {
  std::set<BpfDescriptor> found;
  for (const int fd : open_descriptors()) {
    if (auto identity = bpf_identity(fd); !identity.empty()) found.insert({fd, std::move(identity)});
  }
  return found;
}

namespace {

// Runs one interface ioctl on `request`; false when it failed.
bool interface_ioctl(unsigned long code, const std::string& name, ifreq& request) {
  if (name.empty() || name.size() >= IFNAMSIZ) return false;
  std::memcpy(request.ifr_name, name.c_str(), name.size() + 1);
  UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  return socket && ::ioctl(socket.get(), code, &request) == 0;
}

}  // namespace

unsigned interface_mtu(const std::string& name) {
  ifreq request{};
  return interface_ioctl(SIOCGIFMTU, name, request) ? static_cast<unsigned>(request.ifr_mtu) : 0;
}

Result<void> set_interface_mtu(const std::string& name, unsigned mtu) {
  ifreq request{};
  request.ifr_mtu = static_cast<int>(mtu);
  if (interface_ioctl(SIOCSIFMTU, name, request)) return {};
  return errno_error("interface " + name + ": MTU " + std::to_string(mtu) + " is refused");
}

bool interface_running(const std::string& name) {
  ifreq request{};
  constexpr int kWanted = IFF_UP | IFF_RUNNING;
  return interface_ioctl(SIOCGIFFLAGS, name, request) && (request.ifr_flags & kWanted) == kWanted;
}

unsigned interface_channels(const std::string& name) {
  ethtool_channels channels{};
  channels.cmd = ETHTOOL_GCHANNELS;
  ifreq request{};
  request.ifr_data = reinterpret_cast<char*>(&channels);
  if (!interface_ioctl(SIOCETHTOOL, name, request)) return 1;
  return std::max({channels.combined_count, channels.rx_count, 1u});
}

}  // namespace podwire::engine
