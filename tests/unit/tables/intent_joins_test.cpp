// Intent's rules about routes whose next hop is another domain: one domain further, both l3, both tracked or
// neither, never round.
#include <gtest/gtest.h>

#include "dataplane/tables/intent.hpp"
#include "tests/unit/tables/objects.hpp"

namespace podwire::engine {
namespace {

using namespace testing_objects;

api::NextHop into(std::uint16_t id) {
  api::NextHop hop;
  hop.into = DomainId(id);
  return hop;
}

class IntentJoinsTest : public testing::Test {
 protected:
  void SetUp() override {
    auto flat = domain(5, {"10.5.0.1/24"});
    flat.mode = api::DomainMode::kL2;
    auto tracking = domain(6, {"10.6.0.1/24"});
    tracking.stateful = true;
    accepted({.vteps = {vtep(1, "192.168.100.1", true), vtep(2, "192.168.100.2")},
              .domains = {domain(2, {"10.2.0.1/16"}), domain(3, {"10.3.0.1/16"}), domain(4, {"10.4.0.1/16"}),
                          flat, tracking}});
  }
  void accepted(const api::ObjectSet& put, const api::IdSet& remove = {}) {
    const auto staged = intent.stage(put, remove);
    ASSERT_TRUE(staged) << staged.error().message;
  }
  void refused(const api::ObjectSet& put, const std::string& text, const api::IdSet& remove = {}) {
    const auto staged = intent.stage(put, remove);
    ASSERT_FALSE(staged) << "accepted, expected: " << text;
    EXPECT_NE(staged.error().message.find(text), std::string::npos) << staged.error().message;
  }

  Intent intent;
};

TEST_F(IntentJoinsTest, LeadBothWays) {
  accepted({.routes = {route(1, "10.3.0.0/16", {into(3)}, 2), route(2, "10.2.0.0/16", {into(2)}, 3)}});
  EXPECT_EQ(intent.routes_out_of(DomainId(2)), std::set<RouteId>{RouteId(1)});
  EXPECT_EQ(intent.routes_into(DomainId(2)), std::set<RouteId>{RouteId(2)});
  accepted({}, {.routes = {RouteId(1)}});
  EXPECT_TRUE(intent.routes_out_of(DomainId(2)).empty());
  EXPECT_TRUE(intent.routes_into(DomainId(3)).empty());
}

TEST_F(IntentJoinsTest, WhatCannotBe) {
  refused({.routes = {route(1, "10.9.0.0/16", {into(9)}, 2)}},
          "route 1 10.9.0.0/16: next hop into domain 9 does not exist; add it in the same change or before");
  refused({.routes = {route(1, "10.9.0.0/16", {into(2)}, 2)}}, "which is the route's own");
  refused({.routes = {route(1, "10.9.0.0/16", {into(1)}, 2)}}, "the underlay (domain 1) cannot be joined");
  refused({.routes = {route(1, "10.9.0.0/16", {into(2)}, 1)}}, "the underlay (domain 1) cannot be joined");
  refused({.routes = {route(1, "10.5.0.0/16", {into(5)}, 2)}},
          "domain 5 \"domain5\" is of mode l2; only l3 domains can be joined");
  refused({.routes = {route(1, "10.2.0.0/16", {into(2)}, 5)}}, "only l3 domains can be joined");
  refused({.routes = {route(1, "10.6.0.0/16", {into(6)}, 2)}},
          "domain 6 \"domain6\" is stateful and domain 2 \"domain2\" is not");
  refused({.routes = {route(1, "10.2.0.0/16", {into(2)}, 6)}},
          "domain 6 \"domain6\" is stateful and domain 2 \"domain2\" is not");
  refused({.routes = {route(1, "10.3.0.0/16", {into(3), via_vtep(2)}, 2)}},
          "must be the route's only one, of 2");
}

TEST_F(IntentJoinsTest, NothingGoesOnFromDomainToDomain) {
  // Round at once, and by way of a shorter, an equal and a longer prefix.
  refused({.routes = {route(1, "10.9.0.0/16", {into(3)}, 2), route(2, "10.9.0.0/16", {into(2)}, 3)}},
          "leads on into another domain");
  accepted({.routes = {route(1, "10.9.0.0/16", {into(3)}, 2)}});
  for (const char* prefix : {"10.9.0.0/16", "10.0.0.0/8", "10.9.7.0/24", "0.0.0.0/0"}) {
    refused({.routes = {route(2, prefix, {into(4)}, 3)}},
            "route 1 10.9.0.0/16 leads into domain 3 \"domain3\", and route 2 " + std::string(prefix) +
                " there leads on into another domain");
    refused({.routes = {route(2, prefix, {into(2)}, 4)}},
            "route 2 " + std::string(prefix) +
                " leads into domain 2 \"domain2\", and route 1 10.9.0.0/16 there leads on");
  }
  accepted({.routes = {route(2, "10.8.0.0/16", {into(4)}, 3), route(3, "::/0", {into(4)}, 3)}});
}

TEST_F(IntentJoinsTest, DomainsKeepWhatTheirJoinsNeed) {
  accepted({.routes = {route(1, "10.3.0.0/16", {into(3)}, 2)}});
  refused({}, "domain 3 \"domain3\" cannot be deleted: route 1 10.3.0.0/16 leads into it; delete that too",
          {.domains = {DomainId(3)}});
  for (const auto id : {std::uint16_t{2}, std::uint16_t{3}}) {
    auto changed = domain(id, {"10." + std::to_string(id) + ".0.1/16"});
    changed.stateful = true;
    refused({.domains = {changed}}, "is stateful and");
    changed.stateful = false;
    changed.mode = api::DomainMode::kL2;
    refused({.domains = {changed}}, "is of mode l2");
  }
  auto one = domain(2, {"10.2.0.1/16"}), other = domain(3, {"10.3.0.1/16"});
  one.stateful = other.stateful = true;
  accepted({.domains = {one, other}});
  accepted({}, {.domains = {DomainId(3)}, .routes = {RouteId(1)}});
}

}  // namespace
}  // namespace podwire::engine
