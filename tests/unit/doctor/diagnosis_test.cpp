// The table of verdicts: what was seen of a peer, and what is said of it.
#include "control/doctor/diagnosis.hpp"

#include <gtest/gtest.h>

namespace podwire::control::doctor_tests {
namespace {

const DomainVnis kHere{{"blue", Vni(7)}, {"default", Vni(1)}};

IpAddr ip(const char* text) {
  return *parse_ip(text);
}

ExaminedPath path_with(unsigned answered, std::uint16_t largest = 1450) {
  ExaminedPath path;
  path.domain = "default";
  path.id = DomainId(2);
  path.vni = Vni(1);
  path.mtu = 1450;
  path.sent = 5;
  path.answered = answered;
  path.largest = answered == 0 ? std::uint16_t{0} : largest;
  path.next_hop = answered == 5 ? "" : "resolved";
  return path;
}

ExaminedPeer peer_with(std::vector<ExaminedPath> paths) {
  ExaminedPeer peer;
  peer.name = "node2";
  peer.address = ip("192.168.100.2");
  peer.udp_port = 8472;
  peer.underlay.answers = true;
  peer.paths = std::move(paths);
  return peer;
}

std::string faults(const ExaminedPeer& peer) {
  std::string out;
  for (const auto& finding : diagnose(peer, kHere)) {
    EXPECT_FALSE(finding.text.empty());
    EXPECT_FALSE(finding.remedy.empty());
    out += (out.empty() ? "" : " ") + finding.fault;
  }
  return out;
}

bool says(const Finding& finding, const std::string& what) {
  return (finding.text + " " + finding.remedy).find(what) != std::string::npos;
}

TEST(Diagnosis, HasNothingToSayOfAHealthyPeerOrOfOneThatWasNotProbed) {
  EXPECT_EQ(faults(peer_with({path_with(5)})), "");
  EXPECT_EQ(faults(peer_with({})), "");
  auto skipped = path_with(0);
  skipped.sent = 0;
  skipped.not_probed = "an l2 domain";
  EXPECT_EQ(faults(peer_with({skipped})), "");
}

TEST(Diagnosis, TellsSilenceApart) {
  auto peer = peer_with({path_with(0)});
  EXPECT_EQ(faults(peer), "udp_filtered");
  EXPECT_TRUE(says(diagnose(peer, kHere).front(), "udp dport 8472 accept"));
  peer.bad_outer_checksums = 5;
  EXPECT_EQ(faults(peer), "checksum");
  EXPECT_TRUE(says(diagnose(peer, kHere).front(), "ethtool -K DEVICE tx off tso off gso off"));
  peer.underlay.answers = false;
  EXPECT_EQ(faults(peer), "unreachable");
  peer.underlay.answers.reset();
  peer.bad_outer_checksums = 0;
  EXPECT_EQ(faults(peer), "udp_filtered");
  peer.unknown_vnis = {Vni(9)};
  EXPECT_EQ(faults(peer), "vni_mismatch");
  EXPECT_TRUE(says(diagnose(peer, kHere).front(), "VNI 9"));
  EXPECT_TRUE(says(diagnose(peer, kHere).front(), "blue (7), default (1)"));
  peer.underlay.prohibited = ip("192.168.100.254");
  EXPECT_EQ(faults(peer), "udp_prohibited");
  EXPECT_TRUE(says(diagnose(peer, kHere).front(), "192.168.100.254"));
  peer.underlay.port_unreachable = ip("192.168.100.2");
  EXPECT_EQ(faults(peer), "port_closed");
  peer.paths.front().next_hop = "unresolved";
  EXPECT_EQ(faults(peer), "neighbor_unresolved");
  peer.paths.front().next_hop = "no_route";
  EXPECT_EQ(faults(peer), "no_route");
  peer.paths.front().next_hop = "no_source";
  EXPECT_EQ(faults(peer), "no_source");
}

TEST(Diagnosis, NamesTheSizeThatPasses) {
  auto peer = peer_with({path_with(5, 1350)});
  EXPECT_EQ(faults(peer), "mtu");
  EXPECT_TRUE(says(diagnose(peer, kHere).front(), "has 1350 bytes"));
  EXPECT_TRUE(says(diagnose(peer, kHere).front(), "to 1500 on every link"));
  EXPECT_TRUE(says(diagnose(peer, kHere).front(), "\"mtu\": 1350"));
  peer.address = ip("fd00:100::2");
  EXPECT_TRUE(says(diagnose(peer, kHere).front(), "to 1520 on every link"));
  peer.paths.front().largest = peer.paths.front().room = 1400;
  EXPECT_EQ(faults(peer), "mtu");
  EXPECT_TRUE(says(diagnose(peer, kHere).front(), "the uplink's leaves 1400"));
}

TEST(Diagnosis, JudgesEveryPathWhereOneAnswers) {
  auto peer = peer_with({path_with(5), path_with(0)});
  EXPECT_EQ(faults(peer), "domain_silent");
  peer.paths[1] = path_with(4);
  EXPECT_EQ(faults(peer), "loss");
  EXPECT_TRUE(says(diagnose(peer, kHere).front(), "1 of 5 probes were lost"));
  peer.paths[1].damaged = 1;
  EXPECT_EQ(faults(peer), "checksum");
  peer.paths[1] = path_with(0);
  peer.unknown_vnis = {Vni(9)};
  EXPECT_EQ(faults(peer), "vni_mismatch");
}

}  // namespace
}  // namespace podwire::control::doctor_tests
