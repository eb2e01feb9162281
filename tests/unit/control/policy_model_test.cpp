// What the compilation keeps, shares and redoes.
#include <time.h>

#include "tests/unit/control/policy_cluster.hpp"

namespace podwire::control {
namespace {

std::string pod(const std::string& space, const std::string& name, const std::string& more) {
  return "{apiVersion: v1, kind: Pod, metadata: {namespace: " + space + ", name: " + name + ", " + more +
         "}}";
}

TEST(PolicyModel, PodsThatNoSelectorTellsApartShareAnIdentity) {
  PolicyCluster c;
  c.apply(pod("other", "web2", "labels: {app: web}"));
  c.apply(pod("plain", "web", "labels: {app: web}"));
  c.compile();
  EXPECT_TRUE(c.marks("other/web").identity);
  EXPECT_EQ(c.marks("other/web"), c.marks("other/web2"));
  EXPECT_NE(c.marks("other/web").identity, c.marks("plain/web").identity);  // namespaces differ
  EXPECT_NE(c.marks("other/web").identity, c.marks("shop/web").identity);   // and ports
}

TEST(PolicyModel, IdsComeBackWithTheirNames) {
  PolicyCluster c;
  c.apply_spec("shop", "p", "{podSelector: {}}");
  c.compile();
  const auto before = c.marks("shop/web");
  c.model.erase_pod({"shop", "web"});
  c.model.erase_policy({"shop", "p"});
  c.compile();
  EXPECT_FALSE(c.marks("shop/web").identity);
  EXPECT_TRUE(c.snapshot->policies.empty());
  PolicyCluster again;
  again.ids = c.ids;
  again.model = PolicyModel();
  again.apply(pod("shop", "web", "labels: {app: web, tier: front}"));
  again.apply_spec("shop", "p", "{podSelector: {}}");
  again.compile();
  EXPECT_EQ(again.marks("shop/web").policy, before.policy);
}

TEST(PolicyModel, TheSamePoliciesAreOneForTheEngine) {
  PolicyCluster c;
  c.apply_spec("shop", "a", "{podSelector: {}}");
  c.apply_spec("shop", "b", "{podSelector: {matchLabels: {app: web}}}");
  c.compile();
  EXPECT_EQ(c.marks("shop/db").policy, c.marks("shop/bare").policy);
  EXPECT_NE(c.marks("shop/db").policy, c.marks("shop/web").policy);
  EXPECT_EQ(c.snapshot->policies.size(), 3u);  // a, a+b, and the isolation of shop
  EXPECT_EQ(c.snapshot->policies.at(c.marks("shop/web").policy)->name, "shop/a,b");
}

TEST(PolicyModel, ARuleForTheSamePortsIsOneRule) {
  PolicyCluster c;
  for (int i = 0; i < 50; ++i) {
    c.apply_spec("shop", "p" + std::to_string(i),
                 "{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}], ports: [{port: 1}]}]}");
  }
  c.compile();
  const auto& policy = *c.snapshot->policies.at(c.marks("shop/web").policy);
  ASSERT_EQ(policy.ingress->rules.size(), 1u);
  EXPECT_EQ(policy.ingress->rules[0].identities.size(), 7u);
  EXPECT_LE(policy.name.size(), 255u);
}

TEST(PolicyModel, AChangeRedoesOnlyWhatItTouches) {
  PolicyCluster c;
  for (const char* space : {"shop", "other", "plain"}) {
    c.apply_spec(space, "own",
                 "{podSelector: {}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}");
  }
  c.compile();
  const auto before = c.snapshot;
  c.apply(pod("other", "new", "labels: {app: web, v: '2'}"));  // a peer in its own namespace only
  c.compile();
  EXPECT_EQ(c.model.policies_recompiled(), 1u);
  EXPECT_EQ(before->policies.at(before->marks_of({"shop", "db"}, "").policy),
            c.snapshot->policies.at(c.marks("shop/db").policy));
  c.apply(pod("other", "new2", "labels: {app: web, v: '2'}"));  // the same identity again
  c.compile();
  EXPECT_EQ(c.model.policies_recompiled(), 0u);
  c.apply("{apiVersion: v1, kind: Namespace, metadata: {name: other, labels: {team: c}}}");  // no selector of
                                                                                             // namespaces
  c.compile();
  EXPECT_EQ(c.model.policies_recompiled(), 0u);
}

TEST(PolicyModel, FollowsLabelsOfPodsAndNamespaces) {
  PolicyCluster c;
  c.apply_spec("shop", "p",
               "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{namespaceSelector: {matchLabels: "
               "{team: b}}}]}]}");
  c.compile();
  EXPECT_FALSE(c.may("plain/x>shop/db:tcp/1"));
  c.apply("{apiVersion: v1, kind: Namespace, metadata: {name: plain, labels: {team: b}}}");
  c.compile();
  EXPECT_TRUE(c.may("plain/x>shop/db:tcp/1"));
  c.model.erase_namespace("plain");
  c.compile();
  EXPECT_FALSE(c.may("plain/x>shop/db:tcp/1"));
  EXPECT_TRUE(c.may("plain/x>shop/bare:tcp/1"));
  c.apply(pod("shop", "bare", "labels: {app: db}"));
  c.compile();
  EXPECT_FALSE(c.may("plain/x>shop/bare:tcp/1"));
  EXPECT_TRUE(c.may("other/web>shop/bare:tcp/1"));
}

TEST(PolicyModel, APodOfTheSameNameMayBeAnother) {
  PolicyCluster c;
  c.apply(pod("shop", "sts-0", "uid: one, labels: {app: none}"));
  c.apply_spec("shop", "p", "{podSelector: {matchLabels: {app: db}}}");
  c.compile();
  EXPECT_FALSE(c.snapshot->marks_of({"shop", "sts-0"}, "one").policy);
  EXPECT_FALSE(c.snapshot->marks_of({"shop", "sts-0"}, "").policy);
  const auto other = c.snapshot->marks_of({"shop", "sts-0"}, "two");
  EXPECT_EQ(other.policy, c.marks("shop/ghost").policy);
  EXPECT_FALSE(other.identity);
}

TEST(PolicyModel, ACopyDoesNotChangeItsOriginal) {
  PolicyCluster c;
  c.apply_spec("shop", "p", "{podSelector: {matchLabels: {app: db}}}");
  c.compile();
  PolicyCluster copy = c;
  copy.apply_spec("shop", "q", "{podSelector: {}}");
  copy.apply(pod("other", "web2", "labels: {app: web}"));
  copy.model.erase_pod({"other", "web"});
  copy.compile();
  EXPECT_FALSE(copy.may("other/mon>shop/web:tcp/1"));
  c.compile();
  EXPECT_EQ(c.model.policies_recompiled(), 0u);
  EXPECT_TRUE(c.may("other/mon>shop/web:tcp/1"));
  EXPECT_TRUE(c.marks("other/web").identity);
}

TEST(PolicyModel, RefusesWhatNoMessageHolds) {
  PolicyCluster c;
  c.model.expect(100'000);
  for (int i = 0; i < 9000; ++i)
    c.apply(pod("other", "p" + std::to_string(i), "labels: {n: '" + std::to_string(i) + "'}"));
  std::string ports;
  for (int i = 1; i <= 20; ++i) ports += "{port: " + std::to_string(i) + "}, ";
  c.apply_spec("shop", "p",
               "{podSelector: {}, ingress: [{from: [{namespaceSelector: {}}], ports: [" + ports + "]}]}");
  const auto compiled = c.model.compile([n = 0u](const auto&, const auto& names) mutable {
    std::vector<std::uint32_t> ids;
    for (std::size_t i = 0; i < names.size(); ++i) ids.push_back(++n);
    return Result<std::vector<std::uint32_t>>(ids);
  });
  ASSERT_FALSE(compiled);
  EXPECT_EQ(compiled.error().code, ErrorCode::kExhausted);
  EXPECT_NE(compiled.error().message.find("shop/p"), std::string::npos) << compiled.error().message;
}

// 1,000 policies over 5,000 pods: what evidence asks of one change, with room for a loaded machine.
TEST(PolicyModel, OneChangeAmongThousandsIsCheap) {
  PolicyCluster c;
  c.model.expect(6000);
  for (int i = 0; i < 5000; ++i) {
    c.apply(pod("ns" + std::to_string(i % 50), "p" + std::to_string(i),
                "labels: {app: a" + std::to_string(i % 1000) + ", pod: p" + std::to_string(i) + "}"));
  }
  const auto spec = [](int i, int port) {
    return "{podSelector: {matchLabels: {app: a" + std::to_string(i) +
           "}}, ingress: [{from: [{namespaceSelector: {}, podSelector: {matchLabels: {app: a" +
           std::to_string((i + 1) % 1000) +
           "}}}, {podSelector: {}}], ports: [{port: " + std::to_string(port) + "}]}]}";
  };
  for (int i = 0; i < 1000; ++i)
    c.apply_spec("ns" + std::to_string(i % 50), "p" + std::to_string(i), spec(i, 80));
  c.compile();
  // Of this process: the machine may have other work.
  const auto now_ms = [] {
    timespec t{};
    ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) * 1e3 + static_cast<double>(t.tv_nsec) / 1e6;
  };
  double total = 0, longest = 0;
  constexpr int kChanges = 20;
  for (int i = 0; i < kChanges; ++i) {
    const auto start = now_ms();
    PolicyModel next = c.model;
    std::swap(next, c.model);
    if (i % 2 == 0) {
      c.apply_spec("ns" + std::to_string(i % 50), "p" + std::to_string(i), spec(i, 81));
    } else {
      c.apply(pod("ns" + std::to_string(i % 50), "p" + std::to_string(i), "labels: {app: changed}"));
    }
    c.compile();
    EXPECT_LE(c.model.policies_recompiled(), 60u);
    total += now_ms() - start;
    longest = std::max(longest, now_ms() - start);
  }
  std::cout << "one change among 1,000 policies and 5,000 pods: mean " << total / kChanges
            << " ms of CPU, longest " << longest << " ms\n";
}

}  // namespace
}  // namespace podwire::control
