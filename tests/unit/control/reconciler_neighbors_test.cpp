// EngineReconciler: the kernel's permanent neighbours beside the node's own objects.
#include <chrono>
#include <thread>

#include "tests/unit/control/reconciler_fixture.hpp"

namespace podwire::control {
namespace {

constexpr auto kNeighborsSoon = std::chrono::milliseconds(5000);

class ReconcilerNeighbors : public ReconcilerFixture {
 protected:
  void SetUp() override {
    engine_.start();
    reconciler_ = std::make_unique<EngineReconciler>(EngineReconciler::Options{socket_, 1, {}, {}, {}},
                                                     std::vector<Attachment>());
  }
  void program_node() {
    reconciler_->set_node(one_domain(false), {});
    const auto programmed = reconciler_->wait_programmed(kNeighborsSoon);
    ASSERT_TRUE(programmed) << programmed.error().message;
  }
  static api::Endpoint neighbor(std::uint32_t number) {
    api::Endpoint endpoint;
    endpoint.id = EndpointId(0x8000'0000 + number);
    endpoint.name = "neighbor " + std::to_string(number);
    endpoint.domain = kUnderlayDomain;
    endpoint.port = PortId(1);
    endpoint.mac = MacAddr::from_u64(0x020000001000 + number);
    endpoint.addresses = {IpAddr(Ipv4::from_u32(0xc0000200 + number))};
    return endpoint;
  }
  std::vector<EndpointId> ids() const {
    std::vector<EndpointId> out;
    for (const auto& [id, endpoint] : engine_.endpoint_objects()) out.push_back(id);
    return out;
  }
};

TEST_F(ReconcilerNeighbors, AreSentAsTheyChange) {
  program_node();
  ASSERT_TRUE(reconciler_->change_neighbors({neighbor(1), neighbor(2)}, {}));
  EXPECT_EQ(ids(), (std::vector{neighbor(1).id, neighbor(2).id}));
  auto moved = neighbor(2);
  moved.mac = MacAddr::from_u64(0x020000002222);
  ASSERT_TRUE(reconciler_->change_neighbors({moved, neighbor(3)}, {neighbor(1).id}));
  EXPECT_EQ(ids(), (std::vector{neighbor(2).id, neighbor(3).id}));
  EXPECT_EQ(engine_.endpoint_objects().at(moved.id), moved);
  EXPECT_TRUE(differences().empty());
  EXPECT_EQ(engine_.replaces, 1);
  EXPECT_EQ(reconciler_->mirrored_neighbors(), 2u);
}

TEST_F(ReconcilerNeighbors, OutliveTheEngineAndComeBeforeIt) {
  ASSERT_TRUE(reconciler_->change_neighbors({neighbor(1)}, {}));
  program_node();
  EXPECT_EQ(ids(), std::vector{neighbor(1).id});
  engine_.stop();
  const auto until = std::chrono::steady_clock::now() + kNeighborsSoon;
  while (reconciler_->state().connected && std::chrono::steady_clock::now() < until)
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  ASSERT_FALSE(reconciler_->state().connected);
  ASSERT_TRUE(reconciler_->change_neighbors({neighbor(2)}, {neighbor(1).id}));
  engine_.start();
  const auto programmed = reconciler_->wait_programmed(kNeighborsSoon);
  ASSERT_TRUE(programmed) << programmed.error().message;
  ASSERT_TRUE(reconciler_->reconcile());
  EXPECT_EQ(ids(), std::vector{neighbor(2).id});
}

TEST_F(ReconcilerNeighbors, OneThatIsRefusedKeepsNoOtherOut) {
  program_node();
  engine_.refused_mac = to_string(neighbor(3).mac);
  std::vector<api::Endpoint> many;
  for (std::uint32_t i = 1; i <= 5; ++i) many.push_back(neighbor(i));
  ASSERT_TRUE(reconciler_->change_neighbors(many, {}));
  EXPECT_EQ(engine_.endpoints(), 4u);
  EXPECT_TRUE(differences().empty());
}

TEST_F(ReconcilerNeighbors, TooManyAreToldAndLeftOut) {
  program_node();
  std::vector<api::Endpoint> many;
  for (std::uint32_t i = 1; i <= 4097; ++i) many.push_back(neighbor(i));
  const auto refused = reconciler_->change_neighbors(many, {});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kExhausted);
  EXPECT_EQ(engine_.endpoints(), 4096u);
  EXPECT_GE(engine_.patches, 5);
  ASSERT_TRUE(reconciler_->change_neighbors({many.back()}, {neighbor(1).id}));
  EXPECT_EQ(engine_.endpoints(), 4096u);
}

}  // namespace
}  // namespace podwire::control
