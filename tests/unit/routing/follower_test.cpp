// RouteFollower against the kernel, in a network namespace of its own.
#include "control/routing/follower.hpp"

#include <condition_variable>
#include <mutex>

#include "tests/unit/netlink/private_netns.hpp"

namespace podwire::control {
namespace {

using netlink::Batch;
using netlink::Netlink;

// What the engine would have by now.
class FollowedRoutes {
 public:
  void change(RoutePatch patch) {
    const std::lock_guard lock(mutex_);
    for (const auto id : patch.remove) routes_.erase(id);
    for (const auto& route : patch.put) routes_[route.id] = to_string(route.prefix);
    changed_.notify_all();
  }
  void change(NeighborPatch patch) {
    const std::lock_guard lock(mutex_);
    for (const auto id : patch.remove) neighbors_.erase(id);
    for (const auto& endpoint : patch.put)
      neighbors_[endpoint.id] = to_string(endpoint.addresses.front()) + " " + to_string(endpoint.mac);
    changed_.notify_all();
  }
  bool become(const std::set<std::string>& wanted) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(20), [&] { return texts(routes_) == wanted; });
  }
  bool know(const std::set<std::string>& wanted) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(20), [&] { return texts(neighbors_) == wanted; });
  }
  bool come_to(std::size_t count) {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(60), [&] { return routes_.size() == count; });
  }

 private:
  template <class Id>
  static std::set<std::string> texts(const std::map<Id, std::string>& all) {
    std::set<std::string> out;
    for (const auto& [id, text] : all) out.insert(text);
    return out;
  }
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<RouteId, std::string> routes_;
  std::map<EndpointId, std::string> neighbors_;
};

class RouteFollowing : public ::testing::Test {
 protected:
  // In a namespace with an interface "a0" that is up and has 192.0.2.1/24.
  void run(const std::function<void()>& body) {
    run_in_netns(-1, [&] {
      auto kernel = Netlink::open();
      ASSERT_TRUE(kernel) << kernel.error().message;
      kernel_ = &*kernel;
      ASSERT_TRUE(kernel->apply(Batch().add_veth("a0", "a1")));
      set_up("a1", true);
      set_up("a0", true);
      netlink::Address address;
      address.prefix = *parse_prefix("192.0.2.1/24");
      address.noprefixroute = true;
      ASSERT_TRUE(kernel->apply(Batch().add_address(*kernel->link("a0"), address)));
      body();
    });
  }
  void set_up(const char* name, bool up) {
    const auto link = kernel_->link(name);
    ASSERT_TRUE(link);
    ASSERT_TRUE(kernel_->apply(Batch().change_link(*link, {.up = up, .mtu = {}, .mac = {}, .new_name = {}})));
  }
  netlink::Route route(std::uint32_t number) {
    netlink::Route out;
    out.destination = {IpAddr(Ipv4::from_u32(0x0a000000 + (number << 8))), 24};
    out.gateway = *parse_ip("192.0.2.9");
    out.link = kernel_->link("a0")->index;
    out.protocol = 186;
    out.onlink = true;
    return out;
  }
  std::unique_ptr<RouteFollower> follow() {
    RouteFollower::Options options;
    options.interface = "a0";
    options.tables = {netlink::kMainTable};
    options.uplink = PortId(1);
    options.changed = [this](RoutePatch patch) { engine_.change(std::move(patch)); };
    options.neighbors_changed = [this](NeighborPatch patch) { engine_.change(std::move(patch)); };
    auto follower = RouteFollower::start(std::move(options));
    EXPECT_TRUE(follower) << follower.error().message;
    return follower ? std::move(*follower) : nullptr;
  }

  Netlink* kernel_ = nullptr;
  FollowedRoutes engine_;
};

TEST_F(RouteFollowing, HandsOverWhatThereIsAndWhatChanges) {
  run([&] {
    ASSERT_TRUE(kernel_->apply(Batch().add_route(route(1))));
    const auto follower = follow();
    ASSERT_NE(follower, nullptr);
    EXPECT_TRUE(engine_.become({"10.0.1.0/24"}));
    ASSERT_TRUE(kernel_->apply(Batch().add_route(route(2)).remove_route(route(1))));
    EXPECT_TRUE(engine_.become({"10.0.2.0/24"}));
  });
}

TEST_F(RouteFollowing, NoticesRoutesThatGoWithTheLinkWithoutAWord) {
  run([&] {
    ASSERT_TRUE(kernel_->apply(Batch().add_route(route(1)).add_route(route(2))));
    const auto follower = follow();
    ASSERT_NE(follower, nullptr);
    EXPECT_TRUE(engine_.become({"10.0.1.0/24", "10.0.2.0/24"}));
    set_up("a0", false);
    EXPECT_TRUE(engine_.become({}));
    set_up("a0", true);
    ASSERT_TRUE(kernel_->apply(Batch().add_route(route(3))));
    EXPECT_TRUE(engine_.become({"10.0.3.0/24"}));
    EXPECT_GT(follower->lists(), 1u);
  });
}

TEST_F(RouteFollowing, HandsOverPermanentNeighbors) {
  run([&] {
    const auto link = kernel_->link("a0");
    ASSERT_TRUE(link);
    const auto nine = *parse_ip("192.0.2.9"), eight = *parse_ip("fd00::8");
    const auto mac = MacAddr::from_u64(0x020000000009), other = MacAddr::from_u64(0x02000000000a);
    ASSERT_TRUE(kernel_->apply(Batch().set_neighbor(*link, nine, mac)));
    const auto follower = follow();
    ASSERT_NE(follower, nullptr);
    EXPECT_TRUE(engine_.know({"192.0.2.9 02:00:00:00:00:09"}));
    ASSERT_TRUE(kernel_->apply(Batch().set_neighbor(*link, nine, other).set_neighbor(*link, eight, mac)));
    EXPECT_TRUE(engine_.know({"192.0.2.9 02:00:00:00:00:0a", "fd00::8 02:00:00:00:00:09"}));
    ASSERT_TRUE(kernel_->apply(Batch().remove_neighbor(*link, nine)));
    EXPECT_TRUE(engine_.know({"fd00::8 02:00:00:00:00:09"}));
    set_up("a0", false);  // with it the kernel's neighbours go
    EXPECT_TRUE(engine_.know({}));
  });
}

TEST_F(RouteFollowing, KeepsUpWithABurst) {
  run([&] {
    const auto follower = follow();
    ASSERT_NE(follower, nullptr);
    constexpr std::uint32_t kMany = 20'000;
    Batch batch;
    for (std::uint32_t i = 0; i < kMany; ++i) batch.add_route(route(i));
    ASSERT_TRUE(kernel_->apply(batch));
    EXPECT_TRUE(engine_.come_to(kMany));
    Batch removal;
    for (std::uint32_t i = 0; i < kMany; ++i) removal.remove_route(route(i));
    ASSERT_TRUE(kernel_->apply(removal));
    EXPECT_TRUE(engine_.come_to(0));
  });
}

}  // namespace
}  // namespace podwire::control
