"""memif ports against DPDK's net_memif in both roles, zero copy or not: traffic with a tap pod and across VXLAN, jumbo
frames, the peer killed under traffic and back, what status says."""
import os
import threading
import time

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN

from support.engine import GATEWAY_MAC
from support.process import cpu_seconds, wait_until
from support.rpc import RpcError
from support.switch import BLUE, VTEP_MAC, PEER, Switch
from support.testpmd import MemifStation


@pytest.fixture(scope="module")
def switch(directory):
    bench = Switch(directory, mtu=1500)
    bench.a = bench.add("a", 10, BLUE)
    yield bench
    bench.close()


@pytest.fixture
def pod(switch):
    """Makes memif pods and removes them."""
    made = []

    def make(name, number, **options):
        station = MemifStation(switch, name, number, BLUE, **options)
        made.append(station)
        switch.stations.append(station)
        if options.get("start", True):
            station.wait_ready()
        return station
    yield make
    for station in made:
        station.detach()
        switch.stations.remove(station)
        station.close()


def frame(source, target, payload=b"x" * 18, sport=1000, destination_mac=GATEWAY_MAC):
    return (Ether(src=source.mac, dst=destination_mac) / IP(src=source.ip4, dst=getattr(target, "ip4", target)) /
            UDP(sport=sport, dport=2000) / payload)


def payload_of(packet):
    return bytes(packet[UDP].payload)


def is_udp(packet):
    return UDP in packet and packet[UDP].dport == 2000


def exchange(switch, one, other, sizes=(18, 100, 1000, 1422)):
    for source, target in ((one, other), (other, one)):
        for size in sizes:
            payload = os.urandom(size)
            source.wire.send(frame(source, target, payload))
            assert payload_of(target.wire.expect(is_udp, timeout=5)) == payload, size


PEERS = [pytest.param("server", "", (), id="client"),
         pytest.param("server", "", ("--single-file-segments",), id="client, single file"),
         pytest.param("server", ",zero-copy=yes", ("--single-file-segments",), id="client, zero copy"),
         pytest.param("client", "", (), id="server"),
         pytest.param("client", "", ("--single-file-segments",), id="server, single file")]


@pytest.mark.parametrize("mode, options, eal", PEERS)
def test_net_memif_exchanges_traffic_with_a_tap_and_vxlan(switch, pod, mode, options, eal):
    cnf = pod("cnf", 20, mode=mode, options=options, eal=eal)
    exchange(switch, switch.a, cnf)
    payload = os.urandom(64)
    cnf.wire.send(frame(cnf, "10.244.2.9", payload))
    out = switch.expect_vxlan(lambda p: is_udp(p[VXLAN]))
    assert payload_of(out[VXLAN]) == payload and out[VXLAN][Ether].dst == VTEP_MAC[PEER]
    switch.wire.send(switch.encap(Ether(src=VTEP_MAC[PEER], dst="02:00:00:00:ee:01") /
                                  IP(src="10.244.2.9", dst=cnf.ip4) / UDP(sport=5, dport=2000) / payload))
    assert payload_of(cnf.wire.expect(is_udp, timeout=5)) == payload
