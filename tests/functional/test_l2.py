"""A domain of mode l2 on the wire: flooding, learning, moving, ageing, ARP and ND suppression, the source guard, and that
domains never exchange frames."""
import time

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, ICMPv6NDOptSrcLLAddr, IPv6
from scapy.layers.l2 import ARP, Ether
from scapy.layers.vxlan import VXLAN

from support.engine import GATEWAY_MAC
from support.process import wait_until
from support.switch import BLUE, LAN, NEXT_HOP_MAC, OTHER, PEER, RED, Switch

BROADCAST = "ff:ff:ff:ff:ff:ff"
TEST_TYPE = 0x88B5
AFAR = "02:00:00:00:77:01"  # a MAC behind a tunnel


@pytest.fixture(scope="module")
def switch(directory):
    bench = Switch(directory)
    bench.a = bench.add("a", 11, LAN)
    bench.b = bench.add("b", 12, LAN)
    bench.c = bench.add("c", 13, LAN)
    bench.blue = bench.add("blue", 14, BLUE)
    bench.red = bench.add("red", 15, RED)
    yield bench
    bench.close()


def frame(source, destination, payload=b"hello"):
    return Ether(src=source, dst=destination, type=TEST_TYPE) / payload


def ours(packet):
    return packet.type == TEST_TYPE


def tunnelled(packet):
    return VXLAN in packet and Ether(bytes(packet[VXLAN].payload)).type == TEST_TYPE


def flooded_to(switch):
    """Next hops that got a tunnel copy."""
    return sorted(p.dst for p in switch.wire.collect(tunnelled))


def fdb(switch, mac):
    return next((e for e in switch.engine.call("fdb", {"domain": LAN})["entries"] if e["mac"] == mac), None)


def learn(switch, mac, source=PEER):
    switch.wire.send(switch.encap(frame(mac, switch.a.mac), LAN, source=source))
    switch.a.wire.expect(ours)
    wait_until(lambda: (fdb(switch, mac) or {}).get("vtep") == source, 1, f"{mac} learned behind VTEP {source}")


@pytest.mark.parametrize("destination", [BROADCAST, "33:33:00:00:00:01", "02:00:00:00:88:88"])
def test_flood_goes_to_every_member_and_vtep_and_never_back(switch, destination):
    sent = frame(switch.a.mac, destination)
    switch.a.wire.send(sent)
    for member in (switch.b, switch.c):
        assert bytes(member.wire.expect(ours)) == bytes(sent)
    assert flooded_to(switch) == sorted([NEXT_HOP_MAC[PEER], NEXT_HOP_MAC[OTHER]])
    for other in (switch.a, switch.blue, switch.red):
        other.wire.expect_nothing(ours)


def test_flood_from_a_tunnel_stays_off_the_tunnels(switch):
    switch.wire.send(switch.encap(frame(AFAR, BROADCAST), LAN))
    for member in (switch.a, switch.b, switch.c):
        member.wire.expect(ours)
    assert flooded_to(switch) == []


def test_known_unicast_goes_to_its_port_only(switch):
    switch.a.wire.send(frame(switch.a.mac, switch.b.mac))
    switch.b.wire.expect(ours)
    switch.c.wire.expect_nothing(ours)
    assert flooded_to(switch) == []


def test_learning_and_moving(switch):
    mac = "02:00:00:00:77:02"
    learn(switch, mac, PEER)
    switch.a.wire.send(frame(switch.a.mac, mac))
    assert flooded_to(switch) == [NEXT_HOP_MAC[PEER]]
    switch.b.wire.expect_nothing(ours)
    learn(switch, mac, OTHER)
    switch.a.wire.send(frame(switch.a.mac, mac))
    assert flooded_to(switch) == [NEXT_HOP_MAC[OTHER]]


def test_a_tunnel_cannot_take_over_a_local_pods_mac(switch):
    switch.wire.send(switch.encap(frame(switch.b.mac, switch.a.mac), LAN))
    time.sleep(0.1)
    switch.c.wire.send(frame(switch.c.mac, switch.b.mac))
    switch.b.wire.expect(ours)


def test_from_tunnel_to_tunnel_is_dropped(switch):
    mac = "02:00:00:00:77:03"
    learn(switch, mac, OTHER)
    with switch.drops(back_to_tunnel=1):
        switch.wire.send(switch.encap(frame(AFAR, mac), LAN, source=PEER))
    assert flooded_to(switch) == []


def test_learned_entries_age(switch):
    domain = switch.engine.call("dump", {"noun": "domains"})["objects"]
    lan = next(d for d in domain if d["id"] == LAN)
    mac = "02:00:00:00:77:04"
    switch.engine.put(domains=[{**lan, "fdb_ageing_s": 1}])
    try:
        learn(switch, mac, PEER)
        wait_until(lambda: fdb(switch, mac) is None, 5, f"{mac} aged out")
        switch.a.wire.send(frame(switch.a.mac, mac))
        assert flooded_to(switch) == sorted([NEXT_HOP_MAC[PEER], NEXT_HOP_MAC[OTHER]])
    finally:
        switch.engine.put(domains=[lan])


def test_the_table_of_learned_addresses_is_bounded(switch):
    lan = next(d for d in switch.engine.call("dump", {"noun": "domains"})["objects"] if d["id"] == LAN)
    switch.engine.put(domains=[{**lan, "fdb_limit": 16}])
    try:
        for i in range(100):
            switch.wire.send(switch.encap(frame(f"02:00:00:01:00:{i:02x}", switch.a.mac), LAN))
        time.sleep(0.3)
        assert len(switch.engine.call("fdb", {"domain": LAN})["entries"]) <= 16
    finally:
        switch.engine.put(domains=[lan])


def test_a_vtep_that_leaves_takes_what_was_learned_behind_it(switch):
    mac = "02:00:00:00:77:05"
    vtep = {"id": 30, "name": "leaver", "address": "192.168.100.30", "mac": "02:00:00:00:ee:30"}
    switch.engine.put(vteps=[vtep])
    switch.wire.send(switch.encap(frame(mac, switch.a.mac), LAN, source="192.168.100.30"))
    switch.a.wire.expect(ours)
    wait_until(lambda: (fdb(switch, mac) or {}).get("vtep") == 30, 1, "learned")
    switch.engine.delete(vteps=[30])
    assert fdb(switch, mac) is None or fdb(switch, mac).get("vtep") != 30


def test_a_pod_that_leaves_is_not_sent_to(switch):
    pod = switch.add("leaver", 60, LAN)
    switch.a.wire.send(frame(switch.a.mac, pod.mac))
    pod.wire.expect(ours)
    switch.b.wire.expect_nothing(ours)
    pod.detach()
    switch.a.wire.send(frame(switch.a.mac, pod.mac))  # unknown now: flooded
    switch.b.wire.expect(ours)
    pod.wire.expect_nothing(ours)
    switch.stations.remove(pod)
    pod.close()


def arp_request(pod, target):
    return Ether(src=pod.mac, dst=BROADCAST) / ARP(op=1, hwsrc=pod.mac, psrc=pod.ip4, pdst=target)


def solicitation(pod, target):
    return (Ether(src=pod.mac, dst="33:33:ff:00:00:01") / IPv6(src=pod.ip6, dst="ff02::1:ff00:1", hlim=255) /
            ICMPv6ND_NS(tgt=target) / ICMPv6NDOptSrcLLAddr(lladdr=pod.mac))


def expect_arp(pod, target, mac):
    reply = pod.wire.expect(lambda p: ARP in p and p[ARP].op == 2)
    assert (reply[ARP].psrc, reply[ARP].hwsrc, reply[ARP].pdst, reply[ARP].hwdst) == (target, mac, pod.ip4, pod.mac)
    assert reply.dst == pod.mac


def expect_advertisement(pod, target, mac):
    reply = pod.wire.expect(lambda p: ICMPv6ND_NA in p)
    assert (reply[ICMPv6ND_NA].tgt, reply[ICMPv6NDOptDstLLAddr].lladdr) == (target, mac)
    assert reply[IPv6].hlim == 255 and reply[ICMPv6ND_NA].S == 1


def test_arp_and_nd_for_a_local_pod_is_answered_not_flooded(switch):
    switch.a.wire.send(arp_request(switch.a, switch.b.ip4))
    expect_arp(switch.a, switch.b.ip4, switch.b.mac)
    switch.a.wire.send(solicitation(switch.a, switch.b.ip6))
    expect_advertisement(switch.a, switch.b.ip6, switch.b.mac)
    for other in (switch.b, switch.c):
        other.wire.expect_nothing()
    switch.expect_no_vxlan()


def test_arp_and_nd_for_a_remote_endpoint_is_answered(switch):
    switch.engine.put(endpoints=[{"id": 900, "name": "far", "domain": LAN, "vtep": PEER, "mac": AFAR,
                                  "addresses": ["10.245.0.99", "fd00:10:245::99"]}])
    try:
        switch.a.wire.send(arp_request(switch.a, "10.245.0.99"))
        expect_arp(switch.a, "10.245.0.99", AFAR)
        switch.a.wire.send(solicitation(switch.a, "fd00:10:245::99"))
        expect_advertisement(switch.a, "fd00:10:245::99", AFAR)
        switch.expect_no_vxlan()
        switch.a.wire.send(frame(switch.a.mac, AFAR))
        assert flooded_to(switch) == [NEXT_HOP_MAC[PEER]]
    finally:
        switch.engine.delete(endpoints=[900])


def test_the_gateway_answers_arp_and_nd(switch):
    switch.a.wire.send(arp_request(switch.a, "10.245.0.1"))
    expect_arp(switch.a, "10.245.0.1", GATEWAY_MAC)
    switch.a.wire.send(solicitation(switch.a, "fd00:10:245::1"))
    expect_advertisement(switch.a, "fd00:10:245::1", GATEWAY_MAC)


def test_arp_for_an_unknown_address_is_flooded(switch):
    switch.a.wire.send(arp_request(switch.a, "10.245.0.222"))
    switch.b.wire.expect(lambda p: ARP in p)
    switch.expect_vxlan(lambda p: ARP in p)


def spoofs(pod):
    yield "spoofed_mac", frame("02:00:00:00:66:66", BROADCAST)
    yield "spoofed_ip", Ether(src=pod.mac, dst=BROADCAST) / IP(src="10.245.0.200", dst="10.245.0.12") / UDP()
    yield "spoofed_ip", Ether(src=pod.mac, dst=BROADCAST) / IPv6(src="fd00:10:245::200", dst="fd00:10:245::c") / UDP()
    yield "spoofed_ip", Ether(src=pod.mac, dst=BROADCAST) / IPv6(src="fe80::1", dst="ff02::1") / UDP()
    yield "spoofed_arp", Ether(src=pod.mac, dst=BROADCAST) / ARP(op=2, hwsrc=pod.mac, psrc="10.245.0.12", pdst="10.245.0.13")
    yield "spoofed_arp", Ether(src=pod.mac, dst=BROADCAST) / ARP(op=1, hwsrc="02:00:00:00:66:66", psrc=pod.ip4, pdst="10.245.0.13")
    yield "spoofed_arp", (Ether(src=pod.mac, dst="33:33:00:00:00:01") / IPv6(src=pod.ip6, dst="ff02::1", hlim=255) /
                          ICMPv6ND_NA(tgt="fd00:10:245::c", R=0, S=0) / ICMPv6NDOptDstLLAddr(lladdr=pod.mac))
    yield "spoofed_arp", (Ether(src=pod.mac, dst="33:33:00:00:00:01") / IPv6(src=pod.ip6, dst="ff02::1", hlim=255) /
                          ICMPv6ND_NA(tgt=pod.ip6, R=0, S=0) / ICMPv6NDOptDstLLAddr(lladdr="02:00:00:00:66:66"))
    yield "bad_ethernet", frame("03:00:00:00:00:01", BROADCAST)


def test_spoofed_sources_are_dropped_and_counted(switch):
    for reason, packet in spoofs(switch.a):
        with switch.drops(**{reason: 1}):
            switch.a.wire.send(packet)
    for other in (switch.b, switch.c):
        other.wire.expect_nothing()
    switch.expect_no_vxlan()


def test_allowed_pairs_let_more_sources_pass(switch):
    endpoint = {**switch.c.endpoint_object(), "allowed_pairs": [{"address": "10.245.0.192/28"}]}
    packet = Ether(src=switch.c.mac, dst=switch.a.mac) / IP(src="10.245.0.200", dst=switch.a.ip4) / UDP()
    with switch.drops(spoofed_ip=1):
        switch.c.wire.send(packet)
    switch.engine.put(endpoints=[endpoint])
    switch.c.wire.send(packet)
    switch.a.wire.expect(lambda p: UDP in p)
    switch.engine.put(endpoints=[switch.c.endpoint_object()])
    with switch.drops(spoofed_ip=1):
        switch.c.wire.send(packet)


def test_domains_never_exchange_frames(switch):
    # By MAC, from lan to blue and red: unknown in lan, so it floods there.
    for victim in (switch.blue, switch.red):
        switch.a.wire.send(frame(switch.a.mac, victim.mac))
        victim.wire.expect_nothing()
    # By IP through the gateway: lan has no route to blue's addresses.
    with switch.drops(no_route=1):
        switch.a.wire.send(Ether(src=switch.a.mac, dst=GATEWAY_MAC) / IP(src=switch.a.ip4, dst=switch.blue.ip4) / UDP())
    # blue and red overlap: red has no pod .14.
    with switch.drops(host_unreachable=1):
        switch.red.wire.send(Ether(src=switch.red.mac, dst=GATEWAY_MAC) / IP(src=switch.red.ip4, dst=switch.blue.ip4) / UDP())
    switch.blue.wire.expect_nothing()


def test_an_l3_domain_switches_no_unknown_or_group_frames(switch):
    with switch.drops(mac_unknown=1):
        switch.blue.wire.send(frame(switch.blue.mac, "02:00:00:00:88:88"))
    with switch.drops(multicast_unsupported=1):
        switch.blue.wire.send(frame(switch.blue.mac, BROADCAST))
    with switch.drops(protocol_unsupported=1):
        switch.blue.wire.send(frame(switch.blue.mac, GATEWAY_MAC))
    switch.expect_no_vxlan()
