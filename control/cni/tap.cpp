#include "control/cni/tap.hpp"

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <cstring>

namespace podwire::control {
namespace {

constexpr const char* kTunDevice = "/dev/net/tun";
constexpr unsigned kOffloads = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;
constexpr short kNewOnly = static_cast<short>(IFF_TUN_EXCL);

enum class Want { kNew, kExisting };

Result<void> check_spec(const std::string& name, std::uint16_t queues) {
  if (name.empty() || name.size() >= IFNAMSIZ)
    return invalid("\"" + name + "\" is no interface name: 1 to 15 characters");
  if (queues >= 1 && queues <= kMaxTapQueues) return {};
  return invalid("tap " + name + ": " + std::to_string(queues) + " queues, must be from 1 to " +
                 std::to_string(kMaxTapQueues));
}

Error attach_error(const std::string& name, int error, Want want) {
  const auto text = "tap " + name + ": " + std::strerror(error);
  if (want == Want::kNew) {
    // EBUSY: a tap of this name; EINVAL: an interface of another kind.
    if (error == EBUSY || error == EINVAL || error == EEXIST) {
      return conflict("there is already an interface \"" + name + "\" in the network namespace");
    }
    return io_error(text);
  }
  if (error == EBUSY) return conflict(text + "; another process holds its queues");
  if (error == EINVAL) return invalid(text + "; it is no tap, or was made with another number of queues");
  return io_error(text);
}

Result<UniqueFd> open_queue(const std::string& name, std::uint16_t queues, short extra_flags, Want want) {
  UniqueFd fd(::open(kTunDevice, O_RDWR | O_CLOEXEC | O_NONBLOCK));
  if (!fd) {
    const int error = errno;
    return io_error(std::string(kTunDevice) + ": " + std::strerror(error) +
                    (error == ENOENT || error == ENODEV ? "; load the driver: modprobe tun" : ""));
  }
  ifreq request{};
  std::memcpy(request.ifr_name, name.c_str(), name.size() + 1);
  request.ifr_flags = static_cast<short>(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR |
                                         (queues > 1 ? IFF_MULTI_QUEUE : 0) | extra_flags);
  if (::ioctl(fd.get(), TUNSETIFF, &request) != 0) return attach_error(name, errno, want);
  return fd;
}

Result<void> configure(const std::string& name, int fd) {
  const int header_bytes = kVnetHeaderBytes;
  if (::ioctl(fd, TUNSETVNETHDRSZ, &header_bytes) != 0)
    return errno_error("tap " + name + ": set vnet header size");
  if (::ioctl(fd, TUNSETOFFLOAD, kOffloads) != 0) return errno_error("tap " + name + ": set offloads");
  return {};
}

Result<void> set_mac(const std::string& name, int fd, const MacAddr& mac) {
  ifreq request{};
  request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
  std::memcpy(request.ifr_hwaddr.sa_data, mac.bytes.data(), mac.bytes.size());
  if (::ioctl(fd, SIOCSIFHWADDR, &request) != 0)
    return errno_error("tap " + name + ": set address " + to_string(mac));
  return {};
}

}  // namespace

Result<std::vector<UniqueFd>> create_tap(const TapSpec& spec) {
  PODWIRE_CHECK(check_spec(spec.name, spec.queues));
  std::vector<UniqueFd> fds;
  for (std::uint16_t queue = 0; queue < spec.queues; ++queue) {
    PODWIRE_TRY(UniqueFd fd, open_queue(spec.name, spec.queues, queue == 0 ? kNewOnly : short{0},
                                        queue == 0 ? Want::kNew : Want::kExisting));
    fds.push_back(std::move(fd));
  }
  PODWIRE_CHECK(configure(spec.name, fds.front().get()));
  if (!spec.mac.is_zero()) PODWIRE_CHECK(set_mac(spec.name, fds.front().get(), spec.mac));
  // Last: until here the interface goes with its descriptors, whatever fails or whoever is killed.
  if (::ioctl(fds.front().get(), TUNSETPERSIST, 1) != 0)
    return errno_error("tap " + spec.name + ": make persistent");
  return fds;
}

Result<std::vector<UniqueFd>> open_tap_queues(const std::string& name, std::uint16_t queues) {
  PODWIRE_CHECK(check_spec(name, queues));
  // TUNSETIFF would make a new interface of a name that is not there.
  ifreq request{};
  std::memcpy(request.ifr_name, name.c_str(), name.size() + 1);
  UniqueFd socket(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!socket) return errno_error("socket");
  if (::ioctl(socket.get(), SIOCGIFINDEX, &request) != 0) {
    if (errno == ENODEV) return not_found("there is no interface \"" + name + "\" in the network namespace");
    return errno_error("tap " + name);
  }
  std::vector<UniqueFd> fds;
  for (std::uint16_t queue = 0; queue < queues; ++queue) {
    PODWIRE_TRY(UniqueFd fd, open_queue(name, queues, 0, Want::kExisting));
    fds.push_back(std::move(fd));
  }
  PODWIRE_CHECK(configure(name, fds.front().get()));
  return fds;
}

}  // namespace podwire::control
