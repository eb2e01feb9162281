// Manifests that policy refuses, and how it says so.
#include <gtest/gtest.h>

#include "control/manifest/manifest.hpp"
#include "control/policy/objects.hpp"

namespace podwire::control {
namespace {

std::string refusal(const std::string& yaml) {
  const auto manifests = read_manifests(yaml, "m");
  if (!manifests) return "yaml: " + manifests.error().message;
  const auto object = read_policy_manifest(manifests->at(0));
  if (!object) return object.error().message;
  if (object->kind == "Pod") {
    const auto pod = read_pod(*object);
    return pod ? "" : pod.error().message;
  }
  if (object->kind == "Namespace") {
    const auto space = read_namespace(*object);
    return space ? "" : space.error().message;
  }
  const auto policy = read_network_policy(*object);
  return policy ? "" : policy.error().message;
}

std::string spec_refusal(const std::string& spec) {
  return refusal(
      "{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p}, spec: " + spec + "}");
}

struct Refused {
  std::string spec;
  std::string message;
};
class RefusedSpec : public testing::TestWithParam<Refused> {};

TEST_P(RefusedSpec, NamesFieldValueAndRemedy) {
  const auto message = spec_refusal(GetParam().spec);
  EXPECT_NE(message.find("NetworkPolicy default/p: spec"), std::string::npos) << message;
  EXPECT_NE(message.find(GetParam().message), std::string::npos) << message;
}

std::string in_rule(const std::string& peer) {
  return "{ingress: [{from: [" + peer + "]}]}";
}
std::string in_port(const std::string& port) {
  return "{ingress: [{ports: [" + port + "]}]}";
}

INSTANTIATE_TEST_SUITE_P(
    Table, RefusedSpec,
    testing::Values(
        Refused{"{podSelectr: {}}", "did you mean \"podSelector\""}, Refused{"[]", "must be an object"},
        Refused{"{podSelector: {matchLabel: {}}}", "did you mean \"matchLabels\""},
        Refused{"{podSelector: {matchLabels: {a: 1}}}",
                "podSelector.matchLabels.a must be a string, not an integer (1); quote it"},
        Refused{"{podSelector: {matchLabels: {a: yes}}}", "quote it"},
        Refused{"{podSelector: {matchLabels: {'-a': x}}}", "is no label key"},
        Refused{"{podSelector: {matchLabels: {a: 'b c'}}}", "is no label value"},
        Refused{"{podSelector: {matchExpressions: [{key: a, operator: in, values: [b]}]}}", "must be"},
        Refused{"{podSelector: {matchExpressions: [{key: a}]}}", "operator is missing"},
        Refused{"{podSelector: {matchExpressions: [{key: a, operator: In}]}}", "values is empty"},
        Refused{"{podSelector: {matchExpressions: [{key: a, operator: Exists, values: [b]}]}}",
                "must be left out"},
        Refused{"{policyTypes: [ingress]}", "must be Ingress, Egress or both"},
        Refused{"{policyTypes: Ingress}", "policyTypes must be an array"},
        Refused{"{ingress: {}}", "ingress must be an array"},
        Refused{"{ingress: [~]}", "ingress[0] must be an object"},
        Refused{"{ingress: [{to: []}]}", "spec.ingress[0]"},
        Refused{"{egress: [{from: []}]}", "spec.egress[0]"},
        Refused{in_rule("{}"), "spec.ingress[0].from[0] names no peer"},
        Refused{in_rule("{podSelector: }"), "names no peer"},
        Refused{in_rule("{podSelector: {}, ipBlock: {cidr: 1.2.3.4/32}}"), "ipBlock stands alone"},
        Refused{in_rule("{ipBlock: {}}"), "ipBlock.cidr is missing"},
        Refused{in_rule("{ipBlock: {cidr: 1.2.3.4}}"), "1.2.3.4"},
        Refused{in_rule("{ipBlock: {cidr: 1.2.3.0/24, except: [1.2.3.0/24]}}"),
                "must be smaller than 1.2.3.0/24"},
        Refused{in_rule("{ipBlock: {cidr: 1.2.3.0/24, except: [1.2.4.0/25]}}"), "lie in it"},
        Refused{in_rule("{ipBlock: {cidr: 1.2.3.0/24, except: ['::/128']}}"), "lie in it"},
        Refused{in_port("{port: 0}"), "spec.ingress[0].ports[0].port"},
        Refused{in_port("{port: 65536}"), "65535"},
        Refused{in_port("{port: '80'}"), "a number stands without quotes"},
        Refused{in_port("{port: HTTP}"), "no port's name"},
        Refused{in_port("{port: a--b}"), "no port's name"},
        Refused{in_port("{protocol: tcp}"), "must be TCP, UDP or SCTP"},
        Refused{in_port("{endPort: 90}"), "endPort needs port"},
        Refused{in_port("{port: http, endPort: 90}"), "not with the name \"http\""},
        Refused{in_port("{port: 90, endPort: 80}"), "endPort"},
        Refused{in_port("{ports: 1}"), "spec.ingress[0].ports[0]"}));

TEST(PolicyManifest, RefusesOtherKindsAndVersions) {
  EXPECT_NE(refusal("{apiVersion: v1, kind: Service, metadata: {name: s}}")
                .find("must be NetworkPolicy, Namespace or Pod"),
            std::string::npos);
  EXPECT_NE(refusal("{apiVersion: extensions/v1beta1, kind: NetworkPolicy, metadata: {name: s}}")
                .find("must be \"networking.k8s.io/v1\""),
            std::string::npos);
  EXPECT_NE(refusal("{apiVersion: v1, kind: Pod}").find("metadata.name is \"\""), std::string::npos);
  EXPECT_NE(refusal("{apiVersion: v1, kind: Pod, metadata: {name: A}}").find("lower-case"),
            std::string::npos);
  EXPECT_NE(
      refusal("{apiVersion: v1, kind: Pod, metadata: {name: a, namespace: a.b}}").find("metadata.namespace"),
      std::string::npos);
  EXPECT_NE(refusal("{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {name: p}, spce: {}}")
                .find("did you mean \"spec\""),
            std::string::npos);
  EXPECT_NE(refusal("{apiVersion: v1, kind: Pod, metadata: {name: a, labels: {x: ~}}}").find("labels.x"),
            std::string::npos);
  EXPECT_NE(refusal("{apiVersion: v1, kind: Pod, metadata: {name: a}, spec: {containers: [{}, {ports: "
                    "[{containerPort: 0}]}]}}")
                .find("spec.containers[1].ports[0].containerPort"),
            std::string::npos);
}

TEST(PolicyManifest, KeepsOnlyWhatIsRead) {
  const auto manifests = read_manifests(R"(
apiVersion: v1
kind: Pod
metadata: {name: web, annotations: {a: b}, managedFields: [{}], uid: u1, labels: {app: web}}
spec:
  nodeName: n1
  initContainers: [{image: x, ports: [{name: once, containerPort: 1}]}, {restartPolicy: Always, ports: [{name: side, containerPort: 2}]}]
  containers: [{image: y, env: [], ports: [{name: http, containerPort: 80, hostPort: 8080}]}]
status: {phase: Running, podIP: 10.0.0.9, conditions: []}
)",
                                        "m");
  ASSERT_TRUE(manifests) << manifests.error().message;
  const auto object = read_policy_manifest(manifests->at(0));
  ASSERT_TRUE(object) << object.error().message;
  const auto text = object->body.dump();
  for (const char* gone : {"annotations", "managedFields", "nodeName", "image", "conditions"})
    EXPECT_EQ(text.find(gone), std::string::npos) << text;
  const auto pod = read_pod(*object);
  ASSERT_TRUE(pod) << pod.error().message;
  EXPECT_EQ(pod->key, (ObjectKey{"default", "web"}));
  EXPECT_EQ(pod->uid, "u1");
  ASSERT_EQ(pod->ports.size(), 2u);
  EXPECT_EQ(pod->ports[0].name, "http");
  EXPECT_EQ(pod->ports[1].name, "side");
  ASSERT_EQ(pod->addresses.size(), 1u);
}

TEST(PolicyManifest, APodThatEndedOrSharesItsNodesNetworkHasNoAddress) {
  for (const char* more : {"status: {phase: Succeeded, podIP: 10.0.0.9}",
                           "spec: {hostNetwork: true}, status: {podIP: 10.0.0.9}"}) {
    const auto manifests =
        read_manifests("{apiVersion: v1, kind: Pod, metadata: {name: a}, " + std::string(more) + "}", "m");
    ASSERT_TRUE(manifests) << manifests.error().message;
    const auto object = read_policy_manifest(manifests->at(0));
    ASSERT_TRUE(object);
    const auto pod = read_pod(*object);
    ASSERT_TRUE(pod) << pod.error().message;
    EXPECT_TRUE(pod->addresses.empty());
  }
}

}  // namespace
}  // namespace podwire::control
