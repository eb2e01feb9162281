"""The frames of the benches: deterministic pcaps, one packet a flow, kept in a directory of their own under /tmp.

plain  pod -> remote pods: 10.244.1.2 -> 10.244.2.2 to .65 in turn, UDP; the frame is sent to GATEWAY_MAC
wide   the same to 100,000 addresses from 10.16.0.0 on
answers  the answers to plain, as the remote pods send them
vxlan  the same encapsulated for VNI 100: 192.168.100.2 -> 192.168.100.1
backends  as vxlan, from 10.244.3.2 to .65: what stands behind services that plain asks
world  the answers to plain of a node that hides its pods behind its own address: to 192.168.100.1, on the underlay

Sizes are bytes in the buffer, without FCS; vxlan's are the inner frame's. scapy makes one header of each kind; the
fields that differ from flow to flow are patched in with their checksums, which is a thousand times as fast.
"""
import itertools
import os
import pathlib
import struct
import zlib

from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.layers.vxlan import VXLAN

POD_MAC, GATEWAY_MAC = "02:00:00:00:01:02", "02:00:00:00:02:01"
POD_IP = "10.244.1.2"
VTEP_IP, PEER_IP = "192.168.100.1", "192.168.100.2"
VTEP_MAC, PEER_MAC = "02:00:00:00:64:01", "02:00:00:00:64:02"
VNI = 100
REMOTE_PODS = 64
WIDE_PODS = 100_000
RULES = 1000  # of a stateful scenario
_WIDE_BASE = (10 << 24) | (16 << 16)

# 7 : 4 : 1, well mixed; the last is the largest that an MTU of 1500 lets through (1518 with its FCS).
IMIX = (64, 594, 64, 64, 594, 64, 1514, 64, 594, 64, 594, 64)
SIZES = ("64", "1400", "imix")

_PCAP_HEADER = 24
_LARGEST_KEPT = 256 << 20
_FORMAT = 1  # in the files' names: another one is another file
_DIRECTORY = pathlib.Path("/tmp/podwire-bench-traffic")


def remote_pod(index):
    return f"10.244.2.{2 + index}"


def wide_pod(index):
    return ".".join(str(byte) for byte in (_WIDE_BASE + index).to_bytes(4, "big"))


def peer_ip(index):
    return f"192.168.100.{2 + index}"


def peer_mac(index):
    return f"02:00:00:00:64:{2 + index:02x}"


def denied_ports(count):
    """Destination ports that rules forbid and nobody uses."""
    return range(10_000, 10_000 + count)


def packets_of(size, flows):
    """How many packets a file has: what a pool must hold."""
    return max(flows, len(IMIX)) if size == "imix" else flows


def bytes_of(size, flows):
    """About the size of a file."""
    return packets_of(size, flows) * {"64": 130, "1400": 1466, "imix": 450}[size]


def _sum(data):
    data = bytes(data) + b"\0" * (len(data) & 1)
    return sum(struct.unpack(f"!{len(data) // 2}H", data))


def _checksum(total):
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


class Template:
    """The inner frame of one size; make(address, port) fills in the remote pod and the pod's port."""

    def __init__(self, size, answers=False, world=False, pod=(POD_IP, POD_MAC)):
        if answers:
            ends = (PEER_MAC, VTEP_MAC, VTEP_IP) if world else (GATEWAY_MAC, POD_MAC, POD_IP)
            frame = Ether(src=ends[0], dst=ends[1]) / IP(src="0.0.0.0", dst=ends[2], ttl=63, id=0, flags="DF")
        else:
            frame = Ether(src=pod[1], dst=GATEWAY_MAC) / IP(src=pod[0], dst="0.0.0.0", ttl=64, id=0, flags="DF")
        frame /= UDP(sport=5201 if answers else 0, dport=0 if answers else 5201)
        self.frame = bytearray(bytes(frame / bytes((i * 7 + 3) & 0xFF for i in range(size - 42))))
        self.address, self.port = (26, 36) if answers else (30, 34)
        self.frame[24:26] = self.frame[40:42] = b"\0\0"
        self.ip_sum = _sum(self.frame[14:34])
        # The pseudo header, the UDP header and what follows.
        self.udp_sum = _sum(self.frame[26:34]) + 17 + (size - 34) + _sum(self.frame[34:])

    def make(self, address, port):
        frame = self.frame
        frame[self.address:self.address + 4] = address.to_bytes(4, "big")
        frame[self.port:self.port + 2] = port.to_bytes(2, "big")
        words = (address >> 16) + (address & 0xFFFF)
        frame[24:26] = _checksum(self.ip_sum + words).to_bytes(2, "big")
        frame[40:42] = (_checksum(self.udp_sum + words + port) or 0xFFFF).to_bytes(2, "big")
        return bytes(frame)


def _outer(size):
    header = Ether(src=PEER_MAC, dst=VTEP_MAC) / IP(src=PEER_IP, dst=VTEP_IP, ttl=64, id=0, flags="DF")
    header /= UDP(sport=0, dport=4789, chksum=0) / VXLAN(flags=8, vni=VNI)
    return bytearray(bytes(header / bytes(size))[:50])


def _frames(kind, size, flows):
    sizes = IMIX if size == "imix" else (int(size),)
    tunnelled = kind in ("vxlan", "backends")
    templates = {s: Template(s, tunnelled or kind in ("answers", "world"), kind == "world") for s in set(sizes)}
    outers = {s: _outer(s) for s in set(sizes)} if tunnelled else None
    first = (10, 244, 3 if kind == "backends" else 2, 2)
    base = _WIDE_BASE if kind == "wide" else int.from_bytes(bytes(first), "big")
    pods = WIDE_PODS if kind == "wide" else REMOTE_PODS
    for i in range(packets_of(size, flows)):
        flow = i % flows
        one = sizes[i % len(sizes)]
        frame = templates[one].make(base + flow % pods, 1024 + flow // pods)
        if outers is not None:
            # Another source port for another flow, as RFC 7348 section 4.1 wants it.
            outers[one][34:36] = struct.pack("!H", 49152 + (zlib.crc32(frame[26:38]) & 0x3FFF))
            frame = bytes(outers[one]) + frame
        yield frame


def write_pcap(path, frames):
    with open(path, "wb", 1 << 20) as out:
        out.write(struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1))
        for i, frame in enumerate(frames):
            out.write(struct.pack("<IIII", i // 1_000_000, i % 1_000_000, len(frame), len(frame)))
            out.write(frame)


def pcap(kind, size, flows, part=0):
    """The path of the file, which is made when it is not there. Parts have the same number of flows, and none in common."""
    _DIRECTORY.mkdir(mode=0o755, exist_ok=True)
    path = _DIRECTORY / f"{kind}-{size}-{flows}{f'-{part}' if part else ''}.{_FORMAT}.pcap"
    if not path.exists():
        unfinished = path.with_suffix(f".{os.getpid()}")
        count = packets_of(size, flows)
        write_pcap(unfinished, itertools.islice(_frames(kind, size, (part + 1) * flows), part * count, None))
        unfinished.rename(path)
    return path


def forget_large():
    """Files of many hundred MiB are not worth their room once they have been used."""
    for path in _DIRECTORY.glob("*.pcap"):
        if path.stat().st_size > _LARGEST_KEPT:
            path.unlink(missing_ok=True)


def underlay_answers(path, to, peers):
    """What peers answer when the MAC `to` asks for them: for a port that plays it once."""
    write_pcap(path, (bytes(Ether(src=peer_mac(i), dst=to) / ARP(op=2, hwsrc=peer_mac(i), psrc=peer_ip(i), hwdst=to,
                                                                pdst=VTEP_IP)) for i in range(peers)))
    return path


def join(path, pcaps):
    """One file of several."""
    write_pcap(path, ())
    with open(path, "ab") as out:
        for one in pcaps:
            out.write(one.read_bytes()[_PCAP_HEADER:])
    return path
