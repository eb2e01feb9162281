"""vhost-user ports against dpdk-testpmd with net_virtio_user: traffic with tap pods and across VXLAN, both socket
roles, several queues, peers that die under traffic and come back, sockets, and the cost of idling."""
import os
import socket
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


def udp(source, target, payload=b"x" * 30, sport=1000, dport=2000):
    return (Ether(src=source.mac, dst=GATEWAY_MAC) / IP(src=source.ip4, dst=target.ip4, flags="DF") /
            UDP(sport=sport, dport=dport) / payload)


def arrival(wire, what, dport=2000):
    """The datagram that arrives; a loaded machine may need its time."""
    return bytes(wire.expect(lambda p: UDP in p and p[UDP].dport == dport, timeout=10, what=what)[UDP].payload)


def reach(source, target):
    """Until a packet gets through: a testpmd that was started last may not look at its kernel interface yet."""
    deadline = time.monotonic() + 15
    while True:
        source.wire.send(udp(source, target, dport=1999))
        try:
            target.wire.expect(lambda p: UDP in p and p[UDP].dport == 1999, timeout=0.5)
            return
        except AssertionError:
            if time.monotonic() > deadline:
                raise


def exchange(first, second, rounds=20):
    """Both see every packet of the other, byte for byte."""
    reach(first, second)
    reach(second, first)
    for source, target in ((first, second), (second, first)):
        for sequence in range(rounds):
            payload = sequence.to_bytes(4, "big") + os.urandom(40)
            source.wire.send(udp(source, target, payload, sport=1000 + sequence))
            assert arrival(target.wire, f"packet {sequence}") == payload


@pytest.mark.parametrize("server", [True, False], ids=["server", "client"])
def test_traffic_with_a_tap_pod(switch, station, server):
    pod = station("virtio", 20, BLUE, server=server)
    exchange(switch.a, pod)
    device = pod.status()["device"]
    assert device["state"] == "connected" and device["socket_mode"] == ("server" if server else "client")
    assert device["peer"]["name"] == "dpdk-testpmd" and device["connects"] == 1
    assert device["queue_pairs"] == 1 and len(device["rings"]) == 1
    ring = device["rings"][0]
    assert [ring[key] for key in ("queue", "to_peer", "from_peer", "refused")] == [0, 256, 256, 0]
    assert ring["received_packets"] >= 20 and ring["sent_packets"] >= 20
    assert device["memory_bytes"] >= 2 << 20 and "mrg_rxbuf" in device["features"]
    stats = switch.engine.port_stats("virtio")
    assert stats["received_packets"] >= 20 and stats["sent_packets"] >= 20


def test_traffic_across_vxlan(switch, station):
    pod = station("virtio", 20, BLUE)
    reach(switch.a, pod)
    reach(pod, switch.a)
    pod.wire.send(Ether(src=pod.mac, dst=GATEWAY_MAC) / IP(src=pod.ip4, dst="10.244.2.7") / UDP() / b"out")
    inner = switch.expect_vxlan(lambda p: UDP in p[VXLAN], timeout=10)[VXLAN]
    assert bytes(inner[UDP].payload).startswith(b"out")
    switch.wire.send(switch.encap(Ether(src="02:00:00:00:ee:02", dst="02:00:00:00:ee:01") /
                                  IP(src="10.244.2.7", dst=pod.ip4) / UDP(dport=9) / b"in", source=PEER))
    assert arrival(pod.wire, "the decapsulated packet", dport=9).startswith(b"in")


def test_several_queues(switch, station):
    """The guest enables four queue pairs of four; what it sends on each is received on each."""
    pod = station("multi", 32, BLUE, queues=4)
    assert pod.status()["device"]["queue_pairs"] == 4
    pod.kill_peer()
    pod.wait_link("down")
    pod.start_sender(switch.a)
    wait_until(lambda: all(q["received_packets"] > 100 for q in pod.stats()["queues"]), 20, "packets on every queue")
    pod.kill_peer()
    switch.a.wire.drain()
    stats = pod.stats()
    assert len(stats["queues"]) == 4
    assert stats["received_packets"] == sum(q["received_packets"] for q in stats["queues"])


def test_a_guest_with_fewer_queues_than_offered(switch, station):
    pod = station("fewer", 33, BLUE, queues=4, peer=False)
    pod.queues = 2
    pod.start_peer()
    assert pod.status()["device"]["queue_pairs"] == 2
    exchange(switch.a, pod, rounds=5)


@pytest.mark.parametrize("server", [True, False], ids=["server", "client"])
def test_peers_killed_under_traffic_come_back(switch, station, server):
    sender = station("sender", 34, BLUE, server=server, peer=False)
    receiver = station("receiver", 35, BLUE, server=server, peer=False)
    receiver.start_receiver()
    for victim in (receiver, sender, receiver, sender):
        if not sender.testpmd:
            sender.start_sender(receiver)
        before = receiver.stats()["sent_packets"]
        wait_until(lambda: receiver.stats()["sent_packets"] > before + 10000, 10, "traffic")
        victim.kill_peer()
        victim.wait_link("down")
        assert "closed" in victim.status()["device"]["last_disconnect"]
        if victim is receiver:
            receiver.start_receiver()
    print("connects:", sender.status()["device"]["connects"], receiver.status()["device"]["connects"])
    receiver.kill_peer()
    receiver.wait_link("down")


def test_a_peer_that_stops_reading_costs_only_its_own_packets(switch, station):
    pod = station("stopped", 36, BLUE, peer=False)
    pod.start_receiver()
    pod.testpmd.command("stop")
    time.sleep(0.2)
    for sequence in range(600):
        switch.a.wire.send(udp(switch.a, pod, sport=sequence + 1))
    wait_until(lambda: pod.stats()["sent_packets"] >= 255, 3, "a full ring")
    wait_until(lambda: any(d["reason"] == "egress_queue_full" for d in switch.engine.call("stats")["drops"]), 3, "drops")
    (ring,) = pod.status()["device"]["rings"]
    assert ring["sent_packets"] >= 255 and ring["refused"] > 0
    switch.a.wire.send(Ether(src=switch.a.mac, dst=GATEWAY_MAC) / IP(src=switch.a.ip4, dst="10.244.2.9") / UDP() / b"on")
    switch.expect_vxlan(lambda p: UDP in p[VXLAN])


def test_idling_costs_little(switch, station):
    """The worker sleeps on the guest's kick and hears of the first packet at once."""
    pod = station("idle", 37, BLUE)
    exchange(switch.a, pod, rounds=2)
    time.sleep(0.5)
    before, begun = cpu_seconds(switch.engine.pid), time.monotonic()
    time.sleep(2)
    share = (cpu_seconds(switch.engine.pid) - before) / (time.monotonic() - begun)
    print(f"an idle engine with a connected peer: {share:.1%} of a core")
    assert share < 0.05
    exchange(switch.a, pod, rounds=2)


def test_the_socket_has_its_group_and_permissions_and_goes_with_the_port(switch, station):
    pod = station("modes", 38, BLUE, peer=False, socket_group=4242, socket_permissions=0o660)
    status = os.stat(pod.socket)
    assert stat.S_ISSOCK(status.st_mode) and stat.S_IMODE(status.st_mode) == 0o660 and status.st_gid == 4242
    pod.detach()
    assert not os.path.exists(pod.socket)
    pod.attach()
    assert connectable(pod.socket)


def test_a_stale_socket_is_replaced_and_a_live_one_is_not(switch, station, short_directory):
    path = short_directory / "vhost" / "taken.sock"
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(path))
        other.listen()
        with pytest.raises(RpcError) as refused:
            station("taken", 39, BLUE, peer=False)
        assert "in use" in refused.value.message and str(path) in refused.value.message
    assert path.exists()
    pod = station("taken", 39, BLUE)
    exchange(switch.a, pod, rounds=2)
