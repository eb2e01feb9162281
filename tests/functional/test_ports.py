"""Ports at run time: adding and removing beside running traffic, multi-queue taps, descriptors, counters, the driver kinds,
jumbo frames, and that bad ports are refused with the limit in the message."""
import os
import threading
import time

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from support.engine import GATEWAY_MAC
from support.netns import Netns
from support.process import wait_until
from support.rpc import RpcError
from support.switch import BLUE, LAN, Switch
from support.tap import create_tap


@pytest.fixture(scope="module")
def switch(directory):
    bench = Switch(directory, mtu=1500)
    bench.a = bench.add("a", 10, BLUE)
    bench.b = bench.add("b", 11, BLUE)
    yield bench
    bench.close()


def numbered(source, target, sequence):
    return bytes(Ether(src=source.mac, dst=GATEWAY_MAC) / IP(src=source.ip4, dst=target.ip4, id=sequence % 65536) /
                 UDP(sport=1, dport=2) / sequence.to_bytes(4, "big"))


class Stream(threading.Thread):
    """A steady numbered stream from one pod to another."""

    def __init__(self, source, target, per_second=2000):
        super().__init__(daemon=True)
        self.source, self.target, self.pause = source, target, 1 / per_second
        self.sent = 0
        self.stop_asked = threading.Event()

    def run(self):
        while not self.stop_asked.is_set():
            self.source.wire.send(numbered(self.source, self.target, self.sent))
            self.sent += 1
            time.sleep(self.pause)

    def finish(self):
        """The numbers that arrived, in order."""
        self.stop_asked.set()
        self.join()
        return [int.from_bytes(bytes(p[UDP].payload)[:4], "big")
                for p in self.target.wire.collect(lambda p: UDP in p, timeout=0.5)]


def test_ports_come_and_go_beside_traffic_without_a_lost_packet(switch):
    stream = Stream(switch.a, switch.b)
    stream.start()
    for round in range(20):
        pod = switch.add(f"guest{round}", 100 + round, BLUE if round % 2 else LAN, queues=1 + round % 3)
        switch.remove(pod)
    arrived = stream.finish()
    assert arrived == list(range(stream.sent)), f"{stream.sent - len(arrived)} of {stream.sent} lost"


def test_routes_and_endpoints_change_beside_traffic_without_a_lost_packet(switch):
    stream = Stream(switch.a, switch.b)
    stream.start()
    for round in range(50):
        switch.engine.put(
            routes=[{"id": 200, "domain": BLUE, "prefix": "10.200.0.0/16", "next_hops": [{"vtep": 2 + round % 2}]}],
            endpoints=[{"id": 5000 + i, "name": f"far{i}", "domain": BLUE, "vtep": 2, "mac": f"02:00:00:05:00:{i:02x}",
                        "addresses": [f"10.244.2.{i + 1}"]} for i in range(100)])
        switch.engine.delete(routes=[200], endpoints=[5000 + i for i in range(100)])
    arrived = stream.finish()
    assert arrived == list(range(stream.sent)), f"{stream.sent - len(arrived)} of {stream.sent} lost"


def test_a_full_replace_with_the_same_objects_disturbs_nothing(switch):
    everything = {noun: switch.engine.call("dump", {"noun": noun})["objects"]
                  for noun in ("ports", "vteps", "domains", "endpoints", "routes")}
    for port in everything["ports"]:
        port.pop("descriptors", None)
    before = switch.engine.port_stats("a")["received_packets"]
    stream = Stream(switch.a, switch.b)
    stream.start()
    for _ in range(10):
        switch.engine.replace({"ports": everything["ports"], "vteps": everything["vteps"]},
                              {"domains": everything["domains"]},
                              {"endpoints": everything["endpoints"], "routes": everything["routes"]})
    arrived = stream.finish()
    assert arrived == list(range(stream.sent))
    assert switch.engine.port_stats("a")["received_packets"] >= before + stream.sent


def test_an_unfinished_replace_changes_nothing(switch):
    status = switch.engine.call("status")
    switch.engine.call("replace_begin")
    switch.engine.call("replace_chunk", {"put": {}})
    switch.engine.call("replace_begin")  # drops the first
    assert switch.engine.call("status")["counts"] == status["counts"]
    switch.a.wire.send(numbered(switch.a, switch.b, 1))
    switch.b.wire.expect(lambda p: UDP in p)
    # Leaves no half replace behind for the next test.
    with pytest.raises(RpcError):
        switch.engine.call("replace_chunk", {"put": {"ports": [{}]}})


def test_a_removed_pod_is_silent_and_comes_back_with_fresh_counters(switch):
    pod = switch.add("returner", 50, BLUE)
    switch.a.wire.send(numbered(switch.a, pod, 1))
    pod.wire.expect(lambda p: UDP in p)
    wait_until(lambda: switch.engine.port_stats("returner")["sent_packets"] == 1, 5, "counted after it was sent")
    pod.detach()
    with switch.drops(host_unreachable=1):
        switch.a.wire.send(numbered(switch.a, pod, 2))
    switch.engine.put(fds=pod.fds, ports=[pod.port_object(1)], endpoints=[pod.endpoint_object()])
    assert switch.engine.port_stats("returner")["sent_packets"] == 0
    switch.a.wire.send(numbered(switch.a, pod, 3))
    pod.wire.expect(lambda p: UDP in p)
    switch.remove(pod)


@pytest.mark.parametrize("queues", [2, 4])
def test_multi_queue_tap(switch, queues):
    pod = switch.add(f"queues{queues}", 70 + queues, BLUE, queues=queues)
    for sequence in range(200):
        pod.wire.send(Ether(src=pod.mac, dst=GATEWAY_MAC) / IP(src=pod.ip4, dst=switch.b.ip4) /
                      UDP(sport=sequence, dport=2) / b"x")
    assert len(switch.b.wire.collect(lambda p: UDP in p, count=200, timeout=1)) == 200
    for sequence in range(200):
        switch.b.wire.send(Ether(src=switch.b.mac, dst=GATEWAY_MAC) / IP(src=switch.b.ip4, dst=pod.ip4) /
                           UDP(sport=sequence, dport=2) / b"x")
    assert len(pod.wire.collect(lambda p: UDP in p, count=200, timeout=1)) == 200
    stats = switch.engine.port_stats(pod.name)
    assert len(stats["queues"]) == queues
    assert stats["received_packets"] == sum(q["received_packets"] for q in stats["queues"]) == 200
    assert stats["sent_packets"] == sum(q["sent_packets"] for q in stats["queues"]) == 200
    status = next(p for p in switch.engine.call("status")["ports"] if p["name"] == pod.name)
    assert status["queues"] == queues
    switch.remove(pod)


def test_port_descriptors_give_the_same_interface(switch):
    pod = switch.add("descriptors", 80, BLUE, queues=2)
    reply = switch.engine.call("port_descriptors", {"id": pod.port})
    fds = switch.engine.rpc.fds
    assert reply["count"] == 2 == len(fds)
    # With these the port could be handed over to a new engine: put them on a fresh port.
    own = [os.dup(fd) for fd in fds]
    pod.detach()
    switch.engine.put(fds=own, ports=[pod.port_object(2)], endpoints=[pod.endpoint_object()])
    for fd in own:
        os.close(fd)
    switch.a.wire.send(numbered(switch.a, pod, 3))
    pod.wire.expect(lambda p: UDP in p)
    switch.remove(pod)
    with pytest.raises(RpcError) as refused:
        switch.engine.call("port_descriptors", {"id": 4000})
    assert "4000" in refused.value.message


def test_new_descriptors_replace_the_old(switch):
    """What a restarted podwired does when it had to open the interface again."""
    pod = switch.add("replaced", 81, BLUE)
    other_ns = Netns("other", ipv6=False)
    try:
        _, fds = create_tap(other_ns, "eth0", mac=pod.mac, mtu=pod.mtu)
        switch.engine.put(fds=fds, ports=[pod.port_object(1)])
        for fd in fds:
            os.close(fd)
        switch.a.wire.send(numbered(switch.a, pod, 4))
        pod.wire.expect_nothing(lambda p: UDP in p)
    finally:
        switch.remove(pod)
        other_ns.delete()


def test_a_pod_namespace_that_vanishes_costs_only_its_own_port(switch):
    pod = switch.add("vanishing", 82, BLUE)
    stream = Stream(switch.a, switch.b)
    stream.start()
    pod.wire.close()
    pod.ns.run("ip", "link", "del", "eth0")
    time.sleep(0.2)
    for sequence in range(20):
        switch.a.wire.send(numbered(switch.a, pod, sequence))
    time.sleep(0.2)
    arrived = stream.finish()
    assert arrived == list(range(stream.sent))
    status = next(p for p in switch.engine.call("status")["ports"] if p["name"] == "vanishing")
    assert status["link"] == "down"
    drops = {d["reason"] for d in switch.engine.call("stats")["drops"]}
    assert drops & {"port_down", "egress_queue_full", "port_gone"}
    pod.detach()
    switch.stations.remove(pod)
    for fd in pod.fds:
        os.close(fd)
    pod.ns.delete()


def test_a_reader_that_sleeps_costs_only_its_own_packets(switch):
    """The pod's own transmit queue is full: drops are on its port, with a reason."""
    slow = switch.add("slow", 83, BLUE)
    slow.ns.ip("link set eth0 down")
    for sequence in range(50):
        switch.a.wire.send(numbered(switch.a, slow, sequence))
    switch.a.wire.send(numbered(switch.a, switch.b, 7))
    switch.b.wire.expect(lambda p: UDP in p)
    slow.ns.ip("link set eth0 up")
    time.sleep(0.1)
    switch.a.wire.send(numbered(switch.a, slow, 8))
    slow.wire.expect(lambda p: UDP in p and bytes(p[UDP].payload)[:4] == (8).to_bytes(4, "big"), timeout=4)
    switch.remove(slow)


def test_jumbo_frames(switch):
    one, two = (switch.add(f"jumbo{i}", 90 + i, BLUE, mtu=8950) for i in (1, 2))
    for size in (1451, 2000, 2047, 2048, 4096, 8950 - 28):
        payload = os.urandom(size)
        one.wire.send(Ether(src=one.mac, dst=GATEWAY_MAC) / IP(src=one.ip4, dst=two.ip4, flags="DF") / UDP() / payload)
        assert bytes(two.wire.expect(lambda p: UDP in p)[UDP].payload) == payload
    switch.remove(one)
    switch.remove(two)


@pytest.mark.parametrize("devargs", ["net_null_test,size=64", "net_ring_test", "net_pcap_test,rx_pcap={pcap},tx_pcap={out}"])
def test_other_drivers(switch, devargs, tmp_path):
    from scapy.utils import wrpcap
    if "net_null" in devargs:
        devargs += ",no-rx=1"
    wrpcap(str(tmp_path / "in.pcap"), [Ether(src="02:00:00:00:aa:50", dst="ff:ff:ff:ff:ff:ff", type=0x88B5) / bytes(46)] * 5)
    devargs = devargs.format(pcap=tmp_path / "in.pcap", out=tmp_path / "out.pcap")
    switch.engine.put(ports=[{"id": 60, "name": "driver", "kind": "physical", "role": "uplink", "devargs": devargs}])
    try:
        status = next(p for p in switch.engine.call("status")["ports"] if p["name"] == "driver")
        assert status["link"] == "up" and status["mtu"] >= 1500
        if "net_pcap" in devargs:
            wait_until(lambda: switch.engine.port_stats("driver")["received_packets"] == 5, 2, "5 packets from the file")
        switch.a.wire.send(numbered(switch.a, switch.b, 1))
        switch.b.wire.expect(lambda p: UDP in p)
    finally:
        switch.engine.delete(ports=[60])


def bad_ports():
    tap = {"id": 61, "name": "bad", "kind": "tap", "role": "pod", "domain": BLUE, "mac": "02:00:00:00:00:61", "mtu": 1450}
    physical = {"id": 61, "name": "bad", "kind": "physical", "role": "uplink"}
    yield "mtu too small", {**tap, "mtu": 67}, ["mtu", "67", "68"]
    yield "mtu too big", {**tap, "mtu": 65536}, ["mtu", "65535"]
    yield "no mtu", {k: v for k, v in tap.items() if k != "mtu"}, ["mtu"]
    yield "too many queues", {**tap, "queues": 17}, ["queues", "17", "16"]
    yield "no queue", {**tap, "queues": 0}, ["queues", "1"]
    yield "id too large", {**tap, "id": 4096}, ["4096", "4095"]
    yield "id 0", {**tap, "id": 0}, ["id"]
    yield "no descriptors", tap, ["bad", "descriptor"]
    yield "descriptors that did not come", {**tap, "descriptors": 1}, ["descriptor"]
    yield "unknown key", {**tap, "mttu": 1450}, ["mttu", "mtu"]
    yield "unknown kind", {**tap, "kind": "tun"}, ["tun", "tap"]
    yield "unknown domain", {**tap, "domain": 777}, ["777"]
    yield "multicast mac", {**tap, "mac": "03:00:00:00:00:61"}, ["03:00:00:00:00:61"]
    yield "name taken", {**tap, "name": "a"}, ["a"]
    yield "name with spaces", {**tap, "name": "a b"}, ["a b"]
    yield "no devargs", physical, ["devargs"]
    yield "no such driver", {**physical, "devargs": "net_nothing0"}, ["net_nothing0"]
    yield "no such interface", {**physical, "devargs": "net_af_packet_bad,iface=nowhere0"}, ["nowhere0"]
    yield "no such pci device", {**physical, "devargs": "0000:7f:1f.7"}, ["0000:7f:1f.7"]
    yield "vlan too large", {**physical, "devargs": "net_null9", "vlan": 4095}, ["4095", "4094"]
    yield "physical mtu beyond the device", {**physical, "devargs": "net_af_xdp_bad,iface=lo", "mtu": 9000}, ["MTU 9000", "68 to"]


@pytest.mark.parametrize("port, says", [pytest.param(p, s, id=i) for i, p, s in bad_ports()])
def test_bad_ports_are_refused_with_the_limit(switch, port, says):
    before = switch.engine.call("status")
    with pytest.raises(RpcError) as refused:
        switch.engine.put(ports=[port])
    for word in says:
        assert word in refused.value.message, refused.value.message
    after = switch.engine.call("status")
    assert (after["counts"], after["generation"]) == (before["counts"], before["generation"])


def test_a_descriptor_that_is_no_tap_is_refused(switch, tmp_path):
    fd = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    try:
        with pytest.raises(RpcError) as refused:
            switch.engine.put(fds=[fd], ports=[{"id": 61, "name": "bad", "kind": "tap", "role": "pod", "domain": BLUE,
                                                "mac": "02:00:00:00:00:61", "mtu": 1450, "descriptors": 1}])
        assert "bad" in refused.value.message
    finally:
        os.close(fd)


def test_a_patch_is_all_or_nothing(switch):
    counts = switch.engine.call("status")["counts"]
    good = {"id": 300, "domain": BLUE, "prefix": "10.77.0.0/16", "next_hops": [{"vtep": 2}]}
    with pytest.raises(RpcError):
        switch.engine.put(routes=[good, {"id": 301, "domain": BLUE, "prefix": "10.78.0.0/16", "next_hops": [{"vtep": 99}]}])
    assert switch.engine.call("status")["counts"] == counts


def test_ids_that_are_still_referred_to_cannot_be_deleted(switch):
    for nouns in ({"ports": [switch.a.port]}, {"vteps": [2]}, {"domains": [BLUE]}):
        with pytest.raises(RpcError):
            switch.engine.delete(**nouns)
    assert switch.engine.call("status")["counts"]["ports"] >= 3
