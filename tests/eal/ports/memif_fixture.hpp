// A memif port and whoever talks to it, on one thread.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>

#include <filesystem>
#include <string>

#include "dataplane/ports/fault_guard.hpp"
#include "dataplane/ports/memif.hpp"
#include "dataplane/ports/refused_frame.hpp"
#include "tests/eal/ports/test_pools.hpp"
#include "tests/support/memif_peer.hpp"

namespace podwire::engine {

class MemifFixture : public testing::Test {
 protected:
  MemifFixture() {
    install_fault_guard();
    char name[] = "/tmp/pwmemifXXXXXX";
    directory_ = ::mkdtemp(name);
    path_ = directory_ + "/socket";
    reactor_ = std::move(*Reactor::create());
    config_.id = PortId(7);
    config_.name = "cnf";
    config_.kind = api::PortKind::kMemif;
    config_.mtu = 1500;
    config_.socket = path_;
    config_.ring_size = 256;
  }
  ~MemifFixture() override {
    port_.reset();
    std::filesystem::remove_all(directory_);
  }

  PortEnvironment environment(std::uint16_t workers = 1) {
    return {pools_.get(), workers, reactor_.get(), [this] {
              ++grace_periods_;
              await_worker_();
            }};
  }
  void open(std::uint16_t workers = 1) {
    auto opened = open_memif_port(config_, {}, environment(workers));
    ASSERT_TRUE(opened) << opened.error().message;
    port_ = std::move(*opened);
  }
  void pump() { static_cast<void>(reactor_->run_once(0)); }
  test::MemifPeer::Pump pump_function() {
    return [this] { pump(); };
  }
  bool wait_for(const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(5);
    while (!condition()) {
      if (std::chrono::steady_clock::now() > deadline) return false;
      static_cast<void>(reactor_->run_once(5));
    }
    return true;
  }
  Json facts() const { return port_->describe(); }

  static test::Bytes frame(std::size_t size, unsigned char seed = 1) {
    test::Bytes bytes(size);
    for (std::size_t i = 0; i < size; ++i) bytes[i] = static_cast<unsigned char>(seed + 31 * i);
    return bytes;
  }
  // The next frame that the port receives; empty: none.
  test::Bytes receive(std::uint16_t queue = 0) {
    std::array<rte_mbuf*, 1> out;
    if (port_->rx_burst(queue, out) == 0) return {};
    EXPECT_GE(out[0]->data_off, 128);
    const auto bytes = test::TestPools::bytes(out[0]);
    EXPECT_EQ(bytes.size(), out[0]->pkt_len);
    rte_pktmbuf_free(out[0]);
    return bytes;
  }
  // Whether the port takes a frame.
  bool transmit(const test::Bytes& bytes, std::size_t segment = 2048, std::uint16_t queue = 0) {
    rte_mbuf* packet = pools_.packet(bytes, segment);
    if (port_->tx_burst(queue, {&packet, 1}) == 1) return true;
    rte_pktmbuf_free(packet);
    return false;
  }
  // Both directions work with a peer that does everything right.
  void expect_usable(test::MemifShape shape = {}) {
    test::MemifPeer peer(pump_function(), std::move(shape));
    ASSERT_TRUE(peer.connect(path_));
    ASSERT_TRUE(peer.shake_hands());
    expect_traffic(peer);
  }
  void expect_traffic(test::MemifPeer& peer) {
    for (unsigned char i = 0; i < 40; ++i) {
      const auto there = frame(60 + i, i), back = frame(1514 - i, static_cast<unsigned char>(i + 100));
      ASSERT_TRUE(peer.put(there));
      ASSERT_EQ(receive(), there);
      ASSERT_TRUE(transmit(back));
      ASSERT_EQ(peer.take(), back);
      ASSERT_EQ(receive(), test::Bytes());
    }
  }

  test::TestPools pools_;
  std::string directory_, path_;
  std::unique_ptr<Reactor> reactor_;
  api::Port config_;
  std::unique_ptr<Port> port_;
  unsigned grace_periods_ = 0;
  std::function<void()> await_worker_ = [] {};  // of a test that has one
};

}  // namespace podwire::engine
