// What comes after ADD, against the real store and kernel, a remembered engine: DEL, CHECK, GC, STATUS,
// recovery after a crash; many callers at once, and hostile ones.
#include <future>
#include <set>

#include "tests/unit/cni/fixture.hpp"

namespace podwire::control {
namespace {

using netlink::Netlink;

TEST_F(CniTest, DelIsIdempotentInEveryCase) {
  EXPECT_EQ(call("DEL", network(), "unknown").output, "");
  UniqueFd pod = make_netns();
  ASSERT_EQ(call("ADD", network(), "c1", pod.get()).exit, 0);
  // No namespace, no prevResult, configuration broken since.
  auto broken = network();
  broken["unknown"] = 1;
  EXPECT_EQ(call("DEL", broken, "c1", -1, "eth0", {{"CNI_NETNS", ""}}).output, "");
  EXPECT_EQ(attachments(), 0u);
  EXPECT_EQ(reconciler.ports(), 0u);
  EXPECT_EQ(call("DEL", network(), "c1", -1, "eth0", {{"CNI_NETNS", ""}}).output, "");

  ASSERT_EQ(call("ADD", network(), "c2", pod.get(), "eth1").exit, 0);
  open();  // a restart of the daemon
  EXPECT_EQ(call("DEL", network(), "c2", pod.get(), "eth1").output, "");
  EXPECT_FALSE(link_in(pod.get(), "eth1"));

  // The namespace's path leads nowhere any more.
  UniqueFd gone = make_netns();
  ASSERT_EQ(call("ADD", network(), "c4", gone.get()).exit, 0);
  gone = UniqueFd();
  EXPECT_EQ(call("DEL", network(), "c4").output, "");
  EXPECT_EQ(attachments(), 0u);

  ASSERT_EQ(call("ADD", network(), "c3", pod.get(), "eth2").exit, 0);
  change(pod.get(), [](Netlink& kernel) {
    ASSERT_TRUE(kernel.apply(netlink::Batch().remove_link(*kernel.link("eth2"))));
  });
  EXPECT_EQ(call("DEL", network(), "c3", pod.get(), "eth2").output, "");
  EXPECT_EQ(attachments(), 0u);
}

TEST_F(CniTest, DelThatFailsCanBeRepeated) {
  const UniqueFd pod = make_netns();
  ASSERT_EQ(call("ADD", network(), "c1", pod.get()).exit, 0);
  reconciler.fail_detach = io_error("the engine refused");
  EXPECT_EQ(call("DEL", network(), "c1", pod.get()).code(), 5u);
  EXPECT_EQ(attachments(), 1u);
  reconciler.fail_detach.reset();
  EXPECT_EQ(call("DEL", network(), "c1", pod.get()).output, "");
  EXPECT_EQ(attachments(), 0u);
  EXPECT_FALSE(link_in(pod.get(), "eth0"));
}

TEST_F(CniTest, ADelOvertakesASlowAdd) {
  const UniqueFd pod = make_netns();
  std::promise<void> in_attach;
  std::atomic<bool> del_came{false};
  reconciler.on_attach = [&] {
    in_attach.set_value();
    while (!del_came) std::this_thread::sleep_for(std::chrono::milliseconds(1));
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
  };
  auto adding = std::async(std::launch::async, [&] { return call("ADD", network(), "c1", pod.get()); });
  in_attach.get_future().wait();
  auto deleting = std::async(std::launch::async, [&] {
    del_came = true;
    return call("DEL", network(), "c1", pod.get());
  });
  const auto added = adding.get();
  EXPECT_EQ(added.code(), 105u) << added.output;
  EXPECT_EQ(deleting.get().output, "");
  EXPECT_FALSE(link_in(pod.get(), "eth0"));
  EXPECT_EQ(attachments(), 0u);
  EXPECT_EQ(reconciler.ports(), 0u);
}

TEST_F(CniTest, CheckNoticesEveryDifference) {
  const UniqueFd pod = make_netns();
  const auto added = call("ADD", network(), "c1", pod.get());
  ASSERT_EQ(added.exit, 0);
  auto net = network();
  EXPECT_EQ(call("CHECK", net, "c1", pod.get()).code(), 7u) << "prevResult is missing";
  net["prevResult"] = added.json;
  EXPECT_EQ(call("CHECK", net, "nobody", pod.get()).code(), 3u);
  const auto check = [&] { return call("CHECK", net, "c1", pod.get()); };
  EXPECT_EQ(check().output, "");

  auto wrong = added.json;
  wrong["ips"][0]["address"] = "10.244.1.99/24";
  net["prevResult"] = wrong;
  EXPECT_EQ(check().code(), 102u);
  EXPECT_NE(check().message().find("10.244.1.99/24"), std::string::npos) << check().message();
  net["prevResult"] = added.json;

  const auto link = *link_in(pod.get(), "eth0");
  const auto mac = link.mac;
  // A later plugin that changed the MAC says so in the result.
  const auto other = *parse_mac("02:00:00:00:00:99");
  change(pod.get(), [&](Netlink& k) {
    ASSERT_TRUE(
        k.apply(netlink::Batch().change_link(link, {.up = {}, .mtu = {}, .mac = other, .new_name = {}})));
  });
  EXPECT_EQ(check().code(), 102u);
  auto tuned = added.json;
  tuned["interfaces"][1]["mac"] = "02:00:00:00:00:99";
  tuned["interfaces"].push_back({{"name", "later0"}});
  net["prevResult"] = tuned;
  EXPECT_EQ(check().output, "");
  net["prevResult"] = added.json;
  change(pod.get(), [&](Netlink& k) {
    ASSERT_TRUE(
        k.apply(netlink::Batch().change_link(link, {.up = {}, .mtu = {}, .mac = mac, .new_name = {}})));
  });
  EXPECT_EQ(check().output, "");

  reconciler.forget_ports();
  EXPECT_EQ(check().code(), 102u) << "the engine lost the port";
  change(pod.get(), [&](Netlink& k) {
    ASSERT_TRUE(
        k.apply(netlink::Batch().change_link(link, {.up = false, .mtu = {}, .mac = {}, .new_name = {}})));
  });
  EXPECT_NE(check().message().find("down"), std::string::npos);
  change(pod.get(), [&](Netlink& k) { ASSERT_TRUE(k.apply(netlink::Batch().remove_link(link))); });
  EXPECT_NE(check().message().find("missing"), std::string::npos);
  EXPECT_EQ(check().code(), 102u);
}

TEST_F(CniTest, GcRemovesWhatIsNotValidOfThisNetworkOnly) {
  const UniqueFd a = make_netns(), b = make_netns(), c = make_netns();
  auto other = network();
  other["name"] = "othernet";
  ASSERT_EQ(call("ADD", network(), "ca", a.get()).exit, 0);
  ASSERT_EQ(call("ADD", network(), "cb", b.get()).exit, 0);
  ASSERT_EQ(call("ADD", other, "cc", c.get()).exit, 0);
  auto net = network();
  EXPECT_EQ(call("GC", net).output, "");
  EXPECT_EQ(attachments(), 3u) << "an absent key removes nothing";
  net["cni.dev/valid-attachments"] = {{{"containerID", "ca"}, {"ifname", "eth0"}},
                                      {{"containerID", "cb"}, {"ifname", "eth1"}}};
  EXPECT_EQ(call("GC", net).output, "");
  EXPECT_EQ(attachments(), 2u);
  EXPECT_EQ(reconciler.ports(), 2u);
  reconciler.fail_detach = io_error("the engine refused");
  net["cni.dev/valid-attachments"] = Json::array();
  const auto failed = call("GC", net);
  EXPECT_EQ(failed.code(), 106u);
  EXPECT_NE(failed.message().find("podnet/ca/eth0"), std::string::npos) << failed.message();
  reconciler.fail_detach.reset();
  EXPECT_EQ(call("GC", net).output, "");
  EXPECT_EQ(attachments(), 1u) << "another network's stays";
  EXPECT_EQ(call("GC", network("1.0.0")).code(), 1u);
}

TEST_F(CniTest, StatusSaysWhatIsWrong) {
  EXPECT_EQ(call("STATUS", network()).output, "");
  EXPECT_EQ(call("STATUS", network("0.4.0")).code(), 1u);
  auto net = network();
  net["domain"] = "nosuch";
  EXPECT_EQ(call("STATUS", net).code(), 7u);
  reconciler.uplink = "down";
  EXPECT_EQ(call("STATUS", network()).code(), 50u);
  EXPECT_NE(call("STATUS", network()).message().find("uplink is down"), std::string::npos);
  reconciler.connected = false;
  EXPECT_EQ(call("STATUS", network()).code(), 50u);
  EXPECT_NE(call("STATUS", network()).message().find("engine is not connected"), std::string::npos);
}

TEST_F(CniTest, StatusAndAddTellWhenAddressesRunOut) {
  config.domains[0].prefixes = {*parse_prefix("10.9.9.0/30")};
  config.domains[0].gateways = {*parse_ip("10.9.9.1")};
  open();
  EXPECT_EQ(call("STATUS", network()).output, "");
  const UniqueFd a = make_netns(), b = make_netns();
  ASSERT_EQ(call("ADD", network(), "c1", a.get()).exit, 0);
  EXPECT_EQ(call("STATUS", network()).code(), 50u);
  EXPECT_EQ(call("ADD", network(), "c2", b.get()).code(), 101u);
  ASSERT_EQ(call("DEL", network(), "c1", a.get()).exit, 0);
  EXPECT_EQ(call("ADD", network(), "c2", b.get()).exit, 0) << "the address is free again";
}

TEST_F(CniTest, RecoverUndoesWhatAKilledDaemonLeft) {
  const auto path = "/proc/" + std::to_string(::getpid()) + "/fd/";
  const UniqueFd pod = make_netns();
  // ADD's steps up to the interface, as a daemon that is killed then has done them.
  AttachmentRequest request;
  request.key = {"podnet", "c1", "eth0"};
  request.netns_path = path + std::to_string(pod.get());
  request.netns_device = identity(pod.get())->device;
  request.netns_inode = identity(pod.get())->inode;
  request.domain = "default";
  const auto attachment = store->begin_add(request);
  ASSERT_TRUE(attachment) << attachment.error().message;
  run_in_netns(pod.get(),
               [&] { ASSERT_TRUE(create_tap({.name = "eth0", .queues = 1, .mac = attachment->mac})); });
  open();
  EXPECT_TRUE(service->recover().empty());
  EXPECT_EQ(attachments(), 0u);
  EXPECT_FALSE(link_in(pod.get(), "eth0"));

  // The name belongs to somebody else: the ADD died before it noticed.
  ASSERT_TRUE(store->begin_add(request));
  run_in_netns(pod.get(), [&] {
    ASSERT_TRUE(create_tap({.name = "eth0", .queues = 1, .mac = *parse_mac("02:99:00:00:00:01")}));
  });
  open();
  EXPECT_TRUE(service->recover().empty());
  EXPECT_EQ(attachments(), 0u);
  EXPECT_TRUE(link_in(pod.get(), "eth0"));

  // The namespace behind the path is another one now.
  request.key.ifname = "eth1";
  request.netns_inode += 1;
  const auto moved = store->begin_add(request);
  ASSERT_TRUE(moved);
  run_in_netns(pod.get(), [&] { ASSERT_TRUE(create_tap({.name = "eth1", .queues = 1, .mac = moved->mac})); });
  EXPECT_TRUE(service->recover().empty());
  EXPECT_TRUE(link_in(pod.get(), "eth1"));
  EXPECT_EQ(attachments(), 0u);
}

TEST_F(CniTest, RecoverFreesEverythingAfterAReboot) {
  const UniqueFd pod = make_netns();
  ASSERT_EQ(call("ADD", network(), "c1", pod.get()).exit, 0);
  open();
  EXPECT_TRUE(service->recover().empty());
  EXPECT_EQ(attachments(), 1u);
  ASSERT_TRUE(store->set_fact("boot_id", "\"another\""));
  open();
  EXPECT_TRUE(service->recover().empty());
  EXPECT_EQ(attachments(), 0u);
  ASSERT_EQ(call("ADD", network(), "c1", make_netns().get()).exit, 0);
  open();
  EXPECT_TRUE(service->recover().empty());
  EXPECT_EQ(attachments(), 1u) << "the boot is known now";
}

TEST_F(CniTest, AHundredAddsAtOnceGetDistinctAddresses) {
  constexpr int kPods = 100;
  std::vector<UniqueFd> pods;
  for (int i = 0; i < kPods; ++i) pods.push_back(make_netns());
  std::vector<std::future<Answer>> adding;
  for (int i = 0; i < kPods; ++i) {
    adding.push_back(std::async(std::launch::async, [&, i] {
      return call("ADD", network(), "c" + std::to_string(i), pods[static_cast<std::size_t>(i)].get());
    }));
  }
  std::set<std::string> addresses, macs;
  for (auto& future : adding) {
    const auto added = future.get();
    ASSERT_EQ(added.exit, 0) << added.output;
    for (const auto& ip : added.json["ips"]) addresses.insert(ip["address"]);
    macs.insert(added.json["interfaces"][1]["mac"]);
  }
  EXPECT_EQ(addresses.size(), 2u * kPods);
  EXPECT_EQ(macs.size(), std::size_t{kPods});
}

TEST_F(CniTest, HostileInputIsAnsweredAndChangesNothing) {
  const UniqueFd pod = make_netns();
  auto net = network();
  net["runtimeConfig"] = {{"ips", {"10.244.1.5/24"}}};
  const auto text = net.dump();
  for (std::size_t length = 0; length < text.size(); ++length) {
    EXPECT_EQ(call("ADD", Json(text.substr(0, length)), "c1", pod.get()).code(), 6u) << length;
  }
  EXPECT_EQ(call("ADD", Json(std::string(500000, '[')), "c1", pod.get()).code(), 6u);
  EXPECT_EQ(call("ADD", network(), "c1", pod.get(), "../etc").code(), 4u);
  EXPECT_EQ(call("ADD", network(), "../c1", pod.get()).code(), 4u);
  EXPECT_EQ(call("ADD", network(), "c1", pod.get(), "eth0", {{"CNI_ARGS", "X"}}).code(), 4u);
  EXPECT_EQ(call("NONSENSE", network(), "c1", pod.get()).code(), 4u);
  EXPECT_EQ(attachments(), 0u);
  EXPECT_FALSE(link_in(pod.get(), "eth0"));
}

TEST(CniRequestParams, AreReadStrictly) {
  const auto read = [](const char* text, std::size_t fds = 0) {
    std::vector<UniqueFd> descriptors;
    for (std::size_t i = 0; i < fds; ++i) descriptors.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    return read_cni_request(*parse_json(text, "test"), std::move(descriptors));
  };
  EXPECT_TRUE(read(R"({"env":{"CNI_COMMAND":"VERSION","PATH":"/bin"},"stdin":""})", 1));
  for (const char* bad :
       {"{}", R"({"env":[],"stdin":""})", R"({"env":{"LD_PRELOAD":"x"},"stdin":""})",
        R"({"env":{"CNI_X":1},"stdin":""})", R"({"env":{},"stdin":1})", R"({"env":{},"stdin":"","more":1})",
        R"({"env":{"CNI_ARGS":"a\u0000b"},"stdin":""})"}) {
    EXPECT_FALSE(read(bad)) << bad;
  }
  EXPECT_FALSE(read(R"({"env":{},"stdin":""})", 2));
}

}  // namespace
}  // namespace podwire::control
