#include "control/state/differences.hpp"

#include <gtest/gtest.h>

namespace podwire::control {
namespace {

api::ObjectSet sample() {
  api::ObjectSet set;
  api::Port uplink;
  uplink.id = PortId(1);
  uplink.name = "uplink";
  uplink.kind = api::PortKind::kPhysical;
  uplink.role = api::PortRole::kUplink;
  uplink.domain = kUnderlayDomain;
  uplink.devargs = "net_null0";
  set.ports.push_back(uplink);
  api::Route route;
  route.id = RouteId(3);
  route.domain = DomainId(2);
  route.prefix = *parse_prefix("10.244.2.0/24");
  route.blackhole = true;
  set.routes.push_back(route);
  return set;
}

TEST(CompareObjects, EqualSetsDoNotDiffer) {
  EXPECT_TRUE(compare_objects(sample(), sample()).empty());
}

TEST(CompareObjects, WhatADeviceDecidesIsNoDifference) {
  auto actual = sample();
  actual.ports[0].mtu = 1500;
  actual.ports[0].mac = *parse_mac("02:00:00:00:00:01");
  EXPECT_TRUE(compare_objects(sample(), actual).empty());
}

TEST(CompareObjects, NamesMissingExtraAndDifferent) {
  auto actual = sample();
  actual.ports[0].devargs = "net_null1";
  actual.routes[0].id = RouteId(4);
  const auto found = compare_objects(sample(), actual);
  ASSERT_EQ(found.size(), 3u);
  EXPECT_NE(found[0].find("port 1 (uplink) differs: devargs is \"net_null1\" instead of \"net_null0\""),
            std::string::npos)
      << found[0];
  EXPECT_NE(found[1].find("lacks route 3 (10.244.2.0/24)"), std::string::npos) << found[1];
  EXPECT_NE(found[2].find("has route 4 (10.244.2.0/24) which nobody asked for"), std::string::npos)
      << found[2];
  for (const auto& text : found) EXPECT_NE(text.find("type: podwirectl reconcile"), std::string::npos);
}

}  // namespace
}  // namespace podwire::control
