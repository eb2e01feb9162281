// EngineReconciler: the kernel's routes beside the node's own objects.
#include "tests/unit/control/reconciler_fixture.hpp"

namespace podwire::control {
namespace {

constexpr auto kRoutesSoon = std::chrono::milliseconds(5000);
using Prefixes = std::set<std::string>;

class ReconcilerRoutes : public ReconcilerFixture {
 protected:
  void SetUp() override {
    engine_.start();
    reconciler_ = std::make_unique<EngineReconciler>(EngineReconciler::Options{socket_, 1, {}, {}, {}},
                                                     std::vector<Attachment>());
  }
  // With a route of its own to 10.0.0.0/24.
  void program_node() {
    auto node = one_domain(false);
    auto own = mirrored(0);
    own.id = RouteId(5);
    node.objects.routes.push_back(own);
    reconciler_->set_node(node, {});
    const auto programmed = reconciler_->wait_programmed(kRoutesSoon);
    ASSERT_TRUE(programmed) << programmed.error().message;
  }
  static api::Route mirrored(std::uint32_t number) {
    api::Route route;
    route.id = RouteId(0x8000'0000 + number);
    route.domain = kUnderlayDomain;
    route.prefix = {IpAddr(Ipv4::from_u32(0x0a000000 + (number << 8))), 24};
    api::NextHop hop;
    hop.port = PortId(1);
    hop.address = IpAddr(Ipv4::from_u32(0xc0000201));
    route.next_hops = {hop};
    return route;
  }
};

TEST_F(ReconcilerRoutes, AreSentAsTheyChange) {
  program_node();
  const int before = engine_.patches;
  ASSERT_TRUE(reconciler_->change_routes({mirrored(1), mirrored(2)}, {}));
  EXPECT_EQ(engine_.routes(), (Prefixes{"10.0.0.0/24", "10.0.1.0/24", "10.0.2.0/24"}));
  EXPECT_EQ(engine_.patches, before + 1);
  ASSERT_TRUE(reconciler_->change_routes({mirrored(3)}, {mirrored(1).id}));
  EXPECT_EQ(engine_.routes(), (Prefixes{"10.0.0.0/24", "10.0.2.0/24", "10.0.3.0/24"}));
  EXPECT_TRUE(differences().empty());
  EXPECT_EQ(engine_.replaces, 1);
}

TEST_F(ReconcilerRoutes, OutliveTheEngineAndComeBeforeIt) {
  ASSERT_TRUE(reconciler_->change_routes({mirrored(1)}, {}));
  program_node();
  EXPECT_EQ(engine_.routes(), (Prefixes{"10.0.0.0/24", "10.0.1.0/24"}));
  engine_.stop();
  ASSERT_TRUE(reconciler_->change_routes({mirrored(2)}, {mirrored(1).id}));
  engine_.start();
  const auto programmed = reconciler_->wait_programmed(kRoutesSoon);
  ASSERT_TRUE(programmed) << programmed.error().message;
  ASSERT_TRUE(reconciler_->reconcile());
  EXPECT_EQ(engine_.routes(), (Prefixes{"10.0.0.0/24", "10.0.2.0/24"}));
}

TEST_F(ReconcilerRoutes, TheNodesOwnComeFirst) {
  program_node();
  ASSERT_TRUE(reconciler_->change_routes({mirrored(0), mirrored(1)}, {}));
  EXPECT_EQ(engine_.routes(), (Prefixes{"10.0.0.0/24", "10.0.1.0/24"}));
  EXPECT_EQ(reconciler_->mirrored_routes().size(), 1u);
  EXPECT_TRUE(differences().empty());
  // Without that of its own, the kernel's counts.
  reconciler_->set_node(one_domain(false), {});
  EXPECT_EQ(engine_.routes(), (Prefixes{"10.0.0.0/24", "10.0.1.0/24"}));
  EXPECT_EQ(reconciler_->mirrored_routes().size(), 2u);
}

TEST_F(ReconcilerRoutes, ManyAreSentInPatchesThatFitALine) {
  program_node();
  std::vector<api::Route> many;
  std::vector<RouteId> ids;
  for (std::uint32_t i = 1; i <= 5000; ++i) {
    many.push_back(mirrored(i));
    ids.push_back(many.back().id);
  }
  ASSERT_TRUE(reconciler_->change_routes(many, {}));
  EXPECT_EQ(engine_.routes().size(), 5001u);
  EXPECT_GE(engine_.patches, 2);
  ASSERT_TRUE(reconciler_->change_routes({}, ids));
  EXPECT_EQ(engine_.routes().size(), 1u);
}

TEST_F(ReconcilerRoutes, OneThatIsRefusedKeepsNoOtherOut) {
  program_node();
  engine_.refused_route = "10.0.3.0/24";
  std::vector<api::Route> many;
  for (std::uint32_t i = 1; i <= 8; ++i) many.push_back(mirrored(i));
  ASSERT_TRUE(reconciler_->change_routes(many, {}));
  EXPECT_EQ(engine_.routes().size(), 8u);
  EXPECT_FALSE(engine_.routes().contains("10.0.3.0/24"));
  EXPECT_TRUE(differences().empty());
}

TEST_F(ReconcilerRoutes, TooManyAreToldAndLeftOut) {
  std::vector<api::Route> many;
  for (std::uint32_t i = 1; i <= 200'001; ++i) {
    auto route = mirrored(0);
    route.id = RouteId(0x8000'0000 + i);
    route.prefix = {IpAddr(Ipv4::from_u32(0x0a000000 + i)), 32};
    many.push_back(std::move(route));
  }
  const auto refused = reconciler_->change_routes(many, {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kExhausted);
  EXPECT_EQ(reconciler_->mirrored_routes().size(), 200'000u);
}

}  // namespace
}  // namespace podwire::control
