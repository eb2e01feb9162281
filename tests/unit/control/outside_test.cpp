// Addresses outside as podwired keeps them, checks them, and gives them to pods' endpoints.
#include "control/state/outside.hpp"

#include "tests/unit/control/reconciler_fixture.hpp"
#include "tests/unit/control/store_fixture.hpp"

namespace podwire::control {
namespace {

using Assigned = OutsideAssignments;

class OutsideStore : public StoreTest {};

TEST_F(OutsideStore, AreKeptAndForgotten) {
  Assigned all;
  all.egress["shop"] = {ip_of("192.0.2.1"), ip_of("2001:db8::1")};
  all.floating["shop/web"] = {ip_of("192.0.2.2")};
  ASSERT_TRUE(store_outside(*store_, {}, all));
  open();
  EXPECT_EQ(*load_outside(*store_), all);
  auto fewer = all;
  fewer.egress.clear();
  fewer.floating["shop/web"] = {ip_of("192.0.2.3")};
  ASSERT_TRUE(store_outside(*store_, all, fewer));
  EXPECT_EQ(*load_outside(*store_), fewer);
}

TEST(OutsideCheck, NamesWhatIsInTheWay) {
  auto config = parse_config(Json::parse(R"({"node": "a", "underlay": {"device": "eth0"},
      "domains": [{"name": "default", "vni": 1, "prefixes": ["10.244.1.0/24"]}],
      "peers": [{"name": "b", "address": "192.168.100.2", "domains": {"default": {"prefixes": ["10.244.2.0/24"]}}}]})"),
                             "test");
  ASSERT_TRUE(config) << config.error().message;
  NodeUnderlay node;
  node.addresses = {*parse_prefix("192.168.100.1/24")};
  node.routes = {{*parse_prefix("0.0.0.0/0"), ip_of("192.168.100.254")}};
  Assigned all;
  all.egress["shop"] = {ip_of("192.168.100.50")};
  all.floating["shop/web"] = {ip_of("192.168.100.60")};
  const auto said = [&](const char* address, const char* kind = "floating", const char* name = "shop/db") {
    const auto checked = check_outside_address(ip_of(address), kind, name, all, *config, node);
    return checked ? std::string() : checked.error().message;
  };
  const auto has = [&](const std::string& text, const char* wanted) {
    return text.find(wanted) != std::string::npos;
  };
  EXPECT_EQ(said("192.168.100.70"), "");
  EXPECT_EQ(said("203.0.113.7", "egress", "shop"), "");
  EXPECT_EQ(said("192.168.100.60", "floating", "shop/web"), "") << "its own";
  EXPECT_EQ(said("192.168.100.50", "egress", "other"), "") << "namespaces may share one";
  for (const char* bad : {"0.0.0.0", "127.0.0.1", "169.254.1.1", "224.0.0.5", "255.255.255.255", "::", "::1",
                          "fe80::1", "ff02::1"})
    EXPECT_TRUE(has(said(bad), "is no unicast address that others can reach")) << bad;
  EXPECT_TRUE(has(said("192.168.100.1"), "is the node's own"));
  EXPECT_TRUE(has(said("192.168.100.254"), "is that of a router"));
  EXPECT_TRUE(has(said("192.168.100.2"), "is that of peer \"b\""));
  EXPECT_TRUE(has(said("10.244.1.9"), "is in 10.244.1.0/24, the pods' prefix of domain \"default\""));
  EXPECT_TRUE(has(said("10.244.2.9"), "the pods' prefix of peer \"b\" in domain \"default\""));
  EXPECT_TRUE(has(said("192.168.100.60"), "is the floating address of shop/web"));
  EXPECT_TRUE(has(said("192.168.100.60", "egress", "shop"), "is the floating address of shop/web"));
  EXPECT_TRUE(has(said("192.168.100.50"), "is the egress address of namespace shop"));
  EXPECT_EQ(said("10.244.3.9"), "");
  config->domains[0].cluster_prefixes = {*parse_prefix("10.244.0.0/16")};
  EXPECT_TRUE(has(said("10.244.3.9"), "is in 10.244.0.0/16, the pods' prefix of domain \"default\""));
  EXPECT_EQ(outside_warning(ip_of("192.168.100.70"), node), "");
  EXPECT_TRUE(has(outside_warning(ip_of("203.0.113.7"), node), "ip route add 203.0.113.7 via 192.168.100.1"));
  EXPECT_TRUE(has(outside_warning(ip_of("2001:db8::7"), node), "this node has no IPv6 address"));
}

class ReconcilerOutside : public ReconcilerFixture {
 protected:
  void SetUp() override { begin({}); }
  void begin(std::vector<Attachment> ready, bool masquerade = true) {
    reconciler_.reset();
    engine_.stop();
    engine_.start();
    reconciler_ = std::make_unique<EngineReconciler>(
        EngineReconciler::Options{socket_, ++epoch_, [](const Attachment&) { return make_queues(); }, {}, {}},
        std::move(ready));
    auto node = one_domain(true);
    if (masquerade)
      node.objects.domains[0].masquerade =
          api::Masquerade{{ip_of("192.168.100.1")}, api::Masquerade{}.ports, {}};
    reconciler_->set_node(node, {});
    const auto programmed = reconciler_->wait_programmed(std::chrono::seconds(30));
    ASSERT_TRUE(programmed) << programmed.error().message;
  }
  static Attachment pod(unsigned port, const std::string& name, const std::string& space = "shop") {
    auto made = attachment(port);
    made.pod_namespace = space;
    made.pod_name = name;
    return made;
  }
  void give(const Assigned& all) {
    const auto given = reconciler_->set_outside(std::make_shared<Assigned>(all));
    ASSERT_TRUE(given) << given.error().message;
  }
  std::vector<IpAddr> egress(unsigned id) { return engine_.endpoint_objects().at(EndpointId(id)).egress; }
  std::vector<IpAddr> floating(unsigned id) { return engine_.endpoint_objects().at(EndpointId(id)).floating; }

  const std::vector<IpAddr> own_{ip_of("192.0.2.1")};
  std::uint64_t epoch_ = 0;
};

TEST_F(ReconcilerOutside, EgressIsForTheNamespacesPodsPresentAndToCome) {
  ASSERT_TRUE(reconciler_->attach(pod(10, "web"), make_queues()));
  ASSERT_TRUE(reconciler_->attach(pod(11, "x", "other"), make_queues()));
  Assigned all;
  all.egress["shop"] = {own_[0], ip_of("2001:db8::1")};  // the pods have IPv4 only
  give(all);
  ASSERT_TRUE(reconciler_->attach(pod(12, "db"), make_queues()));
  EXPECT_EQ(egress(10), own_);
  EXPECT_TRUE(egress(11).empty());
  EXPECT_EQ(egress(12), own_);
  EXPECT_TRUE(differences().empty());
  const int before = engine_.patches;
  give(all);
  EXPECT_EQ(engine_.patches, before) << "nothing to change";
  give({});
  EXPECT_TRUE(egress(10).empty());
  EXPECT_TRUE(egress(12).empty());
}

TEST_F(ReconcilerOutside, AFloatingAddressIsOnePodsAtATime) {
  Assigned all;
  all.floating["shop/web"] = own_;
  give(all);
  ASSERT_TRUE(reconciler_->attach(pod(11, "web"), make_queues()));
  EXPECT_EQ(floating(11), own_);
  // Its successor comes before it goes.
  ASSERT_TRUE(reconciler_->attach(pod(12, "web"), make_queues()));
  EXPECT_TRUE(floating(12).empty());
  ASSERT_TRUE(reconciler_->detach(pod(11, "web")));
  EXPECT_EQ(floating(12), own_);
  // One that goes before takes it over.
  ASSERT_TRUE(reconciler_->attach(pod(10, "web"), make_queues()));
  EXPECT_EQ(floating(10), own_);
  EXPECT_TRUE(floating(12).empty());
  EXPECT_TRUE(differences().empty());
  // A further interface of the pod does not, whatever its number.
  auto further = pod(9, "web");
  further.key.ifname = "net1";
  ASSERT_TRUE(reconciler_->attach(further, make_queues()));
  EXPECT_TRUE(floating(9).empty());
  EXPECT_EQ(floating(10), own_);
  EXPECT_TRUE(differences().empty());
}

TEST_F(ReconcilerOutside, APortThatAPersonAddedByItsName) {
  auto port = attachment(10);
  port.key = {"", "vm1", ""};
  port.kind = api::PortKind::kVhost;
  port.socket.path = "/run/vm1.sock";
  Assigned all;
  all.floating["vm1"] = own_;
  give(all);
  ASSERT_TRUE(reconciler_->attach(port, {}));
  EXPECT_EQ(floating(10), own_);
}

TEST_F(ReconcilerOutside, ARestartedEngineAndDaemonGetThem) {
  Assigned all;
  all.egress["shop"] = own_;
  reconciler_ = std::make_unique<EngineReconciler>(EngineReconciler::Options{socket_, ++epoch_, {}, {}, {}},
                                                   std::vector<Attachment>());
  give(all);  // before the node is known, as at podwired's start
  auto node = one_domain(true);
  node.objects.domains[0].masquerade = api::Masquerade{{ip_of("192.168.100.1")}, api::Masquerade{}.ports, {}};
  reconciler_->set_node(node, {});
  ASSERT_TRUE(reconciler_->wait_programmed(std::chrono::seconds(30)));
  ASSERT_TRUE(reconciler_->attach(pod(10, "web"), make_queues()));
  EXPECT_EQ(egress(10), own_);
  engine_.stop();
  EXPECT_FALSE(reconciler_->set_outside(std::make_shared<Assigned>())) << "there is no engine to give it to";
  engine_.start();
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (engine_.endpoints() == 0) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline);
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  EXPECT_EQ(egress(10), own_);
}

TEST_F(ReconcilerOutside, WithoutAMasqueradeThereAreNone) {
  begin({}, false);
  Assigned all;
  all.egress["shop"] = all.floating["shop/web"] = own_;
  give(all);
  ASSERT_TRUE(reconciler_->attach(pod(10, "web"), make_queues()));
  EXPECT_TRUE(egress(10).empty());
  EXPECT_TRUE(floating(10).empty());
}

}  // namespace
}  // namespace podwire::control
