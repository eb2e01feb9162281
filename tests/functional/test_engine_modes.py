"""The engine as it can be configured: two workers, busy polling, without hugepages, polling a port that has no descriptor.
Each forwards between pods and through the tunnel, keeps every flow's order, and balances."""
import time

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN

from support.engine import GATEWAY_MAC
from support.process import cpu_seconds
from support.switch import BLUE, LAN, PEER, VTEP_MAC, Switch

MODES = {
    "two-workers": {"workers": 2},
    "busy": {"idle": "busy"},
    "4-kib-pages": {"hugepages": "never"},
    "two-workers-4-kib-pages-spin": {"workers": 2, "hugepages": "never", "spin_us": 0},
}


@pytest.fixture(scope="module", params=MODES)
def switch(request, directory):
    options = MODES[request.param]
    bench = Switch(directory / request.param, **options)
    bench.options = options
    # Ports of either parity, so that with two workers packets cross from one to the other.
    bench.pods = [bench.add(f"pod{i}", 10 + i, BLUE, queues=1 + i % 3) for i in range(4)]
    bench.lan = [bench.add(f"lan{i}", 30 + i, LAN) for i in range(2)]
    yield bench
    bench.close()


def flow(source, target_ip, sport, number):
    return Ether(src=source.mac, dst=GATEWAY_MAC) / IP(src=source.ip4, dst=target_ip) / UDP(sport=sport, dport=9) / \
        number.to_bytes(4, "big")


def numbers(packets):
    """{source port: numbers in order of arrival}"""
    found = {}
    for packet in packets:
        found.setdefault(packet[UDP].sport, []).append(int.from_bytes(bytes(packet[UDP].payload)[:4], "big"))
    return found


def test_status_says_how_it_runs(switch):
    status = switch.engine.call("status")
    assert status["idle"] == switch.options.get("idle", "adaptive")
    assert len(status["workers"]) == switch.options.get("workers", 1)
    if switch.options.get("hugepages") == "never":
        assert status["memory"]["mode"] == "4 KiB pages"


def test_pods_to_pods_in_order(switch):
    for source in switch.pods:
        for target in switch.pods:
            if source is target:
                continue
            for number in range(50):
                for sport in (1000, 1001):
                    source.wire.send(flow(source, target.ip4, sport, number))
            arrived = numbers(target.wire.collect(lambda p: UDP in p, count=100, timeout=1))
            assert arrived == {1000: list(range(50)), 1001: list(range(50))}, f"{source.name} → {target.name}"


def test_pods_to_the_tunnel_and_back_in_order(switch):
    for pod in switch.pods:
        for number in range(50):
            pod.wire.send(flow(pod, "10.244.2.10", 1000, number))
        inner = [Ether(bytes(p[VXLAN].payload)) for p in switch.wire.collect(switch.is_vxlan, count=50, timeout=1)]
        assert numbers(inner) == {1000: list(range(50))}
        for number in range(50):
            switch.wire.send(switch.encap(Ether(src=VTEP_MAC[PEER], dst=GATEWAY_MAC) / IP(src="10.244.2.10", dst=pod.ip4) /
                                          UDP(sport=1000, dport=9) / number.to_bytes(4, "big")))
        assert numbers(pod.wire.collect(lambda p: UDP in p, count=50, timeout=1)) == {1000: list(range(50))}


def test_flooding_reaches_everybody(switch):
    one, other = switch.lan
    for _ in range(20):
        one.wire.send(Ether(src=one.mac, dst="ff:ff:ff:ff:ff:ff", type=0x88B5) / b"flood")
    assert len(other.wire.collect(lambda p: p.type == 0x88B5, count=20, timeout=1)) == 20
    assert len(switch.wire.collect(switch.is_vxlan, count=40, timeout=1)) == 40


def test_ports_come_and_go(switch):
    for round in range(6):
        pod = switch.add(f"guest{round}", 100 + round, BLUE, queues=1 + round % 2)
        switch.pods[0].wire.send(flow(switch.pods[0], pod.ip4, 1, round))
        pod.wire.expect(lambda p: UDP in p)
        switch.remove(pod)


def test_what_polling_costs(switch):
    """Printed: an adaptive engine sleeps, a busy one takes its core."""
    time.sleep(0.3)
    before, started = cpu_seconds(switch.engine.pid), time.monotonic()
    time.sleep(1)
    percent = 100 * (cpu_seconds(switch.engine.pid) - before) / (time.monotonic() - started)
    print(f"{switch.options}: {percent:.1f} % of a core when idle")
    assert switch.options.get("idle") == "busy" or percent < 20


def test_a_port_without_a_descriptor_is_polled_every_millisecond(switch):
    """A null device gives the engine nothing to sleep on; the others still wake it, and it stays cheap."""
    switch.engine.put(ports=[{"id": 60, "name": "null", "kind": "physical", "role": "uplink",
                              "devargs": "net_null_modes,size=64,no-rx=1"}])
    try:
        before, started = cpu_seconds(switch.engine.pid), time.monotonic()
        time.sleep(1)
        percent = 100 * (cpu_seconds(switch.engine.pid) - before) / (time.monotonic() - started)
        print(f"{switch.options}: {percent:.1f} % of a core when idle, with a port to poll")
        switch.pods[0].wire.send(flow(switch.pods[0], switch.pods[1].ip4, 1, 1))
        switch.pods[1].wire.expect(lambda p: UDP in p)
        assert switch.options.get("idle") == "busy" or percent < 30
    finally:
        switch.engine.delete(ports=[60])
