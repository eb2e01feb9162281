// CNI ADD against the real store and kernel, a remembered engine.
#include <set>

#include "tests/unit/cni/fixture.hpp"

namespace podwire::control {
namespace {

using netlink::Netlink;

TEST_F(CniTest, AddMakesTheInterfaceAndCheckAgrees) {
  for (const char* version : {"0.3.1", "0.4.0", "1.0.0", "1.1.0"}) {
    const UniqueFd pod = make_netns();
    const auto container = std::string("c") + version;
    const auto added = call("ADD", network(version), container, pod.get());
    ASSERT_EQ(added.exit, 0) << added.output;
    EXPECT_EQ(added.json["cniVersion"], version);
    EXPECT_EQ(added.json["interfaces"][1]["sandbox"], path_of(pod.get()));
    EXPECT_EQ(reconciler.ports(), 1u);
    const auto link = link_in(pod.get(), "eth0");
    ASSERT_TRUE(link);
    EXPECT_TRUE(link->up);
    EXPECT_EQ(link->mtu, 1450u);
    EXPECT_EQ(to_string(link->mac), added.json["interfaces"][1]["mac"]);
    change(pod.get(), [&](Netlink& kernel) {
      const auto addresses = kernel.addresses(link->index);
      std::set<std::string> texts;
      for (const auto& a : *addresses) {
        texts.insert(to_string(a.prefix));
        EXPECT_FALSE(a.tentative) << to_string(a.prefix);
      }
      for (const auto& ip : added.json["ips"]) EXPECT_TRUE(texts.contains(ip["address"])) << ip;
      const auto routes = kernel.routes(link->index);
      std::set<std::string> defaults;
      for (const auto& r : *routes) {
        if (r.destination.length == 0) defaults.insert(to_string(*r.gateway));
      }
      EXPECT_EQ(defaults, (std::set<std::string>{"10.244.1.1", "fd00:10:244:1::1"}));
    });
    auto with_result = network(version);
    with_result["prevResult"] = added.json;
    const auto checked = call("CHECK", with_result, container, pod.get());
    if (std::string(version) == "0.3.1") {
      EXPECT_EQ(checked.code(), 1u) << "CHECK came with 0.4.0";
    } else {
      EXPECT_EQ(checked.output, "");
    }
    EXPECT_EQ(call("DEL", with_result, container, pod.get()).output, "");
    EXPECT_FALSE(link_in(pod.get(), "eth0"));
    EXPECT_EQ(reconciler.ports(), 0u);
    EXPECT_EQ(attachments(), 0u);
  }
}

TEST_F(CniTest, AddHonoursIpsMacMtuAndQueues) {
  const UniqueFd pod = make_netns();
  auto net = network();
  net["mtu"] = 1300;
  net["queues"] = 2;
  net["dns"] = {{"nameservers", {"10.96.0.10"}}};
  net["runtimeConfig"] = {{"ips", {"10.244.1.77/24", "fd00:10:244:1::77"}}, {"mac", "02:00:00:00:77:77"}};
  const auto added = call("ADD", net, "c1", pod.get());
  ASSERT_EQ(added.exit, 0) << added.output;
  EXPECT_EQ(added.json["ips"][0]["address"], "10.244.1.77/24");
  EXPECT_EQ(added.json["ips"][1]["address"], "fd00:10:244:1::77/64");
  EXPECT_EQ(added.json["interfaces"][1]["mac"], "02:00:00:00:77:77");
  EXPECT_EQ(added.json["interfaces"][1]["mtu"], 1300);
  EXPECT_EQ(added.json["dns"]["nameservers"][0], "10.96.0.10");
  EXPECT_EQ(link_in(pod.get(), "eth0")->mtu, 1300u);

  const UniqueFd second = make_netns();
  const auto taken = call("ADD", net, "c2", second.get());
  EXPECT_EQ(taken.code(), 100u) << taken.output;
  EXPECT_NE(taken.message().find("10.244.1.77"), std::string::npos) << taken.message();
  EXPECT_FALSE(link_in(second.get(), "eth0"));
  EXPECT_EQ(attachments(), 1u);

  net["runtimeConfig"] = {{"ips", {"10.244.1.78/16"}}};
  EXPECT_EQ(call("ADD", net, "c2", second.get()).code(), 2u) << "the domain's length is 24";
  net["runtimeConfig"] = {{"ips", {"192.168.7.7"}}};
  EXPECT_EQ(call("ADD", net, "c2", second.get()).code(), 7u);
  EXPECT_EQ(attachments(), 1u);
}

TEST_F(CniTest, AddInstallsConfiguredRoutes) {
  const UniqueFd pod = make_netns();
  auto net = network();
  net["ipam"] = {{"type", "podwire"},
                 {"routes", {{{"dst", "10.0.0.0/8"}}, {{"dst", "fd00::/16"}, {"gw", "fd00:10:244:1::9"}}}}};
  const auto added = call("ADD", net, "c1", pod.get());
  ASSERT_EQ(added.exit, 0) << added.output;
  EXPECT_EQ(added.json["routes"], (Json{{{"dst", "10.0.0.0/8"}, {"gw", "10.244.1.1"}},
                                        {{"dst", "fd00::/16"}, {"gw", "fd00:10:244:1::9"}}}));
  change(pod.get(), [&](Netlink& kernel) {
    const auto routes = kernel.routes();
    for (const auto& r : *routes) EXPECT_NE(r.destination.length, 0);
  });
}

TEST_F(CniTest, ASecondInterfaceLeavesTheDefaultRoutesToTheFirst) {
  const UniqueFd pod = make_netns();
  const auto first = call("ADD", network(), "c1", pod.get());
  ASSERT_EQ(first.exit, 0) << first.output;
  EXPECT_EQ(first.json["routes"].size(), 2u);
  auto second_network = network();
  second_network["name"] = "second";
  const auto second = call("ADD", second_network, "c1", pod.get(), "net1");
  ASSERT_EQ(second.exit, 0) << second.output;
  EXPECT_EQ(second.json["routes"].size(), 0u);
  second_network["prevResult"] = second.json;
  EXPECT_EQ(call("CHECK", second_network, "c1", pod.get(), "net1").output, "");
}

TEST_F(CniTest, AddWorksWhereIpv6IsSwitchedOffForNewInterfaces) {
  const UniqueFd pod = make_netns();
  run_in_netns(pod.get(), [] { ASSERT_TRUE(netlink::write_ipv6_sysctl("default", "disable_ipv6", 1)); });
  const auto added = call("ADD", network(), "c1", pod.get());
  EXPECT_EQ(added.exit, 0) << added.output;
}

TEST_F(CniTest, AddRefusesATakenNameAndLeavesEverythingAsItWas) {
  const UniqueFd pod = make_netns();
  change(pod.get(),
         [](Netlink& kernel) { ASSERT_TRUE(kernel.apply(netlink::Batch().add_veth("eth0", "eth1"))); });
  const auto added = call("ADD", network(), "c1", pod.get());
  EXPECT_EQ(added.code(), 100u) << added.output;
  EXPECT_EQ(link_in(pod.get(), "eth0")->kind, "veth");
  EXPECT_EQ(attachments(), 0u);
  EXPECT_EQ(call("DEL", network(), "c1", pod.get()).exit, 0);
  EXPECT_EQ(link_in(pod.get(), "eth0")->kind, "veth") << "not ours to delete";
}

TEST_F(CniTest, AddTwiceIsAnErrorThatSparesTheFirst) {
  const UniqueFd pod = make_netns(), other = make_netns();
  const auto first = call("ADD", network(), "c1", pod.get());
  ASSERT_EQ(first.exit, 0);
  EXPECT_EQ(call("ADD", network(), "c1", pod.get()).code(), 100u);
  EXPECT_EQ(call("ADD", network(), "c1", other.get()).code(), 100u);
  EXPECT_FALSE(link_in(other.get(), "eth0"));
  auto with_result = network();
  with_result["prevResult"] = first.json;
  EXPECT_EQ(call("CHECK", with_result, "c1", pod.get()).output, "");
  EXPECT_EQ(call("CHECK", with_result, "c1", other.get()).code(), 102u) << "another namespace";
}

TEST_F(CniTest, AddUndoesEverythingWhenTheEngineRefuses) {
  const UniqueFd pod = make_netns();
  reconciler.fail_attach = unavailable("the engine is not connected");
  const auto added = call("ADD", network(), "c1", pod.get());
  EXPECT_EQ(added.code(), 11u) << added.output;
  EXPECT_FALSE(link_in(pod.get(), "eth0"));
  EXPECT_EQ(attachments(), 0u);
  reconciler.fail_attach.reset();
  EXPECT_EQ(call("ADD", network(), "c1", pod.get()).exit, 0);
}

// What podwired programs is its own making, so the runtime's configuration is not to blame.
TEST_F(CniTest, WhatTheEngineFindsInvalidIsOurOwnFault) {
  const UniqueFd pod = make_netns();
  reconciler.fail_attach = invalid("ports[0].mtu must be from 68 to 65535");
  const auto added = call("ADD", network(), "c1", pod.get());
  EXPECT_EQ(added.code(), 104u) << added.output;
  EXPECT_NE(added.message().find("ports[0].mtu"), std::string::npos) << added.message();
  EXPECT_EQ(attachments(), 0u);
  // Nor for what throws: answered as ours, and the next call is served.
  reconciler.fail_attach.reset();
  reconciler.on_attach = [] { throw std::runtime_error("a bug"); };
  const auto thrown = call("ADD", network(), "c2", pod.get(), "eth1");
  EXPECT_EQ(thrown.code(), 104u) << thrown.output;
  EXPECT_NE(thrown.message().find("internal error: a bug"), std::string::npos) << thrown.message();
  reconciler.on_attach = {};
  EXPECT_EQ(call("DEL", network(), "c2", pod.get(), "eth1").exit, 0);
  EXPECT_EQ(attachments(), 0u);
}

TEST_F(CniTest, AddUndoesEverythingWhenTheKernelRefuses) {
  const UniqueFd pod = make_netns();
  auto net = network();
  // The route's gateway is on no prefix of the link's family table entry: its table does not know the link's
  // subnet.
  net["ipam"] = {
      {"routes",
       {{{"dst", "10.0.0.0/8"}, {"gw", "10.244.1.1"}}, {{"dst", "10.0.0.0/8"}, {"gw", "10.244.1.1"}}}}};
  const auto added = call("ADD", net, "c1", pod.get());
  EXPECT_EQ(added.code(), 100u) << added.output;
  EXPECT_NE(added.message().find("route 10.0.0.0/8"), std::string::npos) << added.message();
  EXPECT_FALSE(link_in(pod.get(), "eth0"));
  EXPECT_EQ(attachments(), 0u);
  EXPECT_EQ(reconciler.ports(), 0u);
}

TEST_F(CniTest, AddNeedsANamespaceThatIsNotTheNodes) {
  EXPECT_EQ(call("ADD", network(), "c1").code(), 3u);
  const UniqueFd own(::open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(call("ADD", network(), "c1", own.get()).code(), 4u);
  const UniqueFd file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  EXPECT_EQ(call("ADD", network(), "c1", file.get()).code(), 4u);
  EXPECT_EQ(attachments(), 0u);
}

TEST_F(CniTest, AddRefusesAnUnknownDomain) {
  const UniqueFd pod = make_netns();
  auto net = network();
  net["domain"] = "defualt";
  const auto added = call("ADD", net, "c1", pod.get());
  EXPECT_EQ(added.code(), 7u);
  EXPECT_NE(added.message().find("did you mean \"default\""), std::string::npos) << added.message();
}

TEST_F(CniTest, AddRefusesAnMtuThatIpv6CannotHave) {
  const UniqueFd pod = make_netns();
  auto net = network();
  net["mtu"] = 1000;
  const auto added = call("ADD", net, "c1", pod.get());
  EXPECT_EQ(added.code(), 7u) << added.output;
  EXPECT_NE(added.message().find("1280"), std::string::npos) << added.message();
  EXPECT_EQ(attachments(), 0u);
}

}  // namespace
}  // namespace podwire::control
