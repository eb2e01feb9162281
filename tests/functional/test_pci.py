"""NICs on a PCI bus, in a virtual machine: the engine drives virtio-net-pci by vfio-pci behind an IOMMU, and by
uio_pci_generic with physical addresses. Frames cross it both ways through VXLAN, whole, also when the sender left the
checksum to the card."""
import os
import struct
import time

import pytest
from scapy.layers.inet import ICMP, IP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.layers.vxlan import VXLAN

from support.engine import GATEWAY_MAC
from support.ledger import LedgerCheck
from support.netns import Netns
from support.pci_guest import BINDINGS, CARDS, PciGuest
from support.process import wait_until
from support.switch import Responder
from support.tap import create_tap
from support.wire import VIRTIO_NEEDS_CSUM, Wire

VTEP, PEER = "192.168.100.1", "192.168.100.2"
PEER_MAC, INNER_MAC = "02:00:00:00:aa:02", "02:00:00:00:ee:02"
UPLINK_MAC, POD_MAC, POD_IP, REMOTE_IP = "02:00:00:00:64:01", "02:00:00:00:01:02", "10.244.1.2", "10.244.2.10"
VNI = 4711


class PciBench:
    """The guest, a wire at its uplink card and one at its pod card."""

    def __init__(self, directory, binding):
        self.binding = binding
        self.spaces, self.fds, taps = [], [], []
        for name, mac in (("uplink", UPLINK_MAC), ("pod", "02:00:00:00:01:03")):
            ns = Netns(name, ipv6=False)
            self.spaces.append(ns)
            fds = create_tap(ns, "wire0", mtu=1600)[1]
            self.fds += fds
            taps.append((mac, fds[0]))
        self.uplink, self.pod = Wire(self.spaces[0], "wire0"), Wire(self.spaces[1], "wire0", vnet_header=True)
        self.responder = Responder(Wire(self.spaces[0], "wire0"))
        self.responder.answers = {PEER: PEER_MAC}
        self.responder.start()
        self.guest = PciGuest(directory, "pci", binding, taps)

    def start(self):
        began = time.monotonic()
        self.guest.start().start_engine()
        print(f"{self.binding}: booted with {self.guest.working} and started in {time.monotonic() - began:.1f} s")
        self.guest.put(
            ports=[{"id": 1, "name": "uplink", "kind": "physical", "role": "uplink", "devargs": CARDS[0]},
                   {"id": 2, "name": "pod", "kind": "physical", "role": "pod", "domain": 2, "devargs": CARDS[1]}],
            vteps=[{"id": 1, "name": "local", "local": True, "address": VTEP, "mac": "02:00:00:00:ee:01"},
                   {"id": 2, "name": "peer", "address": PEER, "mac": INNER_MAC}],
            domains=[{"id": 2, "name": "pods", "vni": VNI, "mode": "l3", "mtu": 1450, "gateway_mac": GATEWAY_MAC,
                      "gateways": ["10.244.1.1/24"]}],
            endpoints=[{"id": 1, "name": "pod", "domain": 2, "port": 2, "mac": POD_MAC, "addresses": [POD_IP]}])
        self.guest.put(routes=[{"id": 1, "domain": 1, "prefix": "192.168.100.0/24", "next_hops": [{"port": 1}]},
                               {"id": 2, "domain": 2, "prefix": "10.244.2.0/24", "next_hops": [{"vtep": 2}]}])
        return self

    def close(self):
        self.guest.kill()
        self.responder.stop()
        for wire in (self.uplink, self.pod):
            wire.close()
        for fd in self.fds:
            os.close(fd)
        for ns in self.spaces:
            ns.delete()


@pytest.fixture(scope="module", params=BINDINGS)
def bench(request, short_directory):
    directory = short_directory / request.param
    directory.mkdir()
    one = PciBench(directory, request.param)
    try:
        one.start()
        # What the cards hold ready to receive into.
        check = LedgerCheck(one.guest.call, slack=512)
        yield one
        check.check()
    finally:
        one.close()


def from_pod(inner):
    return Ether(src=POD_MAC, dst=GATEWAY_MAC) / IP(src=POD_IP, dst=REMOTE_IP) / inner


def test_the_cards_are_the_engines(bench):
    ports = {port["name"]: port for port in bench.guest.call("status")["ports"]}
    for name, card in zip(("uplink", "pod"), CARDS):
        device = ports[name]["device"]
        assert (device["driver"], device["devargs"], ports[name]["link"]) == ("net_virtio", card, "up")
        print(f"{bench.binding}, {name}: offloads {device['offloads']}")
    assert ports["uplink"]["mac"] == UPLINK_MAC


def test_frames_cross_both_ways(bench):
    bench.pod.send(Ether(src=POD_MAC, dst="ff:ff:ff:ff:ff:ff") / ARP(hwsrc=POD_MAC, psrc=POD_IP, pdst="10.244.1.1"))
    assert bench.pod.expect(lambda p: ARP in p and p[ARP].op == 2)[ARP].hwsrc == GATEWAY_MAC
    bench.pod.send(Ether(src=POD_MAC, dst=GATEWAY_MAC) / IP(src=POD_IP, dst="10.244.1.1") / ICMP(id=7, seq=1) / (b"x" * 56))
    bench.pod.expect(lambda p: ICMP in p and p[ICMP].type == 0)
    bench.pod.send(from_pod(UDP(sport=1, dport=9) / b"first"))
    bench.uplink.expect(lambda p: VXLAN in p and p[VXLAN].vni == VNI, timeout=5)  # the peer is resolved
    for size in (1, 64, 700, 1400):
        data = bytes(i * 7 & 255 for i in range(size))
        bench.pod.send(from_pod(UDP(sport=1000 + size, dport=9) / data))
        outer = bench.uplink.expect(lambda p: VXLAN in p and p[UDP].payload and p[VXLAN][UDP].sport == 1000 + size)
        assert (outer[IP].src, outer[IP].dst, outer[Ether].src, outer[Ether].dst) == (VTEP, PEER, UPLINK_MAC, PEER_MAC)
        assert (outer[VXLAN].vni, outer[VXLAN][Ether].dst, outer[VXLAN][IP].ttl) == (VNI, INNER_MAC, 63)
        assert bytes(outer[VXLAN][UDP].payload) == data
        answer = Ether(src=INNER_MAC, dst="02:00:00:00:ee:01") / IP(src=REMOTE_IP, dst=POD_IP) / UDP(sport=9, dport=size) / data
        bench.uplink.send(Ether(src=PEER_MAC, dst=UPLINK_MAC) / IP(src=PEER, dst=VTEP) / UDP(sport=50000, dport=4789, chksum=0) /
                          VXLAN(flags=8, vni=VNI) / answer)
        inner = bench.pod.expect(lambda p: UDP in p and p[UDP].dport == size)
        assert (inner[Ether].src, inner[Ether].dst, bytes(inner[UDP].payload)) == (GATEWAY_MAC, POD_MAC, data)


def test_checksums_that_were_left_to_the_card_are_right(bench):
    data = b"checksum" * 20
    whole = Ether(bytes(from_pod(UDP(sport=77, dport=9) / data)))
    length = len(data) + 8
    partial = whole.copy()
    pseudo = sum(struct.unpack("!6H", bytes(whole[IP])[12:20] + struct.pack("!HH", 17, length)))
    while pseudo >> 16:
        pseudo = (pseudo & 0xFFFF) + (pseudo >> 16)
    partial[UDP].chksum = pseudo
    bench.pod.send(partial, flags=VIRTIO_NEEDS_CSUM, csum_start=34, csum_offset=6)
    outer = bench.uplink.expect(lambda p: VXLAN in p and p[VXLAN][UDP].sport == 77)
    assert outer[VXLAN][UDP].chksum == whole[UDP].chksum


def test_many_frames_in_bursts(bench):
    wait_until(lambda: any(n["mac"] for n in bench.guest.call("neighbors")["neighbors"]), 5, "the peer resolved")
    before = {port["name"]: port for port in bench.guest.call("stats")["ports"]}
    for number in range(200):
        bench.pod.send(from_pod(UDP(sport=3000, dport=9) / number.to_bytes(4, "big")))
    seen = [int.from_bytes(bytes(p[VXLAN][UDP].payload)[:4], "big")
            for p in bench.uplink.collect(lambda p: VXLAN in p and p[VXLAN][UDP].sport == 3000, count=200, timeout=3)]
    assert seen == list(range(200))
    after = {port["name"]: port for port in bench.guest.call("stats")["ports"]}
    assert after["uplink"]["sent_packets"] - before["uplink"]["sent_packets"] >= 200
