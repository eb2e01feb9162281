// Physical ports over the drivers that need no hardware.
#include "dataplane/ports/physical.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <rte_ethdev.h>
#include <rte_mempool.h>
#include <sched.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

#include "dataplane/ports/devargs.hpp"
#include "dataplane/ports/device_pool.hpp"
#include "dataplane/ports/ethdev.hpp"
#include "tests/eal/ports/test_netns.hpp"
#include "tests/eal/ports/test_pools.hpp"

namespace podwire::engine {
namespace {

using test::is_udp_frame;
using test::receive_frame;
using test::TestNetns;
using test::TestPools;
using test::udp_frame;

api::Port config(const std::string& devargs, std::uint16_t mtu = 0) {
  api::Port port;
  port.id = PortId(3);
  port.name = "uplink";
  port.kind = api::PortKind::kPhysical;
  port.role = api::PortRole::kUplink;
  port.devargs = devargs;
  port.mtu = mtu;
  return port;
}

unsigned open_devices() {
  return rte_eth_dev_count_avail();
}

class PhysicalTest : public ::testing::Test {
 protected:
  std::unique_ptr<Port> open(const api::Port& port, std::uint16_t workers = 1) {
    auto opened = open_port(port, {}, {pools_.get(), workers});
    if (opened) return std::move(*opened);
    ADD_FAILURE() << opened.error().message;
    return nullptr;
  }
  std::string error_of(const api::Port& port) {
    const auto opened = open_port(port, {}, {pools_.get(), 1});
    EXPECT_FALSE(opened);
    return opened ? "" : opened.error().message;
  }
  rte_mbuf* receive(Port& port, unsigned char mark) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(1);
    while (std::chrono::steady_clock::now() < deadline) {
      std::array<rte_mbuf*, 32> out;
      const auto count = port.rx_burst(0, out);
      rte_mbuf* found = nullptr;
      for (std::uint16_t i = 0; i < count; ++i) {
        if (found == nullptr && is_udp_frame(TestPools::bytes(out[i]), mark))
          found = out[i];
        else
          rte_pktmbuf_free(out[i]);
      }
      if (found != nullptr) return found;
      if (port.poll_fd(0) >= 0) {
        pollfd query{port.poll_fd(0), POLLIN, 0};
        ::poll(&query, 1, 20);
      }
    }
    return nullptr;
  }
  const unsigned devices_before_ = open_devices();
  ~PhysicalTest() override { EXPECT_EQ(open_devices(), devices_before_) << "a device was left open"; }
  TestPools pools_{16383};
};

TEST(Devargs, TakesTextApart) {
  auto devargs = Devargs::parse("net_af_xdp0,iface=eth0,force_copy");
  EXPECT_EQ(devargs.device, "net_af_xdp0");
  EXPECT_EQ(devargs.option("iface"), "eth0");
  EXPECT_EQ(devargs.option("force_copy"), "");
  EXPECT_FALSE(devargs.option("queue_count"));
  EXPECT_TRUE(devargs.is_driver("net_af_xdp"));
  EXPECT_FALSE(devargs.is_driver("net_af_packet"));
  devargs.set_default("iface", "other");
  devargs.set_default("queue_count", "2");
  EXPECT_EQ(devargs.text(), "net_af_xdp0,iface=eth0,force_copy,queue_count=2");
  EXPECT_FALSE(Devargs::parse("0000:01:00.0").is_virtual());
  EXPECT_EQ(Devargs::parse("").device, "");
}

TEST_F(PhysicalTest, NullDevice) {
  const auto port = open(config("net_null0,size=64"));
  ASSERT_NE(port, nullptr);
  EXPECT_TRUE(port->link_up());
  EXPECT_EQ(port->poll_fd(0), -1);
  EXPECT_FALSE(port->mac().is_multicast());
  std::array<rte_mbuf*, 16> out;
  ASSERT_EQ(port->rx_burst(0, out), 16);
  EXPECT_GE(out[0]->data_off, 128);
  EXPECT_EQ(port->tx_burst(0, out), 16);
  const auto counters = port->queue_counters(0);
  EXPECT_EQ(counters.received_packets, 16u);
  EXPECT_EQ(counters.sent_packets, 16u);
  EXPECT_EQ(counters.sent_bytes, 16u * 64);
}

TEST_F(PhysicalTest, NamesAreMadeUnique) {
  const auto first = open(config("net_null0,no-rx=1"));
  const auto second = open(config("net_null0,no-rx=1"));
  ASSERT_NE(second, nullptr);
  EXPECT_EQ(second->describe()["devargs"], "net_null0_1,no-rx=1");
}

TEST_F(PhysicalTest, RingLoopsBackAndReopens) {
  for (int round = 0; round < 3; ++round) {
    const auto port = open(config("net_ring0"), 2);
    ASSERT_NE(port, nullptr);
    rte_mbuf* packet = pools_.packet(udp_frame(200, 4), 50);  // four short segments and more
    ASSERT_EQ(port->tx_burst(0, {&packet, 1}), 1);
    packet = receive(*port, 4);
    ASSERT_NE(packet, nullptr);
    EXPECT_GE(packet->data_len, std::min(packet->pkt_len, 242u));  // the headers lie in one piece
    rte_pktmbuf_free(packet);
  }
}

TEST_F(PhysicalTest, PcapFiles) {
  const std::string path = "/tmp/podwire-physical-test-" + std::to_string(::getpid()) + ".pcap";
  {
    const auto port = open(config("net_pcap0,tx_pcap=" + path));
    ASSERT_NE(port, nullptr);
    rte_mbuf* packet = pools_.packet(udp_frame(1000, 6), 300);
    ASSERT_EQ(port->tx_burst(0, {&packet, 1}), 1);
  }
  {
    const auto port = open(config("net_pcap0,rx_pcap=" + path));
    ASSERT_NE(port, nullptr);
    rte_mbuf* packet = receive(*port, 6);
    EXPECT_NE(packet, nullptr);
    rte_pktmbuf_free(packet);
  }
  ::unlink(path.c_str());
}

TEST_F(PhysicalTest, ErrorsSayWhatToDo) {
  EXPECT_NE(error_of(config("")).find("devargs are empty"), std::string::npos);
  const auto missing = error_of(config("net_af_packet0,iface=nosuch0"));
  EXPECT_NE(missing.find("port uplink: net_af_packet0,iface=nosuch0"), std::string::npos) << missing;
  EXPECT_NE(missing.find("no interface \"nosuch0\""), std::string::npos) << missing;
  const auto pci = error_of(config("0000:7f:1f.7"));
  EXPECT_NE(pci.find("hugepages"), std::string::npos) << pci;
  const auto driver = error_of(config("net_nosuchdriver0"));
  EXPECT_NE(driver.find("check the driver's name"), std::string::npos) << driver;
  const auto file = error_of(config("net_pcap0,rx_pcap=/nonexistent/file.pcap"));
  EXPECT_NE(file.find("/nonexistent/file.pcap"), std::string::npos) << file;  // from the driver's own log
  std::vector<UniqueFd> descriptors;
  descriptors.emplace_back(::dup(0));
  const auto with_fd = open_port(config("net_null0"), std::move(descriptors), {pools_.get(), 1});
  ASSERT_FALSE(with_fd);
  EXPECT_NE(with_fd.error().message.find("descriptors are for taps"), std::string::npos);
}

TEST_F(PhysicalTest, MtuOutsideTheDevicesLimitsIsRefused) {
  const auto error = error_of(config("net_null0", 40));
  EXPECT_NE(error.find("MTU 40"), std::string::npos) << error;
  EXPECT_NE(error.find("outside what the device takes"), std::string::npos) << error;
}

// A veth pair whose one end, v0, is the port's; the calling thread is inside its namespace while the fixture
// lives.
class VethTest : public PhysicalTest {
 protected:
  VethTest() : home_(::open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC)) {
    netns_.shell(
        "ip link add v0 type veth peer name v1 && ip link set v0 up && ip link set v1 up && "
        "sysctl -qw net.ipv6.conf.v1.disable_ipv6=1 net.ipv6.conf.v0.disable_ipv6=1");
    EXPECT_EQ(::setns(netns_.fd(), CLONE_NEWNET), 0);
  }
  ~VethTest() override { EXPECT_EQ(::setns(home_.get(), CLONE_NEWNET), 0); }

  void exchange(Port& port, const std::vector<std::size_t>& payloads) {
    const auto socket = netns_.packet_socket("v1");
    for (const auto payload : payloads) {
      const auto frame = udp_frame(payload);
      ASSERT_EQ(::send(socket.get(), frame.data(), frame.size(), 0), static_cast<ssize_t>(frame.size()));
      rte_mbuf* packet = receive(port, 1);
      ASSERT_NE(packet, nullptr) << payload;
      EXPECT_GE(packet->data_off, 128);
      EXPECT_EQ(packet->ol_flags, 0u);
      rte_pktmbuf_free(packet);
      rte_mbuf* reply = pools_.packet(udp_frame(payload, 9));
      ASSERT_EQ(port.tx_burst(0, {&reply, 1}), 1);
      EXPECT_FALSE(receive_frame(socket.get(), [](const auto& f) { return is_udp_frame(f, 9); }).empty())
          << payload;
    }
  }
  // Open, exchange, close, again and again; nothing may run out.
  void reopen(const std::string& devargs, int rounds) {
    for (int round = 0; round < rounds; ++round) {
      const auto port = open(config(devargs));
      ASSERT_NE(port, nullptr) << "round " << round;
      EXPECT_TRUE(port->link_up());
      EXPECT_GE(port->poll_fd(0), 0);
      exchange(*port, {18, 1000, 1458});
    }
    EXPECT_EQ(collect_device_pools(), 0u);
  }

  TestNetns netns_;
  UniqueFd home_;
};

TEST_F(VethTest, AfPacketExchangesAndReopens) {
  reopen("net_af_packet0,iface=v0", 5);
}

TEST_F(VethTest, AfXdpExchangesAndReopens) {
  reopen("net_af_xdp0,iface=v0", 8);
}

TEST_F(VethTest, AfXdpReopensLeakNoDescriptor) {
  const auto count = [] { return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {}); };
  reopen("net_af_xdp0,iface=v0", 1);  // what is opened once and kept
  const auto before = count();
  reopen("net_af_xdp0,iface=v0", 5);
  EXPECT_EQ(count(), before);
  for (const auto& [fd, identity] : bpf_descriptors()) ADD_FAILURE() << fd << " " << identity;
}

TEST_F(VethTest, AnMtuThatNoFrameHoldsIsRefusedWithItsLimit) {
  netns_.shell("ip link set v0 mtu 65000 && ip link set v1 mtu 65000");
  auto error = error_of(config("net_af_packet0,iface=v0"));
  EXPECT_NE(error.find("MTU 65000"), std::string::npos) << error;
  EXPECT_NE(error.find("at most 61184"), std::string::npos) << error;
  error = error_of(config("net_af_packet0,iface=v0,framesz=65536,blocksz=65536"));
  EXPECT_NE(error.find("framesz must be a number of bytes, at most 61440"), std::string::npos) << error;
  for (const std::uint16_t mtu : std::initializer_list<std::uint16_t>{0, 3500, 9000}) {
    error = error_of(config("net_af_xdp0,iface=v0", mtu));
    EXPECT_NE(error.find("MTU " + std::to_string(mtu == 0 ? 65000u : mtu)), std::string::npos) << error;
    EXPECT_NE(error.find("to 3"), std::string::npos) << error;
  }
}

TEST_F(VethTest, AfPacketTakesLargeFrames) {
  netns_.shell("ip link set v0 mtu 33000 && ip link set v1 mtu 33000");
  const auto port = open(config("net_af_packet0,iface=v0"));
  ASSERT_NE(port, nullptr);
  exchange(*port, {100, 9000, 32000});
}

TEST_F(VethTest, AfXdpLeavesTheSharedPoolAlone) {
  const auto port = open(config("net_af_xdp0,iface=v0"));
  ASSERT_NE(port, nullptr);
  EXPECT_EQ(pools_.occupancy().in_use, 0u);
  EXPECT_FALSE(port->capabilities().multi_segment);
  exchange(*port, {100});
}

TEST_F(VethTest, AfXdpPoolOutlivesThePortWhileItsPacketsDo) {
  auto port = open(config("net_af_xdp0,iface=v0"));
  ASSERT_NE(port, nullptr);
  const auto socket = netns_.packet_socket("v1");
  const auto frame = udp_frame(300);
  ASSERT_GT(::send(socket.get(), frame.data(), frame.size(), 0), 0);
  rte_mbuf* packet = receive(*port, 1);
  ASSERT_NE(packet, nullptr);
  port.reset();
  EXPECT_EQ(collect_device_pools(), 1u);
  EXPECT_TRUE(is_udp_frame(TestPools::bytes(packet)));
  port = open(config("net_af_xdp0,iface=v0"));
  ASSERT_NE(port, nullptr);
  rte_pktmbuf_free(packet);
  EXPECT_EQ(collect_device_pools(), 0u);
  exchange(*port, {300});
}

// Many more packets than the umem has frames, so that lost ones would stop it.
TEST_F(VethTest, AfXdpSurvivesLongTraffic) {
  auto port = open(config("net_af_xdp0,iface=v0"));
  ASSERT_NE(port, nullptr);
  const auto socket = netns_.packet_socket("v1");
  const auto frame = udp_frame(100, 9);
  std::uint64_t received = 0, sent = 0;
  for (int round = 0; round < 2000; ++round) {
    for (int i = 0; i < 8; ++i) ASSERT_GT(::send(socket.get(), frame.data(), frame.size(), 0), 0);
    std::array<rte_mbuf*, 64> out;
    const auto count = port->rx_burst(0, out);
    received += count;
    if (count == 0) continue;
    const auto taken = port->tx_burst(0, {out.data(), count});
    sent += taken;
    rte_pktmbuf_free_bulk(out.data() + taken, count - taken);
  }
  EXPECT_GT(received, 12000u);
  EXPECT_EQ(received, sent);
  port.reset();
  EXPECT_EQ(collect_device_pools(), 0u) << "what was sent on is not in use any more";
}

TEST_F(VethTest, JumboFrames) {
  netns_.shell("ip link set v0 mtu 3000 && ip link set v1 mtu 3000");
  for (const std::string driver : {"net_af_packet0", "net_af_xdp0"}) {
    const auto port = open(config(driver + ",iface=v0"));  // MTU 0: the interface's own
    ASSERT_NE(port, nullptr);
    EXPECT_EQ(port->mtu(), 3000);
    const auto socket = netns_.packet_socket("v1");
    const auto frame = udp_frame(2900);
    ASSERT_GT(::send(socket.get(), frame.data(), frame.size(), 0), 0);
    rte_mbuf* packet = receive(*port, 1);
    ASSERT_NE(packet, nullptr) << driver;
    ASSERT_EQ(port->tx_burst(0, {&packet, 1}), 1);
    EXPECT_FALSE(receive_frame(socket.get(), [](const auto& f) { return is_udp_frame(f, 1); }).empty())
        << driver;
  }
}

TEST_F(VethTest, MtuIsSetOnTheInterface) {
  const auto port = open(config("net_af_packet0,iface=v0", 1400));
  ASSERT_NE(port, nullptr);
  EXPECT_EQ(port->mtu(), 1400);
  EXPECT_EQ(interface_mtu("v0"), 1400u);
}

TEST_F(VethTest, InterfaceInUseIsRefused) {
  const auto port = open(config("net_af_packet0,iface=v0"));
  ASSERT_NE(port, nullptr);
  const auto error = error_of(config("net_af_xdp0,iface=v0"));
  EXPECT_NE(error.find("interface v0 is used by device net_af_packet0 already"), std::string::npos) << error;
}

TEST_F(VethTest, InterfaceGoneIsReported) {
  for (const std::string driver : {"net_af_packet0", "net_af_xdp0"}) {
    const auto port = open(config(driver + ",iface=v0"));
    ASSERT_NE(port, nullptr);
    netns_.shell("ip link del v0");
    EXPECT_FALSE(port->link_up());
    EXPECT_NE(port->last_error().find("interface v0 is gone"), std::string::npos);
    std::array<rte_mbuf*, 8> out;
    EXPECT_EQ(port->rx_burst(0, out), 0);
    netns_.shell("ip link add v0 type veth peer name v1 && ip link set v0 up && ip link set v1 up");
  }
  const auto port = open(config("net_af_xdp0,iface=v0"));
  EXPECT_NE(port, nullptr);
}

}  // namespace
}  // namespace podwire::engine
