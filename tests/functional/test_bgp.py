"""Pods without tunnels: two Podwire nodes, two routers and a server beyond them, all with BIRD and real BGP and BFD sessions,
the nodes' over their host interfaces with the example of config/bird.conf. Node 1 tracks connections, node 2 does not.
Figures are printed; what is asserted of time is far above them."""
import json
import re
import time

import pytest
from scapy.all import IP, UDP, IPv6, rdpcap

from support.bird import Bird, node_config
from support.netns import Fabric, Netns, veth
from support.node import Node
from support.process import wait_until
from support.traffic import file_server, send_file, wait_for_line

SERVER = {4: "203.0.113.9", 6: "2001:db8:9::9"}
OTHER = {4: "198.51.100.9", 6: "2001:db8:5::9"}
MANY = [f"203.0.113.{n}" for n in range(10, 18)]
PREFIXES = {"203.0.113.0/24", "198.51.100.0/24"}
FAMILIES = [4, 6]

COMMON = """
log stderr all;
router id {id};
protocol device {{}}
protocol bfd {{ interface "*" {{ min rx interval 150 ms; min tx interval 150 ms; multiplier 5; }}; }}
debug protocols {{ states, events }};
filter to_kernel {{ if source != RTS_BGP then reject; {source} accept; }}
protocol kernel {{ merge paths on; ipv4 {{ import none; export filter to_kernel; }}; }}
protocol kernel {{ merge paths on; ipv6 {{ import none; export filter to_kernel; }}; }}
"""
SESSION = """
protocol bgp {name} {{
  local as {own}; neighbor {address} as {other}; {bfd} graceful restart on;
  ipv{family} {{ import all; export where source ~ [RTS_BGP, RTS_STATIC]; }};
}}
"""
STATIC = """
protocol static {name} {{ ipv{family}; route {prefix} blackhole; }}
"""


# The server is known by these addresses only.
SOURCE = f"if net.type = NET_IP4 then krt_prefsrc = {SERVER[4]}; else krt_prefsrc = {SERVER[6]};"


def sessions(own, neighbours, bfd="bfd on;"):
    """`neighbours`: name → (AS, {family: address})."""
    return "".join(SESSION.format(name=f"{name}_{family}", own=own, address=address, other=other, bfd=bfd, family=family)
                   for name, (other, addresses) in neighbours.items() for family, address in addresses.items())


class Router:
    def __init__(self, fabric, server, number, directory, nodes):
        self.number, self.asn = number, 65099 + number
        self.ns = Netns(f"tor{number}")
        for key in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"):
            self.ns.sysctl(key, 1)
        self.inside = {4: f"192.168.100.{250 + number}", 6: f"fd00:100::25{number}"}
        fabric.attach(self.ns, "eth0", [f"{self.inside[4]}/24", f"{self.inside[6]}/64"])
        veth(self.ns, "eth1", server, f"eth{number}")
        self.outside = {4: f"172.31.{number}.1", 6: f"fd00:31:{number}::1"}
        far = {4: f"172.31.{number}.2", 6: f"fd00:31:{number}::2"}
        for ns, device, own in ((self.ns, "eth1", self.outside), (server, f"eth{number}", far)):
            ns.ip(f"addr add {own[4]}/24 dev {device}")
            ns.ip(f"addr add {own[6]}/64 dev {device} nodad")
        config = COMMON.format(id=self.inside[4], source="") + sessions(self.asn, {"server": (65300, far)})
        # A node whose daemon starts anew keeps its routes.
        config += sessions(self.asn, {node.name: (65000 + node.number, {4: node.underlay4, 6: node.underlay6})
                                      for node in nodes}, "bfd graceful;")
        self.bird = Bird(self.ns, f"tor{number}", directory / f"tor{number}", config)

    def cut(self, up):
        for device in ("eth0", "eth1"):
            self.ns.ip(f"link set {device} {'up' if up else 'down'}")
        if up:
            self.ns.ip(f"addr replace {self.inside[6]}/64 dev eth0 nodad")
            self.ns.ip(f"addr replace {self.outside[6]}/64 dev eth1 nodad")

    def close(self):
        self.bird.close()
        self.ns.delete()


class Network:
    def __init__(self, directory):
        self.directory = directory
        self.fabric = Fabric()
        self.server = Netns("server")
        for address in (SERVER[4], OTHER[4], *MANY):
            self.server.ip(f"addr add {address}/32 dev lo")
        for address in (SERVER[6], OTHER[6]):
            self.server.ip(f"addr add {address}/128 dev lo nodad")
        self.nodes = []
        for number in (1, 2):
            node = Node(self.fabric, f"node{number}", number, directory / f"n{number}")
            node.config["domains"] = [{"name": "default", "vni": 1, "transport": "routed", "stateful": number == 1,
                                       "prefixes": [f"10.244.{number}.0/24", f"fd00:10:244:{number}::/64"]}]
            node.config["routing"] = {"announce_table": 1080}
            self.nodes.append(node.start())
        self.routers = [Router(self.fabric, self.server, number, directory, self.nodes) for number in (1, 2)]
        statics = "".join(STATIC.format(name=f"{name}_{family}", family=family, prefix=prefix)
                          for name, prefixes in (("first", {4: "203.0.113.0/24", 6: "2001:db8:9::/48"}),
                                                 ("second", {4: "198.51.100.0/24", 6: "2001:db8:5::/48"}))
                          for family, prefix in prefixes.items())
        self.server_bird = Bird(self.server, "server", directory / "server", COMMON.format(id="203.0.113.9", source=SOURCE) + statics + sessions(
            65300, {f"tor{router.number}": (router.asn, router.outside) for router in self.routers}))
        self.birds = [Bird(node.ns, node.name, directory / f"bird{node.number}",
                           node_config(NODE_AS=65000 + node.number, NODE4=node.underlay4)) for node in self.nodes]
        self.pods = [node.pod(f"{node.name}-pod") for node in self.nodes]
        for bird in [*self.birds, self.server_bird]:
            bird.wait_established(4)
        for router in self.routers:
            router.bird.wait_established(6)
        for node in self.nodes:
            wait_until(lambda node=node: len(hops(node, "203.0.113.0/24")) == 2, 30, f"both ways at {node.name}")
            wait_until(lambda node=node: len(hops(node, "2001:db8:9::/48")) == 2, 30, f"both IPv6 ways at {node.name}")
        for pod in self.pods:
            for family in FAMILIES:
                wait_until(lambda pod=pod, family=family: pod.ns.ping(SERVER[family]), 30, f"{pod.name} reaches the server")

    def close(self):
        for bird in [*self.birds, self.server_bird]:
            bird.close()
        for router in self.routers:
            router.close()
        for node in self.nodes:
            node.close()
        self.server.delete()
        self.fabric.delete()


def hops(node, prefix):
    """Addresses of the next hops that the node has for a prefix of the underlay."""
    routes = json.loads(node.cli("route", "--json").stdout)
    routes = routes["routes"] if isinstance(routes, dict) else routes
    found = [r for r in routes if r["prefix"] == prefix and r["source"] == "kernel"]
    return {hop.get("address") for route in found for hop in route["next_hops"]}


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


class Capture:
    """What passes an interface, as scapy's packets."""

    def __init__(self, ns, device, file):
        self.file = str(file)
        self.process = ns.popen("tcpdump", "-i", device, "-U", "-w", self.file, "ip or ip6")
        wait_for_line(self.process, "listening on")

    def packets(self):
        self.process.terminate()
        self.process.wait()
        return rdpcap(self.file)


@pytest.mark.parametrize("family", FAMILIES)
def test_pods_and_the_world_reach_each_other_as_they_are(network, family):
    layer = IP if family == 4 else IPv6
    captures = [Capture(router.ns, "eth0", network.directory / f"tor{router.number}-{family}.pcap")
                for router in network.routers]
    for pod in network.pods:
        with file_server(network.server):
            for direction in ("put", "get"):
                print(f"{pod.name} v{family} {direction}: {send_file(pod.ns, SERVER[family], direction, mib=10)} Mbit/s")
        with file_server(pod.ns):
            print(f"to {pod.name} v{family}: {send_file(network.server, pod.address(family), 'put', mib=10)} Mbit/s")
    seen = [packet for capture in captures for packet in capture.packets() if layer in packet]
    pairs = {(packet[layer].src, packet[layer].dst) for packet in seen}
    for pod in network.pods:
        assert {(pod.address(family), SERVER[family])} <= pairs, "as they are on the way out"
        assert any(dst == pod.address(family) for _, dst in pairs), "and on the way in"
    nodes = {address for node in network.nodes for address in (node.underlay4, node.underlay6)}
    assert not {pair for pair in pairs if SERVER[family] in pair and set(pair) & nodes}, "nothing was translated"
    assert not [packet for packet in seen if UDP in packet and 4789 in (packet[UDP].dport, packet[UDP].sport)]


@pytest.mark.parametrize("family", FAMILIES)
def test_pods_of_two_nodes_reach_each_other_without_a_tunnel(network, family):
    one, other = network.pods
    layer = IP if family == 4 else IPv6
    capture = Capture(network.fabric.ns, "br0", network.directory / f"between-{family}.pcap")
    with file_server(other.ns):
        for direction in ("put", "get"):
            print(f"v{family} {direction}: {send_file(one.ns, other.address(family), direction, mib=10)} Mbit/s")
    assert other.ns.ping(one.address(family))
    tunnels = [p for p in capture.packets() if layer in p and UDP in p and 4789 in (p[UDP].dport, p[UDP].sport)]
    assert not tunnels


@pytest.mark.parametrize("family", FAMILIES)
def test_nodes_and_pods_reach_each_other(network, family):
    for pod, node in zip(network.pods, network.nodes):
        own = node.underlay4 if family == 4 else node.underlay6
        assert node.ns.ping(pod.address(family)) and pod.ns.ping(own)
    far = network.nodes[1]
    assert network.pods[0].ns.ping(far.underlay4 if family == 4 else far.underlay6)


def test_a_node_is_a_router_to_the_eye(network):
    pod = network.pods[0]
    done = network.server.run("ping", "-n", "-c", "1", "-W", "3", "10.244.1.200", check=False)
    assert "Unreachable" in done.stdout  # by the node: nobody has the address
    done = pod.ns.run("ping", "-n", "-c", "1", "-W", "3", "172.16.9.9", check=False)
    assert "Unreachable" in done.stdout
    done = pod.ns.run("ping", "-n", "-c", "1", "-W", "3", "-t", "1", SERVER[4], check=False)
    assert "10.244.1.1" in done.stdout and "exceeded" in done.stdout
    assert network.server.ping("10.244.1.1")
    assert int(pod.ns.run("cat", "/sys/class/net/eth0/mtu").stdout) == 1500


def test_prefixes_stand_in_the_kernels_tables(network):
    for node in network.nodes:
        for table in ("main", "1080"):
            for flag, prefix in (("-4", f"10.244.{node.number}.0/24"), ("-6", f"fd00:10:244:{node.number}::/64")):
                shown = node.ns.ip(f"{flag} route show table {table} proto 80").stdout
                assert prefix in shown and "podwire0" in shown, (table, shown)
        assert json.loads(node.cli("status", "--json").stdout)["differences"] == []


def test_a_withdrawn_route_stops_traffic(network):
    for pod in network.pods:
        assert pod.ns.ping(OTHER[4])
    network.server_bird.command("disable second_4")
    try:
        for pod, node in zip(network.pods, network.nodes):
            wait_until(lambda node=node: not hops(node, "198.51.100.0/24"), 20, "withdrawn")
            done = pod.ns.run("ping", "-n", "-c", "1", "-W", "3", OTHER[4], check=False)
            assert "Unreachable" in done.stdout
            assert pod.ns.ping(SERVER[4])
    finally:
        network.server_bird.command("enable second_4")
    for pod, node in zip(network.pods, network.nodes):
        wait_until(lambda node=node: len(hops(node, "198.51.100.0/24")) == 2, 20, "announced again")
        wait_until(lambda pod=pod: pod.ns.ping(OTHER[4]), 20, "reached again")


class Pings:
    """A stream of pings to every address; the longest time without an answer, and whether all were answered."""

    INTERVAL = 0.05

    def __init__(self, ns, addresses, seconds):
        self.children = [ns.popen("ping", "-n", "-D", "-i", self.INTERVAL, "-W", "1", "-c", int(seconds / self.INTERVAL), a)
                         for a in addresses]

    def gaps(self):
        out = []
        for child in self.children:
            text = child.communicate(timeout=120)[0]
            times = [float(t) for t in re.findall(r"^\[([\d.]+)\] \d+ bytes from", text, re.M)]
            assert times, text
            out.append((max((b - a for a, b in zip(times, times[1:])), default=0.0), " 0% packet loss" in text))
        return out


def test_the_loss_of_a_router_moves_its_flows(network):
    gone = network.routers[0]
    pod, node = network.pods[0], network.nodes[0]
    pings = Pings(pod.ns, MANY, 8)
    time.sleep(1)
    gone.cut(up=False)
    try:
        wait_until(lambda: hops(node, "203.0.113.0/24") == {network.routers[1].inside[4]}, 20, "one way is left")
        worst = max(gap for gap, _ in pings.gaps())
        print(f"longest silence of {len(MANY)} flows: {worst * 1000:.0f} ms")
        assert worst < 4
    finally:
        gone.cut(up=True)
    for bird in [*network.birds, network.server_bird]:
        bird.wait_established(4)
    for each in network.nodes:
        wait_until(lambda each=each: len(hops(each, "203.0.113.0/24")) == 2, 30, "both ways again")


def test_a_graceful_restart_of_the_daemon_loses_nothing(network):
    bird, pod, node = network.birds[0], network.pods[0], network.nodes[0]
    pings = Pings(pod.ns, [SERVER[4], *MANY[:3]], 6)
    time.sleep(0.5)
    bird.restart_gracefully()
    bird.wait_established(4)
    gaps = pings.gaps()
    assert all(whole for _, whole in gaps), gaps
    assert len(hops(node, "203.0.113.0/24")) == 2


def test_a_restart_of_podwired_loses_nothing(network):
    pod, node = network.pods[1], network.nodes[1]
    pings = Pings(pod.ns, [SERVER[4], *MANY[:3]], 6)
    time.sleep(0.5)
    node.daemon.stop()
    node.daemon.start(node.control_socket)
    wait_until(node.engine_ready, 20, "the engine is connected again")
    assert all(whole for _, whole in pings.gaps())
    assert len(hops(node, "203.0.113.0/24")) == 2


def test_a_hundred_thousand_routes(network):
    node, pod = network.nodes[1], network.pods[1]
    count = 100_000
    batch = "".join(f"route add 10.{128 + (n >> 16)}.{n >> 8 & 255}.{n & 255}/32 via {network.routers[n % 2].inside[4]} "
                    "dev podwire0 proto 186\n" for n in range(count))

    def routes():
        return node.engine_call("status")["counts"]["routes"]

    before = routes()
    begin = time.monotonic()
    node.ns.run("ip", "-batch", "-", input=batch, timeout=120)
    added = time.monotonic()
    wait_until(lambda: routes() >= before + count, 60, "the engine has them")
    done = time.monotonic()
    print(f"{count} routes: the kernel took {added - begin:.2f} s, the engine had them {done - added:.2f} s later")
    assert pod.ns.ping(SERVER[4])
    begin = time.monotonic()
    node.ns.run("ip", "route", "flush", "proto", "186", timeout=120)
    flushed = time.monotonic()
    wait_until(lambda: routes() == before, 60, "the engine has given them up")
    print(f"gone {time.monotonic() - flushed:.2f} s after the kernel's, which took {flushed - begin:.2f} s")
    assert pod.ns.ping(SERVER[4])
