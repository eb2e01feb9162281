// Every way of the vhost-user protocol to be broken that is checked: it costs the peer its connection.
#include <gtest/gtest.h>

#include <functional>

#include "tests/eal/ports/vhost_fixture.hpp"

namespace podwire::engine {
namespace {

using test::VhostPeer;
using tests::kBasic;

class VhostHostileTest : public tests::VhostPortTest {};

// One way to break the protocol after a good start, and what the port says of it.
struct Violation {
  const char* name;
  std::function<void(VhostPeer&)> commit;
  const char* says;
};

std::vector<Violation> violations() {
  using R = VhostRequest;
  const auto raw = [](R request) { return static_cast<std::uint32_t>(request); };
  static const char zeros[512]{};
  const auto table = [](std::vector<std::uint64_t> words, std::vector<int> (*fds)(VhostPeer&)) {
    return [words, fds](VhostPeer& p) { p.send(5, words.data(), words.size() * 8, fds(p)); };
  };
  const auto none = [](VhostPeer&) { return std::vector<int>{}; };
  const auto memory = [](VhostPeer& p) { return std::vector<int>{p.memory_fd()}; };
  const auto twice = [](VhostPeer& p) { return std::vector<int>{p.memory_fd(), p.memory_fd()}; };
  const auto event = [](VhostPeer& p) { return std::vector<int>{p.kick_fd(0)}; };
  constexpr std::uint64_t kBytes = VhostPeer::kMemory, kAll = ~std::uint64_t{0};
  return {
      {"UnknownRequest", [](VhostPeer& p) { p.send(77, nullptr, 0); }, "request 77 is not offered"},
      {"RequestZero", [](VhostPeer& p) { p.send(0, nullptr, 0); }, "request 0"},
      {"ResetOwner", [](VhostPeer& p) { p.send(4, nullptr, 0); }, "not offered"},
      {"LogBase", [](VhostPeer& p) { p.send(6, zeros, 16, {p.memory_fd()}); }, "request 6"},
      {"LogFd", [](VhostPeer& p) { p.send(7, nullptr, 0, {p.kick_fd(0)}); }, "request 7"},
      {"SendRarp", [](VhostPeer& p) { p.send(19, zeros, 8); }, "request 19"},
      {"BackendChannel", [](VhostPeer& p) { p.send(21, nullptr, 0, {p.socket()}); }, "not offered"},
      {"TranslationsWithoutIommu", [](VhostPeer& p) { p.send(22, zeros, 32); }, "not offered"},
      {"Postcopy", [](VhostPeer& p) { p.send(28, nullptr, 0); }, "request 28"},
      {"InflightRegion", [](VhostPeer& p) { p.send(32, zeros, 24, {p.memory_fd()}); }, "request 32"},
      {"GetInflight", [](VhostPeer& p) { p.send(31, zeros, 24); }, "request 31"},
      {"WrongVersion", [](VhostPeer& p) { p.send(1, nullptr, 0, {}, 2); }, "version 1"},
      {"AReply", [](VhostPeer& p) { p.send(1, nullptr, 0, {}, 5); }, "no reply"},
      {"TooLong", [](VhostPeer& p) { p.send(2, zeros, 16); }, "16 bytes"},
      {"TooShort", [](VhostPeer& p) { p.send(2, zeros, 4); }, "4 bytes"},
      {"PayloadWhereNoneBelongs", [](VhostPeer& p) { p.send(1, zeros, 8); }, "8 bytes"},
      {"HugePayload", [](VhostPeer& p) { p.send(5, zeros, 512); }, "512 bytes"},
      {"FeaturesInUse", [](VhostPeer& p) { p.send(R::kSetFeatures, 0); }, "rings are in use"},
      {"ProtocolFeatures", [](VhostPeer& p) { p.send(R::kSetProtocolFeatures, kAll); }, "not offered"},
      {"FeaturesWithDescriptor", [](VhostPeer& p) { p.send(R::kSetFeatures, 0, {p.kick_fd(0)}); },
       "brings descriptors"},
      {"RingSizeZero", [](VhostPeer& p) { p.send_ring(R::kSetVringNum, 0, 0); }, "power of two"},
      {"RingSizeOdd", [](VhostPeer& p) { p.send_ring(R::kSetVringNum, 0, 100); }, "power of two"},
      {"RingSizeHuge", [](VhostPeer& p) { p.send_ring(R::kSetVringNum, 0, 65536); }, "power of two"},
      {"RingGrowsInUse", [](VhostPeer& p) { p.send_ring(R::kSetVringNum, 1, 32768); }, "in use"},
      {"RingIndex", [](VhostPeer& p) { p.send_ring(R::kSetVringNum, 2, 256); }, "there are 2"},
      {"RingBaseIndex", [](VhostPeer& p) { p.send_ring(R::kSetVringBase, 200, 0); }, "there are 2"},
      {"RingBaseHuge", [](VhostPeer& p) { p.send_ring(R::kSetVringBase, 0, 65536); }, "no index"},
      {"GetBaseIndex", [](VhostPeer& p) { p.send_ring(R::kGetVringBase, ~0u, 0); }, "there are 2"},
      {"EnableIndex", [](VhostPeer& p) { p.send_ring(R::kSetVringEnable, 255, 1); }, "there are 2"},
      {"KickIndex", [](VhostPeer& p) { p.send(R::kSetVringKick, 99, {p.kick_fd(0)}); }, "there are 2"},
      {"KickWithoutEventfd", [](VhostPeer& p) { p.send(R::kSetVringKick, 0x100); }, "no eventfd"},
      {"KickWithoutDescriptor", [](VhostPeer& p) { p.send(R::kSetVringKick, 0); }, "0 descriptors"},
      {"CallWithTwo",
       [](VhostPeer& p) {
         p.send(R::kSetVringCall, 0, {p.kick_fd(0), p.kick_fd(1)});
       },
       "2 descriptors"},
      {"CallIsNoEventfd", [](VhostPeer& p) { p.send(R::kSetVringCall, 0, {p.memory_fd()}); }, "no eventfd"},
      {"CallIsASocket", [](VhostPeer& p) { p.send(R::kSetVringCall, 0, {p.socket()}); }, "no eventfd"},
      {"AddressesWithLog",
       [raw](VhostPeer& p) {
         const std::uint64_t words[5] = {1ull << 32};
         p.send(raw(R::kSetVringAddr), words, 40);
       },
       "logging"},
      {"AddressesIndex",
       [raw](VhostPeer& p) {
         const std::uint64_t words[5] = {9};
         p.send(raw(R::kSetVringAddr), words, 40);
       },
       "there are 2"},
      {"NoRegions", table({0}, none), "0 regions"},
      {"NineRegions", table({9, 0, 0, 0, 0}, none), "9 regions"},
      {"RegionWithoutDescriptor", table({1, 0, kBytes, 0, 0}, none), "0 descriptors"},
      {"RegionWithTwoDescriptors", table({1, 0, kBytes, 0, 0}, twice), "2 descriptors"},
      {"RegionsCutShort", table({2, 0, kBytes, 0, 0}, twice), "2 regions"},
      {"RegionEmpty", table({1, 0, 0, 0, 0}, memory), "0 bytes"},
      {"RegionBeyondItsFile", table({1, 0, kBytes + 4096, 0, 0}, memory), "its file has"},
      {"RegionOffsetBeyond", table({1, 0, 4096, 0, kBytes}, memory), "its file has"},
      {"RegionOffsetWraps", table({1, 0, 4096, 0, kAll - 100}, memory), "its file has"},
      {"RegionGuestWraps", table({1, kAll - 100, 4096, 0, 0}, memory), "bytes at"},
      {"RegionUserWraps", table({1, 0, 4096, kAll - 100, 0}, memory), "bytes at"},
      {"RegionsOverlap", table({2, 0, 8192, 0, 0, 8192, 4096, 4096, 0}, twice), "overlaps another"},
      {"RegionHuge", table({1, 0, 1ull << 50, 0, 0}, memory), "bytes at"},
      {"RegionIsNoFile", table({1, 0, 4096, 0, 0}, event), "is no file"},
  };
}

TEST_F(VhostHostileTest, ABrokenProtocolCostsTheConnectionOnly) {
  open();
  std::uint64_t count = 0;
  for (const auto& violation : violations()) {
    SCOPED_TRACE(violation.name);
    VhostPeer peer(*reactor_);
    ASSERT_TRUE(peer.connect(config_.socket));
    peer.start(kBasic);
    ASSERT_TRUE(peer.run_until([this] { return port_->link_up(); }));
    violation.commit(peer);
    EXPECT_TRUE(peer.closed());
    EXPECT_NE(last_disconnect().find(violation.says), std::string::npos) << last_disconnect();
    ASSERT_TRUE(peer.run_until([this] { return !port_->link_up(); }));
    EXPECT_EQ(port_->describe()["protocol_violations"], ++count);
  }
  EXPECT_GE(count, 40u);
}

}  // namespace
}  // namespace podwire::engine
