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


@pytest.mark.parametrize("mode", ["server", "client"])
def test_two_memif_pods_of_several_rings(switch, pod, mode):
    one, two = (pod(f"multi{i}", 30 + i, mode=mode, queues=2) for i in (1, 2))
    exchange(switch, one, two)
    device = one.status()["device"]
    assert [len(device["rings_in"]), len(device["rings_out"])] == [2, 2]
    stats = switch.engine.port_stats("multi1")
    assert stats["received_packets"] == sum(q["received_packets"] for q in stats["queues"]) > 0


@pytest.mark.parametrize("mode, buffers", [("server", ",bsize=1024"), ("client", "")])
def test_jumbo_frames_go_over_several_buffers(switch, pod, mode, buffers):
    one, two = (pod(f"jumbo{i}", 40 + i, mode=mode, mtu=8950, options=buffers, buffer_size=2048) for i in (1, 2))
    for size in (1451, 2000, 2047, 2048, 4096, 8950 - 28):
        payload = os.urandom(size)
        one.wire.send(Ether(src=one.mac, dst=GATEWAY_MAC) / IP(src=one.ip4, dst=two.ip4, flags="DF") /
                      UDP(sport=9, dport=2000) / payload)
        assert payload_of(two.wire.expect(is_udp, timeout=5)) == payload, size


def test_status_says_who_is_connected_and_how(switch, pod):
    cnf = pod("shown", 50, options=",rsize=9,bsize=4096", ring_size=1024, memif_id=0)
    exchange(switch, switch.a, cnf)
    device = cnf.status()["device"]
    assert device["state"] == "connected" and device["role"] == "server"
    assert device["peer"]["name"].startswith("DPDK 22.11") and device["peer"]["version"] == "2.0"
    assert device["peer"]["interface"] == "net_memif0"
    assert device["rings_in"][0]["ring_size"] == 512 and [device["rings_out"][0][k] for k in ("ring_size", "mode")] == [512, "polling"]
    stats = switch.engine.port_stats("shown")
    for rings, way in (("rings_in", "received"), ("rings_out", "sent")):
        assert device[rings][0]["packets"] >= 4 and device[rings][0]["refused"] == 0
        assert device[rings][0]["packets"] <= stats[f"{way}_packets"]
    assert device["buffer_size"] == 4096
    assert device["region_bytes"] >= 2 * 512 * 4096 and device["sealed"]
    assert (device["connects"], device["violations"]) == (1, 0)


def test_a_wrong_secret_is_told_to_both_and_the_right_one_connects(switch, pod):
    cnf = pod("guarded", 51, options=",secret=wrong", secret="right", start=False)
    cnf.start()
    wait_until(lambda: "secret" in cnf.status()["device"]["last_disconnect"], 20, "the refusal")
    assert not cnf.up() and cnf.status()["device"]["violations"] == 0
    cnf.program.kill()
    cnf.program.argv = [a.replace("secret=wrong", "secret=right") for a in cnf.program.argv]
    cnf.start()
    cnf.wait_ready()
    exchange(switch, switch.a, cnf)


class Load(threading.Thread):
    """Frames from one pod as fast as a test can."""

    def __init__(self, source, data):
        super().__init__(daemon=True)
        self.source, self.data, self.stop_asked = source, bytes(data), threading.Event()

    def run(self):
        while not self.stop_asked.is_set():
            for _ in range(32):
                self.source.wire.try_send(self.data)
            time.sleep(0.001)

    def stop(self):
        self.stop_asked.set()
        self.join()


@pytest.mark.parametrize("mode, options, eal", [PEERS[0], PEERS[2], PEERS[3]])
def test_a_peer_killed_under_traffic_comes_back(switch, pod, mode, options, eal):
    cnf = pod("mortal", 60, mode=mode, options=options, eal=eal)
    loads = [Load(switch.a, frame(switch.a, cnf)), Load(cnf, frame(cnf, switch.a))]
    for load in loads:
        load.start()
    try:
        for _ in range(3):
            time.sleep(0.2)
            cnf.program.kill()
            wait_until(lambda: not cnf.up(), 5, "the port noticed")
            cnf.start()
            wait_until(cnf.up, 20, "connected again")
    finally:
        for load in loads:
            load.stop()
    cnf.wait_ready()
    switch.quiet()
    exchange(switch, switch.a, cnf)
    device = cnf.status()["device"]
    assert device["connects"] == 4 and device["violations"] == 0
    # As a client the engine may also have met a peer that had its socket before its interface.
    assert any(why in device["last_disconnect"] for why in ("closed", "gone", "ID not found"))


def test_an_engine_with_an_idle_memif_pod_sleeps(switch, pod):
    cnf = pod("idle", 61)
    exchange(switch, switch.a, cnf)
    used = []
    for _ in range(3):  # the best of three: other programs' interrupts are booked on us as well
        before = cpu_seconds(switch.engine.pid)
        time.sleep(1)
        used.append(cpu_seconds(switch.engine.pid) - before)
    assert min(used) < 0.05, used
    assert cnf.status()["device"]["rings_in"][0]["mode"] == "interrupt"
    for _ in range(5):
        time.sleep(0.2)  # asleep again
        cnf.wire.send(frame(cnf, switch.a))
        switch.a.wire.expect(is_udp)


def test_a_socket_in_use_is_not_stolen_and_a_stale_one_is_replaced(switch, pod):
    import socket
    path = str(switch.engine.directory / "taken.memif")
    live = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    live.bind(path)
    live.listen(1)
    port = {"id": 3000, "name": "taken", "kind": "memif", "role": "pod", "domain": BLUE, "mac": "02:00:00:00:00:71",
            "mtu": 1450, "socket": path, "socket_group": 12, "socket_permissions": 0o660}
    with pytest.raises(RpcError) as refused:
        switch.engine.put(ports=[port])
    assert "taken" in refused.value.message and "another process listens" in refused.value.message
    live.close()  # the file stays
    assert os.path.exists(path)
    switch.engine.put(ports=[port])
    status = os.stat(path)
    assert (status.st_gid, status.st_mode & 0o777) == (12, 0o660)
    switch.engine.delete(ports=[3000])
    assert not os.path.exists(path)
