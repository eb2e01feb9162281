"""DSCP and ECN on the wire: domains that mark or do not trust their pods, tunnels over both families that carry both, and
congestion that comes out of them (RFC 6040)."""
import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import IPv6
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN
from scapy.utils import checksum

from support.engine import GATEWAY_MAC
from support.switch import BLUE, PEER, VNI, VTEP_MAC, Switch

EXPEDITED = 46


@pytest.fixture(scope="module", params=[4, 6])
def switch(request, directory):
    bench = Switch(directory / str(request.param), family=request.param)
    bench.a = bench.add("a", 10, BLUE)
    bench.b = bench.add("b", 11, BLUE)
    yield bench
    bench.close()


def set_blue(switch, **marking):
    switch.engine.put(domains=[{"id": BLUE, "name": "blue", "vni": VNI[BLUE], "mode": "l3", "gateway_mac": GATEWAY_MAC,
                                "gateways": ["10.244.1.1/24", "fd00:10:244:1::1/64"], "mtu": switch.mtu, **marking}])


def traffic_class(ip):
    """Of an IP header, whose checksum must be right."""
    if ip.version == 6:
        return ip.tc
    assert checksum(bytes(ip)[:4 * ip.ihl]) == 0
    return ip.tos


def headers(source, destination, value):
    if ":" in destination:
        return IPv6(src=source, dst=destination, tc=value)
    return IP(src=source, dst=destination, tos=value)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("marking, sent, left", [
    ({}, 0xBA, 0xBA), ({"dscp": EXPEDITED}, 0x01, EXPEDITED << 2 | 1), ({"dscp": 0}, 0xFF, 0x03),
    ({"trust_dscp": False}, 0xBA, 0x02)])
def test_what_a_pod_says_is_kept_replaced_or_cleared(switch, family, marking, sent, left):
    set_blue(switch, **marking)
    remote = "fd00:10:244:2::10" if family == 6 else "10.244.2.10"
    layer = IPv6 if family == 6 else IP
    for destination in (switch.b.address(family), remote):
        switch.a.wire.send(Ether(src=switch.a.mac, dst=GATEWAY_MAC) /
                           headers(switch.a.address(family), destination, sent) / UDP(sport=1, dport=2) / b"marked")
    got = switch.b.wire.expect(lambda p: UDP in p and layer in p)
    assert traffic_class(got[layer]) == left
    outer = switch.expect_vxlan()
    assert traffic_class(outer[IPv6 if switch.family == 6 else IP]) == left
    assert traffic_class(outer[VXLAN].payload[layer]) == left


def tunnelled(switch, outer_ecn, inner_ecn):
    packet = switch.encap(Ether(src=VTEP_MAC[PEER], dst=GATEWAY_MAC) / IP(src="10.244.2.10", dst=switch.b.ip4, tos=inner_ecn) /
                          UDP(sport=1, dport=2) / b"congested")
    packet.getlayer(1).setfieldval("tc" if switch.family == 6 else "tos", outer_ecn)
    return packet


@pytest.mark.parametrize("inner, outer, left", [(0, 2, 0), (2, 3, 3), (1, 3, 3), (2, 1, 1), (3, 2, 3)])
def test_congestion_comes_out_of_the_tunnel(switch, inner, outer, left):
    set_blue(switch, dscp=EXPEDITED)
    switch.wire.send(tunnelled(switch, outer, inner))
    got = switch.b.wire.expect(lambda p: UDP in p)
    assert traffic_class(got[IP]) == left


def test_congestion_that_a_sender_would_not_understand_is_a_loss(switch):
    with switch.drops(ecn_not_capable=1):
        switch.wire.send(tunnelled(switch, 3, 0))
    switch.b.wire.expect_nothing(lambda p: UDP in p)
