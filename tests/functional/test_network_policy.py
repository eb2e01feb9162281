"""Kubernetes NetworkPolicy over real traffic: podwired and the engine, pods attached by the CNI plugin, a "pod" of another
node behind the tunnel and the node itself. What a case allows is proven by its arrival, what it denies by the drop counter
policy_denied, exactly; every probe over IPv4 and IPv6."""
import json
import os
import socket

import pytest

from support.cluster import FlannelMachine, HostEnd, vtep_mac
from support.ledger import drops
from support.node import Node
from support.probes import Probes
from support.process import wait_until
from support.rpc import RpcError

# shop/web: http 80, dns 53/UDP; shop/db: http 8080, pg 5432.
PODS = """
{apiVersion: v1, kind: Namespace, metadata: {name: shop, labels: {team: a}}}
---
{apiVersion: v1, kind: Namespace, metadata: {name: other, labels: {team: b}}}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: web, labels: {app: web, tier: front}}
spec: {containers: [{ports: [{name: http, containerPort: 80}, {name: dns, containerPort: 53, protocol: UDP}]}]}
---
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: db, labels: {app: db}}
spec: {containers: [{ports: [{name: http, containerPort: 8080}, {name: pg, containerPort: 5432}]}]}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: other, name: mon, labels: {app: mon, tier: front}}}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: other, name: web, labels: {app: web}}}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: plain, name: x}}
---
apiVersion: v1
kind: Pod
metadata: {namespace: other, name: far, labels: {app: far}}
status: {podIPs: [{ip: 10.244.3.10}, {ip: "fd00:10:244:3::10"}]}
"""
LOCAL = ("shop/web", "shop/db", "other/mon", "other/web", "plain/x")


def policy(spec, name="p", space="shop"):
    return (f"{{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {{namespace: {space}, name: {name}}}, "
            f"spec: {spec}}}\n")


class Lab:
    def __init__(self, fabric, directory):
        self.node = Node(fabric, "policy", 1, directory, vxlan={"mac": vtep_mac(1)})
        self.node.config["domains"][0]["stateful"] = True
        self.outside = FlannelMachine(fabric, [self.node])
        self.node.config["peers"] = [self.outside.peer()]
        self.node.start()
        self.ends = {name: self.attach(name) for name in LOCAL}
        self.ends["other/far"] = self.outside
        self.ends["host"] = HostEnd(self.node)
        self.probes = Probes(self.ends, lambda: drops(self.node.engine_call("stats")).get("policy_denied", 0))
        self.apply(PODS)

    def attach(self, name, **keys):
        pod = self.node.pod(name.replace("/", "-"), attach=False, **keys)
        space, own = name.split("/")
        pod.add(args=f"IgnoreUnknown=1;K8S_POD_NAMESPACE={space};K8S_POD_NAME={own}")
        return pod

    def apply(self, manifests):
        return self.node.call("policy_apply", {"manifests": manifests, "what": "test"})

    def delete(self, manifests):
        return self.node.call("policy_del", {"manifests": manifests})

    def close(self):
        self.probes.close()
        self.node.close()
        self.outside.close()


@pytest.fixture(scope="module")
def lab(fabric, directory):
    made = Lab(fabric, directory)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def no_policies(lab):
    """Every test begins and ends without policies, and with a ledger that balances."""
    ledger = lab.node.ledger(slack=4096)
    yield
    for entry in lab.node.call("policies")["policies"]:
        lab.node.call("policy_del", {"name": entry["name"]})
    ledger.check()


ALL = "podSelector: {}"
WEB = "podSelector: {matchLabels: {app: web}}"
EGRESS = "policyTypes: [Egress]"
# name: (specs in the namespace shop, allowed probes, denied probes)
CASES = {
    # Defaults.
    "no policy": ((), "other/mon>shop/web:udp/1 shop/web>other/mon:tcp/1 other/far>shop/db:udp/1", ""),
    "empty spec": (("{}",), "shop/web>other/mon:udp/1", "other/mon>shop/web:udp/1 shop/db>shop/web:tcp/1 other/far>shop/web:udp/1"),
    "selector only": ((f"{{{ALL}}}",), "shop/web>plain/x:udp/1", "plain/x>shop/db:udp/1 shop/web>shop/db:tcp/1"),
    "null selector": (("{podSelector: }",), "shop/web>plain/x:udp/1", "plain/x>shop/db:udp/1"),
    "other namespaces untouched": ((f"{{{ALL}, policyTypes: [Ingress, Egress]}}",), "plain/x>other/mon:udp/1 other/mon>other/web:tcp/1", "shop/web>other/mon:udp/1"),
    "selected pods only": ((f"{{{WEB}}}",), "plain/x>shop/db:udp/1 shop/web>shop/db:udp/1", "plain/x>shop/web:udp/1"),
    "types absent, no egress": ((f"{{{ALL}, ingress: []}}",), "shop/web>plain/x:tcp/1", "plain/x>shop/web:tcp/1"),
    "types absent, egress rules": ((f"{{{ALL}, egress: [{{to: [{{namespaceSelector: {{matchLabels: {{team: b}}}}}}]}}]}}",), "shop/web>other/mon:udp/1", "shop/web>plain/x:udp/1 plain/x>shop/web:udp/1"),
    "types absent, empty egress": ((f"{{{ALL}, egress: []}}",), "shop/web>plain/x:udp/1", "plain/x>shop/web:udp/1"),
    "types empty": ((f"{{{ALL}, policyTypes: []}}",), "shop/web>plain/x:udp/1", "plain/x>shop/web:udp/1"),
    "type Ingress ignores egress rules": ((f"{{{ALL}, policyTypes: [Ingress], egress: [{{ports: [{{port: 9}}]}}]}}",), "shop/web>plain/x:udp/1", "plain/x>shop/web:udp/1"),
    "type Egress without rules": ((f"{{{ALL}, {EGRESS}}}",), "plain/x>shop/web:udp/1", "shop/web>plain/x:udp/1 shop/web>other/far:tcp/1 shop/db>shop/web:udp/1"),
    "type Egress ignores ingress rules": ((f"{{{ALL}, {EGRESS}, ingress: []}}",), "plain/x>shop/web:tcp/1", "shop/web>plain/x:tcp/1"),
    "both types without rules": ((f"{{{ALL}, policyTypes: [Ingress, Egress]}}",), "", "plain/x>shop/web:udp/1 shop/web>plain/x:udp/1"),
    "an empty ingress rule": ((f"{{{ALL}, ingress: [{{}}]}}",), "plain/x>shop/web:udp/1 other/far>shop/db:tcp/1", ""),
    "an empty egress rule": ((f"{{{ALL}, {EGRESS}, egress: [{{}}]}}",), "shop/web>plain/x:udp/1 shop/web>other/far:tcp/1", ""),
    "empty from": ((f"{{{ALL}, ingress: [{{from: []}}]}}",), "plain/x>shop/web:udp/1", ""),
    "null from": ((f"{{{ALL}, ingress: [{{from: }}]}}",), "plain/x>shop/web:udp/1", ""),
    "empty to": ((f"{{{ALL}, {EGRESS}, egress: [{{to: []}}]}}",), "shop/web>plain/x:udp/1", ""),
    "empty ports": ((f"{{{ALL}, ingress: [{{ports: []}}]}}",), "plain/x>shop/web:udp/1 plain/x>shop/web:tcp/1", ""),
    # Peers.
    "pods of the own namespace": ((f"{{{ALL}, ingress: [{{from: [{{{WEB}}}]}}]}}",), "shop/web>shop/db:udp/1", "other/web>shop/db:udp/1 plain/x>shop/db:udp/1"),
    "all pods of the own namespace": ((f"{{{ALL}, ingress: [{{from: [{{podSelector: {{}}}}]}}]}}",), "shop/web>shop/db:tcp/1 shop/db>shop/web:udp/1", "other/web>shop/db:udp/1 other/far>shop/db:udp/1"),
    "a namespace": ((f"{{{ALL}, ingress: [{{from: [{{namespaceSelector: {{matchLabels: {{team: b}}}}}}]}}]}}",), "other/web>shop/db:udp/1 other/mon>shop/db:tcp/1", "shop/web>shop/db:udp/1 plain/x>shop/db:udp/1"),
    "every namespace": ((f"{{{ALL}, ingress: [{{from: [{{namespaceSelector: {{}}}}]}}]}}",), "other/web>shop/db:udp/1 plain/x>shop/db:udp/1 other/far>shop/db:udp/1", ""),
    "namespace and pod": ((f"{{{ALL}, ingress: [{{from: [{{namespaceSelector: {{matchLabels: {{team: b}}}}, {WEB}}}]}}]}}",), "other/web>shop/db:udp/1", "other/mon>shop/db:udp/1 shop/web>shop/db:udp/1"),
    "namespace or pod": ((f"{{{ALL}, ingress: [{{from: [{{namespaceSelector: {{matchLabels: {{team: b}}}}}}, {{{WEB}}}]}}]}}",), "other/mon>shop/db:udp/1 shop/web>shop/db:udp/1", "plain/x>shop/db:udp/1"),
    "a namespace by its name": ((f"{{{ALL}, ingress: [{{from: [{{namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: plain}}}}}}]}}]}}",), "plain/x>shop/db:udp/1", "other/web>shop/db:udp/1"),
    "nobody fits": ((f"{{{ALL}, ingress: [{{from: [{{podSelector: {{matchLabels: {{app: none}}}}}}]}}]}}",), "", "shop/web>shop/db:udp/1 plain/x>shop/db:udp/1"),
    "a pod of another node": ((f"{{{ALL}, ingress: [{{from: [{{namespaceSelector: {{}}, podSelector: {{matchLabels: {{app: far}}}}}}]}}]}}",), "other/far>shop/db:udp/1 other/far>shop/db:tcp/1", "other/web>shop/db:udp/1"),
    "all but the pod of another node": ((f"{{{ALL}, ingress: [{{from: [{{namespaceSelector: {{}}, podSelector: {{matchExpressions: [{{key: app, operator: NotIn, values: [far]}}]}}}}]}}]}}",), "other/web>shop/db:udp/1", "other/far>shop/db:udp/1"),
    "egress to pods": ((f"{{{ALL}, {EGRESS}, egress: [{{to: [{{podSelector: {{matchLabels: {{app: db}}}}}}]}}]}}",), "shop/web>shop/db:udp/1", "shop/web>other/web:udp/1 shop/db>shop/web:udp/1"),
    "egress to a namespace": ((f"{{{ALL}, {EGRESS}, egress: [{{to: [{{namespaceSelector: {{matchLabels: {{team: b}}}}}}]}}]}}",), "shop/web>other/mon:tcp/1 shop/web>other/far:udp/1", "shop/web>plain/x:udp/1"),
    "egress to a pod of another node": ((f"{{{ALL}, {EGRESS}, egress: [{{to: [{{namespaceSelector: {{}}, podSelector: {{matchLabels: {{app: far}}}}}}]}}]}}",), "shop/web>other/far:udp/1", "shop/web>other/web:udp/1"),
    "both sides must agree": ((f"{{{WEB}, {EGRESS}, egress: [{{to: [{{podSelector: {{}}}}]}}]}}", "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: none}}}]}]}"), "plain/x>shop/web:udp/1", "shop/web>shop/db:udp/1 shop/web>plain/x:udp/1"),
    # Expressions.
    "In": (("{podSelector: {matchExpressions: [{key: app, operator: In, values: [web, cache]}]}}",), "plain/x>shop/db:udp/1", "plain/x>shop/web:udp/1"),
    "NotIn": (("{podSelector: {matchExpressions: [{key: app, operator: NotIn, values: [web]}]}}",), "plain/x>shop/web:udp/1", "plain/x>shop/db:udp/1"),
    "Exists": (("{podSelector: {matchExpressions: [{key: tier, operator: Exists}]}}",), "plain/x>shop/db:udp/1", "plain/x>shop/web:udp/1"),
    "DoesNotExist": (("{podSelector: {matchExpressions: [{key: tier, operator: DoesNotExist}]}}",), "plain/x>shop/web:udp/1", "plain/x>shop/db:udp/1"),
    "labels and expressions": (("{podSelector: {matchLabels: {app: web}, matchExpressions: [{key: tier, operator: In, values: [back]}]}}",), "plain/x>shop/web:udp/1 plain/x>shop/db:udp/1", ""),
    "expressions on namespaces": ((f"{{{ALL}, ingress: [{{from: [{{namespaceSelector: {{matchExpressions: [{{key: team, operator: DoesNotExist}}]}}}}]}}]}}",), "plain/x>shop/db:udp/1", "other/web>shop/db:udp/1 shop/web>shop/db:udp/1"),
    "a peer without a label": ((f"{{{ALL}, ingress: [{{from: [{{namespaceSelector: {{}}, podSelector: {{matchExpressions: [{{key: app, operator: DoesNotExist}}]}}}}]}}]}}",), "plain/x>shop/db:udp/1", "other/web>shop/db:udp/1"),
    # Blocks.
    "a block": ((f"{{{ALL}, ingress: [{{from: [{{ipBlock: {{cidr: 10.244.3.0/24}}}}, {{ipBlock: {{cidr: 'fd00:10:244:3::/64'}}}}]}}]}}",), "other/far>shop/web:udp/1", "other/web>shop/web:udp/1"),
    "a block with a hole": ((f"{{{ALL}, ingress: [{{from: [{{ipBlock: {{cidr: 10.0.0.0/8, except: [10.244.3.0/24]}}}}, {{ipBlock: {{cidr: 'fd00::/16', except: ['fd00:10:244:3::/64']}}}}]}}]}}",), "other/web>shop/web:udp/1 shop/db>shop/web:udp/1", "other/far>shop/web:udp/1"),
    "a hole beside who is there": ((f"{{{ALL}, ingress: [{{from: [{{ipBlock: {{cidr: 10.0.0.0/8, except: [10.244.3.128/25]}}}}, {{ipBlock: {{cidr: 'fd00::/16', except: ['fd00:10:244:3:8000::/65']}}}}]}}]}}",), "other/far>shop/web:tcp/1", ""),
    "egress to a block": ((f"{{{ALL}, {EGRESS}, egress: [{{to: [{{ipBlock: {{cidr: 10.244.3.10/32}}}}, {{ipBlock: {{cidr: 'fd00:10:244:3::10/128'}}}}]}}]}}",), "shop/web>other/far:udp/1", "shop/web>other/web:udp/1 shop/web>shop/db:udp/1"),
    "egress to all but a block": ((f"{{{ALL}, {EGRESS}, egress: [{{to: [{{ipBlock: {{cidr: 0.0.0.0/0, except: [10.244.3.0/24]}}}}, {{ipBlock: {{cidr: '::/0', except: ['fd00:10:244:3::/64']}}}}]}}]}}",), "shop/web>other/web:udp/1", "shop/web>other/far:udp/1"),
    "host bits": ((f"{{{ALL}, ingress: [{{from: [{{ipBlock: {{cidr: 10.244.3.77/24}}}}, {{ipBlock: {{cidr: 'fd00:10:244:3::77/64'}}}}]}}]}}",), "other/far>shop/web:udp/1", "plain/x>shop/web:udp/1"),
    "a block or pods": ((f"{{{ALL}, ingress: [{{from: [{{ipBlock: {{cidr: 10.244.3.0/24}}}}, {{ipBlock: {{cidr: 'fd00:10:244:3::/64'}}}}, {{podSelector: {{}}}}]}}]}}",), "other/far>shop/web:udp/1 shop/db>shop/web:udp/1", "plain/x>shop/web:udp/1"),
    # Ports.
    "a TCP port": ((f"{{{ALL}, ingress: [{{ports: [{{port: 80}}]}}]}}",), "plain/x>shop/web:tcp/80", "plain/x>shop/web:tcp/81 plain/x>shop/web:udp/80"),
    "a UDP port": ((f"{{{ALL}, ingress: [{{ports: [{{port: 53, protocol: UDP}}]}}]}}",), "plain/x>shop/web:udp/53", "plain/x>shop/web:tcp/53 plain/x>shop/web:udp/54"),
    "a protocol": ((f"{{{ALL}, ingress: [{{ports: [{{protocol: UDP}}]}}]}}",), "plain/x>shop/web:udp/1 plain/x>shop/web:udp/65000", "plain/x>shop/web:tcp/1"),
    "an empty port": ((f"{{{ALL}, ingress: [{{ports: [{{}}]}}]}}",), "plain/x>shop/web:tcp/1", "plain/x>shop/web:udp/1"),
    "a range": ((f"{{{ALL}, ingress: [{{ports: [{{port: 100, endPort: 200}}]}}]}}",), "plain/x>shop/web:tcp/100 plain/x>shop/web:tcp/200", "plain/x>shop/web:tcp/99 plain/x>shop/web:tcp/201 plain/x>shop/web:udp/150"),
    "a range of UDP": ((f"{{{ALL}, ingress: [{{ports: [{{port: 100, endPort: 200, protocol: UDP}}]}}]}}",), "plain/x>shop/web:udp/150", "plain/x>shop/web:udp/201"),
    "two ports": ((f"{{{ALL}, ingress: [{{ports: [{{port: 80}}, {{port: 53, protocol: UDP}}]}}]}}",), "plain/x>shop/web:tcp/80 plain/x>shop/web:udp/53", "plain/x>shop/web:tcp/53"),
    "a port by name": ((f"{{{ALL}, ingress: [{{ports: [{{port: http}}]}}]}}",), "plain/x>shop/web:tcp/80 plain/x>shop/db:tcp/8080", "plain/x>shop/web:tcp/8080 plain/x>shop/db:tcp/80"),
    "a name of another protocol": ((f"{{{ALL}, ingress: [{{ports: [{{port: dns}}]}}]}}",), "", "plain/x>shop/web:udp/53 plain/x>shop/web:tcp/53"),
    "a UDP port by name": ((f"{{{ALL}, ingress: [{{ports: [{{port: dns, protocol: UDP}}]}}]}}",), "plain/x>shop/web:udp/53", "plain/x>shop/db:udp/53"),
    "peers and ports": ((f"{{{ALL}, ingress: [{{from: [{{{WEB}}}], ports: [{{port: 80}}]}}]}}",), "shop/web>shop/db:tcp/80", "shop/web>shop/db:tcp/81 plain/x>shop/db:tcp/80"),
    "two rules do not mix": ((f"{{{ALL}, ingress: [{{from: [{{{WEB}}}], ports: [{{port: 80}}]}}, {{from: [{{namespaceSelector: {{matchLabels: {{team: b}}}}}}], ports: [{{port: 81}}]}}]}}",), "shop/web>shop/db:tcp/80 other/mon>shop/db:tcp/81", "shop/web>shop/db:tcp/81 other/mon>shop/db:tcp/80"),
    "an egress port": ((f"{{{ALL}, {EGRESS}, egress: [{{ports: [{{port: 53, protocol: UDP}}]}}]}}",), "shop/web>plain/x:udp/53 shop/web>other/far:udp/53", "shop/web>plain/x:udp/54 shop/web>plain/x:tcp/53"),
    "an egress port by name": ((f"{{{ALL}, {EGRESS}, egress: [{{to: [{{podSelector: {{}}}}], ports: [{{port: http}}]}}]}}",), "shop/db>shop/web:tcp/80 shop/web>shop/db:tcp/8080", "shop/db>shop/web:tcp/8080 shop/web>shop/db:tcp/80"),
    "an egress port by name to anybody": ((f"{{{ALL}, {EGRESS}, egress: [{{ports: [{{port: http}}]}}]}}",), "shop/db>shop/web:tcp/80 shop/web>shop/db:tcp/8080", "shop/db>plain/x:tcp/80 shop/web>other/far:tcp/80"),
    # Several policies.
    "policies add up": ((f"{{{ALL}, ingress: [{{from: [{{{WEB}}}]}}]}}", "{podSelector: {matchLabels: {app: db}}, ingress: [{ports: [{port: 5432}]}]}"), "shop/web>shop/db:udp/1 plain/x>shop/db:tcp/5432", "plain/x>shop/db:udp/1 plain/x>shop/web:tcp/5432"),
    "deny-all beside an allowance": ((f"{{{ALL}, policyTypes: [Ingress, Egress]}}", f"{{{WEB}, ingress: [{{}}]}}"), "plain/x>shop/web:udp/1", "plain/x>shop/db:udp/1 shop/web>plain/x:udp/1"),
    "one for each direction": ((f"{{{ALL}}}", f"{{{ALL}, {EGRESS}, egress: [{{ports: [{{port: 7}}]}}]}}"), "shop/web>plain/x:tcp/7", "plain/x>shop/web:tcp/7 shop/web>plain/x:tcp/8"),
    "a name and a number": ((f"{{{ALL}, ingress: [{{ports: [{{port: http}}]}}]}}", f"{{{ALL}, ingress: [{{ports: [{{port: 9}}]}}]}}"), "plain/x>shop/web:tcp/80 plain/x>shop/web:tcp/9", "plain/x>shop/web:tcp/10"),
    "three policies, one pod": ((f"{{{WEB}, ingress: [{{ports: [{{port: 1}}]}}]}}", f"{{{WEB}, ingress: [{{ports: [{{port: 2}}]}}]}}", f"{{{WEB}, ingress: [{{ports: [{{port: 3}}]}}]}}"), "plain/x>shop/web:tcp/1 plain/x>shop/web:tcp/2 plain/x>shop/web:tcp/3", "plain/x>shop/web:tcp/4"),
}
assert len(CASES) >= 60


@pytest.mark.parametrize("name", CASES)
def test_semantics(lab, name):
    specs, allowed, denied = CASES[name]
    if specs:
        lab.apply("---\n".join(policy(spec, f"p{n}") for n, spec in enumerate(specs)))
    lab.probes.check(allowed.split(), denied.split())


def test_the_node_reaches_isolated_pods(lab):
    """As kubelet's health checks must."""
    lab.apply(policy(f"{{{ALL}, policyTypes: [Ingress, Egress]}}"))
    lab.probes.check(["host>shop/web:tcp/80", "host>shop/db:udp/1"])
    assert lab.node.ns.ping(lab.ends["shop/web"].ipv4)


def test_ping_needs_a_rule_without_ports(lab):
    web, x = lab.ends["shop/web"], lab.ends["plain/x"]
    lab.apply(policy(f"{{{ALL}, ingress: [{{ports: [{{port: 80}}]}}]}}"))
    before = lab.probes.denied()
    assert not x.ns.ping(web.ipv4, timeout=1)
    assert lab.probes.denied() == before + 1
    assert web.ns.ping(x.ipv4) and web.ns.ping(x.ipv6)  # replies of what is allowed pass
    lab.apply(policy(f"{{{ALL}, ingress: [{{}}]}}"))
    assert x.ns.ping(web.ipv4) and x.ns.ping(web.ipv6)


def test_a_pod_without_a_manifest_is_cut_off_until_it_has_one(lab):
    lab.ends["shop/late"] = lab.attach("shop/late")
    probes = ["shop/late>plain/x:udp/1", "plain/x>shop/late:udp/1"]
    lab.probes.check(probes)
    lab.apply(policy(f"{{{WEB}}}"))
    lab.probes.check(denied=probes)
    late = "{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: late, labels: {app: late}}}\n"
    lab.apply(late)
    lab.probes.check(probes)
    lab.delete(late)
    lab.probes.check(denied=probes)


def test_a_new_pod_has_its_policy_from_its_first_packet(lab):
    lab.apply("{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: born, labels: {app: web}}}\n---\n"
              + policy(f"{{{WEB}, ingress: [{{ports: [{{port: 80}}]}}]}}"))
    lab.ends["shop/born"] = lab.attach("shop/born")
    lab.probes.check(["plain/x>shop/born:tcp/80"], ["plain/x>shop/born:tcp/81"])


def test_changed_labels_are_followed(lab):
    x = "{{apiVersion: v1, kind: Pod, metadata: {{namespace: plain, name: x{}}}}}\n"
    space = "{{apiVersion: v1, kind: Namespace, metadata: {{name: plain{}}}}}\n"
    lab.apply(policy(f"{{{ALL}, ingress: [{{from: [{{namespaceSelector: {{matchLabels: {{team: c}}}}, {WEB}}}]}}]}}"))
    probe = ["plain/x>shop/db:udp/1"]
    lab.probes.check(denied=probe)
    lab.apply(x.format(", labels: {app: web}"))
    lab.probes.check(denied=probe)
    lab.apply(space.format(", labels: {team: c}"))
    lab.probes.check(probe)
    lab.apply(x.format(""))
    lab.probes.check(denied=probe)
    lab.delete(space.format(""))


@pytest.mark.parametrize("family", [4, 6])
def test_an_established_connection_is_cut_and_others_are_not(lab, family):
    web, x, db = (lab.ends[name] for name in ("shop/web", "plain/x", "shop/db"))
    kind = {4: socket.AF_INET, 6: socket.AF_INET6}[family]

    def connect(server_pod, port):
        with server_pod.ns:
            server = socket.socket(kind)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((server_pod.address(family), port))
        server.listen()
        with x.ns:
            client = socket.socket(kind)
        client.settimeout(20)
        client.connect((server_pod.address(family), port))
        accepted = server.accept()[0]
        accepted.settimeout(20)
        server.close()
        return client, accepted

    cut, kept = connect(web, 4000 + family), connect(db, 4000 + family)
    try:
        for client, server in (cut, kept):
            client.sendall(b"before")
            assert server.recv(16) == b"before"
        lab.apply(policy(f"{{{WEB}}}"))
        before = lab.probes.denied()
        cut[0].sendall(b"after")
        wait_until(lambda: lab.probes.denied() > before, 10, "the packet of a connection that is forbidden now is denied")
        cut[1].setblocking(False)
        with pytest.raises(BlockingIOError):
            cut[1].recv(16)
        kept[0].sendall(b"after")
        assert kept[1].recv(16) == b"after"
        kept[1].sendall(b"answer")
        assert kept[0].recv(16) == b"answer"
    finally:
        for sock in cut + kept:
            sock.close()


def test_replies_pass_where_nothing_may_begin(lab):
    """Isolated both ways but for one port: the answers of UDP and TCP need no rule."""
    web, x = lab.ends["shop/web"], lab.ends["plain/x"]
    lab.apply(policy(f"{{{ALL}, policyTypes: [Ingress, Egress], ingress: [{{ports: [{{port: 7, protocol: UDP}}]}}]}}"))
    with web.ns:
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with x.ns:
        client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    with server, client:
        server.bind((web.ipv4, 7))
        for sock in (server, client):
            sock.settimeout(20)
        for n in range(3):
            client.sendto(b"question%d" % n, (web.ipv4, 7))
            data, sender = server.recvfrom(64)
            server.sendto(data.replace(b"question", b"answer"), sender)
            assert client.recv(64) == b"answer%d" % n


def test_a_file_is_applied_as_a_whole_or_not_at_all(lab, directory):
    good = policy(f"{{{ALL}}}", "good")
    bad = policy("{podSelector: {}, ingress: [{ports: [{port: 0}]}]}", "bad")
    file = directory / "both.yaml"
    file.write_text(good + "---\n" + bad)
    done = lab.node.cli("policy", "apply", "-f", file, check=False)
    assert done.returncode == 1
    assert "NetworkPolicy shop/bad: spec.ingress[0].ports[0].port" in done.stderr
    assert lab.node.call("policies")["policies"] == []
    lab.probes.check(["plain/x>shop/web:udp/1"])


def test_the_cli(lab, directory):
    file = directory / "web.yaml"
    file.write_text(policy(f"{{{WEB}, ingress: [{{from: [{{podSelector: {{}}}}], ports: [{{port: http}}]}}]}}", "web"))
    cli = lab.node.cli
    assert cli("policy", "apply", "-f", file).stdout == "NetworkPolicy shop/web created\n"
    assert cli("policy", "apply", "--file", file).stdout == "NetworkPolicy shop/web unchanged\n"
    assert "shop/web" in cli("policy").stdout
    shown = json.loads(cli("policy", "show", "shop/web", "--json").stdout)["policies"]
    assert [(p["name"], p["pods_here"]) for p in shown] == [("shop/web", ["shop/web"])] or "shop/born" in shown[0]["pods_here"]
    assert "http" in cli("policy", "show", "shop/web").stdout
    explained = cli("policy", "explain", "shop/db", "--to", "shop/web", "--port", "80").stdout
    assert explained.startswith("allowed") and "policies: shop/web" in explained
    assert cli("policy", "explain", "plain/x", "--to", "shop/web", "--port", "80").stdout.startswith("denied")
    assert json.loads(cli("status", "--json").stdout)["differences"] == []
    assert cli("policy", "delete", "-f", file).stdout == "NetworkPolicy shop/web deleted\n"
    assert "nothing to delete" in cli("policy", "delete", "shop/web").stdout
    assert cli("policy", "apply", check=False).returncode == 2


def test_a_stateless_domain_is_told(lab):
    lab.apply("{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: flat, labels: {app: web}}}")
    pod = lab.attach("shop/flat", domain="lan")
    told = lab.apply(policy(f"{{{WEB}}}"))["not_enforced"]
    assert len(told) == 1 and "shop/flat" in told[0] and '"lan" is stateless' in told[0] and '"stateful": true' in told[0]
    pod.delete()


def test_policies_survive_daemon_and_engine(lab):
    lab.apply(policy(f"{{{WEB}, ingress: [{{ports: [{{port: 80}}]}}]}}"))
    probes = ["plain/x>shop/web:tcp/80"], ["plain/x>shop/web:tcp/81"]
    engine = lab.node.engine_pid
    lab.node.daemon.kill9()
    lab.probes.check(*probes)
    lab.node.daemon.start(lab.node.control_socket, 20)
    wait_until(lab.node.engine_ready, 20, "podwired is back")
    assert lab.node.engine_pid == engine
    lab.probes.check(*probes)
    os.kill(engine, 9)
    wait_until(lambda: lab.node.engine_ready() and lab.node.engine_pid != engine, 20, "a new engine")
    lab.probes.check(*probes)
    assert lab.node.status()["differences"] == []


def test_other_kinds_and_empty_files_are_refused(lab):
    with pytest.raises(RpcError, match="kind is"):
        lab.apply("{apiVersion: v1, kind: Service, metadata: {name: s}}")
    with pytest.raises(RpcError, match="holds no objects"):
        lab.apply("---\n")
