"""Joined, isolated and global domains over real traffic: two nodes with podwired, pods of three domains on both, told by
podwirectl on each. What reaches arrives, in both families, on one node and across; what does not is counted as no_route by
its sender's node, exactly. Stateless and stateful."""
import itertools
import json
import socket

import pytest

from support.ledger import drops
from support.netns import Fabric
from support.node import Node
from support.probes import Probes
from support.process import wait_until

DOMAINS = {"shop": 1, "stock": 2, "third": 3}


def prefixes(domain, node):
    return [f"10.5{DOMAINS[domain]}.{node}.0/24", f"fd00:5{DOMAINS[domain]}:{node}::/64"]


class Lab:
    """Ends are called DOMAIN+NODE, such as shop1."""

    def __init__(self, directory, stateful):
        self.stateful = stateful
        self.fabric = Fabric()
        self.nodes = [Node(self.fabric, f"join{n}", n, directory / f"{'ct' if stateful else 'st'}{n}") for n in (1, 2)]
        for node, other in zip(self.nodes, reversed(self.nodes)):
            node.config["domains"] = [{"name": name, "vni": 10 + number, "prefixes": prefixes(name, node.number),
                                       "stateful": stateful} for name, number in DOMAINS.items()]
            node.config["peers"] = [{"name": other.name, "address": other.underlay4, "domains":
                                     {name: {"prefixes": prefixes(name, other.number)} for name in DOMAINS}}]
            node.start()
        self.ends = {f"{name}{node.number}": self.attach(node, name) for node in self.nodes for name in DOMAINS}
        self.probes = Probes(self.ends, self.no_route)
        one, other = self.ends["shop1"], self.ends["shop2"]
        wait_until(lambda: one.ns.ping(other.ipv4) and one.ns.ping(other.ipv6), 20, "the nodes reach each other")

    @staticmethod
    def attach(node, domain):
        pod = node.pod(f"{domain}{node.number}", attach=False, domain=domain)
        pod.add(args=f"IgnoreUnknown=1;K8S_POD_NAMESPACE={domain};K8S_POD_NAME={domain}")
        return pod

    def no_route(self):
        return sum(drops(node.engine_call("stats")).get("no_route", 0) for node in self.nodes)

    def tell(self, *words):
        """The same on every node."""
        return [node.cli("domain", *words).stdout for node in self.nodes]

    def expect(self, reaching, protocols=("udp/7", "tcp/7")):
        """Pairs of domains that reach each other; all others do not."""
        reaching = {frozenset(pair) for pair in reaching}
        allowed, denied = [], []
        for one, other in itertools.permutations(self.ends, 2):
            together = one[:-1] == other[:-1] or frozenset((one[:-1], other[:-1])) in reaching
            (allowed if together else denied).extend(f"{one}>{other}:{protocol}" for protocol in protocols)
        self.probes.check(allowed, denied)

    def close(self):
        self.probes.close()
        for node in self.nodes:
            node.close()
        self.fabric.delete()


@pytest.fixture(scope="module", params=[False, True], ids=["stateless", "stateful"])
def lab(request, directory):
    made = Lab(directory, request.param)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def apart(lab):
    """Every test begins and ends with all domains apart, and with ledgers that balance."""
    ledgers = [node.ledger(slack=4096) for node in lab.nodes]
    yield
    for name in DOMAINS:
        lab.tell("isolate", name)
    for ledger in ledgers:
        ledger.check()


def test_domains_are_apart_until_they_are_joined(lab):
    lab.expect([], protocols=["udp/7"])
    for told in lab.tell("join", "shop", "stock"):
        assert told == "Domain shop reaches stock.\nDomain stock reaches shop.\n"
    lab.expect([("shop", "stock")])
    for node in lab.nodes:
        shown = {entry["name"]: entry["reaches"] for entry in json.loads(node.cli("domain", "--json").stdout)["domains"]}
        assert shown == {"shop": ["stock"], "stock": ["shop"], "third": []}
        assert json.loads(node.cli("status", "--json").stdout)["differences"] == []
    lab.tell("isolate", "stock")
    lab.expect([], protocols=["udp/7"])


def test_a_global_domain_reaches_all_and_the_others_stay_apart(lab):
    lab.tell("global", "third")
    lab.expect([("third", "shop"), ("third", "stock")])
    assert "all" in lab.nodes[0].cli("domain").stdout
    lab.tell("isolate", "third")
    lab.expect([], protocols=["udp/7"])


def test_explain_shows_the_way(lab):
    lab.tell("join", "shop", "stock")
    for number, way in ((1, "endpoint"), (2, "VTEP")):
        target = lab.ends[f"stock{number}"].ipv4
        text = lab.nodes[0].cli("explain", "--from", lab.ends["shop1"].ipv4, "--to", target, "--proto", "udp", "--dport",
                                "7").stdout
        assert f"route 10.52.{number}.0/24 leads into domain \"stock\"" in text and way in text


def test_a_traceroute_and_large_packets(lab):
    lab.tell("join", "shop", "stock")
    for target in ("stock1", "stock2"):
        for family in (4, 6):
            assert lab.ends["shop1"].ns.ping(lab.ends[target].address(family), size=4000), target
    done = lab.ends["shop1"].ns.run("ping", "-n", "-c", "1", "-W", "2", "-t", "1", lab.ends["stock2"].ipv4, check=False)
    assert "exceeded" in done.stdout


@pytest.mark.parametrize("target", ["stock1", "stock2"])
def test_isolating_cuts_what_is_established(lab, target):
    lab.tell("join", "shop", "stock")
    with lab.ends[target].ns:
        server = socket.create_server((lab.ends[target].ipv4, 4000))
    with lab.ends["shop1"].ns:
        client = socket.create_connection((lab.ends[target].ipv4, 4000), timeout=10)
    with server, client:
        peer, _ = server.accept()
        with peer:
            peer.settimeout(10)
            client.sendall(b"before")
            assert peer.recv(16) == b"before"
            lab.tell("isolate", "stock")
            dropped = lab.no_route()
            client.sendall(b"after")
            wait_until(lambda: lab.no_route() > dropped, 10, "the packet is dropped")
            peer.settimeout(1)
            with pytest.raises(TimeoutError):
                peer.recv(16)


def test_joins_stay_over_restarts(lab):
    lab.tell("join", "shop", "stock")
    node = lab.nodes[0]
    node.daemon.stop()
    node.start()
    assert "stock" in next(line for line in node.cli("domain").stdout.splitlines() if " shop " in line)
    lab.probes.check(["shop1>stock1:udp/7", "shop1>stock2:udp/7"], ["shop1>third1:udp/7"])


def test_what_cannot_be_is_refused(lab):
    node = lab.nodes[0]
    for words, text in ((("join", "shop", "stok"), 'did you mean "stock"?'), (("join", "shop"), "needs a second NAME"),
                        (("isolate", "nowhere"), "there are: shop, stock, third")):
        done = node.cli("domain", *words, check=False)
        assert done.returncode != 0 and text in done.stderr, done.stderr


def test_policies_know_who_comes_from_the_other_domain(lab):
    if not lab.stateful:
        done = lab.nodes[0].call("policy_apply", {"manifests": "{apiVersion: v1, kind: Namespace, metadata: {name: shop}}"})
        assert done["applied"]  # nothing to enforce in stateless domains
        return
    lab.tell("join", "shop", "stock", "third")
    manifests = "\n---\n".join(
        [f"{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}, labels: {{team: {name}}}}}}}" for name in DOMAINS] +
        [f"{{apiVersion: v1, kind: Pod, metadata: {{namespace: {name}, name: {name}}}}}" for name in DOMAINS] +
        ["{apiVersion: networking.k8s.io/v1, kind: NetworkPolicy, metadata: {namespace: stock, name: p}, spec: {podSelector: "
         "{}, ingress: [{from: [{namespaceSelector: {matchLabels: {team: shop}}}]}]}}"])
    node = lab.nodes[0]
    node.call("policy_apply", {"manifests": manifests})
    try:
        denials = Probes(lab.ends, lambda: drops(node.engine_call("stats")).get("policy_denied", 0))
        try:
            denials.check(["shop1>stock1:udp/8", "shop1>stock1:tcp/8"], ["third1>stock1:udp/8", "third1>stock1:tcp/8"])
        finally:
            denials.close()
    finally:
        node.call("policy_del", {"manifests": manifests})
