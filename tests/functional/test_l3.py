"""Routing in a domain on the wire: the gateway's ARP, ND and echo, forwarding between pods, TTL, MTU and the ICMP errors,
longest prefix, ECMP, unreachable destinations, options and extension headers, and that explain tells the same."""
import random
import time

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption_NOP, IPOption_RR, defragment, fragment
from scapy.layers.inet6 import (HBHOptUnknown, ICMPv6DestUnreach, ICMPv6EchoReply, ICMPv6EchoRequest, ICMPv6ND_NA,
                                ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, ICMPv6NDOptSrcLLAddr, ICMPv6PacketTooBig,
                                ICMPv6TimeExceeded, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrHopByHop)
from scapy.layers.l2 import ARP, Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Raw
from scapy.utils import checksum

from support.engine import GATEWAY_MAC
from support.rpc import RpcError
from support.switch import BLUE, NEXT_HOP_MAC, OTHER, PEER, UPLINK, Switch

GATEWAY4, GATEWAY6 = "10.244.1.1", "fd00:10:244:1::1"
BROADCAST = "ff:ff:ff:ff:ff:ff"


@pytest.fixture(scope="module")
def switch(directory):
    bench = Switch(directory)
    bench.a = bench.add("a", 10, BLUE)
    bench.b = bench.add("b", 11, BLUE)
    bench.small = bench.add("small", 12, BLUE, mtu=1300)
    yield bench
    bench.close()


def to_gateway(pod, packet):
    return Ether(src=pod.mac, dst=GATEWAY_MAC) / packet


def ip(pod, destination, **fields):
    if ":" in destination:
        return IPv6(src=pod.ip6, dst=destination, **fields)
    return IP(src=pod.ip4, dst=destination, **fields)


def checksums_right(packet):
    """IPv4 header and ICMP/UDP/TCP checksums as scapy would compute them."""
    rebuilt = packet.copy()
    for layer in (IP, UDP, TCP, ICMP):
        if layer in rebuilt:
            del rebuilt[layer].chksum
    return bytes(Ether(bytes(rebuilt))) == bytes(packet)


def test_gateway_answers_arp(switch):
    switch.a.wire.send(Ether(src=switch.a.mac, dst=BROADCAST) /
                       ARP(op=1, hwsrc=switch.a.mac, psrc=switch.a.ip4, pdst=GATEWAY4))
    reply = switch.a.wire.expect(lambda p: ARP in p)
    assert (reply.src, reply.dst) == (GATEWAY_MAC, switch.a.mac)
    assert (reply[ARP].op, reply[ARP].hwsrc, reply[ARP].psrc) == (2, GATEWAY_MAC, GATEWAY4)
    assert (reply[ARP].hwdst, reply[ARP].pdst) == (switch.a.mac, switch.a.ip4)


@pytest.mark.parametrize("target", [GATEWAY6, "fe80::70:77ff:fe00:1"])
def test_gateway_answers_nd(switch, target):
    switch.a.wire.send(Ether(src=switch.a.mac, dst="33:33:ff:00:00:01") /
                       IPv6(src=switch.a.ip6, dst="ff02::1:ff00:1", hlim=255) / ICMPv6ND_NS(tgt=target) /
                       ICMPv6NDOptSrcLLAddr(lladdr=switch.a.mac))
    reply = switch.a.wire.expect(lambda p: ICMPv6ND_NA in p)
    assert reply[ICMPv6ND_NA].tgt == target and reply[ICMPv6ND_NA].S == 1
    assert reply[ICMPv6NDOptDstLLAddr].lladdr == GATEWAY_MAC and reply[IPv6].hlim == 255
    assert checksum6_right(reply)


def checksum6_right(packet):
    rebuilt = packet.copy()
    for layer in rebuilt.layers():
        if hasattr(rebuilt[layer], "cksum"):
            del rebuilt[layer].cksum
    return bytes(Ether(bytes(rebuilt))) == bytes(packet)


@pytest.mark.parametrize("size", [0, 1, 56, 1400])
def test_gateway_answers_echo(switch, size):
    data = random.randbytes(size)
    switch.a.wire.send(to_gateway(switch.a, ip(switch.a, GATEWAY4) / ICMP(id=7, seq=9) / data))
    reply = switch.a.wire.expect(lambda p: ICMP in p)
    assert (reply[IP].src, reply[IP].dst, reply[ICMP].type) == (GATEWAY4, switch.a.ip4, 0)
    assert (reply[ICMP].id, reply[ICMP].seq) == (7, 9) and bytes(reply[ICMP].payload)[:size] == data
    assert checksums_right(reply)
    switch.a.wire.send(to_gateway(switch.a, ip(switch.a, GATEWAY6) / ICMPv6EchoRequest(id=7, seq=9, data=data)))
    reply = switch.a.wire.expect(lambda p: ICMPv6EchoReply in p)
    assert (reply[IPv6].src, reply[ICMPv6EchoReply].id, reply[ICMPv6EchoReply].data) == (GATEWAY6, 7, data)
    assert checksum6_right(reply)


def test_arp_for_addresses_the_gateway_routes_to_and_for_nobodys(switch):
    ask = lambda target: Ether(src=switch.a.mac, dst=BROADCAST) / ARP(op=1, hwsrc=switch.a.mac, psrc=switch.a.ip4, pdst=target)
    switch.a.wire.send(ask(switch.b.ip4))
    assert switch.a.wire.expect(lambda p: ARP in p)[ARP].hwsrc == switch.b.mac
    switch.a.wire.send(ask("10.244.2.5"))
    assert switch.a.wire.expect(lambda p: ARP in p)[ARP].hwsrc == GATEWAY_MAC
    with switch.drops(arp_target_unknown=1):
        switch.a.wire.send(ask("10.244.1.200"))
    switch.a.wire.expect_nothing()


@pytest.mark.parametrize("family", [4, 6])
def test_forwarding_between_pods(switch, family):
    sent = to_gateway(switch.a, ip(switch.a, switch.b.address(family)) / UDP(sport=1, dport=2) / b"payload")
    switch.a.wire.send(sent)
    got = switch.b.wire.expect(lambda p: UDP in p)
    assert (got.src, got.dst) == (GATEWAY_MAC, switch.b.mac)
    assert bytes(got[UDP]) == bytes(Ether(bytes(sent))[UDP])
    assert (got[IPv6].hlim if family == 6 else got[IP].ttl) == 63
    assert checksums_right(got)
    switch.small.wire.expect_nothing()


def test_direct_by_mac_keeps_the_ttl(switch):
    switch.a.wire.send(Ether(src=switch.a.mac, dst=switch.b.mac) / ip(switch.a, switch.b.ip4) / UDP() / b"x")
    got = switch.b.wire.expect(lambda p: UDP in p)
    assert (got.src, got[IP].ttl) == (switch.a.mac, 64)


@pytest.mark.parametrize("ttl", [0, 1])
def test_ttl_that_ran_out_gives_time_exceeded(switch, ttl):
    sent = to_gateway(switch.a, ip(switch.a, switch.b.ip4, ttl=ttl) / UDP(sport=5, dport=6) / b"payload")
    with switch.drops(ttl_exceeded=1):
        switch.a.wire.send(sent)
    reply = switch.a.wire.expect(lambda p: ICMP in p)
    assert (reply[IP].src, reply[ICMP].type, reply[ICMP].code) == (GATEWAY4, 11, 0)
    quoted = bytes(sent)[14:14 + 28]
    assert bytes(reply[ICMP])[8:8 + 28] == quoted
    assert checksum(bytes(reply[IP])[:20]) == 0 and checksum(bytes(reply[ICMP])) == 0
    with switch.drops(ttl_exceeded=1):
        switch.a.wire.send(to_gateway(switch.a, ip(switch.a, switch.b.ip6, hlim=ttl) / UDP() / b"payload"))
    reply = switch.a.wire.expect(lambda p: ICMPv6TimeExceeded in p)
    assert reply[IPv6].src == GATEWAY6 and checksum6_right(reply)


def test_no_icmp_error_about_icmp_errors_fragments_or_groups(switch):
    error = ip(switch.a, switch.b.ip4, ttl=1) / ICMP(type=3, code=1) / bytes(28)
    later = ip(switch.a, switch.b.ip4, ttl=1, frag=10) / Raw(b"later fragment")
    with switch.drops(ttl_exceeded=2):
        switch.a.wire.send(to_gateway(switch.a, error))
        switch.a.wire.send(to_gateway(switch.a, later))
    switch.a.wire.expect_nothing(lambda p: ICMP in p)


@pytest.mark.parametrize("where", ["port", "tunnel"])
def test_too_big_with_df_gives_the_right_mtu(switch, where):
    if where == "port":
        target4, target6, mtu = switch.small.ip4, switch.small.ip6, 1300
    else:
        target4, target6, mtu = "10.244.2.9", "fd00:10:244:2::9", 1450
        switch.engine.put(ports=[{**switch.a.port_object(), "mtu": 9000}])
        switch.a.ns.ip("link set eth0 mtu 9000")
    size = mtu + 1
    try:
        with switch.drops(too_big=1):
            switch.a.wire.send(to_gateway(switch.a, ip(switch.a, target4, flags="DF") / UDP() / bytes(size - 28)))
        reply = switch.a.wire.expect(lambda p: ICMP in p)
        assert (reply[ICMP].type, reply[ICMP].code, reply[ICMP].nexthopmtu) == (3, 4, mtu)
        with switch.drops(too_big=1):
            switch.a.wire.send(to_gateway(switch.a, ip(switch.a, target6) / UDP() / bytes(size - 48)))
        reply = switch.a.wire.expect(lambda p: ICMPv6PacketTooBig in p)
        assert reply[ICMPv6PacketTooBig].mtu == mtu and len(reply[IPv6]) <= 1280
        # One byte less fits.
        switch.a.wire.send(to_gateway(switch.a, ip(switch.a, target4, flags="DF") / UDP() / bytes(mtu - 28)))
        if where == "port":
            switch.small.wire.expect(lambda p: UDP in p)
        else:
            switch.expect_vxlan()
    finally:
        if where == "tunnel":
            switch.a.ns.ip("link set eth0 mtu 1450")
            switch.engine.put(ports=[switch.a.port_object()])


def test_too_big_without_df_is_fragmented(switch):
    payload = random.randbytes(1400)
    switch.a.wire.send(to_gateway(switch.a, ip(switch.a, switch.small.ip4, id=77) / UDP(sport=5, dport=6) / payload))
    pieces = switch.small.wire.collect(lambda p: IP in p)
    assert len(pieces) > 1 and all(len(p[IP]) <= 1300 and checksum(bytes(p[IP])[:20]) == 0 for p in pieces)
    datagrams = [p for p in defragment([p[IP] for p in pieces]) if UDP in p]
    assert len(datagrams) == 1 and bytes(datagrams[0][UDP].payload) == payload


def routed(switch, destination):
    """The next hop that a packet to `destination` takes, or None."""
    switch.a.wire.send(to_gateway(switch.a, ip(switch.a, destination) / UDP(sport=9, dport=9)))
    got = switch.wire.collect(switch.is_vxlan, timeout=0.1)
    return got[0].dst if got else None


def test_longest_prefix_wins_and_a_change_is_followed_at_once(switch):
    hop = lambda vtep: {"next_hops": [{"vtep": vtep}]}
    routes = [{"id": 50, "domain": BLUE, "prefix": "10.50.0.0/16", **hop(PEER)},
              {"id": 51, "domain": BLUE, "prefix": "10.50.1.0/24", **hop(OTHER)},
              {"id": 52, "domain": BLUE, "prefix": "10.50.1.7/32", **hop(PEER)},
              {"id": 53, "domain": BLUE, "prefix": "10.50.2.0/24", "blackhole": True},
              {"id": 54, "domain": BLUE, "prefix": "fd50::/16", **hop(PEER)},
              {"id": 55, "domain": BLUE, "prefix": "fd50:1::/33", **hop(OTHER)},
              {"id": 56, "domain": BLUE, "prefix": "0.0.0.0/0", **hop(OTHER)}]
    switch.engine.put(routes=routes)
    expected = {"10.50.9.9": PEER, "10.50.1.1": OTHER, "10.50.1.7": PEER, "fd50:2::1": PEER, "fd50:1::1": OTHER,
                "203.0.113.1": OTHER}
    try:
        for destination, vtep in expected.items():
            assert routed(switch, destination) == NEXT_HOP_MAC[vtep], destination
        with switch.drops(blackhole_route=1):
            assert routed(switch, "10.50.2.1") is None
        switch.engine.delete(routes=[52])
        assert routed(switch, "10.50.1.7") == NEXT_HOP_MAC[OTHER]
        switch.engine.put(routes=[{**routes[1], **hop(PEER)}])
        assert routed(switch, "10.50.1.1") == NEXT_HOP_MAC[PEER]
    finally:
        switch.engine.delete(routes=[r["id"] for r in routes])


@pytest.mark.parametrize("prefix, base", [("10.60.0.0/16", "10.60.0.1"), ("fd60::/64", "fd60::1")])
def test_ecmp_keeps_a_flow_on_one_path_and_weighs(switch, prefix, base):
    switch.engine.put(routes=[{"id": 60, "domain": BLUE, "prefix": prefix,
                               "next_hops": [{"vtep": PEER, "weight": 1}, {"vtep": OTHER, "weight": 3}]}])
    try:
        paths = {}
        for sport in list(range(3000, 3120)) * 2:
            switch.a.wire.send(to_gateway(switch.a, ip(switch.a, base) / UDP(sport=sport, dport=9)))
        for packet in switch.wire.collect(switch.is_vxlan):
            inner = Ether(bytes(packet[VXLAN].payload))
            paths.setdefault(inner[UDP].sport, []).append(packet.dst)
        assert len(paths) == 120
        assert all(len(seen) == 2 and len(set(seen)) == 1 for seen in paths.values())
        by_other = sum(seen[0] == NEXT_HOP_MAC[OTHER] for seen in paths.values())
        assert 66 <= by_other <= 114, f"{by_other} of 120 flows on the path of weight 3 of 4"
    finally:
        switch.engine.delete(routes=[60])


def test_unreachable_destinations(switch):
    """(destination, reason, ICMP code, ICMPv6 code)"""
    for target, reason, code in (("172.16.0.1", "no_route", 0), ("10.244.1.200", "host_unreachable", 1)):
        with switch.drops(**{reason: 1}):
            switch.a.wire.send(to_gateway(switch.a, ip(switch.a, target) / UDP()))
        reply = switch.a.wire.expect(lambda p: ICMP in p)
        assert (reply[IP].src, reply[ICMP].type, reply[ICMP].code) == (GATEWAY4, 3, code)
    for target, reason, code in (("2001:db8::1", "no_route", 0), ("fd00:10:244:1::200", "host_unreachable", 3)):
        with switch.drops(**{reason: 1}):
            switch.a.wire.send(to_gateway(switch.a, ip(switch.a, target) / UDP()))
        reply = switch.a.wire.expect(lambda p: ICMPv6DestUnreach in p)
        assert reply[ICMPv6DestUnreach].code == code and checksum6_right(reply)


def test_the_gateway_itself_offers_no_service(switch):
    with switch.drops(gateway_no_service=1):
        switch.a.wire.send(to_gateway(switch.a, ip(switch.a, GATEWAY4) / UDP(dport=53)))
    reply = switch.a.wire.expect(lambda p: ICMP in p)
    assert (reply[ICMP].type, reply[ICMP].code) == (3, 3)


@pytest.mark.parametrize("target", ["169.254.1.1", "127.0.0.1", "255.255.255.255", "0.0.0.0", "fe80::1234", "::1"])
def test_link_local_and_loopback_are_not_routed(switch, target):
    with switch.drops(link_local_forward=1):
        switch.a.wire.send(to_gateway(switch.a, ip(switch.a, target) / UDP()))


def test_options_and_extension_headers_survive(switch):
    options = [IPOption_NOP(), IPOption_NOP(), IPOption_NOP(), IPOption_RR(length=7, routers=["0.0.0.0"])]
    sent = to_gateway(switch.a, IP(src=switch.a.ip4, dst=switch.b.ip4, options=options) / UDP(sport=5, dport=6) / b"opt")
    switch.a.wire.send(sent)
    got = switch.b.wire.expect(lambda p: UDP in p)
    before, after = bytes(Ether(bytes(sent))[IP]), bytes(got[IP])
    assert after[20:] == before[20:] and got[IP].ttl == 63 and checksum(after[:got[IP].ihl * 4]) == 0
    sent = to_gateway(switch.a, IPv6(src=switch.a.ip6, dst=switch.b.ip6) /
                      IPv6ExtHdrHopByHop(options=[HBHOptUnknown(otype=0x1E, optdata=b"abcd")]) /
                      IPv6ExtHdrDestOpt(options=[HBHOptUnknown(otype=0x1E, optdata=b"efgh")]) / UDP(sport=5, dport=6) / b"ext")
    switch.a.wire.send(sent)
    got = switch.b.wire.expect(lambda p: UDP in p)
    assert bytes(got[IPv6])[40:] == bytes(Ether(bytes(sent))[IPv6])[40:]


def test_fragments_follow_their_first(switch):
    for piece in fragment(ip(switch.a, switch.b.ip4, id=99) / UDP(sport=5, dport=6) / bytes(3000), 1000):
        switch.a.wire.send(to_gateway(switch.a, piece))
    assert len(switch.b.wire.collect(lambda p: IP in p)) == 4


@pytest.mark.parametrize("mangle, reason", [
    (lambda b: b[:14 + 10] + b"\xde\xad" + b[14 + 12:], "bad_ipv4_checksum"),
    (lambda b: b[:14] + b"\x44" + b[15:], "bad_ipv4_header"),
    (lambda b: b[:14] + b"\x55" + b[15:], "bad_ipv4_header"),
    (lambda b: b[:16] + b"\x00\x10" + b[18:], "bad_ipv4_header"),
    (lambda b: b[:16] + b"\xff\xff" + b[18:], "frame_too_short"),
])
def test_bad_ipv4_headers_are_dropped_by_name(switch, mangle, reason):
    with switch.drops(**{reason: 1}):
        switch.a.wire.send(mangle(bytes(to_gateway(switch.a, ip(switch.a, switch.b.ip4) / UDP() / bytes(30)))))


def test_icmp_errors_are_rate_limited(switch):
    time.sleep(0.15)
    frame = bytes(to_gateway(switch.a, ip(switch.a, "172.16.0.1") / UDP()))
    started = time.monotonic()
    for _ in range(2000):
        switch.a.wire.send(frame)
    elapsed = time.monotonic() - started
    errors = len(switch.a.wire.collect(lambda p: ICMP in p, timeout=0.2))
    assert 50 <= errors <= 100 + 1000 * (elapsed + 0.5)


def test_explain_tells_what_happens_and_changes_nothing(switch):
    before = switch.engine.call("stats")
    explain = lambda **packet: switch.engine.call("explain", {"port": switch.a.port, "source": switch.a.ip4, **packet})
    local = explain(destination=switch.b.ip4, protocol="udp")
    assert local["verdict"] == "sent" and [o["port"] for o in local["outputs"]] == [switch.b.port]
    assert Ether(bytes.fromhex(local["outputs"][0]["frame"])).dst == switch.b.mac
    remote = explain(destination="10.244.2.7", protocol="tcp", destination_port=80)
    assert remote["verdict"] == "sent" and remote["outputs"][0]["port"] == UPLINK
    assert Ether(bytes.fromhex(remote["outputs"][0]["frame"])).dst == NEXT_HOP_MAC[PEER]
    assert any(d["noun"] == "route" and d["id"] == 2 for d in remote["decided_by"])
    unreachable = explain(destination="172.16.0.1", protocol="icmp")
    assert unreachable.get("reason") == "no_route" and unreachable["reason_help"]
    assert explain(destination=GATEWAY4, protocol="icmp")["verdict"] == "answered"
    spoofed = switch.engine.call("explain", {"port": switch.a.port, "source": "10.9.9.9", "destination": switch.b.ip4})
    assert (spoofed["verdict"], spoofed["reason"]) == ("dropped", "spoofed_ip")
    by_frame = switch.engine.call("explain", {"port": switch.a.port, "frame": bytes(
        to_gateway(switch.a, ip(switch.a, switch.b.ip6) / UDP())).hex()})
    assert by_frame["verdict"] == "sent" and by_frame["steps"]
    switch.b.wire.expect_nothing()
    switch.expect_no_vxlan()
    after = switch.engine.call("stats")
    assert (before["ledger"], before["drops"]) == (after["ledger"], after["drops"])


@pytest.mark.parametrize("params, says", [
    ({}, "port"), ({"port": 4000, "destination": "10.0.0.1"}, "4000"),
    ({"port": "x"}, "port"), ({"port": 10, "frame": "zz"}, "frame"),
    ({"port": 10, "destination": "nowhere"}, "nowhere"), ({"port": 10, "destination": "10.0.0.1", "protocol": "sctp"}, "sctp"),
])
def test_explain_refuses_bad_input_by_name(switch, params, says):
    with pytest.raises(RpcError) as refused:
        switch.engine.call("explain", params)
    assert says in refused.value.message
