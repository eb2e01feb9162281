// Intent's rules about policies and the endpoints that carry them.
#include <gtest/gtest.h>

#include "dataplane/tables/intent.hpp"
#include "tests/unit/tables/objects.hpp"

namespace podwire::engine {
namespace {

using namespace testing_objects;

api::Policy policy(std::uint32_t id, std::size_t peers = 1) {
  api::Policy object;
  object.id = PolicyId(id);
  object.name = "policy" + std::to_string(id);
  object.ingress.emplace();
  api::PolicyRule rule;
  rule.identities.assign(peers, IdentityId(7));
  object.ingress->rules.push_back(rule);
  return object;
}

class IntentPolicies : public testing::Test {
 protected:
  void SetUp() override {
    auto home = domain(2);
    home.stateful = true;
    auto carrier = with_policy(pod(1, 3, {"10.244.1.10"}), 4);
    const auto staged = intent.stage({.ports = {tap(3), tap(5, 3)},
                                      .domains = {home, domain(3, {})},
                                      .endpoints = {carrier},
                                      .policies = {policy(4)}},
                                     {});
    ASSERT_TRUE(staged) << staged.error().message;
  }
  static api::Endpoint with_policy(api::Endpoint endpoint, std::uint32_t id) {
    endpoint.policy = PolicyId(id);
    return endpoint;
  }
  void refused(const api::ObjectSet& put, const api::IdSet& remove, const std::string& text) {
    const auto staged = intent.stage(put, remove);
    ASSERT_FALSE(staged) << "accepted, expected: " << text;
    EXPECT_NE(staged.error().message.find(text), std::string::npos) << staged.error().message;
    EXPECT_EQ(intent.policies().size(), 1u);
    EXPECT_EQ(intent.endpoints_with(PolicyId(4)), std::set<EndpointId>{EndpointId(1)});
  }

  Intent intent;
};

TEST_F(IntentPolicies, AnEndpointsPolicyMustExist) {
  refused({.endpoints = {with_policy(pod(1, 3, {"10.244.1.10"}), 5)}}, {}, "policy 5 does not exist");
  refused({}, {.policies = {PolicyId(4)}},
          "policy 4 \"policy4\" cannot be deleted: endpoint 1 \"ns/pod1\" has it");
}

TEST_F(IntentPolicies, ItsDomainMustBeStateful) {
  refused({.endpoints = {with_policy(pod(2, 5, {"10.9.0.1"}, 3), 4)}}, {},
          "domain 3 \"domain3\" is not stateful");
  refused({.domains = {domain(2)}}, {}, "endpoint 1 \"ns/pod1\": has policy 4");
}

TEST_F(IntentPolicies, ItMustHaveAddresses) {
  refused({.endpoints = {with_policy(pod(1, 3, {}), 4)}}, {}, "no addresses");
}

TEST_F(IntentPolicies, ThereIsALimitToAllTogether) {
  api::ObjectSet many;
  for (std::uint32_t id = 10; id < 10 + kMaxPolicyEntries / 500'000 + 1; ++id)
    many.policies.push_back(policy(id, 500'000));
  refused(many, {}, "there can be 8388608 rules, identities and blocks");
}

TEST_F(IntentPolicies, BothMayGoInOneChange) {
  const auto staged = intent.stage({}, {.endpoints = {EndpointId(1)}, .policies = {PolicyId(4)}});
  ASSERT_TRUE(staged) << staged.error().message;
  EXPECT_TRUE(intent.policies().empty());
  EXPECT_TRUE(intent.endpoints_with(PolicyId(4)).empty());
  intent.rollback(*staged);
  EXPECT_EQ(intent.endpoints_with(PolicyId(4)).size(), 1u);
  const auto surplus = intent.surplus({});
  EXPECT_EQ(surplus.policies, std::vector<PolicyId>{PolicyId(4)});
}

}  // namespace
}  // namespace podwire::engine
