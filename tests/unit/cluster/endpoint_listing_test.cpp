// Listings of other nodes' endpoints that are long: taken in as they come, and handed to the engine in
// pieces.
#include "tests/unit/cluster/shared_endpoints_fixture.hpp"

namespace podwire::control {
namespace {

class EndpointListingTest : public SharedEndpointsTest {
 protected:
  static std::string mac_of(int number) {
    return to_string(MacAddr::from_u64(0x020000000000 + static_cast<unsigned>(number)));
  }
  // Of node "b", which then has a prefix for them; all of them are told in the next listing.
  void put_many(int first, int last) {
    auto wide = node("b", 2, "10.245.16.0/20");
    others_->change({false, {wide}, {}});
    for (int i = first; i <= last; ++i)
      cluster_.put("endpoints/b/" + std::to_string(i), of_many(i, mac_of(i)));
  }
  static std::string of_many(int number, const std::string& mac) {
    return record(mac, "10.245." + std::to_string(16 + number / 256) + "." + std::to_string(number % 256));
  }
};

TEST_F(EndpointListingTest, InPartsItIsOne) {
  come("b/1", record("02:00:00:00:00:11", "10.245.0.17", "web"));
  come("b/2", record("02:00:00:00:00:12", "10.245.0.18"));
  come("c/1", record("02:00:00:00:00:21", "10.245.0.33"));
  cluster_.erase("endpoints/b/1");
  cluster_.put("endpoints/b/3", record("02:00:00:00:00:13", "10.245.0.19"));
  cluster_.put("endpoints/c/2", record("02:00:00:00:00:22", "10.245.0.34"));
  cluster_.part = 1;
  const int patches = engine_.patches;
  ASSERT_TRUE(cluster_.list());
  EXPECT_EQ(known(), (Texts{"02:00:00:00:00:12 10.245.0.18 at b", "02:00:00:00:00:13 10.245.0.19 at b",
                            "02:00:00:00:00:21 10.245.0.33 at c", "02:00:00:00:00:22 10.245.0.34 at c"}));
  EXPECT_EQ(engine_.patches, patches + 2) << "one that came in between, and the last with what is gone";
  EXPECT_TRUE(pods_.empty());
  EXPECT_EQ(problems(), "");
}

TEST_F(EndpointListingTest, WhatBreaksOffTakesNothingAway) {
  come("b/1", record("02:00:00:00:00:11", "10.245.0.17"));
  come("b/2", record("02:00:00:00:00:12", "10.245.0.18"));
  endpoints_->begin_listing();
  endpoints_->list_part({{"/podwire/endpoints/b/3", record("02:00:00:00:00:13", "10.245.0.19"), 50}});
  EXPECT_EQ(known().size(), 3u);
  // In the next one there is no b/3 any more.
  ASSERT_TRUE(cluster_.list());
  EXPECT_EQ(known(), (Texts{"02:00:00:00:00:11 10.245.0.17 at b", "02:00:00:00:00:12 10.245.0.18 at b"}));
}

TEST_F(EndpointListingTest, WhoTakesOverAMacWaitsForTheEndOfIt) {
  come("c/1", record("02:00:00:00:00:11", "10.245.0.33"));
  cluster_.erase("endpoints/c/1");
  cluster_.put("endpoints/b/1", record("02:00:00:00:00:11", "10.245.0.17"));
  cluster_.put("endpoints/b/2", record("02:00:00:00:00:12", "10.245.0.18"));
  cluster_.part = 1;
  ASSERT_TRUE(cluster_.list());
  EXPECT_EQ(known(), (Texts{"02:00:00:00:00:11 10.245.0.17 at b", "02:00:00:00:00:12 10.245.0.18 at b"}));
  EXPECT_EQ(problems(), "");
}

TEST_F(EndpointListingTest, ThousandsGoInPiecesAndOneThatIsRefusedCostsNoOther) {
  put_many(1, 2500);
  engine_.refused_mac = mac_of(1234);
  const int replaces = engine_.replaces;
  ASSERT_TRUE(cluster_.list());
  EXPECT_EQ(engine_.replaces, replaces) << "nothing that the engine has is sent again";
  EXPECT_EQ(engine_.endpoints(), 2499u);
  EXPECT_NE(problems().find("endpoint 1234 of node \"b\""), std::string::npos) << problems();
  EXPECT_TRUE(differences().empty());
  engine_.refused_mac.clear();
  endpoints_->try_again();
  EXPECT_EQ(engine_.endpoints(), 2500u);
  EXPECT_EQ(problems(), "");
}

TEST_F(EndpointListingTest, TwoMayChangePlacesAmongThousands) {
  put_many(1, 1200);
  ASSERT_TRUE(cluster_.list());
  cluster_.put("endpoints/b/1", of_many(1, mac_of(1200)));
  cluster_.put("endpoints/b/1200", of_many(1200, mac_of(1)));
  put_many(1201, 2400);
  ASSERT_TRUE(cluster_.list());
  EXPECT_EQ(engine_.endpoints(), 2400u);
  EXPECT_TRUE(known().contains(mac_of(1) + " 10.245.20.176 at b")) << problems();
  EXPECT_TRUE(known().contains(mac_of(1200) + " 10.245.16.1 at b"));
  EXPECT_EQ(problems(), "");
  EXPECT_TRUE(differences().empty());
}

}  // namespace
}  // namespace podwire::control
