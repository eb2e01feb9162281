#include "bench/trafficgen/options.hpp"

#include <gtest/gtest.h>

namespace podwire::trafficgen {
namespace {

Result<CommandLine> parse(std::vector<std::string> arguments, bool with_ports = true) {
  if (with_ports)
    arguments.insert(arguments.end(), {"--port", "memif:/run/a.sock", "--port", "vhost:/run/b.sock"});
  return parse_command_line(arguments);
}

std::string refusal(const std::vector<std::string>& arguments, bool with_ports = true) {
  const auto parsed = parse(arguments, with_ports);
  return parsed ? "accepted" : parsed.error().message;
}

#define EXPECT_HAS(text, part) EXPECT_NE((text).find(part), std::string::npos) << (text)

TEST(TrafficgenOptions, HaveDefaults) {
  const auto line = parse({});
  ASSERT_TRUE(line);
  const auto& s = line->settings;
  EXPECT_EQ(s.sizes, std::vector<FrameSize>{{64}});
  EXPECT_EQ(s.direction, Direction::kBoth);
  EXPECT_EQ(s.method.losses, std::vector<double>{0});
  EXPECT_EQ(s.markdown, "-");
  EXPECT_EQ(s.sides[0].destination_mac, s.sides[1].mac);
  EXPECT_EQ(s.sides[0].device.devargs,
            "net_memif0,role=client,socket=/run/a.sock,socket-abstract=no,mac=02:00:00:00:03:01");
  EXPECT_EQ(s.sides[1].device.devargs,
            "net_virtio_user1,path=/run/b.sock,queue_size=1024,queues=1,mac=02:00:00:00:03:02");
}

TEST(TrafficgenOptions, AreAllRead) {
  const auto line = parse({"--size=64,1518,imix", "--flows=1,10k,1M", "--direction", "b-to-a", "--loss=0.5,0",
                           "--latency-at=none", "--max-rate=2.5M", "--vary=sources", "--udp-ports=1,2",
                           "--resolution=0.5", "--json=-", "--cpu=3"});
  ASSERT_TRUE(line) << line.error().message;
  const auto& s = line->settings;
  EXPECT_EQ(s.sizes, (std::vector<FrameSize>{{64}, {1518}, FrameSize::imix()}));
  EXPECT_EQ(s.flows, (std::vector<std::uint32_t>{1, 10000, 1000000}));
  EXPECT_FALSE(s.is_active(0));
  EXPECT_TRUE(s.is_active(1));
  EXPECT_EQ(s.method.losses, (std::vector<double>{0, 0.005}));
  EXPECT_TRUE(s.method.latency_shares.empty());
  EXPECT_EQ(s.method.max_rate, 2.5e6);
  EXPECT_EQ(s.source_port, 1);
  EXPECT_EQ(s.destination_port, 2);
  EXPECT_EQ(s.method.resolution, 0.005);
  EXPECT_EQ(s.markdown, "");
  EXPECT_EQ(s.cpu, 3u);
}

TEST(TrafficgenOptions, RefusalsNameOptionValueAndRemedy) {
  EXPECT_HAS(refusal({}, false), "--port is given 0 times, must be given twice");
  EXPECT_HAS(refusal({"--size=63"}), "--size is \"63\", must be a whole number (10k, 1M) from 64 to 9600");
  EXPECT_HAS(refusal({"--size=big"}), "\"big\"");
  EXPECT_HAS(refusal({"--size="}), "--size");
  EXPECT_HAS(refusal({"--flows=1,,2"}), "--flows is \"\"");
  EXPECT_HAS(refusal({"--flows=1.5"}), "\"1.5\"");
  EXPECT_HAS(refusal({"--address=2001:200::1", "--address=2001:200::2"}), "82 is the smallest");
  EXPECT_HAS(refusal({"--loss=51"}), "from 0 to 50");
  EXPECT_HAS(refusal({"--trial=nan"}), "--trial is \"nan\"");
  EXPECT_HAS(refusal({"--direction=up"}), "must be one of a-to-b, b-to-a, both");
  EXPECT_HAS(refusal({"--mac=02:00:00:00:00:01"}), "--mac is given 1 times, must be given twice");
  EXPECT_HAS(refusal({"--mac=02:00:00:00:00:01", "--mac=here"}), "\"here\" is not a MAC");
  EXPECT_HAS(refusal({"--mac=02:00:00:00:00:01", "--mac=02:00:00:00:00:01"}), "give each one of its own");
  EXPECT_HAS(refusal({"--address=10.0.0.1", "--address=fd00::1"}), "two families");
  EXPECT_HAS(refusal({"--flows=16M", "--udp-ports=1,65500"}), "--vary sources");
  EXPECT_HAS(refusal({"--json=-", "--svg=-"}), "only one");
  EXPECT_HAS(refusal({"--json=a", "--json=b"}), "--json is given 2 times");
  EXPECT_HAS(refusal({"--udp-ports=1"}), "two ports");
  EXPECT_HAS(refusal({"--pace=1"}), "--help lists the options");
  EXPECT_HAS(refusal({"stray"}), "--help lists the options");
}

TEST(TrafficgenOptions, HelpAndVersionNeedNoPorts) {
  EXPECT_EQ(parse({"--help"}, false)->action, CommandLine::Action::kHelp);
  EXPECT_EQ(parse({"--version"}, false)->action, CommandLine::Action::kVersion);
  for (const auto* word : {"--port", "memif:PATH", "RFC 2544", "Exit status"}) EXPECT_HAS(help_text(), word);
}

TEST(TrafficgenDevice, TakesShortFormsAndDevargs) {
  const MacAddr mac{{2, 0, 0, 0, 0, 9}};
  const auto memif = parse_device("memif:/x.sock,role=server,rsize=11,mac=02:00:00:00:00:01", 3, mac, 1);
  ASSERT_TRUE(memif);
  EXPECT_TRUE(memif->listens);
  EXPECT_EQ(memif->socket, "/x.sock");
  EXPECT_EQ(memif->devargs,
            "net_memif3,role=server,socket=/x.sock,socket-abstract=no,rsize=11,mac=02:00:00:00:00:01");
  const auto vhost = parse_device("vhost:/x.sock,role=server", 0, mac, 4);
  ASSERT_TRUE(vhost);
  EXPECT_EQ(vhost->devargs,
            "net_virtio_user0,path=/x.sock,server=1,queue_size=1024,queues=4,mac=02:00:00:00:00:09");
  for (const auto* text : {"0000:01:00.0", "net_af_packet0,iface=eth1", "net_memif0,mac=02:00:00:00:00:01"}) {
    const auto other = parse_device(text, 0, mac, 1);
    ASSERT_TRUE(other) << text;
    EXPECT_EQ(other->devargs, text);
    EXPECT_TRUE(other->socket.empty());
  }
}

TEST(TrafficgenDevice, RefusesWhatCannotBe) {
  const auto why = [](const std::string& text) {
    const auto spec = parse_device(text, 0, {}, 1);
    return spec ? "accepted" : spec.error().message;
  };
  EXPECT_HAS(why(""), "is empty");
  EXPECT_HAS(why("memif:"), "must be an absolute path");
  EXPECT_HAS(why("memif:x.sock"), "\"x.sock\"");
  EXPECT_HAS(why("vhost:/" + std::string(107, 'x')), "108 characters");
  EXPECT_HAS(why("memif:/x,role=master"), "role is \"master\"");
  EXPECT_HAS(why("mmif:/x"), "memif: meant?");
}

}  // namespace
}  // namespace podwire::trafficgen
