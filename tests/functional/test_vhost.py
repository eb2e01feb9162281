"""vhost-user ports against dpdk-testpmd with net_virtio_user: traffic with tap pods and across VXLAN, both socket
roles, several queues, jumbo frames, peers that die under traffic and come back, sockets, and the cost of idling."""
import json
import os
import stat
import time

import pytest

from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN

from support.engine import GATEWAY_MAC
from support.process import connectable, cpu_seconds, wait_until
from support.rpc import RpcError
from support.switch import BLUE, PEER, Switch
from support.vhost import VhostStation


@pytest.fixture(scope="module")
def switch(short_directory):
    bench = Switch(short_directory / "vhost")
    bench.a = bench.add("a", 10, BLUE)
    yield bench
    bench.close()


@pytest.fixture
def station(switch, short_directory):
    """Makes vhost pods; they are gone before the ledger is looked at."""
    made = []

    def make(*arguments, **options):
        made.append(VhostStation(switch, *arguments, directory=short_directory / "vhost", **options))
        return made[-1]
    yield make
    for one in made:
        one.detach()
        one.close()


def udp(source, target, payload=b"x" * 30, sport=1000):
    return Ether(src=source.mac, dst=GATEWAY_MAC) / IP(src=source.ip4, dst=target.ip4) / UDP(sport=sport, dport=2000) / payload


def exchange(first, second, rounds=20):
    """Both see every packet of the other, byte for byte."""
    for source, target in ((first, second), (second, first)):
        for sequence in range(rounds):
            payload = sequence.to_bytes(4, "big") + os.urandom(40)
            source.wire.send(udp(source, target, payload, sport=1000 + sequence))
            assert bytes(target.wire.expect(lambda p: UDP in p and p[UDP].dport == 2000)[UDP].payload) == payload


@pytest.mark.parametrize("server", [True, False], ids=["server", "client"])
def test_traffic_with_a_tap_pod(switch, station, server):
    pod = station("virtio", 20, BLUE, server=server)
    exchange(switch.a, pod)
    device = pod.status()["device"]
    print(json.dumps(device))
    assert device["state"] == "connected" and device["socket_mode"] == ("server" if server else "client")
    assert device["peer"]["name"] == "dpdk-testpmd" and device["connects"] == 1
    assert device["queue_pairs"] == 1 and device["rings"] == [{"queue": 0, "to_peer": 256, "from_peer": 256}]
    assert device["memory_bytes"] >= 2 << 20 and "mrg_rxbuf" in device["features"]
    stats = switch.engine.port_stats("virtio")
    assert stats["received_packets"] >= 20 and stats["sent_packets"] >= 20


def test_traffic_across_vxlan(switch, station):
    pod = station("virtio", 20, BLUE)
    pod.wire.send(Ether(src=pod.mac, dst=GATEWAY_MAC) / IP(src=pod.ip4, dst="10.244.2.7") / UDP() / b"out")
    inner = switch.expect_vxlan(lambda p: UDP in p[VXLAN])[VXLAN]
    assert bytes(inner[UDP].payload).startswith(b"out")
    switch.wire.send(switch.encap(Ether(src="02:00:00:00:ee:02", dst="02:00:00:00:ee:01") /
                                  IP(src="10.244.2.7", dst=pod.ip4) / UDP(dport=9) / b"in", source=PEER))
    assert bytes(pod.wire.expect(lambda p: UDP in p and p[UDP].dport == 9)[UDP].payload).startswith(b"in")
