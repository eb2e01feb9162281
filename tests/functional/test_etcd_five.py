"""Five nodes and one real etcd. Whatever dies or is cut off, what has a path loses no packet: numbered datagrams flow between
pods all the while. Then everything converges; the times are printed, and what is asserted of them is what was promised. One
domain goes by tunnel, one plainly, and the two are joined."""
import contextlib
import itertools
import json
import threading
import time

import pytest

from support.etcd import Etcd, Members
from support.netns import Fabric
from support.node import Node
from support.paced import Stream, undisturbed
from support.process import alive, kill9, wait_until

COUNT = 5
CONVERGED = 5  # seconds after healing
RANGES = {"shop": ["10.61.0.0/16", "fd00:61::/48"], "stock": ["10.62.0.0/16", "fd00:62::/48"]}
GHOST = {"addresses": ["192.168.100.77"], "udp_port": 4789, "mac": "02:00:00:00:00:77"}
GHOST_PREFIX = "10.61.77.0/24"


def five_domains():
    return [{"name": "shop", "vni": 1, "prefixes": RANGES["shop"]},
            {"name": "stock", "vni": 2, "prefixes": RANGES["stock"], "transport": "subnet"}]


class Five(Members):
    """`shop` and `stock`: a pod of that domain on each node."""

    def __init__(self, directory):
        self.fabric = Fabric()
        self.etcd = Etcd(self.fabric, directory / "etcd").start()
        self.podwire = [self.make(directory, number) for number in range(1, COUNT + 1)]
        self.at_once(lambda node: node.start(timeout=60), self.podwire)
        self.shop = [node.pod(f"shop{node.number}", domain="shop") for node in self.podwire]
        self.stock = [node.pod(f"stock{node.number}", domain="stock") for node in self.podwire]
        self.settle()

    def make(self, directory, number):
        node = Node(self.fabric, f"five{number}", number, directory / f"f{number}", domains=five_domains(),
                    cluster={"mode": "etcd", "endpoints": [self.etcd.url]})
        engine = node.directory / "engine.json"
        engine.write_text(json.dumps({**json.loads(engine.read_text()), "memory_mib": 96, "mbufs": 8192, "jumbo_mbufs": 64}))
        # As fabric.attach has named them: etcd was first.
        node.port = f"port{number + 1}"
        return node

    @staticmethod
    def at_once(work, items):
        failures = []

        def one(item):
            try:
                work(item)
            except BaseException as failure:
                failures.append(failure)
        threads = [threading.Thread(target=one, args=(item,)) for item in items]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if failures:
            raise failures[0]

    def settle(self, within=20):
        """Every node knows the others, and its engine agrees."""
        for node in self.podwire:
            wait_until(lambda: len(node.call("peers")["peers"]) == COUNT - 1, within, f"peers of {node.name}")
            wait_until(lambda: node.status()["differences"] == [], within, f"{node.name} agrees with its engine")

    def streams(self, *numbers):
        """From each of these nodes to the next one, and back to the first, in both domains."""
        ring = [number - 1 for number in numbers]
        return [Stream(pods[one], pods[other]) for pods in (self.shop, self.stock)
                for one, other in zip(ring, ring[1:] + ring[:1])]

    def cut(self, node, *, wholly):
        """Off from etcd, or from everybody."""
        if wholly:
            self.fabric.ns.ip(f"link set {node.port} nomaster")
        else:
            ways = {node.port: self.etcd.address, self.etcd.port: node.underlay4}
            self.fabric.ns.nft("table netdev cut {" + "".join(
                f"chain {port} {{ type filter hook ingress device {port} priority 0; ip daddr {to} drop; }}; "
                for port, to in ways.items()) + "}")

    def heal(self, node):
        self.fabric.ns.ip(f"link set {node.port} master br0")
        self.fabric.ns.run("nft", "delete", "table", "netdev", "cut", check=False)

    def haunt(self, appears):
        """A node that is only in the store comes or goes."""
        network, length = GHOST_PREFIX.split("/")
        values = {"/podwire/nodes/ghost": json.dumps(GHOST),
                  f"/podwire/prefixes/shop/{network}-{length}": json.dumps({"node": "ghost"})}
        for key, value in values.items():
            self.etcd.ctl(*(("put", key, value) if appears else ("del", key)))

    def is_haunted(self, node):
        return any(route["prefix"] == GHOST_PREFIX for route in node.call("routes")["routes"])


@pytest.fixture(scope="module")
def nodes(directory):
    five = Five(directory)
    yield five
    five.close()


def assert_pairs(ones, others, families=(4,)):
    for one, other in itertools.product(ones, others):
        for family in families:
            assert one is other or one.ns.ping(other.address(family)), f"{one.name} → {other.name}, IPv{family}"


def seconds_until(condition, within, what):
    begun = time.monotonic()
    wait_until(condition, within, what)
    return time.monotonic() - begun


def test_pods_of_all_nodes_reach_each_other(nodes):
    for pods in (nodes.shop, nodes.stock):
        assert_pairs(pods, pods, families=(4, 6))
    owners = nodes.etcd.owners("shop")
    assert sorted(owners.values()) == sorted(2 * [node.name for node in nodes.podwire])


def test_neighbours_are_reached_plainly_where_the_domain_says_so(nodes):
    node, other = nodes.podwire[0], nodes.podwire[1]
    routes = [route for route in node.call("routes")["routes"] if route["source"] == "peer"]
    network = nodes.stock[1].ipv4.rsplit(".", 1)[0] + ".0/24"
    assert [hop.get("address") for route in routes if route["prefix"] == network for hop in route["next_hops"]] == [
        other.underlay4]
    network = nodes.shop[1].ipv4.rsplit(".", 1)[0] + ".0/24"
    assert [hop.get("peer") for route in routes if route["prefix"] == network for hop in route["next_hops"]] == [other.name]
    capture = nodes.fabric.ns.popen("tcpdump", "-n", "-l", "-c", "1", "-i", other.port, "icmp", "and", "dst", "host",
                                    nodes.stock[1].ipv4)
    with contextlib.closing(capture.stdout):
        for line in capture.stdout:
            if "listening on" in line:
                break
        assert nodes.stock[0].ns.ping(nodes.stock[1].ipv4)
        capture.wait(timeout=10)
        assert "ICMP echo request" in capture.stdout.read()  # as it is, without a tunnel


def test_joined_domains_reach_each_other_on_all_nodes(nodes):
    shop, stock = nodes.shop[:2], nodes.stock[1:3]
    assert not shop[0].ns.ping(stock[0].ipv4, timeout=1)
    for node in nodes.podwire:
        node.cli("domain", "join", "shop", "stock")
    assert_pairs(nodes.shop, nodes.stock)
    assert_pairs(stock, shop, families=(4, 6))
    # Nobody has to be told of a node that comes, and one that is not there is reached from neither.
    shown = {route["prefix"]: route for route in nodes.podwire[0].call("routes")["routes"] if route["source"] == "join"}
    assert set(shown) == {*RANGES["shop"], *RANGES["stock"]}
    for node in nodes.podwire:
        node.cli("domain", "isolate", "shop")
    assert not shop[0].ns.ping(stock[0].ipv4, timeout=1)
    assert_pairs(nodes.stock[:2], nodes.stock[:2])


def test_the_store_dies_and_comes_back(nodes):
    with undisturbed(*nodes.streams(1, 2, 3, 4, 5)):
        nodes.etcd.kill9()
        node = nodes.podwire[0]
        wait_until(lambda: any("store has not answered" in d for d in node.status()["differences"]), 30, "status tells of it")
        nodes.etcd.start()
        print(f"etcd was back: all nodes agreed after {seconds_until(lambda: nodes.settle() is None, 30, 'agreement'):.1f} s")


def test_a_daemon_and_another_nodes_engine_are_killed(nodes):
    daemon, engine = nodes.podwire[2], nodes.podwire[3]
    pid = engine.engine_pid
    with undisturbed(*nodes.streams(1, 2, 3, 5)):
        daemon.daemon.kill9()
        kill9(pid)
        wait_until(lambda: not alive(pid), 5, "engine gone")
        took = seconds_until(lambda: nodes.shop[0].ns.ping(nodes.shop[3].ipv4, timeout=0.2), 30, "the killed engine's pod answers")
        print(f"engine killed: its pods answered other nodes after {took:.1f} s")
        # A node comes while the daemon is down; it has heard of it soon after it is back.
        nodes.haunt(True)
        daemon.start(timeout=60)
        took = seconds_until(lambda: nodes.is_haunted(daemon), CONVERGED, "it knows of the new node")
        print(f"podwired killed and back: it knew what had come meanwhile after {took:.1f} s")
    nodes.haunt(False)
    nodes.settle()
    assert_pairs(nodes.shop, nodes.shop)


def test_a_node_is_cut_off_from_the_store_then_from_all_and_heals(nodes):
    node = nodes.podwire[4]
    try:
        with undisturbed(*nodes.streams(1, 2, 3, 4)):
            with undisturbed(*nodes.streams(5, 1)):
                nodes.cut(node, wholly=False)
                nodes.haunt(True)
                wait_until(lambda: nodes.is_haunted(nodes.podwire[0]), CONVERGED, "the others know of the new node")
                wait_until(lambda: any("store has not answered" in d for d in node.status()["differences"]), 30, "it is told")
                assert not nodes.is_haunted(node)
            nodes.cut(node, wholly=True)
            wait_until(lambda: not nodes.shop[0].ns.ping(nodes.shop[4].ipv4, timeout=0.3), 5, "it is cut off")
            nodes.heal(node)
            begun = time.monotonic()
            for pods in (nodes.shop, nodes.stock):
                wait_until(lambda: pods[0].ns.ping(pods[4].ipv4, timeout=0.2), CONVERGED, "its pods answer")
            answered = time.monotonic() - begun
            wait_until(lambda: nodes.is_haunted(node), CONVERGED, "it knows of the new node")
            took = time.monotonic() - begun
        print(f"healed: its pods answered after {answered:.1f} s, it knew what had come meanwhile after {took:.1f} s")
        assert took <= CONVERGED
    finally:
        nodes.heal(node)
        nodes.haunt(False)
    nodes.settle()
    assert_pairs(nodes.shop, nodes.shop)
    assert_pairs(nodes.stock, nodes.stock)
