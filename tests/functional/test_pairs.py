"""Traffic between every two kinds of port: tap, memif (both roles), vhost-user (both roles), and a machine behind the
kernel's VXLAN. Both ways, both families, small and full frames, byte for byte."""
import itertools
import os
import socket
import time

import pytest

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether

from support.engine import GATEWAY_MAC
from support.process import wait_until
from support.switch import ADDRESS, BLUE, LOCAL, LOCAL_VTEP_MAC, PEER, VNI, VTEP_MAC, Switch
from support.testpmd import MemifStation
from support.vhost import VhostStation

PORT = 2000


class PodEnd:
    """A pod on the bench: frames by hand, to the gateway."""

    def __init__(self, station):
        self.station, self.name = station, station.name

    def address(self, family):
        return self.station.ip6 if family == 6 else self.station.ip4

    def send(self, target, family, payload):
        ip = IPv6 if family == 6 else IP
        self.station.wire.send(Ether(src=self.station.mac, dst=GATEWAY_MAC) /
                               ip(src=self.address(family), dst=target.address(family)) / UDP(sport=1000, dport=PORT) / payload)

    def receive(self, family, timeout):
        """The next datagram's payload, or None."""
        deadline = time.monotonic() + timeout
        while True:
            data = self.station.wire.receive_bytes(max(deadline - time.monotonic(), 0))
            if data is None:
                return None
            packet = Ether(data)
            if UDP in packet and packet[UDP].dport == PORT and (IPv6 in packet) == (family == 6):
                return bytes(packet[UDP].payload)

    def close(self):
        pass


class KernelEnd:
    """The world's end of the uplink as a node with the kernel's VXLAN, set up as Flannel does; real sockets."""

    name = "kernel"

    def __init__(self, switch):
        ns, ip = switch.world, switch.world.ip
        ns.sysctl("net/ipv6/conf/all/disable_ipv6", 0)
        ns.sysctl("net/ipv6/conf/default/disable_ipv6", 0)
        addresses = ADDRESS[4]
        ip(f"addr add {addresses[PEER]}/24 dev wire0")
        ip(f"link add vx0 address {VTEP_MAC[PEER]} mtu 1450 type vxlan id {VNI[BLUE]} dev wire0 local {addresses[PEER]} "
           "dstport 4789 nolearning")
        ip("link set vx0 up")
        ns.run("bridge", "fdb", "append", LOCAL_VTEP_MAC, "dev", "vx0", "dst", addresses[LOCAL])
        self.addresses = {4: "10.244.2.9", 6: "fd00:10:244:2::9"}
        self.sockets = {}
        for family, subnet, gateway, kind in ((4, "10.244.1.0/24", "10.244.1.0", socket.AF_INET),
                                              (6, "fd00:10:244:1::/64", "fd00:10:244:1::", socket.AF_INET6)):
            ip(f"addr add {self.addresses[family]}/" + ("32 dev lo" if family == 4 else "128 dev lo nodad"))
            ip(f"neigh replace {gateway} lladdr {LOCAL_VTEP_MAC} dev vx0 nud permanent")
            ip(f"route add {subnet} via {gateway} dev vx0 onlink src {self.addresses[family]}")
            with ns:
                self.sockets[family] = socket.socket(kind, socket.SOCK_DGRAM)
            self.sockets[family].bind((self.addresses[family], PORT))

    def address(self, family):
        return self.addresses[family]

    def send(self, target, family, payload):
        self.sockets[family].sendto(payload, (target.address(family), PORT))

    def receive(self, family, timeout):
        self.sockets[family].settimeout(timeout or 0.001)
        try:
            return self.sockets[family].recv(70000)
        except (BlockingIOError, TimeoutError):
            return None

    def close(self):
        for one in self.sockets.values():
            one.close()


@pytest.fixture(scope="module")
def switch(short_directory):
    bench = Switch(short_directory / "pairs", answer=False)
    yield bench
    bench.close()


# Two of each kind, so that a kind meets itself: roles as a table.
ENDS = {"tap": lambda s: s.add("tap", 10, BLUE),
        "tap2": lambda s: s.add("tap2", 11, BLUE),
        "memif": lambda s: MemifStation(s, "memif", 20, BLUE),
        "memif-client": lambda s: MemifStation(s, "memif-client", 21, BLUE, mode="client"),
        "vhost": lambda s: VhostStation(s, "vhost", 30, BLUE, directory=s.engine.directory),
        "vhost-client": lambda s: VhostStation(s, "vhost-client", 31, BLUE, directory=s.engine.directory, server=False)}
SAME = [("tap", "tap2"), ("memif", "memif-client"), ("vhost", "vhost-client")]
PAIRS = SAME + list(itertools.combinations(("tap", "memif", "vhost", "kernel"), 2)) + \
    [(a, b) for a in ("memif-client", "vhost-client") for b in ("tap", "kernel")]


@pytest.fixture(scope="module")
def ends(switch):
    made = {"kernel": KernelEnd(switch)}
    stations = []
    try:
        for name, make in ENDS.items():
            station = make(switch)
            if station not in switch.stations:
                stations.append(station)
            made[name] = PodEnd(station)
        for station in stations:
            if isinstance(station, MemifStation):
                station.wait_ready()
        yield made
    finally:
        for station in stations:
            station.detach()
            station.close()
        made["kernel"].close()


def exchange(source, target, family, payload, patience=15):
    """`payload` arrives whole. A testpmd that was started last may not look at its kernel interface yet, and nobody
    resolves before the first packet: the first may get lost, so it is sent again."""
    deadline = time.monotonic() + patience
    while True:
        source.send(target, family, payload)
        until = time.monotonic() + 1
        while (left := until - time.monotonic()) > 0:
            got = target.receive(family, left)
            if got == payload:
                return
            # A late copy of what was sent before is all right, anything else is not.
            assert got is None or got in exchange.sent, f"{source.name} to {target.name}: {got[:32]}"
        assert time.monotonic() < deadline, f"{source.name} to {target.name}: IPv{family}, {len(payload)} bytes did not arrive"


exchange.sent = set()


@pytest.mark.parametrize("one, other", PAIRS, ids=[f"{a}+{b}" for a, b in PAIRS])
def test_every_two_kinds_of_port_exchange_traffic(switch, ends, one, other):
    before = {p["name"]: p for p in switch.engine.call("stats")["ports"]}
    count = 0
    for source, target in ((ends[one], ends[other]), (ends[other], ends[one])):
        for family, overhead in ((4, 28), (6, 48)):
            for size in (18, 200, 1000, 1450 - overhead):
                payload = os.urandom(size)
                exchange.sent.add(payload)
                exchange(source, target, family, payload)
                count += 1

    def counted():
        after = {p["name"]: p for p in switch.engine.call("stats")["ports"]}
        return all(after[name][key] - before[name][key] >= count // 2 for key in ("received_packets", "sent_packets")
                   for name in {ends[one].name, ends[other].name} - {"kernel"})

    wait_until(counted, 5, "ports count what they passed")  # a packet is counted after it was sent
