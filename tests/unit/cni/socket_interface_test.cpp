// Interfaces that are a socket: what ADD makes of them, what DEL leaves, what CHECK notices.
#include <sys/stat.h>

#include <fstream>

#include "control/cni/device_info.hpp"
#include "control/cni/pod_socket.hpp"
#include "control/netlink/netlink.hpp"
#include "dataplane/base/framing.hpp"
#include "tests/unit/cni/fixture.hpp"

namespace podwire::control {
namespace {

constexpr std::uint32_t kGroup = 107;

class SocketInterfaceTest : public CniTest {
 protected:
  SocketInterfaceTest() {
    config.pod_sockets.group = kGroup;
    config.pod_sockets.mode = 0660;
  }
  Json memif(const std::string& version = "1.1.0") { return with(version, "memif"); }
  Json vhost(const std::string& version = "1.1.0") { return with(version, "vhostuser"); }
  static Json with(const std::string& version, const char* interface) {
    auto net = network(version);
    net["interface"] = interface;
    return net;
  }
  std::string pods() const { return directory + "/pods"; }
  std::string pod_directory(const std::string& container) const {
    return pods() + "/" + container.substr(0, 12);
  }
  std::string info_file() const { return directory + "/devinfo/c1-net1.json"; }
  static struct stat status_of(const std::string& path) {
    struct stat status {};
    EXPECT_EQ(::lstat(path.c_str(), &status), 0) << path;
    return status;
  }
  static bool exists(const std::string& path) {
    struct stat status {};
    return ::lstat(path.c_str(), &status) == 0;
  }
  // As the engine makes it.
  static UniqueFd listen(const std::string& path) {
    auto socket = listen_unix(path, 0660);
    EXPECT_TRUE(socket) << socket.error().message;
    return std::move(*socket);
  }
  Attachment recorded(const std::string& container, const std::string& ifname) {
    const auto found = store->find({"podnet", container, ifname});
    EXPECT_TRUE(found && *found);
    return found && *found ? **found : Attachment{};
  }

  UniqueFd pod = make_netns();
};

TEST_F(SocketInterfaceTest, AddMakesADirectoryAndNoKernelInterface) {
  const auto path = pods() + "/c1/net1.sock";
  for (const char* version : {"0.3.1", "0.4.0", "1.0.0", "1.1.0"}) {
    for (const bool is_memif : {true, false}) {
      auto net = is_memif ? memif(version) : vhost(version);
      const auto added = call("ADD", net, "c1", pod.get(), "net1");
      ASSERT_EQ(added.exit, 0) << added.output;
      ASSERT_EQ(added.json["interfaces"].size(), 2u);
      const auto& own = added.json["interfaces"][1];
      EXPECT_EQ(own["name"], "net1");
      EXPECT_EQ(own["sandbox"], path_of(pod.get()));
      const bool newest = std::string(version) == "1.1.0";
      EXPECT_EQ(own.contains("socketPath"), newest);
      EXPECT_EQ(own.contains("mtu"), newest);
      EXPECT_EQ(own.value("socketPath", ""), newest ? path : "");
      for (const auto& ip : added.json["ips"]) EXPECT_EQ(ip["interface"], 1);
      EXPECT_EQ(added.json["routes"], Json::array()) << "there is no interface for them to go through";
      run_in_netns(pod.get(), [] {
        auto kernel = netlink::Netlink::open();
        EXPECT_FALSE(*kernel->find_link("net1"));
      });
      const auto attached = reconciler.attached({"podnet", "c1", "net1"});
      const auto port = port_of(attached, DomainId(2));
      EXPECT_EQ(port.kind, is_memif ? api::PortKind::kMemif : api::PortKind::kVhost);
      EXPECT_EQ(port.socket, path);
      EXPECT_EQ(port.socket_mode, api::SocketMode::kServer);
      EXPECT_EQ(port.socket_group, kGroup);
      EXPECT_EQ(port.socket_permissions, 0660);
      EXPECT_EQ(to_string(port.mac), own["mac"]);
      const auto endpoint = endpoint_of(attached, DomainId(2));
      EXPECT_EQ(endpoint.addresses.size(), 2u);
      EXPECT_FALSE(endpoint.dhcp);
      const auto status = status_of(pods() + "/c1");
      EXPECT_EQ(status.st_mode & 07777, 0750u);
      EXPECT_EQ(status.st_gid, kGroup);
      EXPECT_EQ(status_of(pods()).st_mode & 07777, 0711u);
      net["prevResult"] = added.json;
      EXPECT_EQ(call("DEL", net, "c1", pod.get(), "net1").output, "");
      EXPECT_FALSE(exists(pods() + "/c1"));
      EXPECT_EQ(attachments(), 0u);
      EXPECT_EQ(reconciler.ports(), 0u);
    }
  }
}

TEST_F(SocketInterfaceTest, KeysReachThePort) {
  auto net = memif();
  net.update({{"queues", 4},
              {"ringSize", 512},
              {"bufferSize", 4096},
              {"secret", "sesame"},
              {"mtu", 1400},
              {"socketMode", "client"},
              {"dhcp", true}});
  const auto arguments = "IgnoreUnknown=1;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=cnf-1.a";
  ASSERT_EQ(call("ADD", net, "c1", pod.get(), "net1", {{"CNI_ARGS", arguments}}).exit, 0);
  open();  // what is recorded is what a restart programs
  const auto recorded_port = port_of(recorded("c1", "net1"), DomainId(2));
  EXPECT_EQ(recorded_port, port_of(reconciler.attached({"podnet", "c1", "net1"}), DomainId(2)));
  EXPECT_EQ(recorded_port.queues, 4);
  EXPECT_EQ(recorded_port.ring_size, 512);
  EXPECT_EQ(recorded_port.buffer_size, 4096u);
  EXPECT_EQ(recorded_port.secret, "sesame");
  EXPECT_EQ(recorded_port.mtu, 1400);
  EXPECT_EQ(recorded_port.socket_mode, api::SocketMode::kClient);
  const auto endpoint = endpoint_of(recorded("c1", "net1"), DomainId(2));
  EXPECT_TRUE(endpoint.dhcp);
  EXPECT_EQ(endpoint.hostname, "cnf-1");
  EXPECT_EQ(status_of(pods() + "/c1").st_mode & 07777, 0770u) << "the pod makes the socket there";

  auto guest = vhost();
  guest["iommu"] = true;
  ASSERT_EQ(call("ADD", guest, "c2", pod.get(), "net1").exit, 0);
  EXPECT_TRUE(port_of(recorded("c2", "net1"), DomainId(2)).iommu);
}

TEST_F(SocketInterfaceTest, WhatDoesNotFitIsRefusedByName) {
  struct Case {
    Json keys;
    const char* named;
  };
  const Case cases[] = {
      {{{"interface", "memfi"}}, "must be one of \"tap\", \"memif\", \"vhostuser\""},
      {{{"interface", 1}}, "interface must be one of"},
      {{{"ringSize", 512}}, "ringSize is for interface \"memif\"; this one is \"tap\""},
      {{{"socketMode", "server"}}, "socketMode is for interface \"memif\" or \"vhostuser\""},
      {{{"dhcp", true}}, "dhcp is for interface"},
      {{{"interface", "vhostuser"}, {"secret", "x"}}, "secret is for interface \"memif\""},
      {{{"interface", "memif"}, {"iommu", true}}, "iommu is for interface \"vhostuser\""},
      {{{"interface", "memif"}, {"ringSize", 1000}}, "power of two"},
      {{{"interface", "memif"}, {"ringSize", 32768}}, "ringSize"},
      {{{"interface", "memif"}, {"bufferSize", 64}}, "bufferSize"},
      {{{"interface", "memif"}, {"queues", 17}}, "queues"},
      {{{"interface", "memif"}, {"secret", std::string(25, 'x')}}, "room for 24"},
      {{{"interface", "memif"}, {"socketMode", "both"}}, "socketMode"},
      {{{"interface", "memif"}, {"mtu", 1000}}, "1280"},
      {{{"interface", "memif"}, {"runtimeConfig", {{"CNIDeviceInfoFile", "devinfo.json"}}}}, "absolute"},
      {{{"interface", "memif"}, {"runtimeConfig", {{"CNIDeviceInfoFile", "/tmp/../etc/passwd"}}}},
       "absolute"},
  };
  for (const auto& c : cases) {
    auto net = network();
    net.update(c.keys);
    const auto refused = call("ADD", net, "c1", pod.get(), "net1");
    EXPECT_EQ(refused.code(), 7u) << refused.output;
    EXPECT_NE(refused.message().find(c.named), std::string::npos) << refused.message();
  }
  EXPECT_EQ(attachments(), 0u);
  EXPECT_FALSE(exists(pods() + "/c1"));
}

TEST_F(SocketInterfaceTest, InterfacesOfOnePodShareItsDirectory) {
  ASSERT_EQ(call("ADD", network(), "c1", pod.get(), "eth0").exit, 0) << "a tap";
  EXPECT_FALSE(exists(pods() + "/c1"));
  ASSERT_EQ(call("ADD", memif(), "c1", pod.get(), "net1").exit, 0);
  auto second = vhost();
  second["name"] = "second";
  second["socketMode"] = "client";
  ASSERT_EQ(call("ADD", second, "c1", pod.get(), "net2").exit, 0);
  EXPECT_EQ(status_of(pods() + "/c1").st_mode & 07777, 0770u);
  auto twin = vhost();
  twin["name"] = "third";
  const auto refused = call("ADD", twin, "c1", pod.get(), "net1");
  EXPECT_EQ(refused.code(), 100u) << "its socket would be the first one's";
  EXPECT_NE(refused.message().find("net1"), std::string::npos) << refused.message();
  const auto left = listen(pods() + "/c1/net1.sock");
  EXPECT_EQ(call("DEL", memif(), "c1", pod.get(), "net1").output, "");
  EXPECT_FALSE(exists(pods() + "/c1/net1.sock"));
  EXPECT_TRUE(exists(pods() + "/c1"));
  // What the pod left there goes with the directory, what it points to stays.
  std::filesystem::create_directories(pods() + "/c1/junk/deep");
  std::ofstream(directory + "/precious") << "x";
  std::filesystem::create_symlink(directory + "/precious", pods() + "/c1/link");
  EXPECT_EQ(call("DEL", second, "c1", pod.get(), "net2").output, "");
  EXPECT_FALSE(exists(pods() + "/c1"));
  EXPECT_TRUE(exists(directory + "/precious"));
  EXPECT_EQ(call("DEL", second, "c1", pod.get(), "net2").output, "") << "again";
  EXPECT_EQ(attachments(), 1u);
}

TEST_F(SocketInterfaceTest, DirectoriesOfContainersWithTheSameBeginningAreApart) {
  const std::string first = "0123456789ab-first", second = "0123456789ab-second";
  ASSERT_EQ(call("ADD", memif(), first, pod.get(), "net1").exit, 0);
  const auto added = call("ADD", memif(), second, pod.get(), "net1");
  ASSERT_EQ(added.exit, 0) << added.output;
  EXPECT_EQ(added.json["interfaces"][1]["socketPath"], pods() + "/0123456789ab-2/net1.sock");
  EXPECT_EQ(call("DEL", memif(), first, pod.get(), "net1").output, "");
  EXPECT_TRUE(exists(pods() + "/0123456789ab-2"));
  EXPECT_FALSE(exists(pods() + "/0123456789ab"));
}

TEST_F(SocketInterfaceTest, PathThatIsTooLongIsRefusedWithTheRemedy) {
  config.pod_sockets.directory = directory + "/" + std::string(90, 'x');
  const auto refused = call("ADD", memif(), "c1", pod.get(), "net1");
  EXPECT_EQ(refused.code(), 7u) << refused.output;
  EXPECT_NE(refused.message().find("107"), std::string::npos) << refused.message();
  EXPECT_NE(refused.message().find("pod_sockets.directory"), std::string::npos) << refused.message();
  EXPECT_EQ(attachments(), 0u);
}

TEST_F(SocketInterfaceTest, DeviceInfoTellsThePodItsRole) {
  struct Case {
    Json net;
    const char* mode;
    Json wanted;
  };
  const auto path = pods() + "/c1/net1.sock";
  const Json of_memif{{"role", "slave"}, {"path", path}, {"mode", "ethernet"}};
  const Json of_vhost{{"mode", "client"}, {"path", path}};
  Json as_master = of_memif, as_server = of_vhost;
  as_master["role"] = "master";
  as_server["mode"] = "server";
  for (const auto& c :
       {Case{memif(), "server", {{"type", "memif"}, {"version", "1.1.0"}, {"memif", of_memif}}},
        Case{memif(), "client", {{"type", "memif"}, {"version", "1.1.0"}, {"memif", as_master}}},
        Case{vhost(), "server", {{"type", "vhost-user"}, {"version", "1.1.0"}, {"vhost-user", of_vhost}}},
        Case{vhost(), "client", {{"type", "vhost-user"}, {"version", "1.1.0"}, {"vhost-user", as_server}}}}) {
    auto net = c.net;
    net["socketMode"] = c.mode;
    net["runtimeConfig"] = {{"CNIDeviceInfoFile", info_file()}};
    const auto added = call("ADD", net, "c1", pod.get(), "net1");
    ASSERT_EQ(added.exit, 0) << added.output;
    EXPECT_EQ(*read_json_file(info_file()), c.wanted);
    EXPECT_EQ(status_of(info_file()).st_mode & 07777, 0644u);
    // A DEL knows it without being told.
    EXPECT_EQ(call("DEL", memif(), "c1", pod.get(), "net1").output, "");
    EXPECT_FALSE(exists(info_file()));
    EXPECT_TRUE(std::filesystem::is_empty(directory + "/devinfo"));
  }
  auto tap = network();
  tap["runtimeConfig"] = {{"CNIDeviceInfoFile", info_file()}};
  EXPECT_EQ(call("ADD", tap, "c1", pod.get(), "eth0").exit, 0);
  EXPECT_FALSE(exists(info_file())) << "an ordinary interface is no device";
}

TEST_F(SocketInterfaceTest, ForeignDeviceInfoFileIsSpared) {
  std::filesystem::create_directories(directory + "/devinfo");
  std::ofstream(info_file()) << "{}";
  auto net = memif();
  net["runtimeConfig"] = {{"CNIDeviceInfoFile", info_file()}};
  const auto refused = call("ADD", net, "c1", pod.get(), "net1");
  EXPECT_EQ(refused.code(), 100u) << refused.output;
  EXPECT_NE(refused.message().find(info_file()), std::string::npos) << refused.message();
  EXPECT_TRUE(exists(info_file()));
  EXPECT_FALSE(exists(pods() + "/c1"));
  EXPECT_EQ(attachments(), 0u);
  EXPECT_EQ(reconciler.ports(), 0u);
  std::filesystem::remove(info_file());
  ASSERT_EQ(call("ADD", net, "c1", pod.get(), "net1").exit, 0);
  std::ofstream(info_file()) << "{}";  // somebody else's now
  EXPECT_EQ(call("DEL", net, "c1", pod.get(), "net1").output, "");
  EXPECT_TRUE(exists(info_file()));
}

TEST_F(SocketInterfaceTest, AFailedAddLeavesNothing) {
  auto net = memif();
  net["runtimeConfig"] = {{"CNIDeviceInfoFile", info_file()}};
  reconciler.fail_attach = Error{ErrorCode::kUnsupported, "memif is not built"};
  EXPECT_EQ(call("ADD", net, "c1", pod.get(), "net1").code(), 2u);
  EXPECT_FALSE(exists(pods() + "/c1"));
  EXPECT_FALSE(exists(info_file()));
  EXPECT_EQ(attachments(), 0u);
  reconciler.fail_attach.reset();
  // Something has taken the place of the directory.
  std::filesystem::create_directories(pods());
  std::ofstream(pods() + "/c1") << "x";
  const auto refused = call("ADD", net, "c1", pod.get(), "net1");
  EXPECT_EQ(refused.code(), 100u) << refused.output;
  EXPECT_TRUE(exists(pods() + "/c1")) << "not ours to remove";
  EXPECT_EQ(attachments(), 0u);
}

TEST_F(SocketInterfaceTest, CheckNoticesEveryDifference) {
  auto net = memif();
  const auto added = call("ADD", net, "c1", pod.get(), "net1");
  ASSERT_EQ(added.exit, 0) << added.output;
  const auto path = pods() + "/c1/net1.sock";
  net["prevResult"] = added.json;
  const auto message = [&] {
    const auto checked = call("CHECK", net, "c1", pod.get(), "net1");
    EXPECT_TRUE(checked.exit == 0 || checked.code() == 102u) << checked.output;
    return checked.message();
  };
  EXPECT_NE(message().find("the socket " + path + " is missing"), std::string::npos) << message();
  auto socket = listen(path);
  EXPECT_EQ(message(), "");
  auto wrong = added.json;
  wrong["interfaces"][1]["socketPath"] = "/elsewhere";
  net["prevResult"] = wrong;
  EXPECT_NE(message().find("/elsewhere"), std::string::npos) << message();
  wrong = added.json;
  wrong["ips"][0]["address"] = "10.244.1.99/24";
  net["prevResult"] = wrong;
  EXPECT_NE(message().find("10.244.1.99/24"), std::string::npos) << message();
  net["prevResult"] = added.json;
  std::filesystem::permissions(pods() + "/c1", std::filesystem::perms::owner_all);
  EXPECT_NE(message().find("closed to its group"), std::string::npos) << message();
  std::filesystem::permissions(pods() + "/c1", std::filesystem::perms(0750));
  EXPECT_EQ(message(), "");
  reconciler.forget_ports();
  EXPECT_NE(message().find("the engine has no port"), std::string::npos) << message();
  std::filesystem::remove_all(pods() + "/c1");
  EXPECT_NE(message().find("no directory"), std::string::npos) << message();

  auto client = memif();
  client["socketMode"] = "client";
  const auto other = call("ADD", client, "c2", pod.get(), "net1");
  ASSERT_EQ(other.exit, 0);
  client["prevResult"] = other.json;
  EXPECT_EQ(call("CHECK", client, "c2", pod.get(), "net1").output, "") << "the pod may not run yet";
}

TEST_F(SocketInterfaceTest, RecoverUndoesWhatAKilledDaemonLeft) {
  AttachmentRequest request;
  request.key = {"podnet", "c1", "net1"};
  request.domain = "default";
  request.kind = api::PortKind::kMemif;
  request.pods_directory = pods();
  request.device_info = info_file();
  const auto attachment = store->begin_add(request);
  ASSERT_TRUE(attachment) << attachment.error().message;
  open();
  EXPECT_TRUE(service->recover().empty()) << "killed before the directory";
  EXPECT_EQ(attachments(), 0u);
  const auto again = store->begin_add(request);
  ASSERT_TRUE(make_pod_directory(*again));
  ASSERT_TRUE(write_device_info(*again));
  const auto socket = listen(again->socket.path);
  open();
  EXPECT_TRUE(service->recover().empty()) << "killed after everything but the record";
  EXPECT_EQ(attachments(), 0u);
  EXPECT_FALSE(exists(pods() + "/c1"));
  EXPECT_FALSE(exists(info_file()));
}

}  // namespace
}  // namespace podwire::control
