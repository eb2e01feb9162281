#include "dataplane/telemetry/explain.hpp"
#include "dataplane/tables/flow_table.hpp"

#include <gtest/gtest.h>

#include "dataplane/tables/intent.hpp"
#include "dataplane/telemetry/stats.hpp"
#include "tests/eal/pipeline/switch_fixture.hpp"

namespace podwire::engine::tests {
namespace {

class ExplainTest : public SwitchTest {
 protected:
  Result<Json> ask(const char* params) {
    return explain(*parse_json(params, "test"),
                   {programmer_->intent(), *publisher_.current_for_main(), pool_.get()});
  }
  // The answer; asserts that asking changed nothing that anybody can see.
  Json answer(const char* params) {
    const auto before = everything();
    auto reply = ask(params);
    EXPECT_TRUE(reply) << reply.error().message;
    EXPECT_EQ(everything(), before) << params;
    EXPECT_TRUE(sent_.empty());
    EXPECT_TRUE(events_.empty());
    EXPECT_TRUE(injected_.empty());
    return reply ? *reply : Json::object();
  }
  // Counters, objects, learned MACs, neighbours, packet buffers.
  std::string everything() {
    const LedgerBook ledgers(counters_);
    auto all = make_stats({*programmer_, counters_, ledgers, FlowTable(16, 1), 1}, true);
    all["fdb"] = *programmer_->fdb(Json::object(), now_ms_);
    all["neighbors"] = *programmer_->neighbors(Json::object(), now_ms_);
    all["mbufs"] = pool_.in_use();
    return all.dump();
  }
  static Bytes frame(const Json& output) {
    const auto hex = output.at("frame").get<std::string>();
    Bytes bytes;
    for (std::size_t i = 0; i < hex.size(); i += 2) {
      bytes.push_back(static_cast<std::uint8_t>(std::stoi(hex.substr(i, 2), nullptr, 16)));
    }
    return bytes;
  }
  static bool decided_by(const Json& reply, const char* noun, const char* name) {
    for (const auto& decider : reply.at("decided_by")) {
      if (decider.at("noun") == noun && decider.at("name") == name) return true;
    }
    return false;
  }
  static std::string note(const Json& reply, const char* stage) {
    for (const auto& step : reply.at("steps")) {
      if (step.at("stage") == stage) return step.at("note");
    }
    return "no step " + std::string(stage);
  }
};

TEST_F(ExplainTest, FollowsAPacketToALocalPod) {
  const auto reply =
      answer(R"({"port":11,"destination":"10.244.1.12","protocol":"udp","destination_port":53})");
  EXPECT_EQ(reply.at("verdict"), "sent");
  EXPECT_FALSE(reply.contains("reason"));
  ASSERT_EQ(reply.at("outputs").size(), 1u);
  EXPECT_EQ(reply.at("outputs")[0].at("port"), 12);
  EXPECT_EQ(reply.at("outputs")[0].at("port_name"), "pod2");
  EXPECT_TRUE(decided_by(reply, "endpoint", "pod2"));
  EXPECT_NE(note(reply, "parse").find("10.244.1.11 to 10.244.1.12, UDP port 40000 to 53, TTL 64"),
            std::string::npos)
      << note(reply, "parse");
  EXPECT_NE(note(reply, "forward").find("endpoint \"pod2\": to port \"pod2\""), std::string::npos)
      << note(reply, "forward");
}

TEST_F(ExplainTest, SendsExactlyTheBytesThatWorkersWouldSend) {
  resolve_peer();
  const auto reply = answer(
      R"({"port":11,"destination":"10.244.2.20","protocol":"tcp","source_port":1000,"destination_port":80,"size":60})");
  const auto input = build_explain_frame(
      *read_explain(*parse_json(R"({"port":11,"destination":"10.244.2.20","protocol":"tcp",
      "source_port":1000,"destination_port":80,"size":60})",
                                "test")),
      programmer_->intent(), MacAddr{});
  ASSERT_TRUE(input);
  receive(kPod1, to_mbuf(pool_.get(), *input));
  ASSERT_EQ(sent_.size(), 1u);
  ASSERT_EQ(reply.at("outputs").size(), 1u);
  EXPECT_EQ(frame(reply.at("outputs")[0]), sent_[0].bytes);
  EXPECT_EQ(sent_[0].port, kUplink);
}

TEST_F(ExplainTest, NamesRouteAndVtepOfARemoteDestination) {
  resolve_peer();
  const auto reply = answer(R"({"port":11,"destination":"10.244.2.20","protocol":"tcp"})");
  EXPECT_EQ(reply.at("verdict"), "sent");
  EXPECT_EQ(reply.at("outputs")[0].at("port"), 1);
  EXPECT_NE(reply.at("outputs")[0].at("note").get<std::string>().find("VTEP \"peer\" (192.168.100.2)"),
            std::string::npos);
  EXPECT_TRUE(decided_by(reply, "route", "10.244.2.0/24"));
  EXPECT_TRUE(decided_by(reply, "vtep", "peer"));
  EXPECT_NE(note(reply, "forward").find("routed by route 10.244.2.0/24"), std::string::npos)
      << note(reply, "forward");
  EXPECT_NE(note(reply, "rewrite").find("TTL now 63"), std::string::npos) << note(reply, "rewrite");
}

TEST_F(ExplainTest, ShowsTheWayIntoAJoinedDomain) {
  program(R"({"domains": [{"id": 4, "name": "side", "vni": 300, "gateway_mac": "02:70:77:00:00:01",
                           "gateways": ["10.50.1.1/24"]}],
    "ports": [{"id": 31, "name": "side1", "kind": "tap", "domain": 4, "mac": "02:00:00:00:05:01", "mtu": 1450, "descriptors": 1}],
    "endpoints": [{"id": 31, "name": "side1", "domain": 4, "port": 31, "mac": "02:00:00:00:05:01", "addresses": ["10.50.1.11"]}],
    "routes": [{"id": 41, "domain": 2, "prefix": "10.50.1.0/24", "next_hops": [{"into": 4}]}]})");
  const char* const question = R"({"port":11,"destination":"10.50.1.11","protocol":"udp"})";
  const auto reply = answer(question);
  EXPECT_EQ(reply.at("verdict"), "sent");
  EXPECT_TRUE(decided_by(reply, "route", "10.50.1.0/24"));
  EXPECT_TRUE(decided_by(reply, "endpoint", "side1"));
  EXPECT_NE(note(reply, "forward")
                .find("route 10.50.1.0/24 leads into domain \"side\", there routed by endpoint "
                      "\"side1\": to port \"side1\""),
            std::string::npos)
      << note(reply, "forward");
  program(R"({"domains": [
    {"id": 2, "name": "routed", "vni": 100, "gateway_mac": "02:70:77:00:00:01", "mtu": 1450, "host_access": true,
     "gateways": ["10.244.1.1/24", "fd00:10:244:1::1/64"], "stateful": true},
    {"id": 4, "name": "side", "vni": 300, "gateway_mac": "02:70:77:00:00:01", "gateways": ["10.50.1.1/24"],
     "stateful": true}]})");
  const auto stateful = answer(question);
  EXPECT_EQ(stateful.at("verdict"), "sent");
  EXPECT_TRUE(decided_by(stateful, "route", "10.50.1.0/24"));
  EXPECT_NE(
      note(stateful, "flow").find("route 10.50.1.0/24 leads into domain \"side\": 10.244.1.11 to 10.50.1.11"),
      std::string::npos)
      << note(stateful, "flow");
}

TEST_F(ExplainTest, SaysThatAPacketWouldWaitForItsNextHop) {
  const auto reply = answer(R"({"port":11,"destination":"10.244.2.20"})");
  EXPECT_EQ(reply.at("verdict"), "parked");
  EXPECT_TRUE(reply.at("outputs").empty());
  EXPECT_NE(note(reply, "encap").find("would wait until the next hop of VTEP \"peer\""), std::string::npos)
      << note(reply, "encap");
}

TEST_F(ExplainTest, GivesTheReasonOfADropWithItsHelp) {
  const auto spoofed = answer(R"({"port":11,"source":"10.9.9.9","destination":"10.244.1.12"})");
  EXPECT_EQ(spoofed.at("verdict"), "dropped");
  EXPECT_EQ(spoofed.at("reason"), "spoofed_ip");
  EXPECT_EQ(spoofed.at("reason_help"), help_of(DropReason::spoofed_ip));
  EXPECT_TRUE(decided_by(spoofed, "port", "pod1"));
  const auto hole = answer(R"({"port":11,"destination":"10.99.1.1"})");
  EXPECT_EQ(hole.at("reason"), "blackhole_route");
  EXPECT_TRUE(decided_by(hole, "route", "10.99.0.0/16"));
}

TEST_F(ExplainTest, ShowsTheIcmpErrorOfADrop) {
  const auto expired =
      answer(R"({"port":11,"destination":"10.244.1.12","destination_mac":"02:70:77:00:00:01","ttl":1})");
  EXPECT_EQ(expired.at("verdict"), "dropped");
  EXPECT_EQ(expired.at("reason"), "ttl_exceeded");
  ASSERT_EQ(expired.at("outputs").size(), 1u);
  EXPECT_EQ(expired.at("outputs")[0].at("port"), 11);
  EXPECT_NE(expired.at("outputs")[0].at("note").get<std::string>().find("ICMP error"), std::string::npos);
  const auto big = answer(R"({"port":11,"destination":"10.244.2.20","size":1451})");
  EXPECT_EQ(big.at("reason"), "too_big");
  const auto nowhere = answer(R"({"port":11,"destination":"172.16.0.1"})");
  EXPECT_EQ(nowhere.at("reason"), "no_route");
}

TEST_F(ExplainTest, SaysWhatTheGatewayAnswers) {
  for (const char* params :
       {R"({"port":11,"destination":"10.244.1.1"})", R"({"port":11,"destination":"fd00:10:244:1::1"})",
        R"({"port":11,"destination":"10.244.1.1","protocol":"arp"})"}) {
    const auto reply = answer(params);
    EXPECT_EQ(reply.at("verdict"), "answered") << params;
    ASSERT_EQ(reply.at("outputs").size(), 1u) << params;
    EXPECT_EQ(reply.at("outputs")[0].at("port"), 11);
    EXPECT_TRUE(decided_by(reply, "domain", "routed")) << params;
  }
}

TEST_F(ExplainTest, ListsEveryCopyOfAFlood) {
  resolve_peer();
  const auto reply =
      answer(R"({"port":21,"source":"10.9.0.1","destination":"255.255.255.255","protocol":"udp"})");
  EXPECT_EQ(reply.at("verdict"), "sent");
  ASSERT_EQ(reply.at("outputs").size(), 2u);
  EXPECT_EQ(reply.at("outputs")[0].at("port_name"), "bridge2");
  EXPECT_EQ(reply.at("outputs")[1].at("port_name"), "uplink");
  EXPECT_TRUE(decided_by(reply, "domain", "bridged"));
}

TEST_F(ExplainTest, TellsWhatWouldBeLearnedWithoutLearning) {
  const auto reply = answer(
      R"({"port":22,"source":"10.9.0.2","source_mac":"02:00:00:00:04:02","destination":"10.9.0.1","destination_mac":"02:00:00:00:04:01"})");
  EXPECT_EQ(reply.at("verdict"), "sent");
  EXPECT_NE(note(reply, "forward").find("would be learned"), std::string::npos) << note(reply, "forward");
}

TEST_F(ExplainTest, TakesAWholeFrameFromTheTunnel) {
  const auto bytes = from_peer(kRoutedVni)
                         .eth(kGatewayMac, kPeerVtepMac)
                         .ipv4(kRemoteIp, kPod1Ip)
                         .udp(1, 2)
                         .payload(10)
                         .bytes();
  std::string hex;
  for (const auto byte : bytes) {
    char text[3];
    std::snprintf(text, sizeof text, "%02x", byte);
    hex += text;
  }
  const auto reply = answer(("{\"port\":1,\"frame\":\"" + hex + "\"}").c_str());
  EXPECT_EQ(reply.at("verdict"), "sent") << reply.dump(1);
  ASSERT_EQ(reply.at("outputs").size(), 1u);
  EXPECT_EQ(reply.at("outputs")[0].at("port_name"), "pod1");
  EXPECT_NE(note(reply, "decap").find("out of the tunnel from VTEP \"peer\""), std::string::npos)
      << note(reply, "decap");
  for (std::size_t length = 2; length < hex.size(); length += 2) {
    answer(("{\"port\":1,\"frame\":\"" + hex.substr(0, length) + "\"}").c_str());
  }
}

TEST_F(ExplainTest, FollowsTheNodesOwnPackets) {
  const auto to_pod = answer(R"({"port":2,"source":"192.168.100.1","destination":"10.244.1.11"})");
  EXPECT_EQ(to_pod.at("verdict"), "sent");
  EXPECT_EQ(to_pod.at("outputs")[0].at("port_name"), "pod1");
  const auto outside = answer(R"({"port":2,"source":"192.168.100.1","destination":"8.8.8.8"})");
  EXPECT_EQ(outside.at("outputs")[0].at("port_name"), "uplink");
  const auto inward = answer(
      R"({"port":1,"source":"192.168.100.9","destination":"192.168.100.1","protocol":"tcp","destination_port":22})");
  EXPECT_EQ(inward.at("outputs")[0].at("port_name"), "host");
}

TEST_F(ExplainTest, BuildsPacketsOfManyBuffers) {
  const auto reply = answer(R"({"port":11,"destination":"10.244.1.12","protocol":"udp","size":9000})");
  EXPECT_EQ(reply.at("reason"), "too_big");
}

TEST_F(ExplainTest, RefusesBadParametersByName) {
  const std::pair<const char*, const char*> cases[] = {
      {R"({})", "params.port is missing"},
      {R"({"port":4000,"destination":"10.0.0.1"})", "params.port is 4000, which does not exist"},
      {R"({"port":11})", "params.destination is missing"},
      {R"({"port":11,"destination":"nowhere"})", "params.destination: \"nowhere\""},
      {R"({"port":11,"destination":"10.0.0.1","protocol":"sctp"})", "params.protocol is \"sctp\""},
      {R"({"port":11,"destination":"10.0.0.1","protocol":"icmp6"})", "params.protocol is \"icmp6\""},
      {R"({"port":11,"destination":"fd00::1","protocol":"arp"})", "params.protocol is \"arp\""},
      {R"({"port":11,"destination":"10.0.0.1","source":"fd00::1"})", "params.source is fd00::1"},
      {R"({"port":11,"destination":"10.0.0.1","ttl":256})", "params.ttl is 256"},
      {R"({"port":11,"destination":"10.0.0.1","size":27})", "params.size is 27, must be from 28 to 9216"},
      {R"({"port":11,"destination":"10.0.0.1","size":9217})", "params.size is 9217"},
      {R"({"port":11,"destination":"10.0.0.1","source_port":65536})", "params.source_port is 65536"},
      {R"({"port":11,"destnation":"10.0.0.1"})",
       "unknown key \"destnation\" in params; did you mean \"destination\"?"},
      {R"({"port":11,"frame":""})", "params.frame has 0 hexadecimal digits"},
      {R"({"port":11,"frame":"abc"})", "params.frame has 3 hexadecimal digits"},
      {R"({"port":11,"frame":"zz"})", "params.frame has \"zz\" at digit 0"},
      {R"({"port":11,"frame":"00","ttl":3})", "params.frame is the whole packet"},
      {R"({"port":22,"destination":"10.9.0.1"})",
       "params.source is missing, and port \"bridge2\" has no endpoint"},
  };
  for (const auto& [params, message] : cases) {
    const auto reply = ask(params);
    ASSERT_FALSE(reply) << params;
    EXPECT_EQ(reply.error().message.rfind(message, 0), 0u) << params << " gave: " << reply.error().message;
  }
  EXPECT_FALSE(ask(("{\"port\":11,\"frame\":\"" + std::string(2 * 9217, '0') + "\"}").c_str()));
}

}  // namespace
}  // namespace podwire::engine::tests
