"""Tenants with the same prefixes, pod addresses and MACs on two nodes, routed and bridged: what one sends reaches its own
pods alone. Proven by captures at every pod and on the wire, in both families, ARP and neighbour discovery included. Which
pods are whose follows from their namespaces; tenants come and go while podwired runs."""
import contextlib
import json
import socket
import time

import pytest
from scapy.layers.inet import UDP
from scapy.layers.l2 import ARP, Ether
from scapy.layers.vxlan import VXLAN

from support.cni import CniError
from support.ledger import drops
from support.netns import Fabric
from support.node import Node
from support.process import wait_until
from support.wire import Wire

VNIS = {"red": 101, "blue": 102, "redlan": 111, "bluelan": 112}
SPACES = {"red": "shop", "blue": "stock", "redlan": "shop-lan", "bluelan": "stock-lan"}
TENANTS = list(VNIS)
FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
PORT = 9
ARRIVES_S = 10  # on a loaded machine


def routed_prefixes(node):
    return [f"10.60.{node}.0/24", f"fd00:60:{node}::/64"]


def domain(name, node):
    """Every routed tenant has the same prefixes, and so has every bridged one."""
    if not name.endswith("lan"):
        return {"name": name, "vni": VNIS[name], "prefixes": routed_prefixes(node)}
    return {"name": name, "vni": VNIS[name], "mode": "l2", "learning": True, "prefixes": ["10.61.0.0/24", "fd00:61::/64"]}


def pod_addresses(tenant, node, number):
    if tenant.endswith("lan"):
        return [f"10.61.0.{node * 16 + number}", f"fd00:61::{node}{number}"]
    return [f"10.60.{node}.{10 + number}", f"fd00:60:{node}::{number + 10:x}"]


def pod_mac(node, number):
    return f"02:60:00:00:{node:02x}:{number:02x}"


def space_args(space, name):
    return f"IgnoreUnknown=1;K8S_POD_NAMESPACE={space};K8S_POD_NAME={name}"


class Lab:
    """Pods are called TENANT+NODE+LETTER, such as red1a; those of one place have the same addresses and MAC."""

    def __init__(self, directory):
        self.fabric = Fabric()
        self.nodes = [Node(self.fabric, f"ten{n}", n, directory / f"ten{n}",
                           namespaces={SPACES[t]: t for t in ("red", "redlan")}) for n in (1, 2)]
        for node, other in zip(self.nodes, reversed(self.nodes)):
            node.config["domains"] = node.config["domains"][:1] + [domain(name, node.number) for name in TENANTS]
            node.config["peers"] = [{"name": other.name, "address": other.underlay4, "domains": {
                **{name: {"prefixes": routed_prefixes(other.number)} for name in ("red", "blue")},
                "redlan": {}, "bluelan": {}}}]
            node.start()
            for tenant in ("blue", "bluelan"):
                node.cli("domain", "assign", SPACES[tenant], tenant)
        self.pods, self.sinks = {}, {}
        for tenant in TENANTS:
            for node in self.nodes:
                for number, letter in enumerate("ab"):
                    self.attach(node, tenant, f"{tenant}{node.number}{letter}", number)
        one, other = self.pods["red1a"], self.pods["red2a"]
        wait_until(lambda: one.ns.ping(other.ipv4) and one.ns.ping(other.ipv6), 20, "the nodes reach each other")

    def attach(self, node, tenant, name, number, space=None):
        pod = node.pod(name, attach=False, runtimeConfig={"ips": pod_addresses(tenant, node.number, number),
                                                          "mac": pod_mac(node.number, number)})
        pod.add(args=space_args(space or SPACES[tenant], name))
        self.pods[name] = pod
        # Somebody listens, so that no answer quotes what was sent.
        self.sinks[name] = contextlib.ExitStack()
        for family, kind in FAMILIES.items():
            with pod.ns:
                sink = self.sinks[name].enter_context(socket.socket(kind, socket.SOCK_DGRAM))
            sink.bind((pod.address(family), PORT))
        return pod

    def detach(self, name):
        self.sinks.pop(name).close()
        pod = self.pods.pop(name)
        pod.node.pods.remove(pod)
        pod.delete()

    def wires(self, stack):
        """What arrives at every pod, and what each node sends to the other, from here on."""
        at_pods = {name: stack.enter_context(contextlib.closing(Wire(pod.ns, "eth0"))) for name, pod in self.pods.items()}
        between = [stack.enter_context(contextlib.closing(Wire(self.fabric.ns, f"port{n}"))) for n in (1, 2)]
        return at_pods, between

    def send(self, sender, target, family, text):
        with self.pods[sender].ns, socket.socket(FAMILIES[family], socket.SOCK_DGRAM) as sock:
            sock.sendto(text.encode(), (target, PORT))

    def close(self):
        for sink in self.sinks.values():
            sink.close()
        for node in self.nodes:
            node.close()
        self.fabric.delete()


@pytest.fixture(scope="module")
def lab(directory):
    made = Lab(directory)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def balanced(lab):
    ledgers = [node.ledger(slack=4096) for node in lab.nodes]
    yield
    for ledger in ledgers:
        ledger.check()


def gather(wire, into):
    """All that has come by now."""
    while (data := wire.receive_bytes(0)) is not None:
        into.append(data)


def seen_everywhere(at_pods, between, expected):
    """Reads all captures until every (pod, text) of `expected` has arrived, and a little on for what must not have."""
    frames = {name: [] for name in at_pods}
    crossed = []

    def complete():
        for name, wire in at_pods.items():
            gather(wire, frames[name])
        for wire in between:
            gather(wire, crossed)
        return all(any(text in frame for frame in frames[name]) for name, text in expected)
    wait_until(complete, ARRIVES_S, "every packet at its pod")
    time.sleep(0.2)
    complete()
    return frames, crossed


def of_tenant(name):
    return name[:-2]


def test_the_same_addresses_are_other_pods_for_every_tenant(lab):
    for tenant in TENANTS:
        assert lab.pods[f"{tenant}1a"].ipv4 == pod_addresses(tenant, 1, 0)[0]
        assert lab.pods[f"{tenant}1a"].mac == pod_mac(1, 0)
    for node in lab.nodes:
        for pod in json.loads(node.cli("endpoint", "--json").stdout)["endpoints"]:
            assert SPACES[pod["domain"]] == pod["pod"].split("/")[0], "the namespace says whose it is"
        assert node.status()["differences"] == []


def test_what_a_tenant_sends_reaches_its_own_pods_alone(lab):
    sent = []  # (sender, target pod, text)
    with contextlib.ExitStack() as stack:
        at_pods, between = lab.wires(stack)
        for sender in lab.pods:
            for place in ("1a", "1b", "2a", "2b"):
                target = of_tenant(sender) + place
                for family in FAMILIES if target != sender else ():
                    text = f"<{sender}>{target}/{family}>"
                    lab.send(sender, lab.pods[target].address(family), family, text)
                    sent.append((sender, target, text.encode()))
        frames, crossed = seen_everywhere(at_pods, between, {(target, text) for _, target, text in sent})
    for sender, target, text in sent:
        assert [name for name in frames if any(text in frame for frame in frames[name])] == [target], text
        carriers = [Ether(frame) for frame in crossed if text in frame]
        if sender[-2] == target[-2]:
            assert not carriers, f"{text} left its node"
            continue
        assert carriers, f"{text} did not cross the wire"
        for carrier in carriers:
            assert carrier[UDP].dport == 4789 and carrier[VXLAN].vni == VNIS[of_tenant(sender)], carrier.summary()


def test_questions_for_neighbours_stay_with_their_tenant(lab):
    """Bridged tenants flood them: to every pod of the tenant, on both nodes, and to no other."""
    nobody = {4: "10.61.0.250", 6: "fd00:61::fa"}
    ipv6 = socket.inet_pton(socket.AF_INET6, nobody[6])
    for asker in ("redlan1a", "bluelan2b"):
        tenant = of_tenant(asker)
        marks = {4: lambda frame: ARP in Ether(frame) and Ether(frame)[ARP].pdst == nobody[4],
                 6: lambda frame: frame[12:14] == b"\x86\xdd" and frame[20] == 58 and frame[54] == 135 and frame[62:78] == ipv6}
        with contextlib.ExitStack() as stack:
            at_pods, between = lab.wires(stack)
            for family in FAMILIES:
                lab.send(asker, nobody[family], family, "is anybody there")
            others = [name for name in lab.pods if of_tenant(name) == tenant and name != asker]
            frames, crossed = {name: [] for name in at_pods}, []

            def heard(name):
                gather(at_pods[name], frames[name])
                return all(any(mark(frame) for frame in frames[name]) for mark in marks.values())
            wait_until(lambda: all([heard(name) for name in others]), ARRIVES_S, f"{asker}'s questions")
            for name in lab.pods:
                heard(name)
                leaked = [frame for mark in marks.values() for frame in frames[name] if mark(frame)]
                assert name in others or not leaked, f"{asker} was heard by {name}"
            for wire in between:
                gather(wire, crossed)
        inside = [(Ether(frame)[VXLAN].vni, bytes(Ether(frame)[VXLAN].payload)) for frame in crossed if VXLAN in Ether(frame)]
        asked = {family: {vni for vni, frame in inside if mark(frame)} for family, mark in marks.items()}
        assert asked == {4: {VNIS[tenant]}, 6: {VNIS[tenant]}}


def test_a_namespace_without_its_domain_gets_no_other(lab):
    node = lab.nodes[0]
    assert "there is no domain \"green\"" in node.cli("domain", "assign", "garden", "green", check=False).stderr
    said = node.cli("domain", "assign", "shop", "blue", check=False).stderr
    assert "podwired.json says that namespace \"shop\" is in domain \"red\"" in said
    said = node.cli("domain", "assign", "stock", "red", check=False).stderr
    assert "podwirectl domain unassign stock" in said
    pod = node.pod("explicit", attach=False, domain="red")
    pod.add(args=space_args("stock", "explicit"))
    shown = json.loads(node.cli("port", "show", pod.container_id, "--json").stdout)
    assert "red" in json.dumps(shown), "what the network configuration names wins"
    pod.delete()
    node.pods.remove(pod)


def green(node, other, vni, *options):
    prefixes = routed_prefixes(node.number)
    peers = [f"--peer={other.name}={prefix}" for prefix in routed_prefixes(other.number)]
    return node.cli("domain", "add", "green", "--vni", vni, *(f"--prefix={prefix}" for prefix in prefixes), *peers, *options)


def test_tenants_come_and_go_while_podwired_runs(lab):
    """With the addresses that red and blue have already; kept over a restart; gone without a trace."""
    node1, node2 = lab.nodes
    engines = [node.engine_pid for node in lab.nodes]
    before = [sorted(entry["name"] for entry in node.call("domains")["domains"]) for node in lab.nodes]
    assert "VNI 101 is that of domain \"red\"" in node1.cli("domain", "add", "green", "--vni", 101, "--prefix", "10.1.0.0/24",
                                                           check=False).stderr
    for node, other in ((node1, node2), (node2, node1)):
        assert green(node, other, 103).stdout == "Domain green was added.\n"
        node.cli("domain", "assign", "garden", "green")
    for node in lab.nodes:
        for number, letter in enumerate("ab"):
            lab.attach(node, "green", f"green{node.number}{letter}", number, "garden")
    try:
        here, near, far = (lab.pods[name] for name in ("green1a", "green1b", "green2a"))
        wait_until(lambda: here.ns.ping(far.ipv4), ARRIVES_S, "the other node knows the tenant")
        assert node1.daemon.stop() == 0
        node1.daemon.start(node1.control_socket)
        wait_until(node1.engine_ready, 20, "podwired is back")
        assert [node.engine_pid for node in lab.nodes] == engines
        for target in (near, far):
            assert here.ns.ping(target.ipv4) and here.ns.ping(target.ipv6)
        assert node1.status()["differences"] == []
        with contextlib.ExitStack() as stack:
            at_pods, between = lab.wires(stack)
            lab.send("green1a", far.ipv4, 4, "<green>")
            frames, crossed = seen_everywhere(at_pods, between, {("green2a", b"<green>")})
        assert [name for name in frames if any(b"<green>" in frame for frame in frames[name])] == ["green2a"]
        assert {Ether(frame)[VXLAN].vni for frame in crossed if b"<green>" in frame} == {103}
        said = node1.cli("domain", "del", "green", check=False).stderr
        assert "podwirectl domain unassign garden" in said
        node1.cli("domain", "unassign", "garden")
        assert "has 2 pods or ports here" in node1.cli("domain", "del", "green", check=False).stderr
    finally:
        for name in [name for name in lab.pods if name.startswith("green")]:
            lab.detach(name)
    node2.cli("domain", "unassign", "garden")
    for node in lab.nodes:
        assert node.cli("domain", "del", "green").stdout == "Domain green was deleted.\n"
        assert node.cli("domain", "del", "green").stdout == "There is no domain green.\n"
    assert [sorted(entry["name"] for entry in node.call("domains")["domains"]) for node in lab.nodes] == before
    assert all(node.status()["differences"] == [] for node in lab.nodes)
    assert "podwired.json's" in node1.cli("domain", "del", "red", check=False).stderr
    late = node1.pod("late", attach=False, domain="green")
    with pytest.raises(CniError, match="which this node does not have"):
        late.add()


def test_pods_that_no_policy_selects_are_isolated_where_that_is_the_default(lab):
    node, other = lab.nodes
    green(node, other, 104, "--stateful", "--policy-default", "deny")
    assert [entry["policy_default"] for entry in node.call("domains")["domains"] if entry["name"] == "green"] == ["deny"]
    node.cli("domain", "assign", "garden", "green")
    web, client = lab.attach(node, "green", "web", 0, "garden"), lab.attach(node, "green", "client", 1, "garden")
    manifest = node.directory / "garden.yaml"
    manifest.write_text("""
{apiVersion: v1, kind: Pod, metadata: {namespace: garden, name: web, labels: {app: web}}}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: garden, name: client, labels: {app: client}}}
---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: garden, name: web}
spec: {podSelector: {matchLabels: {app: web}}, ingress: [{from: [{podSelector: {}}]}]}
""")

    def denied():
        return drops(node.engine_call("stats")).get("policy_denied", 0)
    try:
        before = denied()
        assert not client.ns.ping(web.ipv4, timeout=1)
        assert denied() > before
        node.cli("policy", "apply", "-f", manifest)
        assert client.ns.ping(web.ipv4) and client.ns.ping(web.ipv6)
        assert not web.ns.ping(client.ipv4, timeout=1), "nobody lets anybody in there"
        node.cli("policy", "delete", "-f", manifest)
        assert not client.ns.ping(web.ipv4, timeout=1)
    finally:
        node.cli("policy", "delete", "-f", manifest, check=False)
        for pod in (web, client):
            lab.detach(pod.name)
        node.cli("domain", "unassign", "garden")
        node.cli("domain", "del", "green")
    assert node.status()["differences"] == []
