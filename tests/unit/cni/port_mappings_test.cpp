// portMappings: what runtimes send, what is refused, and what becomes of them in ADD and DEL.
#include "control/cni/port_mappings.hpp"

#include "tests/unit/cni/fixture.hpp"

namespace podwire::control {
namespace {

std::string refusal(const char* text) {
  const auto read = read_port_mappings(Json::parse(text), "portMappings");
  return read ? "accepted" : read.error().message;
}

TEST(PortMappings, ReadsWhatRuntimesSend) {
  const auto read =
      read_port_mappings(Json::parse(R"([{"hostPort": 8080, "containerPort": 80, "protocol": "tcp"},
                      {"hostPort": 53, "containerPort": 5353, "protocol": "UDP", "hostIP": ""},
                      {"hostPort": 9, "containerPort": 9, "protocol": "sctp", "hostIP": "fd00:100::1"},
                      {"hostPort": 65535, "containerPort": 1}])"),
                         "portMappings");
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read,
            (std::vector<PublishedPort>{{{}, {}, api::ServiceProtocol::kTcp, 8080, 80},
                                        {{}, {}, api::ServiceProtocol::kUdp, 53, 5353},
                                        {{}, *parse_ip("fd00:100::1"), api::ServiceProtocol::kSctp, 9, 9},
                                        {{}, {}, api::ServiceProtocol::kTcp, 65535, 1}}));
}

TEST(PortMappings, RefusesTheRest) {
  EXPECT_EQ(refusal(R"([{"containerPort": 80}])"), "portMappings[0].hostPort is missing");
  EXPECT_EQ(refusal(R"([{"hostPort": 80}])"), "portMappings[0].containerPort is missing");
  EXPECT_NE(refusal(R"([{"hostPort": 0, "containerPort": 80}])").find("hostPort is 0"), std::string::npos);
  EXPECT_NE(refusal(R"([{"hostPort": 65536, "containerPort": 80}])").find("hostPort is 65536"),
            std::string::npos);
  EXPECT_NE(refusal(R"([{"hostPort": 1, "containerPort": 1, "protocol": "icmp"}])").find("tcp, udp or sctp"),
            std::string::npos);
  EXPECT_NE(
      refusal(R"([{"hostPort": 1, "containerPort": 1, "hostIP": "nowhere"}])").find("portMappings[0].hostIP"),
      std::string::npos);
  EXPECT_NE(
      refusal(R"([{"hostPort": 1, "containerPort": 1, "hostIP": "127.0.0.1"}])").find("cannot be published"),
      std::string::npos);
  EXPECT_NE(refusal(R"([{"hostPort": 1, "containerPort": 1, "hostPorts": 2}])").find("hostPorts"),
            std::string::npos);
  EXPECT_NE(refusal(R"({"hostPort": 1})").find("must be an array"), std::string::npos);
}

class CniPortMappings : public CniTest {
 protected:
  CniPortMappings() {
    config.domains[0].stateful = true;
    open();
  }
  static Json publishing(int host_port) {
    auto net = network();
    net["runtimeConfig"]["portMappings"] = {
        {{"hostPort", host_port}, {"containerPort", 80}, {"protocol", "tcp"}}};
    return net;
  }
};

TEST_F(CniPortMappings, AreRecordedUntilDel) {
  const UniqueFd pod = make_netns();
  const auto added = call("ADD", publishing(8080), "c1", pod.get());
  ASSERT_EQ(added.exit, 0) << added.output;
  const auto attached = reconciler.attached({"podnet", "c1", "eth0"});
  ASSERT_EQ(attached.published_ports.size(), 1u);
  EXPECT_EQ(attached.published_ports[0].host_port, 8080);
  EXPECT_NE(attached.published_ports[0].service, ServiceId());
  const UniqueFd other = make_netns();
  const auto refused = call("ADD", publishing(8080), "c2", other.get());
  EXPECT_EQ(refused.code(), 100u);
  EXPECT_NE(refused.message().find("host port tcp *:8080 is taken: interface eth0 of container c1"),
            std::string::npos)
      << refused.message();
  EXPECT_EQ(attachments(), 1u);
  EXPECT_EQ(call("DEL", publishing(8080), "c1", pod.get()).exit, 0);
  EXPECT_EQ(call("ADD", publishing(8080), "c2", other.get()).exit, 0);
}

TEST_F(CniPortMappings, AFailedAddGivesThePortBack) {
  const UniqueFd pod = make_netns();
  reconciler.fail_attach = Error{ErrorCode::kUnavailable, "the engine is not connected"};
  EXPECT_NE(call("ADD", publishing(8080), "c1", pod.get()).exit, 0);
  reconciler.fail_attach.reset();
  EXPECT_EQ(call("ADD", publishing(8080), "c2", pod.get()).exit, 0);
}

TEST_F(CniPortMappings, NeedAStatefulDomain) {
  config.domains[0].stateful = false;
  open();
  const UniqueFd pod = make_netns();
  const auto refused = call("ADD", publishing(8080), "c1", pod.get());
  EXPECT_EQ(refused.code(), 7u);
  EXPECT_NE(refused.message().find("set \"stateful\": true for it in podwired.json"), std::string::npos)
      << refused.message();
}

}  // namespace
}  // namespace podwire::control
