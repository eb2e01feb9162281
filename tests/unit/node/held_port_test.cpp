// Ports that are held: nobody else can take them, and who has one already is named.
#include "control/node/held_port.hpp"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <fstream>

#include "control/netlink/netlink.hpp"
#include "tests/unit/netlink/private_netns.hpp"

namespace podwire::control {
namespace {

using api::ServiceProtocol;

// A socket of another program, listening if it can.
UniqueFd serve(int type, std::uint16_t port, bool reuse, std::uint32_t address = INADDR_ANY) {
  UniqueFd fd(::socket(AF_INET, type, 0));
  const int on = reuse ? 1 : 0;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  sockaddr_in to{};
  to.sin_family = AF_INET;
  to.sin_port = htons(port);
  to.sin_addr.s_addr = htonl(address);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) fd.reset();
  if (fd && type == SOCK_STREAM && ::listen(fd.get(), 1) != 0) fd.reset();
  return fd;
}

std::string own_program() {
  std::string name;
  std::ifstream("/proc/self/comm") >> name;
  return "program " + name + " (pid " + std::to_string(::getpid()) + ")";
}

HostPort host_port(ServiceProtocol protocol, std::uint16_t port) {
  return {true, protocol, port};
}

TEST(HeldPort, KeepsOthersFromIt) {
  run_in_netns(-1, [] {
    auto held = hold_port(host_port(ServiceProtocol::kTcp, 8080));
    ASSERT_TRUE(held) << held.error().message;
    ASSERT_TRUE(*held);
    auto other = host_port(ServiceProtocol::kUdp, 53);
    auto udp = hold_port(other);
    ASSERT_TRUE(udp) << udp.error().message;
    for (const bool reuse : {false, true}) {
      EXPECT_FALSE(serve(SOCK_STREAM, 8080, reuse)) << reuse;
      EXPECT_FALSE(serve(SOCK_STREAM, 8080, reuse, INADDR_LOOPBACK)) << reuse;
      EXPECT_FALSE(serve(SOCK_DGRAM, 53, reuse)) << reuse;
    }
    EXPECT_TRUE(serve(SOCK_DGRAM, 8080, false)) << "the other protocol's is free";
    held->reset();
    EXPECT_TRUE(serve(SOCK_STREAM, 8080, false));
  });
}

TEST(HeldPort, NamesTheProgramThatHasIt) {
  run_in_netns(-1, [] {
    for (const auto& [type, protocol] :
         {std::pair{SOCK_STREAM, ServiceProtocol::kTcp}, std::pair{SOCK_DGRAM, ServiceProtocol::kUdp}}) {
      const auto server = serve(type, 8080, true);
      ASSERT_TRUE(server);
      const auto refused = hold_port(host_port(protocol, 8080));
      ASSERT_FALSE(refused);
      EXPECT_EQ(refused.error().code, ErrorCode::kConflict);
      EXPECT_EQ(refused.error().message, "host port " + to_text(host_port(protocol, 8080)) +
                                             " is taken: " + own_program() +
                                             " has it; publish another port, or stop that program");
    }
    EXPECT_EQ(find_port_owner(ServiceProtocol::kTcp, 8081), "");
    EXPECT_TRUE(hold_port({false, ServiceProtocol::kTcp, 8080})) << "the other family's is free";
  });
}

TEST(HeldPort, ConnectionsThatHaveEndedDoNotMatter) {
  run_in_netns(-1, [] {
    auto opened = netlink::Netlink::open();
    ASSERT_TRUE(opened);
    netlink::Batch up;
    up.change_link(*opened->link("lo"), {.up = true, .mtu = {}, .mac = {}, .new_name = {}});
    ASSERT_TRUE(opened->apply(up));
    auto server = serve(SOCK_STREAM, 8080, true);
    ASSERT_TRUE(server);
    const UniqueFd client(::socket(AF_INET, SOCK_STREAM, 0));
    sockaddr_in to{};
    to.sin_family = AF_INET;
    to.sin_port = htons(8080);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ASSERT_EQ(::connect(client.get(), reinterpret_cast<const sockaddr*>(&to), sizeof to), 0);
    UniqueFd peer(::accept(server.get(), nullptr, nullptr));
    ASSERT_TRUE(peer);
    peer.reset();  // the server ends it, and waits
    ::shutdown(client.get(), SHUT_RDWR);
    char byte;
    ASSERT_EQ(::recv(client.get(), &byte, 1, 0), 0);
    server.reset();
    const auto held = hold_port(host_port(ServiceProtocol::kTcp, 8080));
    ASSERT_TRUE(held) << held.error().message;
    EXPECT_FALSE(serve(SOCK_STREAM, 8080, true));
  });
}

TEST(HeldPort, AnAddressOfItsOwnNeedNotBeThereYet) {
  run_in_netns(-1, [] {
    for (const char* const address : {"192.168.100.1", "fd00:100::1"}) {
      const auto ip = *parse_ip(address);
      const auto held = hold_port({ip.is_v4(), ServiceProtocol::kTcp, 8080, ip});
      ASSERT_TRUE(held) << held.error().message;
    }
  });
}

}  // namespace
}  // namespace podwire::control
