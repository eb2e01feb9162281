// `podwirectl doctor`: its page and its exit status, out of podwired's reply.
#include <gtest/gtest.h>

#include "control/cli/views.hpp"

namespace podwire::control::cli::tests {
namespace {

constexpr const char* kDoctorReply = R"({"peers": [
  {"name": "node2", "address": "192.168.100.2", "udp_port": 4789, "state": "well", "underlay": "answers", "paths": [
    {"domain": "default", "vni": 1, "family": 4, "gateway": "10.244.2.1", "sent": 5, "answered": 5, "damaged": 0,
     "rtt_us": {"min": 110, "avg": 200, "max": 450}, "mtu": 1450, "largest": 1450},
    {"domain": "lan", "vni": 2, "not_probed": "an l2 domain"}], "faults": []},
  {"name": "node3", "address": "192.168.100.3", "udp_port": 4789, "state": "faulty", "underlay": "silent", "paths": [
    {"domain": "default", "vni": 1, "family": 4, "gateway": null, "sent": 5, "answered": 0, "damaged": 0,
     "rtt_us": null, "mtu": 1450, "largest": null}],
   "faults": [{"fault": "unreachable", "text": "it is\u001b[2J gone", "remedy": "look for it"}]}]})";

Json doctor_reply() {
  return *parse_json(kDoctorReply, "test");
}

TEST(DoctorView, HasALineAPeerAndAParagraphAFault) {
  const auto page = doctor_view(doctor_reply(), {});
  ASSERT_TRUE(page) << page.error().message;
  EXPECT_NE(page->find("5 of 5"), std::string::npos) << *page;
  EXPECT_NE(page->find("0.11/0.20/0.45 ms"), std::string::npos) << *page;
  EXPECT_NE(page->find("0 of 5"), std::string::npos) << *page;
  EXPECT_NE(page->find("\npeer node3: it is\\x1b[2J gone.\n  What to do: look for it.\n"), std::string::npos)
      << *page;
  EXPECT_NE(page->find("Not probed:\n  peer node2, domain lan: an l2 domain\n"), std::string::npos) << *page;
}

TEST(DoctorView, SaysThatThereIsNobody) {
  const auto page = doctor_view({{"peers", Json::array()}}, {});
  ASSERT_TRUE(page);
  EXPECT_EQ(*page, "There are no other nodes to probe.\n");
}

TEST(DoctorView, KnowsWhetherAllIsWell) {
  auto reply = doctor_reply();
  EXPECT_FALSE(*all_well(reply));
  reply["peers"].erase(1);
  EXPECT_TRUE(*all_well(reply));
  reply["peers"][0].erase("faults");
  EXPECT_FALSE(all_well(reply));
}

}  // namespace
}  // namespace podwire::control::cli::tests
