// A vhost port on a socket of its own, and what tests of it need.
#pragma once

#include <gtest/gtest.h>

#include <filesystem>

#include "dataplane/packet/offload.hpp"
#include "dataplane/ports/fault_guard.hpp"
#include "dataplane/ports/port.hpp"
#include "tests/eal/ports/test_pools.hpp"
#include "tests/eal/ports/vhost_peer.hpp"
#include "tests/support/packet_builder.hpp"

namespace podwire::engine::tests {

inline constexpr std::uint64_t kBasic =
    feature_bits(VirtioFeature::kVersion1, VirtioFeature::kMergeableBuffers);
inline constexpr std::uint64_t kGuestOffloads =
    feature_bits(VirtioFeature::kGuestChecksum, VirtioFeature::kGuestTso4, VirtioFeature::kGuestTso6);
inline constexpr std::uint64_t kHostOffloads =
    feature_bits(VirtioFeature::kChecksum, VirtioFeature::kHostTso4, VirtioFeature::kHostTso6);

inline Packet tcp_packet(std::size_t payload) {
  Packet packet;
  packet.eth(MacAddr{{2, 0, 0, 0, 0, 1}}, MacAddr{{2, 0, 0, 0, 0, 2}})
      .ipv4(Ipv4::from_u32(0x0a000001), Ipv4::from_u32(0x0a000002))
      .tcp(80, 90)
      .payload(payload);
  return packet;
}

class VhostPortTest : public ::testing::Test {
 protected:
  VhostPortTest() {
    install_fault_guard();
    auto reactor = Reactor::create();
    EXPECT_TRUE(reactor);
    reactor_ = std::move(*reactor);
    directory_ = std::filesystem::temp_directory_path() / ("vhost-test-" + std::to_string(::getpid()));
    std::filesystem::create_directories(directory_);
    config_.id = PortId(7);
    config_.name = "vm";
    config_.kind = api::PortKind::kVhost;
    config_.mtu = 1500;
    config_.socket = directory_ / "vm.sock";
  }
  ~VhostPortTest() override {
    port_.reset();
    std::filesystem::remove_all(directory_);
  }
  void open() {
    auto opened = open_port(config_, {}, {pools_.get(), 1, reactor_.get(), [] {}});
    ASSERT_TRUE(opened) << opened.error().message;
    port_ = std::move(*opened);
  }
  // A port with a running guest.
  void open_with(test::VhostPeer& peer, std::uint64_t features) {
    open();
    ASSERT_TRUE(peer.connect(config_.socket));
    peer.start(features);
    ASSERT_TRUE(peer.run_until([this] { return port_->link_up(); }));
  }
  std::string last_disconnect() const { return port_->describe()["last_disconnect"]; }
  rte_mbuf* receive_one() {
    std::array<rte_mbuf*, 4> out{};
    return port_->rx_burst(0, out) == 1 ? out[0] : nullptr;
  }
  bool send(rte_mbuf* packet) { return port_->tx_burst(0, {&packet, 1}) == 1; }

  test::TestPools pools_;
  std::unique_ptr<Reactor> reactor_;
  std::filesystem::path directory_;
  api::Port config_;
  std::unique_ptr<Port> port_;
};

}  // namespace podwire::engine::tests
