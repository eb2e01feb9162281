"""Single pods as routes that a BGP daemon announces ("announce" of a domain): two Podwire nodes with BIRD and the example of
config/bird.conf, and a router that BIRD tells where each pod is. Both nodes have the same prefix and hand out different parts."""
import json
import re

import pytest

from support.bird import Bird, node_config
from support.cni import CniError
from support.netns import Fabric, Netns
from support.node import Node
from support.process import wait_until

ROUTER = {4: "192.168.100.251", 6: "fd00:100::251"}
COMMON = """
log stderr all;
router id 192.168.100.251;
protocol device {}
protocol kernel { ipv4 { import none; export where source = RTS_BGP; }; }
protocol kernel { ipv6 { import none; export where source = RTS_BGP; }; }
"""
SESSION = """
protocol bgp {name}_{family} {{
  local as 65100; neighbor {address} as {asn}; passive on; ipv{family} {{ import all; export all; }};
}}
"""


class Network:
    def __init__(self, directory):
        self.fabric = Fabric()
        self.nodes = []
        for number, announce in ((1, "pods"), (2, "both")):
            node = Node(self.fabric, f"node{number}", number, directory / f"n{number}")
            node.config["domains"] = [
                {"name": "default", "vni": 1, "transport": "routed", "announce": announce,
                 "prefixes": ["10.244.0.0/24", "fd00:10:244::/64"],
                 "ranges": [{"start": f"10.244.0.{number * 32}", "end": f"10.244.0.{number * 32 + 31}"},
                            {"start": f"fd00:10:244::{number}00", "end": f"fd00:10:244::{number}ff"}]},
                {"name": "quiet", "vni": 2, "prefixes": ["10.250.0.0/24"]}]
            self.nodes.append(node.start())
        self.router = Netns("tor")
        self.fabric.attach(self.router, "eth0", [f"{ROUTER[4]}/24", f"{ROUTER[6]}/64"])
        sessions = "".join(SESSION.format(name=node.name, family=family, address=address, asn=65000 + node.number)
                           for node in self.nodes for family, address in ((4, node.underlay4), (6, node.underlay6)))
        self.birds = [Bird(self.router, "tor", directory / "tor", COMMON + sessions)]
        for node in self.nodes:
            self.birds.append(Bird(node.ns, node.name, directory / f"bird{node.number}", self.one_router(node)))
        self.birds[0].wait_established(4)

    def one_router(self, node):
        text = node_config(NODE_AS=65000 + node.number, NODE4=node.underlay4, TOR1_AS=65100)
        return "".join(line for line in text.splitlines(keepends=True) if "tor2_" not in line)

    def route(self, address):
        """By whom the router reaches it; None: by nobody."""
        family = "-6" if ":" in address else "-4"
        shown = self.router.ip(f"{family} route show {address}").stdout
        return match.group(1) if (match := re.search(r"via (\S+)", shown)) else None

    def wait_route(self, address, node):
        via = None if node is None else node.underlay6 if ":" in address else node.underlay4
        wait_until(lambda: self.route(address) == via, 20, f"the router has {address} via {via}")

    def close(self):
        for bird in self.birds:
            bird.close()
        for node in self.nodes:
            node.close()
        self.router.delete()
        self.fabric.delete()


@pytest.fixture(scope="module")
def network(directory):
    made = Network(directory)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def ledgers(network):
    checks = [node.ledger(slack=256) for node in network.nodes]
    yield
    for check in checks:
        check.check()


def announced(node, table="main"):
    """Destinations of the routes that the node's kernel has for others to announce."""
    shown = [json.loads(node.ns.ip(f"-j {family} route show table {table} proto 80").stdout or "[]") for family in ("-4", "-6")]
    return {route["dst"] for routes in shown for route in routes if route.get("metric") == 80}


def test_the_router_learns_each_pod(network):
    one, other = network.nodes
    assert announced(one) == set() and announced(other) == {"10.244.0.0/24", "fd00:10:244::/64"}
    pods = [one.pod("a"), one.pod("b"), other.pod("c")]
    one.pod("quiet", domain="quiet")
    for pod in pods:
        for address in pod.addresses():
            network.wait_route(address, pod.node)
            assert network.router.ping(address)
    assert announced(one) == {address for pod in pods[:2] for address in pod.addresses()}
    assert announced(other) == {"10.244.0.0/24", "fd00:10:244::/64", *pods[2].addresses()}
    assert pods[0].ns.ping(ROUTER[4]) and pods[2].ns.ping(ROUTER[6])
    assert one.ns.ping(pods[0].ipv4) and one.ns.ping(pods[0].ipv6), "the node's own programs need them too"
    for node in network.nodes:
        mirrored = {r["prefix"] for r in json.loads(node.cli("route", "--json").stdout)["routes"] if r["source"] == "kernel"}
        assert not mirrored & {f"{address}/{128 if ':' in address else 32}" for pod in pods if pod.node is node
                               for address in pod.addresses()}, "its own routes are not mirrored back"
    pods[1].delete()
    for address in pods[1].addresses():
        network.wait_route(address, None)
    assert announced(one) == set(pods[0].addresses())


def test_a_pod_that_moves_is_followed(network):
    one, other = network.nodes
    ips = ["10.244.0.200/24", "fd00:10:244::f00/64"]
    for node in (one, other, one):
        pod = node.pod("moves", runtimeConfig={"ips": ips})
        for address in pod.addresses():
            network.wait_route(address, node)
            wait_until(lambda address=address: network.router.ping(address), 10, f"{address} is reached at {node.name}")
        pod.delete()
    network.wait_route("10.244.0.200", None)


def test_named_ports_and_their_endpoints_are_announced(network):
    node = network.nodes[0]
    before = announced(node)
    node.cli("port", "add", "vm1", "--kind", "memif", "--socket", f"{node.directory}/vm1.sock", "--address", "10.244.0.210")
    assert announced(node) - before == {"10.244.0.210"}
    node.cli("endpoint", "add", "vm1-second", "--port", "vm1", "--address", "10.244.0.211")
    assert announced(node) - before == {"10.244.0.210", "10.244.0.211"}
    network.wait_route("10.244.0.211", node)
    node.cli("endpoint", "del", "vm1-second")
    assert announced(node) - before == {"10.244.0.210"}
    node.cli("port", "del", "vm1")
    assert announced(node) == before


def test_an_add_that_fails_announces_nobody(network):
    node = network.nodes[0]
    before = announced(node)
    pod = node.pod("late", attach=False)
    device_info = f"{node.directory}/none/device.json"
    pod.config.update(interface="memif", runtimeConfig={"CNIDeviceInfoFile": device_info})
    (node.directory / "none").write_text("a file, so that no directory can be made here")
    with pytest.raises(CniError):  # after the engine had the pod
        pod.add()
    assert announced(node) == before


def test_restarts_keep_what_is_and_sweep_what_is_not(network):
    node = network.nodes[0]
    pod = node.pod("stays")
    before = announced(node)
    monitor = node.ns.popen("ip", "-4", "monitor", "route")
    node.daemon.stop()
    node.ns.ip("route add 10.244.0.99 via 10.244.0.1 dev podwire0 onlink proto 80 metric 80")
    assert network.router.ping(pod.ipv4)
    node.daemon.start(node.control_socket)
    wait_until(node.engine_ready, 20, "the engine is connected again")
    assert announced(node) == before
    monitor.terminate()
    heard = monitor.communicate(timeout=10)[0]
    assert "10.244.0.99" in heard and pod.ipv4 not in heard, heard
    assert network.router.ping(pod.ipv4) and network.router.ping(pod.ipv6)

    node.ns.ip(f"route del {pod.ipv4} dev podwire0 proto 80 metric 80")
    told = node.status()["differences"]
    assert len(told) == 1 and f"{pod.ipv4}/32" in told[0] and "podwirectl reconcile" in told[0], told
    node.cli("reconcile")
    assert announced(node) == before and node.status()["differences"] == []
    network.wait_route(pod.ipv4, node)
