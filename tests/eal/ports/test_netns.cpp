#include "tests/eal/ports/test_netns.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#include <arpa/inet.h>
#include <chrono>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "dataplane/headers/headers.hpp"
#include "dataplane/packet/checksum.hpp"

namespace podwire::test {

using namespace podwire::engine;

TestNetns::TestNetns() {
  std::thread([this] {
    if (::unshare(CLONE_NEWNET) != 0) return;
    fd_.reset(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC));
  }).join();
  EXPECT_TRUE(fd_) << "cannot make a network namespace: these tests need root";
  shell("ip link set lo up");
}

void TestNetns::run(const std::function<void()>& work) const {
  std::thread([&] {
    ASSERT_EQ(::setns(fd_.get(), CLONE_NEWNET), 0) << std::strerror(errno);
    work();
  }).join();
}

void TestNetns::shell(const std::string& command) const {
  run([&] { EXPECT_EQ(std::system(command.c_str()), 0) << command; });
}

UniqueFd TestNetns::tap(const std::string& name, int flags, int without) const {
  UniqueFd fd;
  run([&] {
    fd.reset(::open("/dev/net/tun", O_RDWR | O_CLOEXEC));
    ASSERT_TRUE(fd) << "/dev/net/tun";
    ifreq request{};
    std::memcpy(request.ifr_name, name.c_str(), name.size() + 1);
    request.ifr_flags = static_cast<short>(((IFF_TAP | IFF_NO_PI | IFF_VNET_HDR) & ~without) | flags);
    ASSERT_EQ(::ioctl(fd.get(), TUNSETIFF, &request), 0) << std::strerror(errno);
  });
  return fd;
}

UniqueFd TestNetns::packet_socket(const std::string& interface, bool vnet_header) const {
  UniqueFd fd;
  run([&] {
    fd.reset(::socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, htons(ETH_P_ALL)));
    ASSERT_TRUE(fd);
    const int on = vnet_header ? 1 : 0;
    ASSERT_EQ(::setsockopt(fd.get(), SOL_PACKET, PACKET_VNET_HDR, &on, sizeof on), 0);
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(ETH_P_ALL);
    address.sll_ifindex = static_cast<int>(::if_nametoindex(interface.c_str()));
    ASSERT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0)
        << std::strerror(errno);
  });
  return fd;
}

std::vector<unsigned char> receive_frame(
    int socket, const std::function<bool(const std::vector<unsigned char>&)>& wanted) {
  using Clock = std::chrono::steady_clock;
  const auto deadline = Clock::now() + std::chrono::seconds(1);
  std::vector<unsigned char> frame;
  while (Clock::now() < deadline) {
    pollfd query{socket, POLLIN, 0};
    if (::poll(&query, 1, 50) != 1) continue;
    frame.resize(70000);
    const auto got = ::recv(socket, frame.data(), frame.size(), MSG_DONTWAIT);
    if (got < 0) continue;
    frame.resize(static_cast<std::size_t>(got));
    if (wanted(frame)) return frame;
  }
  return {};
}

std::vector<unsigned char> udp_frame(std::size_t payload_bytes, unsigned char mark) {
  constexpr std::size_t kHeaders = sizeof(EtherHeader) + sizeof(Ipv4Header) + sizeof(UdpHeader);
  std::vector<unsigned char> frame(kHeaders + payload_bytes);
  auto& ether = *reinterpret_cast<EtherHeader*>(frame.data());
  ether = {{{0x02, 0, 0, 0, 0, 2}}, {{0x02, 0, 0, 0, 0, mark}}, Be16(ether_type::kIpv4)};
  auto& ip = *reinterpret_cast<Ipv4Header*>(frame.data() + sizeof(EtherHeader));
  ip.version_ihl = 0x45;
  ip.total_length = Be16(static_cast<std::uint16_t>(frame.size() - sizeof(EtherHeader)));
  ip.ttl = 64;
  ip.protocol = ip_proto::kUdp;
  ip.source = Ipv4::from_u32(0x0a090001);
  ip.destination = Ipv4::from_u32(0x0a090002);
  set_ipv4_checksum(&ip);
  auto& udp = *reinterpret_cast<UdpHeader*>(frame.data() + sizeof(EtherHeader) + sizeof(Ipv4Header));
  udp.source_port = Be16(4000);
  udp.destination_port = Be16(4001);
  udp.length = Be16(static_cast<std::uint16_t>(sizeof(UdpHeader) + payload_bytes));
  for (std::size_t i = 0; i < payload_bytes; ++i)
    frame[kHeaders + i] = static_cast<unsigned char>(i * 7 + mark);
  return frame;
}

bool is_udp_frame(const std::vector<unsigned char>& frame, unsigned char mark) {
  return frame.size() >= 42 && frame == udp_frame(frame.size() - 42, mark);
}

}  // namespace podwire::test
