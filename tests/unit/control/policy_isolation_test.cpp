// Domains that let nobody in whom no policy allows, and policies among tenants with the same addresses.
#include "tests/unit/control/policy_cluster.hpp"

namespace podwire::control {
namespace {

TEST(PolicyIsolation, IsWhatNoPolicyOpens) {
  PolicyCluster c;
  c.apply_spec("shop", "web", "{podSelector: {matchLabels: {app: web}}, ingress: [{}]}");
  c.apply_spec("shop", "db", "{podSelector: {matchLabels: {app: db}}, policyTypes: [Egress], egress: []}");
  c.compile();
  auto snapshot = *c.snapshot;
  EXPECT_EQ(snapshot.isolating({}), PolicyId()) << "nobody asked for it";
  snapshot.add_isolation();
  const auto alone = snapshot.isolating({});
  ASSERT_TRUE(alone);
  EXPECT_EQ(*snapshot.policies.at(alone)->ingress, api::PolicySide{}) << "nobody is let in";
  EXPECT_FALSE(snapshot.policies.at(alone)->egress);
  const auto web = c.marks("shop/web").policy, db = c.marks("shop/db").policy;
  EXPECT_EQ(snapshot.isolating(web), web) << "its policy says who may come in";
  const auto closed = snapshot.isolating(db);
  EXPECT_NE(closed, db);
  EXPECT_EQ(*snapshot.policies.at(closed)->ingress, api::PolicySide{});
  EXPECT_EQ(snapshot.policies.at(closed)->egress, snapshot.policies.at(db)->egress);
  EXPECT_FALSE(snapshot.policies.at(db)->ingress) << "as it was, for other domains";
}

TEST(PolicyIsolation, AddressesOfOtherTenantsMeanOtherPods) {
  const auto blocks = [](const PolicyCluster& c) {
    const auto& policy = *c.snapshot->policies.at(c.marks("shop/web").policy);
    std::size_t count = 0;
    for (const auto& rule : policy.ingress->rules) count += rule.blocks.size();
    return count;
  };
  const std::string spec =
      "{podSelector: {}, ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: "
      "far}}}]}]}";
  PolicyCluster together;
  together.apply_spec("shop", "p", spec);
  together.compile();
  EXPECT_EQ(blocks(together), 2u) << "other/far has an address of each family";
  PolicyCluster apart;
  apart.model.set_meets([](const std::string& one, const std::string& other) { return one == other; });
  apart.apply_spec("shop", "p", spec);
  apart.compile();
  EXPECT_EQ(blocks(apart), 0u);
}

}  // namespace
}  // namespace podwire::control
