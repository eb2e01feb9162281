// Tap ports on real interfaces in namespaces of their own.
#include "dataplane/ports/tap.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/if_tun.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "dataplane/packet/offload.hpp"
#include "dataplane/ports/vnet_header.hpp"
#include "tests/eal/ports/test_netns.hpp"
#include "tests/eal/ports/test_pools.hpp"

namespace podwire::engine {
namespace {

using test::is_udp_frame;
using test::receive_frame;
using test::TestNetns;
using test::TestPools;
using test::udp_frame;

api::Port config(std::uint16_t queues = 1) {
  api::Port port;
  port.id = PortId(7);
  port.name = "pod-a";
  port.kind = api::PortKind::kTap;
  port.mtu = 1500;
  port.queues = queues;
  return port;
}

std::vector<UniqueFd> fds(UniqueFd fd) {
  std::vector<UniqueFd> all;
  all.push_back(std::move(fd));
  return all;
}

class TapTest : public ::testing::Test {
 protected:
  void refuse(const api::Port& port, std::vector<UniqueFd> descriptors, const std::string& expected) {
    const auto opened = open_port(port, std::move(descriptors), {pools_.get(), 1});
    ASSERT_FALSE(opened) << expected;
    EXPECT_NE(opened.error().message.find("port pod-a"), std::string::npos) << opened.error().message;
    EXPECT_NE(opened.error().message.find(expected), std::string::npos) << opened.error().message;
  }
  // An open port on the tap eth0, up.
  std::unique_ptr<Port> open_up(TestNetns& netns, std::uint16_t workers = 1) {
    auto opened = open_port(config(), fds(netns.tap("eth0")), {pools_.get(), workers});
    if (!opened) {
      ADD_FAILURE() << opened.error().message;
      return nullptr;
    }
    netns.shell("ip link set eth0 up");
    return std::move(*opened);
  }
  // The next received packet that looks like udp_frame(mark), within a second. The caller frees it.
  rte_mbuf* receive(Port& port, const std::function<bool(rte_mbuf*)>& wanted) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(1);
    while (std::chrono::steady_clock::now() < deadline) {
      pollfd query{port.poll_fd(0), POLLIN, 0};
      ::poll(&query, 1, 50);
      std::array<rte_mbuf*, 1> out;
      if (port.rx_burst(0, out) == 0) continue;
      if (wanted(out[0])) return out[0];
      rte_pktmbuf_free(out[0]);
    }
    return nullptr;
  }
  rte_mbuf* receive(Port& port, unsigned char mark) {
    return receive(port, [&](rte_mbuf* packet) { return is_udp_frame(TestPools::bytes(packet), mark); });
  }

  TestPools pools_;
};

TEST_F(TapTest, RefusesWhatIsNoTapQueue) {
  TestNetns netns;
  int pipe_fds[2];
  ASSERT_EQ(::pipe(pipe_fds), 0);
  const UniqueFd write_end(pipe_fds[1]);
  refuse(config(), fds(UniqueFd(pipe_fds[0])), "is not a tap queue");
  refuse(config(), fds(UniqueFd(::open("/dev/null", O_RDWR))), "is not a tap queue");
  refuse(config(), fds(UniqueFd(::open("/dev/net/tun", O_RDWR))), "has no interface");
  refuse(config(), {}, "0 descriptors came for 1 queues");
  refuse(config(2), fds(netns.tap("one")), "1 descriptors came for 2 queues");
  refuse(config(), fds(netns.tap("tun0", IFF_TUN, IFF_TAP)), "make it with IFF_TAP");
  refuse(config(), fds(netns.tap("bare0", 0, IFF_VNET_HDR)), "IFF_VNET_HDR");
  auto two = fds(netns.tap("first"));
  two.push_back(netns.tap("second"));
  refuse(config(2), std::move(two), "belongs to second, the first one to first");
}

TEST_F(TapTest, CarriesFramesBothWays) {
  TestNetns netns;
  const auto port = open_up(netns);
  ASSERT_NE(port, nullptr);
  EXPECT_TRUE(port->link_up());
  EXPECT_EQ(port->last_error(), "");
  const auto socket = netns.packet_socket("eth0");

  for (const std::size_t payload : {0u, 18u, 1000u, 1458u}) {
    const auto frame = udp_frame(payload);
    ASSERT_EQ(::send(socket.get(), frame.data(), frame.size(), 0), static_cast<ssize_t>(frame.size()));
    rte_mbuf* packet = receive(*port, 1);
    ASSERT_NE(packet, nullptr) << payload;
    EXPECT_GE(packet->data_off, 128);
    EXPECT_EQ(packet->nb_segs, 1);
    rte_pktmbuf_free(packet);

    const auto reply = udp_frame(payload, 9);
    rte_mbuf* sent = pools_.packet(reply);
    ASSERT_EQ(port->tx_burst(0, {&sent, 1}), 1);
    EXPECT_EQ(receive_frame(socket.get(), [](const auto& f) { return is_udp_frame(f, 9); }).size(),
              reply.size());
  }
  const auto counters = port->queue_counters(0);
  EXPECT_GE(counters.received_packets, 4u);
  EXPECT_EQ(counters.sent_packets, 4u);
  EXPECT_EQ(counters.sent_bytes, 4u * 42 + 0 + 18 + 1000 + 1458);
}

TEST_F(TapTest, SendsLongChains) {
  TestNetns netns;
  const auto port = open_up(netns);
  const auto socket = netns.packet_socket("eth0");
  const auto frame = udp_frame(1400, 5);
  for (const std::size_t segment : {20u, 100u, 6u}) {  // the last one: 241 segments
    rte_mbuf* packet = pools_.packet(frame, segment);
    ASSERT_EQ(port->tx_burst(0, {&packet, 1}), 1);
    EXPECT_FALSE(receive_frame(socket.get(), [](const auto& f) { return is_udp_frame(f, 5); }).empty())
        << segment;
  }
  // More segments than one call takes: refused for good, and what follows still goes.
  std::array<rte_mbuf*, 2> packets{pools_.packet(frame, 5), pools_.packet(frame)};
  EXPECT_EQ(port->tx_burst(0, packets), 0);
  EXPECT_EQ(port->tx_stop(0), TxStop::kRejected);
  rte_pktmbuf_free(packets[0]);
  EXPECT_EQ(port->tx_burst(0, {packets.data() + 1, 1}), 1);
}

// A 60 KB segmentation packet as the pod's TCP makes them, through a packet socket with a virtio header.
TEST_F(TapTest, CarriesLargeSegmentsBothWays) {
  TestNetns netns;
  const auto port = open_up(netns);
  const auto socket = netns.packet_socket("eth0", true);
  constexpr std::size_t kPayload = 60000;
  auto frame = udp_frame(kPayload + 12);  // UDP's 8 bytes and 12 more make a TCP header
  frame[14 + 9] = 6;
  frame[34 + 12] = 0x50;
  frame[34 + 13] = 0x10;
  VnetHeader header{};
  header.flags = VnetHeader::kNeedsChecksum;
  header.gso_type = VnetHeader::kGsoTcp4;
  header.header_length = 54;
  header.gso_size = 1448;
  header.checksum_start = 34;
  header.checksum_offset = 16;
  constexpr std::size_t kSocketHeader = 10;  // a packet socket's has no `buffers`
  std::vector<unsigned char> sent(kSocketHeader + frame.size());
  std::memcpy(sent.data(), &header, kSocketHeader);
  std::memcpy(sent.data() + kSocketHeader, frame.data(), frame.size());
  ASSERT_EQ(::send(socket.get(), sent.data(), sent.size(), 0), static_cast<ssize_t>(sent.size()))
      << strerror(errno);
  rte_mbuf* packet = receive(*port, [](rte_mbuf* p) { return p->pkt_len > 50000; });
  ASSERT_NE(packet, nullptr);
  EXPECT_EQ(packet->nb_segs, 2);
  EXPECT_TRUE(needs_segmentation(packet));
  EXPECT_EQ(packet->tso_segsz, 1448);
  EXPECT_EQ(TestPools::bytes(packet), frame);

  ASSERT_EQ(port->tx_burst(0, {&packet, 1}), 1);
  const auto back = receive_frame(socket.get(), [&](const auto& f) { return f.size() == sent.size(); });
  ASSERT_FALSE(back.empty());
  VnetHeader seen{};
  std::memcpy(&seen, back.data(), kSocketHeader);
  EXPECT_EQ(seen.gso_type, VnetHeader::kGsoTcp4);
  EXPECT_EQ(seen.gso_size, 1448);
  EXPECT_TRUE(std::equal(frame.begin(), frame.end(), back.begin() + kSocketHeader));
}

TEST_F(TapTest, StopsReadingWithoutBuffersAndLosesNothing) {
  TestNetns netns;
  const auto port = open_up(netns);
  const auto socket = netns.packet_socket("eth0");
  std::vector<rte_mbuf*> hoard;
  while (rte_mbuf* jumbo = rte_pktmbuf_alloc(pools_.get().jumbo)) hoard.push_back(jumbo);
  const auto frame = udp_frame(100);
  ASSERT_GT(::send(socket.get(), frame.data(), frame.size(), 0), 0);
  std::array<rte_mbuf*, 8> out;
  EXPECT_EQ(port->rx_burst(0, out), 0);
  rte_pktmbuf_free_bulk(hoard.data(), static_cast<unsigned>(hoard.size()));
  rte_mbuf* packet = receive(*port, 1);
  EXPECT_NE(packet, nullptr);
  rte_pktmbuf_free(packet);
  EXPECT_GT(port->describe()["receive_without_buffers"], 0);
}

TEST_F(TapTest, InterfaceDownAndUpAgain) {
  TestNetns netns;
  const auto port = open_up(netns);
  netns.shell("ip link set eth0 down");
  EXPECT_FALSE(port->link_up());
  rte_mbuf* packet = pools_.packet(udp_frame(50));
  EXPECT_EQ(port->tx_burst(0, {&packet, 1}), 0);
  EXPECT_EQ(port->tx_stop(0), TxStop::kDown);
  EXPECT_NE(port->last_error().find("the interface is down"), std::string::npos) << port->last_error();
  netns.shell("ip link set eth0 up");
  EXPECT_TRUE(port->link_up());
  EXPECT_EQ(port->tx_burst(0, {&packet, 1}), 1);
  EXPECT_EQ(port->last_error(), "");
}

TEST_F(TapTest, InterfaceRemovedIsDownForGood) {
  TestNetns netns;
  const auto port = open_up(netns);
  netns.shell("ip link del eth0");
  EXPECT_FALSE(port->link_up());
  rte_mbuf* packet = pools_.packet(udp_frame(50));
  EXPECT_EQ(port->tx_burst(0, {&packet, 1}), 0);
  EXPECT_EQ(port->tx_stop(0), TxStop::kDown);
  rte_pktmbuf_free(packet);
  std::array<rte_mbuf*, 8> out;
  EXPECT_EQ(port->rx_burst(0, out), 0);
  EXPECT_NE(port->last_error().find("is gone"), std::string::npos) << port->last_error();
}

TEST_F(TapTest, SeveralQueuesAndWorkers) {
  TestNetns netns;
  auto queues = fds(netns.tap("eth0", IFF_MULTI_QUEUE));
  queues.push_back(netns.tap("eth0", IFF_MULTI_QUEUE));
  auto opened = open_port(config(2), std::move(queues), {pools_.get(), 3});
  ASSERT_TRUE(opened) << opened.error().message;
  const auto port = std::move(*opened);
  netns.shell("ip link set eth0 up");
  EXPECT_EQ(port->rx_queues(), 2);
  EXPECT_EQ(port->tx_queues(), 3);  // any worker may send
  for (std::uint16_t worker = 0; worker < 3; ++worker) {
    rte_mbuf* packet = pools_.packet(udp_frame(10));
    EXPECT_EQ(port->tx_burst(worker, {&packet, 1}), 1);
  }
  EXPECT_EQ(port->queue_counters(0).sent_packets, 2u);  // of workers 0 and 2
  EXPECT_EQ(port->queue_counters(1).sent_packets, 1u);
  EXPECT_EQ(port->queue_counters(2).sent_packets, 0u);  // no queue: its worker is counted above
}

}  // namespace
}  // namespace podwire::engine
