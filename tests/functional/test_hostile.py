"""Hostile packets: truncated at every length, mangled at random, with lying offload headers, from a pod and from the
underlay. The engine goes on, forwards good packets, the ledger balances and no buffer leaks."""
import random

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (ICMPv6EchoRequest, ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr,
                                ICMPv6NDOptSrcLLAddr, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment, IPv6ExtHdrHopByHop,
                                IPv6ExtHdrRouting)
from scapy.layers.l2 import ARP, Dot1Q, Ether

from support.engine import GATEWAY_MAC
from support.rpc import RpcError
from support.switch import BLUE, LAN, PEER, VTEP_MAC, Switch

MIN_FRAME = 14  # the kernel lets nothing shorter out of a packet socket
LAN_BROADCAST = "ff:ff:ff:ff:ff:ff"


@pytest.fixture(scope="module", params=["af_packet", "af_xdp"])
def switch(request, directory):
    bench = Switch(directory / request.param, driver=request.param)
    bench.a = bench.add("a", 10, BLUE)
    bench.b = bench.add("b", 11, BLUE)
    bench.l = bench.add("l", 20, LAN)
    bench.tso = bench.add("tso", 30, BLUE, vnet_header=True)
    yield bench
    bench.close()


def pod_frames(pod, destination=GATEWAY_MAC):
    """Every kind of packet that the stages look into."""
    ether = Ether(src=pod.mac, dst=destination)
    v4, v6 = IP(src=pod.ip4, dst="10.244.2.9"), IPv6(src=pod.ip6, dst="fd00:10:244:2::9")
    gateway4, gateway6 = IP(src=pod.ip4, dst="10.244.1.1"), IPv6(src=pod.ip6, dst="fd00:10:244:1::1")
    extensions = IPv6ExtHdrHopByHop() / IPv6ExtHdrDestOpt() / IPv6ExtHdrRouting() / IPv6ExtHdrFragment(m=1)
    return [
        ether / v4 / UDP() / bytes(20), ether / v4 / TCP(options=[("MSS", 1400)]) / bytes(20),
        ether / v6 / UDP() / bytes(20), ether / v6 / TCP() / bytes(20), ether / v6 / extensions / UDP() / bytes(20),
        ether / gateway4 / ICMP() / bytes(20), ether / gateway6 / ICMPv6EchoRequest(data=bytes(20)),
        ether / IP(src=pod.ip4, dst="172.16.0.1", ttl=1, options=b"\x07\x07\x04\0\0\0\0\0") / UDP() / bytes(20),
        Ether(src=pod.mac, dst=LAN_BROADCAST) / ARP(op=1, hwsrc=pod.mac, psrc=pod.ip4, pdst="10.244.1.1"),
        Ether(src=pod.mac, dst="33:33:ff:00:00:01") / IPv6(src=pod.ip6, dst="ff02::1:ff00:1", hlim=255) /
        ICMPv6ND_NS(tgt="fd00:10:244:1::1") / ICMPv6NDOptSrcLLAddr(lladdr=pod.mac),
        Ether(src=pod.mac, dst=LAN_BROADCAST) / Dot1Q(vlan=5) / v4 / UDP(),
    ]


def underlay_frames(switch):
    inner = [p for p in pod_frames(switch.a)]
    for frame in inner:
        frame.src, frame.dst = VTEP_MAC[PEER], GATEWAY_MAC if frame.dst == GATEWAY_MAC else frame.dst
        if IP in frame:
            frame[IP].src, frame[IP].dst = "10.244.2.9", switch.a.ip4
        elif IPv6 in frame and not frame[IPv6].dst.startswith("ff02"):
            frame[IPv6].src, frame[IPv6].dst = "fd00:10:244:2::9", switch.a.ip6
    tunnelled = [switch.encap(frame, domain) for frame in inner for domain in (BLUE, LAN)]
    ether = Ether(src="02:00:00:00:aa:02", dst=switch.mac)
    plain = [
        ether / ARP(op=2, hwsrc="02:00:00:00:aa:02", psrc="192.168.100.2", hwdst=switch.mac, pdst="192.168.100.1"),
        ether / ARP(op=1, hwsrc="02:00:00:00:aa:02", psrc="192.168.100.2", pdst="192.168.100.1"),
        ether / IPv6(src="fd00:100::2", dst="fd00:100::1", hlim=255) / ICMPv6ND_NA(tgt="fd00:100::2") /
        ICMPv6NDOptDstLLAddr(lladdr="02:00:00:00:aa:02"),
        ether / IPv6(src="fd00:100::2", dst="fd00:100::1", hlim=255) / ICMPv6ND_NS(tgt="fd00:100::1") /
        ICMPv6NDOptSrcLLAddr(lladdr="02:00:00:00:aa:02"),
    ]
    return tunnelled + plain


def still_forwards(switch):
    """A good packet crosses, and the engine is the one that was started."""
    switch.quiet()
    switch.a.wire.send(Ether(src=switch.a.mac, dst=GATEWAY_MAC) / IP(src=switch.a.ip4, dst=switch.b.ip4) /
                       UDP(sport=1, dport=2) / b"still here")
    switch.b.wire.expect(lambda p: UDP in p and bytes(p[UDP].payload)[:10] == b"still here", what="a good packet")
    assert switch.engine.daemon.running()


def every_length(frame):
    data = bytes(frame)
    return (data[:length] for length in range(MIN_FRAME, len(data) + 1))


def test_from_a_pod_truncated_at_every_length(switch):
    for frame in pod_frames(switch.a):
        for piece in every_length(frame):
            switch.a.wire.send(piece)
    still_forwards(switch)


def test_from_a_pod_in_a_flooding_domain_truncated_at_every_length(switch):
    for frame in pod_frames(switch.l, LAN_BROADCAST):
        for piece in every_length(frame):
            switch.l.wire.send(piece)
    still_forwards(switch)


def test_from_the_underlay_truncated_at_every_length(switch):
    for frame in underlay_frames(switch):
        for piece in every_length(frame):
            switch.wire.send(piece)
    still_forwards(switch)


def test_inner_frames_truncated_inside_whole_tunnel_packets(switch):
    """The outer headers are right, so decap accepts them and the inner parser gets the stump."""
    for frame in pod_frames(switch.a):
        data = bytes(frame)
        for length in range(len(data) + 1):
            for domain in (BLUE, LAN):
                switch.wire.send(switch.encap(data[:length], domain))
    still_forwards(switch)


@pytest.mark.parametrize("seed", [1, 2])
def test_mangled_at_random(switch, seed):
    dice = random.Random(seed)
    from_pod, from_wire = pod_frames(switch.a), underlay_frames(switch)
    for _ in range(3000):
        wire, frames = (switch.a.wire, from_pod) if dice.random() < 0.5 else (switch.wire, from_wire)
        data = bytearray(bytes(dice.choice(frames)))
        for _ in range(dice.randint(1, 6)):
            # The pod's MAC is left alone more often than not, or the guard would end most of them.
            at = dice.randrange(12 if dice.random() < 0.9 else 0, len(data))
            data[at] = dice.choice((0, 0xFF, 0x7F, 0x80, data[at] ^ 1 << dice.randrange(8), dice.randrange(256)))
        if dice.random() < 0.2:
            data += dice.randbytes(dice.randrange(1, 200))
        if dice.random() < 0.2:
            del data[dice.randrange(MIN_FRAME, len(data)):]
        wire.send(data)
    still_forwards(switch)


def test_lying_offload_headers_from_a_pod(switch):
    """Checksum and segmentation requests that do not fit the packet; the kernel refuses some itself."""
    dice = random.Random(3)
    refused = 0
    for frame in pod_frames(switch.tso) + [Ether(src=switch.tso.mac, dst=GATEWAY_MAC) /
                                           IP(src=switch.tso.ip4, dst="10.244.2.9") / TCP() / bytes(8000)]:
        data = bytes(frame)
        for _ in range(150):
            refused += not switch.tso.wire.try_send(
                data[:dice.choice((len(data), dice.randrange(MIN_FRAME, len(data) + 1)))],
                flags=dice.choice((0, 1, 1, 2)), gso_type=dice.choice((0, 1, 1, 3, 4, 4, 5, 0x81, 0xFF)),
                header_len=dice.choice((0, 14, 34, 54, 74, len(data), 65535)),
                gso_size=dice.choice((0, 1, 7, 8, 536, 1400, 65535)),
                csum_start=dice.choice((0, 14, 34, 54, len(data), 65535)),
                csum_offset=dice.choice((0, 2, 6, 16, 1000, 65535)))
    print(f"the kernel refused {refused}")
    still_forwards(switch)


def test_explain_of_truncated_and_mangled_frames(switch):
    """The same stages on the main thread: an answer or an error by name, never a crash."""
    dice = random.Random(4)
    for frame in pod_frames(switch.a):
        data = bytes(frame)
        for length in list(range(0, len(data) + 1, 3)) + [len(data)]:
            mangled = bytearray(data[:length])
            if length and dice.random() < 0.5:
                mangled[dice.randrange(length)] = dice.randrange(256)
            try:
                reply = switch.engine.call("explain", {"port": switch.a.port, "frame": mangled.hex()})
                assert reply["verdict"] in ("sent", "dropped", "consumed", "parked", "answered")
            except RpcError as refused:
                assert "frame" in refused.message
    still_forwards(switch)
