"""Docker's picture with real kernels: pods reach a server beyond the underlay, which sees the node's address; errors from
the way there reach the pod; a client out there reaches a published port; services, hairpin and refusals; egress and floating addresses."""
import os
import sys

import pytest

from support.engine import GATEWAY_MAC, Engine
from support.ledger import LedgerCheck, drops
from support.netns import Netns, link_mac, veth
from support.process import wait_until
from support.tap import create_tap
from support.traffic import file_server, send_file, wait_for_line

NODE = {4: "192.168.100.1", 6: "fd00:100::1"}
ROUTER = {4: "192.168.100.254", 6: "fd00:100::fe"}
SERVER = {4: "203.0.113.9", 6: "2001:db8::9"}
EGRESS = {4: "192.168.100.77", 6: "fd00:100::77"}
FLOATING = {4: "192.168.100.80", 6: "fd00:100::80"}
VIP = {4: "10.96.0.10", 6: "fd00:10:96::10"}
GATEWAY = {4: "10.244.1.1", 6: "fd00:10:244:1::1"}
PORTS = [20000, 20999]

# Tells every client, over TCP and UDP, from which address it came.
MIRROR = """
import socket, sys, threading
port = int(sys.argv[1])
tcp = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)
udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
udp.bind(("::", port))
text = lambda peer: f"{peer[0].removeprefix('::ffff:')} {peer[1]}".encode()
def serve_udp():
    while True:
        _, peer = udp.recvfrom(2048)
        udp.sendto(text(peer), peer)
threading.Thread(target=serve_udp, daemon=True).start()
print("ready", flush=True)
while True:
    connection, peer = tcp.accept()
    connection.sendall(text(peer))
    connection.close()
"""

ASK = """
import socket, sys
kind, address, port, own = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
family = socket.AF_INET6 if ":" in address else socket.AF_INET
s = socket.socket(family, socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
s.settimeout(8)
if own:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    s.bind(("", own))
try:
    s.connect((address, port))
    if kind == "udp":
        s.send(b"who am I")
    print(s.recv(100).decode())
except OSError as error:
    print(type(error).__name__)
"""


class PodNs:
    def __init__(self, bench, name, number, port):
        self.name, self.port = name, port
        self.mac = f"02:00:00:00:00:{number:02x}"
        self.address = {4: f"10.244.1.{number}", 6: f"fd00:10:244:1::{number:x}"}
        self.ns = Netns(name)
        _, self.fds = create_tap(self.ns, "eth0", mac=self.mac)
        self.engine = bench.engine
        self.engine.put(fds=self.fds, ports=[{"id": port, "name": name, "kind": "tap", "role": "pod", "domain": 2,
                                              "mac": self.mac, "mtu": 1450, "descriptors": 1}])
        self.give()
        self.ns.ip(f"addr add {self.address[4]}/24 dev eth0")
        self.ns.ip(f"addr add {self.address[6]}/64 dev eth0 nodad")
        for family in (4, 6):
            self.ns.ip(f"-{family} route add default via {GATEWAY[family]}")

    def give(self, **outside):
        """Its endpoint, with these addresses outside."""
        self.engine.put(endpoints=[{"id": self.port, "name": self.name, "domain": 2, "port": self.port, "mac": self.mac,
                                    "addresses": list(self.address.values()), **outside}])

    def close(self):
        for fd in self.fds:
            os.close(fd)
        self.ns.delete()


class Bench:
    """engine - (veth) - router - (veth) - server; two pods. Neither router nor server knows the pods' addresses."""

    def __init__(self, directory):
        self.machine, self.router, self.server = Netns("engine", ipv6=False), Netns("router"), Netns("server")
        veth(self.machine, "ul0", self.router, "eth0")
        veth(self.router, "eth1", self.server, "eth0")
        for key in ("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"):
            self.router.sysctl(key, 1)
        self.router.ip(f"addr add {ROUTER[4]}/24 dev eth0")
        self.router.ip(f"addr add {ROUTER[6]}/64 dev eth0 nodad")
        self.router.ip("addr add 203.0.113.1/24 dev eth1")
        self.router.ip("addr add 2001:db8::1/64 dev eth1 nodad")
        self.server.ip(f"addr add {SERVER[4]}/24 dev eth0")
        self.server.ip(f"addr add {SERVER[6]}/64 dev eth0 nodad")
        self.server.ip("route add default via 203.0.113.1")
        self.server.ip("-6 route add default via 2001:db8::1")
        self.engine = Engine(self.machine, directory).start()
        mac = link_mac(self.machine, "ul0")
        hop = lambda family: [{"port": 1, "address": ROUTER[family]}]
        self.engine.put(
            ports=[{"id": 1, "name": "uplink", "kind": "physical", "role": "uplink", "mtu": 1500, "mac": mac,
                    "devargs": "net_af_packet0,iface=ul0"}],
            vteps=[{"id": 1, "name": "local", "local": True, "address": NODE[4], "mac": "02:00:00:00:ee:01"}],
            domains=[{"id": 2, "name": "pods", "vni": 5, "mode": "l3", "gateway_mac": GATEWAY_MAC, "mtu": 1450,
                      "gateways": [f"{GATEWAY[4]}/24", f"{GATEWAY[6]}/64"], "stateful": True,
                      "masquerade": {"addresses": list(NODE.values()), "ports": PORTS}}],
            routes=[{"id": 1, "domain": 1, "prefix": "192.168.100.0/24", "next_hops": [{"port": 1}]},
                    {"id": 2, "domain": 1, "prefix": "fd00:100::/64", "next_hops": [{"port": 1}]},
                    {"id": 3, "domain": 1, "prefix": "0.0.0.0/0", "next_hops": hop(4)},
                    {"id": 4, "domain": 1, "prefix": "::/0", "next_hops": hop(6)}])
        self.a, self.b = PodNs(self, "a", 10, 10), PodNs(self, "b", 11, 11)
        self.mirrors = [self.mirror(self.server, 7000), self.mirror(self.a.ns, 8000), self.mirror(self.b.ns, 8000)]

    def mirror(self, ns, port):
        process = ns.popen(sys.executable, "-c", MIRROR, port)
        wait_for_line(process, "ready")
        return process

    def publish(self, backends, **more):
        frontends = [{"domain": 1, "protocol": p, "port": 8080} for p in ("tcp", "udp")]
        frontends += [{"domain": 2, "address": VIP[f], "protocol": p, "port": 80} for p in ("tcp", "udp") for f in (4, 6)]
        self.engine.put(services=[{"id": 1, "name": "web", "domain": 2, "frontends": frontends, "backends": [
            {"address": pod.address[family], "port": 8000} for pod in backends for family in (4, 6)], **more}])

    def quiet(self):
        """Kernels ask and announce when they like; the ledger waits for quiescence itself."""

    def ledger(self):
        return LedgerCheck(self.engine.call, slack=64)

    def close(self):
        try:
            self.engine.close()
        finally:
            for pod in (self.a, self.b):
                pod.close()
            for ns in (self.machine, self.router, self.server):
                ns.delete()


@pytest.fixture(scope="module")
def switch(directory):
    bench = Bench(directory)
    yield bench
    bench.close()


def ask(ns, kind, address, port, own=0):
    return ns.run(sys.executable, "-c", ASK, kind, address, port, own).stdout.strip()


def dropped(switch, reason):
    return drops(switch.engine.call("stats")).get(reason, 0)


@pytest.mark.parametrize("family", [4, 6])
def test_a_server_outside_sees_the_nodes_address(switch, family):
    for kind in ("tcp", "udp"):
        for pod in (switch.a, switch.b):
            address, port = ask(pod.ns, kind, SERVER[family], 7000).split()
            assert address == NODE[family]
            assert PORTS[0] <= int(port) <= PORTS[1]
            # Its own port where that is in the range; the second pod gets another.
            address, port = ask(pod.ns, kind, SERVER[family], 7000, own=20500).split()
            assert address == NODE[family] and (port == "20500" or pod is switch.b)


@pytest.mark.parametrize("family", [4, 6])
def test_ping_to_a_server_outside_and_to_the_router_on_link(switch, family):
    assert switch.a.ns.ping(SERVER[family], count=3)
    if family == 6:  # in fragments; the server's first answer meets the pod's smaller MTU, and is told
        assert switch.a.ns.ping(SERVER[6], size=3000) or switch.a.ns.ping(SERVER[6], size=3000)
    assert switch.b.ns.ping(ROUTER[family])


@pytest.mark.parametrize("family", [4, 6])
def test_a_file_goes_both_ways_whole(switch, family):
    with file_server(switch.server):
        send_file(switch.a.ns, SERVER[family], "put", mib=8)
        send_file(switch.a.ns, SERVER[family], "get", mib=8)


@pytest.mark.parametrize("family", [4, 6])
def test_errors_from_the_way_reach_the_pod(switch, family):
    def from_hop(ttl):
        return switch.a.ns.run("ping", "-n", "-c", 1, "-W", 3, "-t", ttl, SERVER[family], check=False).stdout
    assert f"From {GATEWAY[family]}" in from_hop(1)
    assert f"From {ROUTER[family]}" in from_hop(2)
    # From the server itself: nobody listens there.
    assert ask(switch.a.ns, "udp", SERVER[family], 7001) == "ConnectionRefusedError"
    assert ask(switch.a.ns, "tcp", SERVER[family], 7001) == "ConnectionRefusedError"


@pytest.mark.parametrize("family", [4, 6])
def test_a_published_port_is_reached_from_outside_and_from_pods(switch, family):
    switch.publish([switch.a])
    for kind in ("tcp", "udp"):
        assert ask(switch.server, kind, NODE[family], 8080).split()[0] == SERVER[family]
        assert ask(switch.b.ns, kind, NODE[family], 8080).split()[0] == switch.b.address[family]
        assert ask(switch.b.ns, kind, VIP[family], 80).split()[0] == switch.b.address[family]
        # The pod behind it meets the gateway.
        assert ask(switch.a.ns, kind, NODE[family], 8080).split()[0] == GATEWAY[family]
        assert ask(switch.a.ns, kind, VIP[family], 80).split()[0] == GATEWAY[family]
    switch.publish([switch.a], hide_clients=True)
    for kind in ("tcp", "udp"):
        assert ask(switch.server, kind, NODE[family], 8080).split()[0] == GATEWAY[family]


@pytest.mark.parametrize("family", [4, 6])
def test_a_service_without_backends_refuses(switch, family):
    switch.publish([])
    before = dropped(switch, "service_no_backend")
    for kind in ("tcp", "udp"):
        assert ask(switch.server, kind, NODE[family], 8080) == "ConnectionRefusedError"
        assert ask(switch.a.ns, kind, VIP[family], 80) == "ConnectionRefusedError"
    wait_until(lambda: dropped(switch, "service_no_backend") >= before + 4, 2, "refusals are counted")


@pytest.fixture
def given(switch):
    """Gives a pod addresses outside for one test."""
    pods = []

    def give(pod, **outside):
        pods.append(pod)
        pod.give(**outside)
    yield give
    for pod in pods:
        pod.give()


@pytest.mark.parametrize("family", [4, 6])
def test_a_server_outside_sees_an_egress_address(switch, given, family):
    given(switch.a, egress=list(EGRESS.values()))
    for kind in ("tcp", "udp"):
        address, port = ask(switch.a.ns, kind, SERVER[family], 7000).split()
        assert address == EGRESS[family] and PORTS[0] <= int(port) <= PORTS[1]
        assert ask(switch.b.ns, kind, SERVER[family], 7000).split()[0] == NODE[family]
    assert switch.a.ns.ping(SERVER[family])


@pytest.mark.parametrize("family", [4, 6])
def test_a_floating_address_is_one_to_one(switch, given, family):
    given(switch.a, floating=list(FLOATING.values()))
    for kind in ("tcp", "udp"):
        assert ask(switch.a.ns, kind, SERVER[family], 7000, own=500).split() == [FLOATING[family], "500"]
        assert ask(switch.server, kind, FLOATING[family], 8000).split()[0] == SERVER[family]
        assert ask(switch.b.ns, kind, FLOATING[family], 8000).split()[0] == switch.b.address[family]
        assert ask(switch.a.ns, kind, FLOATING[family], 8000).split()[0] == GATEWAY[family]
        assert ask(switch.server, kind, FLOATING[family], 8001) == "ConnectionRefusedError"  # says the pod
    assert switch.server.ping(FLOATING[family])
    if family == 6:  # in fragments; DPDK's af_packet does not get those of IPv4
        assert switch.server.ping(FLOATING[6], size=3000) or switch.server.ping(FLOATING[6], size=3000)
    with file_server(switch.a.ns):
        send_file(switch.server, FLOATING[family], "put", mib=4)
        send_file(switch.server, FLOATING[family], "get", mib=4)
