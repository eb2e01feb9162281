// ServiceModel: changes one after another are what planning everything afresh would give, and cost what they
// touch.
#include <gtest/gtest.h>

#include <random>

#include "control/service/model.hpp"

namespace podwire::control {
namespace {

class ServiceModelTest : public ::testing::Test {
 protected:
  using Names = std::vector<std::string>;
  ServiceModelTest() {
    DomainConfig domain;
    domain.name = "default";
    domain.stateful = true;
    domain.prefixes = {*parse_prefix("10.244.1.0/24")};
    config.domains = {domain};
    node.domains = {{"default", DomainId(2)}};
    node.addresses = {*parse_ip("192.168.100.1")};
    model.set_node(node);
  }
  static ClusterService service(const std::string& name, unsigned address, std::uint16_t port = 80) {
    ClusterService out;
    out.key = {"shop", name};
    out.type = "ClusterIP";
    out.cluster_ips = {IpAddr(Ipv4::from_u32(0x0a600000 + address))};
    out.ports = {{"", api::ServiceProtocol::kTcp, port, 0}};
    return out;
  }
  static ClusterSlice slice(const std::string& name, const std::string& of, unsigned host) {
    ClusterSlice out;
    out.key = {"shop", name};
    out.service = of;
    out.ports = {{"", api::ServiceProtocol::kTcp, 8080, 0}};
    out.endpoints = {{IpAddr(Ipv4::from_u32(0x0af40100 + host)), true, true, false, ""}};
    return out;
  }
  static ServiceEdit with(const ClusterService& one) {
    ServiceEdit edit;
    edit.services[one.key] = one;
    return edit;
  }
  static ServiceEdit with(const ClusterSlice& one) {
    ServiceEdit edit;
    edit.slices[one.key] = one;
    return edit;
  }
  // What an engine that is told of every change has.
  ServiceOutcome apply(ServiceEdit edit) {
    auto outcome = model.change(std::move(edit));
    for (const auto& name : outcome.gone) EXPECT_EQ(engine.erase(name), 1u) << name;
    for (const auto& one : outcome.put) engine[one.name] = one;
    return outcome;
  }
  void take_back(ServiceOutcome outcome) {
    const auto undone = model.undo(std::move(outcome.undo));
    for (const auto& name : undone.gone) EXPECT_EQ(engine.erase(name), 1u) << name;
    for (const auto& one : undone.put) engine[one.name] = one;
    std::map<std::string, api::Service> planned;
    for (const auto& one : model.planned_services()) planned[one.name] = one;
    EXPECT_EQ(planned, engine);
  }
  static Names names(const ServiceOutcome& outcome) {
    Names out;
    for (const auto& one : outcome.put) out.push_back(one.name);
    return out;
  }
  std::map<std::string, api::Service> planned_afresh() const {
    ServiceEdit all;
    for (const auto& [key, service] : model.services()) {
      all.services[key] = service;
      for (const auto* one : model.slices_of(key)) all.slices[one->key] = *one;
    }
    ServiceModel fresh(config);
    fresh.set_node(node);
    std::map<std::string, api::Service> out;
    for (const auto& one : fresh.change(std::move(all)).put) out[one.name] = one;
    return out;
  }

  Config config;
  NodeObjects node;
  ServiceModel model{config};
  std::map<std::string, api::Service> engine;
};

TEST_F(ServiceModelTest, AChangeTouchesItsOwnServiceOnly) {
  for (const char* name : {"a", "b", "c"}) apply(with(service(name, static_cast<unsigned>(name[0]))));
  EXPECT_EQ(names(apply(with(slice("b-1", "b", 10)))), Names{"shop/b:80"});
  EXPECT_TRUE(names(apply(with(slice("b-1", "b", 10)))).empty()) << "it is the same";
  EXPECT_EQ(names(apply(with(slice("b-1", "c", 10)))), (Names{"shop/b:80", "shop/c:80"}));
  ServiceEdit away;
  away.services[{"shop", "b"}] = std::nullopt;
  const auto outcome = apply(away);
  EXPECT_EQ(outcome.gone, Names{"shop/b:80"});
  EXPECT_TRUE(outcome.put.empty());
  EXPECT_EQ(engine, planned_afresh());
}

TEST_F(ServiceModelTest, SlicesWaitForTheirService) {
  EXPECT_TRUE(names(apply(with(slice("late-1", "late", 7)))).empty());
  apply(with(service("late", 1)));
  EXPECT_EQ(engine.at("shop/late:80").backends.size(), 1u);
}

TEST_F(ServiceModelTest, WhoHasAFrontendKeepsItUntilItLetsGo) {
  apply(with(service("m", 1)));
  for (const char* name : {"a", "z"}) {
    auto outcome = apply(with(service(name, 1)));
    ASSERT_EQ(outcome.spoilt.size(), 1u);
    EXPECT_EQ(outcome.spoilt[0].first.second, name);
    EXPECT_NE(outcome.spoilt[0].second.find("10.96.0.1 port 80 is that of service shop/m:80"),
              std::string::npos);
    EXPECT_NE(model.problem_of({"shop", name}), "");
  }
  EXPECT_TRUE(apply(with(slice("m-1", "m", 10))).spoilt.empty()) << "others wait, and disturb nobody";
  const auto outcome = apply(with(service("m", 2)));
  EXPECT_EQ(names(outcome), (Names{"shop/m:80", "shop/a:80"})) << "the first of those that waited has it";
  EXPECT_EQ(model.problem_of({"shop", "a"}), "");
  EXPECT_NE(model.problem_of({"shop", "z"}), "");
}

TEST_F(ServiceModelTest, TwoCanSwapTheirAddresses) {
  apply(with(service("a", 1)));
  apply(with(service("b", 2)));
  auto edit = with(service("a", 2));
  edit.services[{"shop", "b"}] = service("b", 1);
  EXPECT_TRUE(apply(std::move(edit)).spoilt.empty());
  EXPECT_EQ(engine, planned_afresh());
}

TEST_F(ServiceModelTest, AnotherNodeIsPlannedForAnew) {
  auto one = service("a", 1);
  one.type = "NodePort";
  one.ports[0].node_port = 30080;
  apply(with(one));
  apply(with(service("b", 2)));
  node.addresses = {*parse_ip("192.168.100.9")};
  model.set_node(node);
  EXPECT_EQ(names(apply({})), Names{"shop/a:80"});
  EXPECT_EQ(engine, planned_afresh());
}

TEST_F(ServiceModelTest, UndoingGivesAFrontendBackToWhoHadIt) {
  apply(with(service("m", 1)));
  apply(with(service("a", 1)));  // waits for it
  const auto before = engine;
  auto outcome = apply(with(service("m", 2)));
  EXPECT_EQ(model.problem_of({"shop", "a"}), "");
  take_back(std::move(outcome));
  EXPECT_EQ(engine, before);
  EXPECT_EQ(model.problem_of({"shop", "m"}), "");
  EXPECT_NE(model.problem_of({"shop", "a"}), "");
  EXPECT_EQ(names(apply(with(slice("m-1", "m", 10)))), Names{"shop/m:80"});
}

TEST_F(ServiceModelTest, ManyChangesAndTheirUndoing) {
  std::mt19937 random(4711);
  for (int round = 0; round < 1000; ++round) {
    ServiceEdit edit;
    for (auto n = random() % 3 + 1; n != 0; --n) {
      const auto name = "s" + std::to_string(random() % 20);
      const auto piece = name + "-" + std::to_string(random() % 2);
      switch (random() % 5) {
        case 0:
          edit.services[{"shop", name}] = std::nullopt;
          break;
        case 1:
          edit.slices[{"shop", piece}] = std::nullopt;
          break;
        case 2:
          edit.slices[{"shop", piece}] =
              slice(piece, "s" + std::to_string(random() % 20), static_cast<unsigned>(random() % 9 + 1));
          break;
        default:
          edit.services[{"shop", name}] = service(name, static_cast<unsigned>(random() % 25));
      }
    }
    const auto before = engine;
    auto outcome = apply(std::move(edit));
    if (outcome.spoilt.empty() && random() % 4 != 0) {
      ASSERT_EQ(engine, planned_afresh()) << "round " << round;
      continue;
    }
    take_back(std::move(outcome));
    ASSERT_EQ(engine, before) << "round " << round;
  }
  EXPECT_GT(engine.size(), 5u);
}

}  // namespace
}  // namespace podwire::control
