#include "control/routing/neighbor_mirror.hpp"

#include <gtest/gtest.h>
#include <linux/neighbour.h>

#include "control/node/host_routes.hpp"

namespace podwire::control {
namespace {

using netlink::Neighbor;

constexpr unsigned kPodwire0 = 7;
const MacAddr kOwnMac{{2, 0, 0, 0, 0, 1}}, kRouterMac{{2, 0, 0, 0, 0, 9}}, kOtherMac{{2, 0, 0, 0, 0, 10}};

Neighbor at(const char* address, const MacAddr& mac = kRouterMac, std::uint16_t state = NUD_PERMANENT) {
  return {.link = kPodwire0, .address = *parse_ip(address), .mac = mac, .state = state, .flags = 0};
}

// What the engine has after all patches so far, in words.
class MirroredNeighbors : public ::testing::Test {
 protected:
  void reset(const std::vector<Neighbor>& all) { mirror_.reset(link_, {*parse_ip("192.0.2.1")}, all); }
  // What a notification does, as the follower treats it.
  bool heard(const Neighbor& neighbor, bool removed = false) {
    const netlink::NeighborChange change{removed, neighbor};
    if (!mirror_.matters(change)) return false;
    mirror_.apply(change);
    return true;
  }
  std::string take() {
    const auto patch = mirror_.take();
    changes_ = patch.put.size() + patch.remove.size();
    for (const auto id : patch.remove) EXPECT_EQ(engine_.erase(id), 1u);
    for (const auto& endpoint : patch.put) {
      EXPECT_GE(endpoint.id.value(), kFirstMirrored);
      EXPECT_EQ(endpoint.domain, kUnderlayDomain);
      EXPECT_EQ(endpoint.port, PortId(1));
      EXPECT_EQ(endpoint.addresses.size(), 1u);
      EXPECT_EQ(endpoint.name, "neighbor " + to_string(endpoint.addresses.front()));
      engine_[endpoint.id] = endpoint;
    }
    EXPECT_EQ(mirror_.size(), engine_.size());
    std::map<IpAddr, std::string> lines;
    for (const auto& [id, endpoint] : engine_)
      lines[endpoint.addresses.front()] =
          to_string(endpoint.addresses.front()) + " " + to_string(endpoint.mac).substr(15);
    std::string text;
    for (const auto& [address, line] : lines) text += (text.empty() ? "" : ", ") + line;
    return text;
  }

  netlink::Link link_{.index = kPodwire0, .name = "podwire0", .mac = kOwnMac, .kind = {}};
  NeighborMirror mirror_{PortId(1)};
  std::map<EndpointId, api::Endpoint> engine_;
  std::size_t changes_ = 0;
};

TEST_F(MirroredNeighbors, TakesPermanentOnesOfTheHostInterface) {
  auto elsewhere = at("192.0.2.7");
  elsewhere.link = 8;
  reset({at("192.0.2.9"), at("fe80::9"), at("192.0.2.8", kRouterMac, NUD_REACHABLE), elsewhere});
  EXPECT_EQ(take(), "192.0.2.9 09, fe80::9 09");
  EXPECT_EQ(take(), "192.0.2.9 09, fe80::9 09");
  EXPECT_EQ(changes_, 0u);
}

TEST_F(MirroredNeighbors, LeavesOutWhatNoOtherHostCanBe) {
  auto proxy = at("192.0.2.6");
  proxy.flags = NTF_PROXY;
  reset({at("192.0.2.2", MacAddr()), at("192.0.2.3", MacAddr{{1, 0, 0x5e, 0, 0, 1}}),
         at("192.0.2.4", MacAddr{{0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}), at("192.0.2.5", kOwnMac), proxy,
         at("192.0.2.1"), at("0.0.0.0"), at("224.0.0.5"), at("ff02::1"),
         at("169.254.112.1", kHostServiceMac)});
  EXPECT_EQ(take(), "");
  EXPECT_FALSE(heard(at("169.254.112.1", kHostServiceMac)));
  EXPECT_FALSE(heard(at("192.0.2.5", kOwnMac)));
}

TEST_F(MirroredNeighbors, FollowsWhatIsAddedChangedAndRemoved) {
  reset({});
  EXPECT_TRUE(heard(at("192.0.2.9")));
  EXPECT_EQ(take(), "192.0.2.9 09");
  EXPECT_TRUE(heard(at("192.0.2.9", kOtherMac)));
  EXPECT_EQ(take(), "192.0.2.9 0a");
  EXPECT_EQ(engine_.size(), 1u);
  EXPECT_TRUE(heard(at("192.0.2.9", MacAddr(), NUD_FAILED), true));
  EXPECT_EQ(take(), "");
  EXPECT_TRUE(heard(at("192.0.2.9")));
  EXPECT_TRUE(heard(at("192.0.2.9", kOtherMac, NUD_REACHABLE)));  // permanent no longer
  EXPECT_EQ(take(), "");
  EXPECT_EQ(changes_, 0u);
}

TEST_F(MirroredNeighbors, ChurnOfOthersDoesNotMatter) {
  reset({at("192.0.2.9")});
  EXPECT_EQ(take(), "192.0.2.9 09");
  EXPECT_FALSE(heard(at("192.0.2.8", kOtherMac, NUD_REACHABLE)));
  EXPECT_FALSE(heard(at("192.0.2.8", kOtherMac, NUD_FAILED), true));
  auto elsewhere = at("192.0.2.9", kOtherMac);
  elsewhere.link = 8;
  EXPECT_FALSE(heard(elsewhere));
  EXPECT_FALSE(heard(elsewhere, true));
  EXPECT_EQ(take(), "192.0.2.9 09");
}

TEST_F(MirroredNeighbors, ANewListIsADifference) {
  reset({at("192.0.2.9"), at("192.0.2.8")});
  take();
  reset({at("192.0.2.9"), at("192.0.2.7")});
  EXPECT_EQ(take(), "192.0.2.7 09, 192.0.2.9 09");
  EXPECT_EQ(changes_, 2u);
  link_ = {};  // the interface has gone
  reset({at("192.0.2.9")});
  EXPECT_EQ(take(), "");
  EXPECT_FALSE(heard(at("192.0.2.9")));
}

TEST_F(MirroredNeighbors, IdsAreTheSameAfterARestartAndNeverShared) {
  std::vector<Neighbor> all;
  for (std::uint32_t i = 0; i < 4096; ++i) {
    all.push_back(at("10.0.0.0"));
    all.back().address = IpAddr(Ipv4::from_u32(0x0a000001 + i));
  }
  reset(all);
  take();
  EXPECT_EQ(engine_.size(), all.size());
  NeighborMirror second(PortId(1));
  second.reset(link_, {}, {all.rbegin(), all.rend()});
  for (const auto& endpoint : second.take().put) {
    ASSERT_TRUE(engine_.contains(endpoint.id));
    EXPECT_EQ(engine_.at(endpoint.id), endpoint);
  }
}

TEST(MirroredIds, GiveWayToEachOther) {
  MirroredIds ids;
  const auto about = *parse_prefix("192.0.2.9/32");
  const auto first = ids.allot(about), second = ids.allot(about);
  EXPECT_EQ(second, (first + 1) | kFirstMirrored);
  ids.release(first);
  EXPECT_EQ(ids.allot(about), first);
  EXPECT_EQ(ids.size(), 2u);
}

}  // namespace
}  // namespace podwire::control
