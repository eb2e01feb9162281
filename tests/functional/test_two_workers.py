"""Connections whose two directions are received by different workers: one entry, one state, replies where new connections
are denied, in every state of TCP, through the tunnel, and with a reply that is not the swapped tuple (masquerade)."""
import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN

from support.engine import GATEWAY_MAC
from support.switch import ADDRESS, BLUE, LOCAL, LOCAL_VTEP_MAC, NEXT_HOP_MAC, PEER, UPLINK, VTEP_MAC, Switch

NODE = ADDRESS[4][LOCAL]
WORLD = "203.0.113.9"
MANY = 100


def polled(switch):
    """How many ports each worker receives from."""
    return [worker["ports"] for worker in switch.engine.call("status")["workers"]]


def add(switch, name, number):
    """A pod that knows which worker receives from it."""
    before = polled(switch)
    pod = switch.add(name, number, BLUE)
    pod.worker, = (i for i, (old, new) in enumerate(zip(before, polled(switch))) if new > old)
    return pod


@pytest.fixture(scope="module")
def switch(directory):
    bench = Switch(directory, workers=2)
    bench.uplink_worker = polled(bench).index(1)
    pods = [add(bench, name, number) for name, number in (("one", 10), ("other", 11))]
    # b's worker is not the uplink's.
    bench.a, bench.b = sorted(pods, key=lambda pod: pod.worker != bench.uplink_worker)
    bench.domain = next(d for d in bench.engine.call("dump", {"noun": "domains"})["objects"] if d["id"] == BLUE)
    yield bench
    bench.close()


@pytest.fixture(autouse=True)
def connections(switch):
    """None at the start; a's alone may begin, and b's to where nobody of the node is."""
    program(switch)
    switch.engine.call("flows_flush", {"all": True})
    assert flows(switch) == []
    yield
    switch.quiet()


def program(switch, **fields):
    rules = [{"action": "deny", "source": f"{switch.b.ip4}/32", "destination": f"{switch.a.ip4}/32"},
             {"action": "deny", "destination": f"{switch.b.ip4}/32", "source": "10.244.2.0/24"}]
    switch.engine.put(domains=[{**switch.domain, "stateful": True, "strict_tcp": True, "rules": rules, **fields}])


def flows(switch):
    return switch.engine.call("flows", {"limit": 1000})["flows"]


def state(switch):
    one, = flows(switch)
    return one["state"]


def arrives(source, target, inner):
    source.wire.send(Ether(src=source.mac, dst=GATEWAY_MAC) / IP(src=source.ip4, dst=target.ip4) / inner)
    target.wire.expect(lambda p: IP in p and p[IP].src == source.ip4 and type(inner) in p)


def there(switch, flags, **fields):
    arrives(switch.a, switch.b, TCP(sport=4000, dport=80, flags=flags, **fields))


def back(switch, flags, **fields):
    arrives(switch.b, switch.a, TCP(sport=80, dport=4000, flags=flags, **fields))


def test_the_directions_are_on_different_workers(switch):
    assert switch.a.worker == switch.uplink_worker != switch.b.worker


def test_a_tcp_connection_has_one_state(switch):
    there(switch, "S")
    assert state(switch) == "syn_sent"
    back(switch, "SA")
    assert state(switch) == "syn_received"
    there(switch, "A")
    assert state(switch) == "established"
    for number in range(30):
        there(switch, "PA", seq=number)
        back(switch, "A", ack=number)
    back(switch, "FA")
    assert state(switch) == "fin_wait"
    there(switch, "A")
    assert state(switch) == "close_wait"
    there(switch, "FA")
    assert state(switch) == "last_ack"
    back(switch, "A")
    assert state(switch) == "time_wait"


def test_a_reset_from_the_other_worker_closes(switch):
    there(switch, "S")
    back(switch, "SA")
    there(switch, "A")
    back(switch, "R")
    assert state(switch) == "close"


def test_what_one_worker_began_is_no_new_connection_to_the_other(switch):
    before = switch.engine.call("stats")["flows"]["inserted"]
    with switch.drops(policy_denied=1):
        switch.b.wire.send(Ether(src=switch.b.mac, dst=GATEWAY_MAC) / IP(src=switch.b.ip4, dst=switch.a.ip4) /
                           UDP(sport=53, dport=999))
    # Packets of both directions are under way at once: both workers have bursts of the same connections in hand.
    ask = lambda port: (Ether(src=switch.a.mac, dst=GATEWAY_MAC) / IP(src=switch.a.ip4, dst=switch.b.ip4) /
                        UDP(sport=port, dport=53))
    answer = lambda port: (Ether(src=switch.b.mac, dst=GATEWAY_MAC) / IP(src=switch.b.ip4, dst=switch.a.ip4) /
                           UDP(sport=53, dport=port))
    ports = range(2000, 2000 + MANY)
    questions, answers = [bytes(ask(port)) for port in ports], [bytes(answer(port)) for port in ports]
    for question in questions:
        switch.a.wire.send(question)
    assert len(switch.b.wire.collect(lambda p: UDP in p, count=MANY, timeout=5)) == MANY
    for question, reply in zip(questions, answers):
        switch.b.wire.send(reply)
        switch.a.wire.send(question)
    assert sorted(p[UDP].dport for p in switch.a.wire.collect(lambda p: UDP in p, count=MANY, timeout=5)) == list(ports)
    assert len(switch.b.wire.collect(lambda p: UDP in p, count=MANY, timeout=5)) == MANY
    assert switch.engine.call("stats")["flows"]["inserted"] - before == MANY
    assert {one["state"] for one in flows(switch)} == {"udp_replied"} and len(flows(switch)) == MANY


def test_answers_come_out_of_the_tunnel_on_another_worker(switch):
    b = switch.b
    inner = IP(src="10.244.2.10", dst=b.ip4) / UDP(sport=8, dport=7)
    from_peer = switch.encap(Ether(src=VTEP_MAC[PEER], dst=LOCAL_VTEP_MAC) / inner)
    with switch.drops(policy_denied=1):
        switch.wire.send(from_peer)
    b.wire.send(Ether(src=b.mac, dst=GATEWAY_MAC) / IP(src=b.ip4, dst="10.244.2.10") / UDP(sport=7, dport=8))
    switch.expect_vxlan(lambda p: p[VXLAN][IP].dst == "10.244.2.10")
    switch.wire.send(from_peer)
    b.wire.expect(lambda p: UDP in p and p[UDP].sport == 8)
    assert state(switch) == "udp_replied"


def test_a_reply_that_is_not_the_swapped_tuple_finds_its_connection(switch):
    b = switch.b
    program(switch, masquerade={"addresses": [NODE], "ports": [20000, 20999]})
    switch.engine.put(routes=[{"id": 900, "domain": 1, "prefix": "203.0.113.0/24",
                               "next_hops": [{"port": UPLINK, "address": ADDRESS[4][PEER]}]}])
    try:
        for port in range(7000, 7020):
            b.wire.send(Ether(src=b.mac, dst=GATEWAY_MAC) / IP(src=b.ip4, dst=WORLD) / UDP(sport=port, dport=53))
            sent = switch.wire.expect(lambda p: UDP in p and p[IP].dst == WORLD)
            assert sent[IP].src == NODE and 20000 <= sent[UDP].sport <= 20999
            switch.wire.send(Ether(src=NEXT_HOP_MAC[PEER], dst=switch.mac) / IP(src=WORLD, dst=NODE) /
                             UDP(sport=53, dport=sent[UDP].sport))
            reply = b.wire.expect(lambda p: UDP in p and p[IP].src == WORLD)
            assert (reply[IP].dst, reply[UDP].dport) == (b.ip4, port)
        assert [one["state"] for one in flows(switch)] == ["udp_replied"] * 20
    finally:
        switch.engine.delete(routes=[900])
