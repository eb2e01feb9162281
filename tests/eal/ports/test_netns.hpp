// A network namespace without a name, for tests that need real interfaces: it and everything in it is gone
// with the last descriptor. Needs root.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <vector>

#include "dataplane/base/unique_fd.hpp"

namespace podwire::test {

class TestNetns {
 public:
  TestNetns();
  // Runs `work` on a thread inside the namespace.
  void run(const std::function<void()>& work) const;
  // Runs a shell command inside and expects it to succeed.
  void shell(const std::string& command) const;
  // A queue of the tap `name`, made if need be. `flags` beside IFF_TAP | IFF_NO_PI | IFF_VNET_HDR; `without`
  // are left out.
  UniqueFd tap(const std::string& name, int flags = 0, int without = 0) const;
  // A raw packet socket on an interface; `vnet_header`: each frame has the 10-byte virtio header in front.
  UniqueFd packet_socket(const std::string& interface, bool vnet_header = false) const;
  int fd() const { return fd_.get(); }

 private:
  UniqueFd fd_;
};

// Next frame from a packet socket that `wanted` accepts, within a second; empty when there is none.
std::vector<unsigned char> receive_frame(
    int socket, const std::function<bool(const std::vector<unsigned char>&)>& wanted);

// Ethernet, IPv4 and UDP around `payload_bytes` counting bytes, with right checksums; unicast to
// `destination`.
std::vector<unsigned char> udp_frame(std::size_t payload_bytes, unsigned char mark = 1);
// Whether `frame` is udp_frame's with this mark.
bool is_udp_frame(const std::vector<unsigned char>& frame, unsigned char mark = 1);

}  // namespace podwire::test
