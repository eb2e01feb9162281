"""VXLAN on the wire (RFC 7348), over IPv4 and IPv6 underlays and both drivers for kernel devices: what is decapsulated
and what is not, every outer header field, UDP ports, checksums, segmentation and merging of TCP through the tunnel.
"""
import random

import pytest
from scapy.layers.inet import IP, TCP, UDP, fragment
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, fragment6
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN
from scapy.packet import Raw
from scapy.utils import checksum

from support.engine import GATEWAY_MAC
from support.switch import (ADDRESS, BLUE, LAN, LOCAL, LOCAL_VTEP_MAC, NEXT_HOP_MAC, OTHER, PEER, RED, VNI,
                            VTEP_MAC, VXLAN_PORT, Switch)
from support.wire import VIRTIO_GSO_TCPV4, VIRTIO_GSO_TCPV6, VIRTIO_NEEDS_CSUM


@pytest.fixture(scope="module", params=["af_packet-4", "af_packet-6", "af_xdp-4"])
def switch(request, directory):
    driver, family = request.param.split("-")
    bench = Switch(directory / request.param, driver=driver, family=int(family))
    bench.pod = bench.add("pod", 10, BLUE)
    bench.lan = bench.add("lan", 20, LAN)
    bench.red = bench.add("red", 10, RED)
    bench.big = bench.add("big", 40, BLUE, vnet_header=True)
    yield bench
    bench.close()


def remote_ip(pod, family=4, host=10):
    """An inner IP header from behind PEER to the pod."""
    if family == 6:
        return IPv6(src=f"fd00:10:244:2::{host:x}", dst=pod.ip6)
    return IP(src=f"10.244.2.{host}", dst=pod.ip4)


def from_remote(pod, family=4, payload=b"from afar"):
    """An inner frame as PEER routes it to us."""
    return Ether(src=VTEP_MAC[PEER], dst=GATEWAY_MAC) / remote_ip(pod, family) / UDP(sport=7, dport=9) / payload


def to_remote(pod, sport=1000, payload=b"to afar", family=4):
    ip = IPv6(src=pod.ip6, dst="fd00:10:244:2::10") if family == 6 else IP(src=pod.ip4, dst="10.244.2.10")
    return Ether(src=pod.mac, dst=GATEWAY_MAC) / ip / UDP(sport=sport, dport=9) / payload


def test_decap_returns_the_inner_frame_byte_for_byte(switch):
    for length in (0, 1, 46, 700, switch.mtu - 60):
        inner = bytes(Ether(src="02:00:00:00:99:01", dst=switch.lan.mac, type=0x88B5)) + random.randbytes(length)
        switch.wire.send(switch.encap(inner, LAN))
        assert bytes(switch.lan.wire.expect(lambda p: p.type == 0x88B5)) == inner


@pytest.mark.parametrize("family", [4, 6])
def test_routed_packet_from_the_tunnel_reaches_the_pod(switch, family):
    sent = from_remote(switch.pod, family)
    switch.wire.send(switch.encap(sent))
    got = switch.pod.wire.expect(lambda p: UDP in p)
    assert (got.src, got.dst) == (GATEWAY_MAC, switch.pod.mac)
    ttl = (lambda p: p[IPv6].hlim) if family == 6 else (lambda p: p[IP].ttl)
    assert ttl(got) == ttl(sent) - 1
    assert bytes(got[UDP]) == bytes(Ether(bytes(sent))[UDP])


def test_a_tunnel_packet_to_our_vtep_mac_is_routed_too(switch):
    inner = from_remote(switch.pod)
    inner.dst = LOCAL_VTEP_MAC
    switch.wire.send(switch.encap(inner))
    switch.pod.wire.expect(lambda p: UDP in p)


@pytest.mark.parametrize("family", [4, 6])
def test_every_outer_field(switch, family):
    sent = to_remote(switch.pod, family=family)
    switch.pod.wire.send(sent)
    got = switch.expect_vxlan()
    assert (got.src, got.dst) == (switch.mac, NEXT_HOP_MAC[PEER])
    if switch.family == 4:
        outer = got[IP]
        assert (outer.src, outer.dst) == (ADDRESS[4][LOCAL], ADDRESS[4][PEER])
        assert outer.frag == 0 and "MF" not in outer.flags
        assert checksum(bytes(outer)[:20]) == 0
        assert outer.len == len(got) - 14
    else:
        outer = got[IPv6]
        assert (outer.src, outer.dst) == (ADDRESS[6][LOCAL], ADDRESS[6][PEER])
        assert outer.plen == len(got) - 14 - 40
        assert IPv6ExtHdrFragment not in got
        rebuilt = got.copy()
        del rebuilt[UDP].chksum
        assert got[UDP].chksum not in (0, None)
        assert Ether(bytes(rebuilt))[UDP].chksum == got[UDP].chksum
    udp = got[UDP]
    assert udp.dport == VXLAN_PORT and 49152 <= udp.sport <= 65535
    header = bytes(got[VXLAN])[:8]
    assert header == bytes([8, 0, 0, 0]) + VNI[BLUE].to_bytes(3, "big") + b"\0"
    inner = got[VXLAN].payload
    assert (inner.src, inner.dst) == (GATEWAY_MAC, VTEP_MAC[PEER])
    assert bytes(inner.payload.payload) == bytes(Ether(bytes(sent)).payload.payload)


def test_reserved_bits_are_ignored_on_receipt(switch):
    packet = bytes(switch.encap(from_remote(switch.pod), checksum=0))
    at = packet.index(bytes([8, 0, 0, 0]) + VNI[BLUE].to_bytes(3, "big"))
    for changed in (0, 1, 2, 3, 7):
        mangled = bytearray(packet)
        mangled[at + changed] |= 0xF7 if changed == 0 else 0xFF
        switch.wire.send(mangled)
        switch.pod.wire.expect(lambda p: UDP in p)


def test_without_the_vni_flag_it_is_dropped(switch):
    packet = bytearray(bytes(switch.encap(from_remote(switch.pod), checksum=0)))
    at = bytes(packet).index(bytes([8, 0, 0, 0]) + VNI[BLUE].to_bytes(3, "big"))
    packet[at] = 0xF7
    with switch.drops(bad_vxlan_header=1):
        switch.wire.send(packet)
    switch.pod.wire.expect_nothing()


@pytest.mark.parametrize("vni", [1, VNI[BLUE] ^ 1, VNI[BLUE] ^ 0x800000, 0xFFFFFF])
def test_unknown_vni_is_dropped_and_counted(switch, vni):
    with switch.drops(vni_unknown=1):
        switch.wire.send(switch.encap(from_remote(switch.pod), vni=vni))
    switch.pod.wire.expect_nothing()


def test_the_vni_decides_between_overlapping_domains_and_0_is_a_vni(switch):
    assert switch.pod.ip4 == switch.red.ip4
    switch.wire.send(switch.encap(from_remote(switch.red, payload=b"for red"), RED))
    assert switch.red.wire.expect(lambda p: UDP in p)[Raw].load == b"for red"
    switch.pod.wire.expect_nothing()


def test_outer_udp_checksum_zero_and_right_accepted_wrong_dropped(switch):
    inner = from_remote(switch.pod)
    switch.wire.send(switch.encap(inner, checksum=0))
    switch.pod.wire.expect(lambda p: UDP in p)
    right = switch.encap(inner)
    del right[UDP].chksum
    switch.wire.send(right)
    switch.pod.wire.expect(lambda p: UDP in p)
    value = Ether(bytes(right))[UDP].chksum
    with switch.drops(bad_outer_checksum=1):
        switch.wire.send(switch.encap(inner, checksum=(value ^ 0x0101) or 1))
    switch.pod.wire.expect_nothing()


def test_source_port_is_stable_per_flow_and_spread_over_flows(switch):
    ports = {}
    for sport in list(range(2000, 2040)) * 2:
        switch.pod.wire.send(to_remote(switch.pod, sport))
        got = switch.expect_vxlan()
        ports.setdefault(sport, set()).add(got[UDP].sport)
    assert all(len(seen) == 1 for seen in ports.values())
    assert len(set.union(*ports.values())) >= 30
    assert all(49152 <= port <= 65535 for port in set.union(*ports.values()))


def test_an_unknown_vtep_is_dropped_where_nothing_is_learned(switch):
    stranger = "192.168.100.77" if switch.family == 4 else "fd00:100::77"
    with switch.drops(vtep_unknown=1):
        switch.wire.send(switch.encap(from_remote(switch.pod), source=stranger))
    switch.pod.wire.expect_nothing()


def test_vxlan_that_a_pod_sends_to_the_vtep_is_not_decapsulated(switch):
    inner = from_remote(switch.big)
    frame = switch.encap(inner)
    outer_ip = frame[IP if switch.family == 4 else IPv6]
    outer_ip.src = switch.pod.address(switch.family)
    frame.src, frame.dst = switch.pod.mac, GATEWAY_MAC
    with switch.drops(no_route=1):
        switch.pod.wire.send(frame)
    switch.big.wire.expect_nothing(lambda p: UDP in p)


def test_an_outer_fragment_is_not_decapsulated(switch):
    packet = switch.encap(from_remote(switch.pod, payload=b"x" * 1200))
    if switch.family == 4:
        pieces = fragment(packet[IP], 600)
    else:
        packet[UDP].chksum = None
        pieces = fragment6(IPv6(bytes(IPv6(src=packet[IPv6].src, dst=packet[IPv6].dst) / IPv6ExtHdrFragment(id=7)
                                      / packet[UDP])), 700)
    assert len(pieces) > 1
    # DPDK's af_packet driver asks the kernel to put IPv4 fragments together first, so there it is whole.
    whole = switch.driver == "af_packet" and switch.family == 4
    with switch.drops(**{} if whole else {"no_host_port": len(pieces)}):
        for piece in pieces:
            switch.wire.send(Ether(src=packet.src, dst=packet.dst) / piece)
    if not whole:
        switch.pod.wire.expect_nothing()


def test_a_peer_on_another_udp_port(switch):
    """Flannel's 8472 beside 4789: each VTEP has its own."""
    address = ADDRESS[switch.family]
    switch.engine.put(
        vteps=[{"id": 20, "name": "local8472", "local": True, "address": address[LOCAL], "udp_port": 8472,
                "mac": LOCAL_VTEP_MAC},
               {"id": 21, "name": "flannel", "address": address[OTHER], "udp_port": 8472, "mac": VTEP_MAC[OTHER]}],
        routes=[{"id": 90, "domain": BLUE, "prefix": "10.99.0.0/16", "next_hops": [{"vtep": 21}]}])
    try:
        frame = to_remote(switch.pod)
        frame[IP].dst = "10.99.0.1"
        switch.pod.wire.send(frame)
        got = switch.wire.expect(lambda p: UDP in p and p.src == switch.mac)
        assert got[UDP].dport == 8472 and got.dst == NEXT_HOP_MAC[OTHER]
        assert bytes(got[UDP])[8:16] == bytes([8, 0, 0, 0]) + VNI[BLUE].to_bytes(3, "big") + b"\0"
        switch.wire.send(switch.encap(from_remote(switch.pod), source=OTHER, dport=8472))
        switch.pod.wire.expect(lambda p: UDP in p)
    finally:
        switch.engine.delete(routes=[90], vteps=[21, 20])
    # Without a listener on 8472 it is the node's own traffic again.
    with switch.drops(no_host_port=1):
        switch.wire.send(switch.encap(from_remote(switch.pod), source=OTHER, dport=8472))


def test_a_peer_without_a_local_vtep_of_its_port_is_dropped_with_the_reason(switch):
    switch.engine.put(
        vteps=[{"id": 22, "name": "lonely", "address": ADDRESS[switch.family][OTHER], "udp_port": 9999,
                "mac": VTEP_MAC[OTHER]}],
        routes=[{"id": 91, "domain": BLUE, "prefix": "10.98.0.0/16", "next_hops": [{"vtep": 22}]}])
    try:
        frame = to_remote(switch.pod)
        frame[IP].dst = "10.98.0.1"
        with switch.drops(vtep_no_source=1):
            switch.pod.wire.send(frame)
    finally:
        switch.engine.delete(routes=[91], vteps=[22])


def tcp_segment(pod, family, payload, sequence=1000, flags="A"):
    ip = IPv6(src=pod.ip6, dst="fd00:10:244:2::10") if family == 6 else IP(src=pod.ip4, dst="10.244.2.10", flags="DF")
    return Ether(src=pod.mac, dst=GATEWAY_MAC) / ip / TCP(sport=4000, dport=80, seq=sequence, flags=flags) / payload


def pseudo_header_checksum(frame):
    """What a sender with checksum offload leaves in the field."""
    ip = frame.payload
    length = len(ip.payload)
    if IPv6 in frame:
        words = bytes(IPv6(src=ip.src, dst=ip.dst))[8:40] + length.to_bytes(4, "big") + b"\0\0\0\6"
    else:
        words = bytes(IP(src=ip.src, dst=ip.dst))[12:20] + b"\0\6" + length.to_bytes(2, "big")
    return ~checksum(words) & 0xFFFF


@pytest.mark.parametrize("family", [4, 6])
def test_inner_tso_is_cut_to_the_tunnels_mtu_with_right_checksums(switch, family):
    payload = random.Random(1).randbytes(20_000)
    frame = tcp_segment(switch.big, family, payload, flags="PA")
    frame[TCP].chksum = pseudo_header_checksum(frame)
    headers = 14 + (40 if family == 6 else 20)
    size = switch.mtu - (headers - 14) - 20
    switch.big.wire.send(frame, flags=VIRTIO_NEEDS_CSUM, gso_type=VIRTIO_GSO_TCPV6 if family == 6 else VIRTIO_GSO_TCPV4,
                         header_len=headers + 20, gso_size=size, csum_start=headers, csum_offset=16)
    got, expected_sequence = b"", 1000
    while len(got) < len(payload):
        outer = switch.expect_vxlan()
        assert len(outer) <= switch.underlay_mtu + 14
        inner = Ether(bytes(outer[VXLAN].payload))
        tcp = inner[TCP]
        assert tcp.seq == expected_sequence
        data = bytes(tcp.payload)
        got += data
        expected_sequence += len(data)
        assert ("P" in tcp.flags) == (len(got) == len(payload))
        rebuilt = inner.copy()
        del rebuilt[TCP].chksum
        assert Ether(bytes(rebuilt))[TCP].chksum == tcp.chksum
        if family == 4:
            assert checksum(bytes(inner[IP])[:20]) == 0
    assert got == payload


def test_a_partial_checksum_is_completed_before_the_tunnel(switch):
    frame = tcp_segment(switch.big, 4, b"odd payload")
    frame[TCP].chksum = pseudo_header_checksum(frame)
    switch.big.wire.send(frame, flags=VIRTIO_NEEDS_CSUM, csum_start=34, csum_offset=16)
    inner = Ether(bytes(switch.expect_vxlan()[VXLAN].payload))
    rebuilt = inner.copy()
    del rebuilt[TCP].chksum
    assert Ether(bytes(rebuilt))[TCP].chksum == inner[TCP].chksum


def test_tcp_segments_from_the_tunnel_arrive_in_order_merged_or_not(switch):
    payload = random.Random(2).randbytes(16 * 1000)
    frames = []
    for i in range(16):
        inner = (Ether(src=VTEP_MAC[PEER], dst=GATEWAY_MAC) / remote_ip(switch.big) /
                 TCP(sport=80, dport=4000, seq=5000 + i * 1000, ack=1, flags="A") / payload[i * 1000:(i + 1) * 1000])
        frames.append(bytes(switch.encap(inner)))
    for frame in frames:
        switch.wire.send(frame)
    got, packets = b"", 0
    while len(got) < len(payload):
        packet = switch.big.wire.expect(lambda p: TCP in p)
        assert packet[TCP].seq == 5000 + len(got)
        ip = packet[IP]
        got += bytes(ip)[40:ip.len]
        packets += 1
    assert got == payload
    print(f"16 segments arrived as {packets} packets")


def test_larger_than_the_tunnel_is_never_fragmented_outside(switch):
    """IPv4 without DF may be cut inside the tunnel; the outer packets stay whole."""
    frame = to_remote(switch.pod, payload=random.Random(3).randbytes(switch.mtu - 28))
    switch.pod.wire.send(frame)
    outer = switch.expect_vxlan()
    if switch.family == 4:
        assert outer[IP].frag == 0 and "MF" not in outer[IP].flags
    assert len(outer) - 14 == switch.underlay_mtu
