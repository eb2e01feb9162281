"""The uplink besides VXLAN: finding next hops by ARP and ND (retry, bounded parking, failure, recovery, a new MAC), next
hops behind a router, 802.1Q, the host interface that carries the node's own traffic, and an uplink without one."""
import time

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6ND_NS, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.layers.vxlan import VXLAN

from support.engine import GATEWAY_MAC
from support.process import wait_until
from support.switch import ADDRESS, BLUE, LOCAL, NEXT_HOP_MAC, OTHER, PEER, UPLINK, VTEP_MAC, Switch

BROADCAST = "ff:ff:ff:ff:ff:ff"


@pytest.fixture(params=[4, 6])
def lonely(request, short_directory):
    """Nobody answers on the underlay."""
    bench = Switch(short_directory / f"lonely{request.param}{time.monotonic_ns()}", family=request.param, answer=False)
    bench.pod = bench.add("pod", 10, BLUE)
    yield bench
    bench.close()


def packet(pod, sequence, destination="10.244.2.10"):
    return Ether(src=pod.mac, dst=GATEWAY_MAC) / IP(src=pod.ip4, dst=destination, id=sequence) / UDP() / str(sequence)


def inner_ids(packets):
    return [Ether(bytes(p[VXLAN].payload))[IP].id for p in packets]


def neighbor(bench, address):
    return next((n for n in bench.engine.call("neighbors")["neighbors"] if n["address"] == address), None)


def is_question(bench, address):
    def matches(p):
        if p.src != bench.mac:
            return False
        return (ARP in p and p[ARP].op == 1 and p[ARP].pdst == address) or (
            ICMPv6ND_NS in p and p[ICMPv6ND_NS].tgt == address)
    return matches


def test_resolution_sends_the_parked_packets_in_order(lonely):
    address = ADDRESS[lonely.family]
    check = lonely.ledger()
    for sequence in range(1, 11):
        lonely.pod.wire.send(packet(lonely.pod, sequence))
    question = lonely.wire.expect(is_question(lonely, address[PEER]), timeout=3)
    if lonely.family == 4:
        assert question.dst == BROADCAST
        assert (question[ARP].hwsrc, question[ARP].psrc) == (lonely.mac, address[LOCAL])
    else:
        assert question.dst.startswith("33:33:ff") and question[IPv6].hlim == 255
        assert question[ICMPv6NDOptSrcLLAddr].lladdr == lonely.mac and question[IPv6].src == address[LOCAL]
    assert neighbor(lonely, address[PEER])["state"] == "incomplete"
    lonely.expect_no_vxlan()
    lonely.responder.answers = {address[PEER]: NEXT_HOP_MAC[PEER]}
    arrived = [lonely.expect_vxlan(timeout=4) for _ in range(10)]
    assert inner_ids(arrived) == list(range(1, 11))
    assert all(p.dst == NEXT_HOP_MAC[PEER] for p in arrived)
    assert neighbor(lonely, address[PEER])["state"] == "reachable"
    check.check()


def test_parking_is_bounded_and_failure_is_counted(lonely):
    check = lonely.ledger()
    lonely.wire.expect(is_question(lonely, ADDRESS[lonely.family][PEER]), timeout=35)
    with lonely.drops():
        pass
    for sequence in range(200):
        lonely.pod.wire.send(packet(lonely.pod, sequence))

    def counted():
        stats = lonely.engine.call("stats")
        drops = {d["reason"]: d["packets"] for d in stats["drops"]}
        parked = stats["ledger"]["parked"]
        return drops.get("neighbor_queue_full", 0) + drops.get("neighbor_unresolved", 0) == 200 - parked and parked <= 64
    wait_until(counted, 2, "no more than 64 packets parked, the rest dropped with a reason")

    def all_given_up():
        return lonely.engine.call("stats")["ledger"]["parked"] == 0
    wait_until(all_given_up, 8, "parked packets dropped when nobody answers")
    assert neighbor(lonely, ADDRESS[lonely.family][PEER])["state"] == "failed"
    check.check()
    # It is asked again, and then all is well.
    lonely.responder.answers = {ADDRESS[lonely.family][PEER]: NEXT_HOP_MAC[PEER]}
    wait_until(lambda: neighbor(lonely, ADDRESS[lonely.family][PEER])["state"] == "reachable", 35, "asked again")
    lonely.pod.wire.send(packet(lonely.pod, 7))
    lonely.expect_vxlan()
    check.check()


@pytest.fixture(scope="module")
def switch(directory):
    bench = Switch(directory / "plain")
    bench.pod = bench.add("pod", 10, BLUE)
    yield bench
    bench.close()


def test_the_engine_answers_for_its_vtep_when_there_is_no_host_interface(switch):
    ask = Ether(src="02:00:00:00:aa:50", dst=BROADCAST) / ARP(op=1, hwsrc="02:00:00:00:aa:50", psrc="192.168.100.50",
                                                              pdst="192.168.100.1")
    switch.wire.send(ask)
    reply = switch.wire.expect(lambda p: ARP in p and p[ARP].op == 2)
    assert (reply[ARP].hwsrc, reply[ARP].psrc, reply.dst) == (switch.mac, "192.168.100.1", "02:00:00:00:aa:50")
    ask[ARP].pdst = "192.168.100.99"
    switch.wire.send(ask)
    switch.wire.expect_nothing(lambda p: ARP in p and p.src == switch.mac)


def test_other_traffic_to_the_node_is_dropped_by_name_without_a_host_interface(switch):
    with switch.drops(no_host_port=1):
        switch.wire.send(Ether(src="02:00:00:00:aa:50", dst=switch.mac) / IP(src="192.168.100.50", dst="192.168.100.1") / ICMP())


def test_a_peers_new_mac_is_followed(switch):
    """After the peer says so itself, the engine asks before it believes, then sends there."""
    moved = "02:00:00:00:aa:62"
    switch.responder.answers["192.168.100.2"] = moved
    try:
        switch.wire.send(Ether(src=moved, dst=BROADCAST) /
                         ARP(op=1, hwsrc=moved, psrc="192.168.100.2", pdst="192.168.100.2"))

        def follows():
            switch.pod.wire.send(packet(switch.pod, 1))
            return switch.expect_vxlan().dst == moved
        wait_until(follows, 5, "packets go to the new MAC")
    finally:
        switch.responder.answers["192.168.100.2"] = NEXT_HOP_MAC[PEER]
        switch.wire.send(Ether(src=NEXT_HOP_MAC[PEER], dst=BROADCAST) /
                         ARP(op=1, hwsrc=NEXT_HOP_MAC[PEER], psrc="192.168.100.2", pdst="192.168.100.2"))
        wait_until(lambda: neighbor(switch, "192.168.100.2")["mac"] == NEXT_HOP_MAC[PEER], 5, "moved back")


def test_a_peer_behind_a_router(switch):
    router = "02:00:00:00:aa:fe"
    switch.responder.answers["192.168.100.254"] = router
    switch.engine.put(
        vteps=[{"id": 40, "name": "faraway", "address": "10.200.0.1", "mac": "02:00:00:00:ee:40"}],
        routes=[{"id": 70, "domain": 1, "prefix": "0.0.0.0/0", "next_hops": [{"port": UPLINK, "address": "192.168.100.254"}]},
                {"id": 71, "domain": BLUE, "prefix": "10.71.0.0/16", "next_hops": [{"vtep": 40}]}])
    try:
        switch.pod.wire.send(packet(switch.pod, 1, "10.71.0.1"))
        got = switch.expect_vxlan(timeout=4)
        assert (got.dst, got[IP].dst) == (router, "10.200.0.1")
    finally:
        switch.engine.delete(routes=[71, 70], vteps=[40])


@pytest.fixture(scope="module", params=["af_packet", "af_xdp"])
def tagged(request, directory):
    bench = Switch(directory / f"tagged-{request.param}", driver=request.param, vlan=100)
    bench.pod = bench.add("pod", 10, BLUE)
    yield bench
    bench.close()


def test_an_uplink_with_a_vlan(tagged):
    check = tagged.ledger()
    tagged.pod.wire.send(packet(tagged.pod, 1))
    got = tagged.wire.expect(lambda p: VXLAN in p)
    assert got[Dot1Q].vlan == 100 and got[IP].dst == ADDRESS[4][PEER]
    inner = Ether(src=VTEP_MAC[PEER], dst=GATEWAY_MAC) / IP(src="10.244.2.9", dst=tagged.pod.ip4) / UDP() / b"tagged"
    tagged.wire.send(tagged.encap(inner))
    tagged.pod.wire.expect(lambda p: UDP in p)
    for wrong in (Ether(src="02:00:00:00:aa:02", dst=tagged.mac) / tagged.encap(inner)[IP],
                  Ether(src="02:00:00:00:aa:02", dst=tagged.mac) / Dot1Q(vlan=101) / tagged.encap(inner)[IP]):
        with tagged.drops(bad_ethernet=1):
            tagged.wire.send(wrong)
    tagged.pod.wire.expect_nothing()
    check.check()


@pytest.fixture(scope="module")
def hosted(directory):
    bench = Switch(directory / "hosted", host=True)
    bench.pod = bench.add("pod", 10, BLUE)
    yield bench
    bench.close()


@pytest.fixture
def settled_host(hosted):
    hosted.quiet()
    check = hosted.ledger()
    yield hosted
    check.check()


def test_what_is_not_ours_goes_to_the_host_interface_unchanged(settled_host):
    bench = settled_host
    for sent in (Ether(src="02:00:00:00:aa:50", dst=bench.mac) / IP(src="192.168.100.50", dst="192.168.100.1") / TCP(dport=22),
                 Ether(src="02:00:00:00:aa:50", dst=bench.mac) / IPv6(src="fd00:100::50", dst="fd00:100::1") / UDP(dport=4789) / bytes(30),
                 Ether(src="02:00:00:00:aa:50", dst="01:00:5e:00:00:05") / IP(src="192.168.100.50", dst="224.0.0.5", proto=89) / bytes(30),
                 Ether(src="02:00:00:00:aa:50", dst=BROADCAST, type=0x88CC) / bytes(50)):
        bench.wire.send(sent)
        assert bytes(bench.host.expect(lambda p: p.src == "02:00:00:00:aa:50")) == bytes(sent)


def test_our_vxlan_does_not_reach_the_host(settled_host):
    bench = settled_host
    inner = Ether(src=VTEP_MAC[PEER], dst=GATEWAY_MAC) / IP(src="10.244.2.9", dst=bench.pod.ip4) / UDP() / b"for the pod"
    bench.wire.send(bench.encap(inner))
    bench.pod.wire.expect(lambda p: UDP in p)
    bench.host.expect_nothing()


def test_the_host_sends_to_the_underlay_unchanged(settled_host):
    bench = settled_host
    sent = Ether(src=bench.mac, dst="02:00:00:00:aa:50") / IP(src="192.168.100.1", dst="192.168.100.50") / TCP(sport=22) / bytes(100)
    bench.host.send(sent)
    assert bytes(bench.wire.expect(lambda p: TCP in p)) == bytes(sent)
    bench.pod.wire.expect_nothing()


def test_neighbour_answers_reach_engine_and_host(settled_host):
    bench = settled_host
    answer = Ether(src=NEXT_HOP_MAC[OTHER], dst=bench.mac) / ARP(op=2, hwsrc=NEXT_HOP_MAC[OTHER], psrc="192.168.100.3",
                                                                 hwdst=bench.mac, pdst="192.168.100.1")
    bench.wire.send(answer)
    assert bytes(bench.host.expect(lambda p: ARP in p and p.src == NEXT_HOP_MAC[OTHER]))[:42] == bytes(answer)
    assert neighbor(bench, "192.168.100.3")["mac"] == NEXT_HOP_MAC[OTHER]


def test_the_node_and_a_pod_with_host_access_talk(settled_host):
    """The node reaches pods through the domain's gateway; a pod reaches the node's address the same way."""
    bench = settled_host
    bench.host.send(Ether(src=bench.mac, dst=BROADCAST) / ARP(op=1, hwsrc=bench.mac, psrc="192.168.100.1", pdst="10.244.1.1"))
    assert bench.host.expect(lambda p: ARP in p and p[ARP].op == 2)[ARP].hwsrc == GATEWAY_MAC
    bench.engine.put(routes=[{"id": 80, "domain": BLUE, "prefix": "192.168.100.1/32", "next_hops": [{"port": 2}]}])
    try:
        bench.host.send(Ether(src=bench.mac, dst=GATEWAY_MAC) / IP(src="192.168.100.1", dst=bench.pod.ip4) / UDP() / b"to the pod")
        got = bench.pod.wire.expect(lambda p: UDP in p)
        assert (got[IP].src, got.src) == ("192.168.100.1", GATEWAY_MAC)
        bench.pod.wire.send(Ether(src=bench.pod.mac, dst=GATEWAY_MAC) / IP(src=bench.pod.ip4, dst="192.168.100.1") / UDP() / b"to the node")
        got = bench.host.expect(lambda p: UDP in p)
        assert (got[IP].src, got.dst) == (bench.pod.ip4, bench.mac)
    finally:
        bench.engine.delete(routes=[80])
