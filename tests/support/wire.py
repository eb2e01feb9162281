"""Frames on an interface of a namespace: raw send and receive, VLAN tags put back, own frames left out.

Packets are scapy's for building and looking, bytes on the wire.
"""
import errno
import os
import select
import socket
import struct
import time

os.environ.setdefault("XDG_CACHE_HOME", "/tmp")
import logging

logging.getLogger("scapy").setLevel(logging.ERROR)
from scapy.layers.l2 import Ether

_SOL_PACKET = 263
_PACKET_AUXDATA, _PACKET_VNET_HDR = 8, 15
_SO_RCVBUFFORCE = 33
_ETH_P_ALL = 3
_VLAN_VALID = 1 << 4
_OUTGOING = 4

VIRTIO_NEEDS_CSUM = 1
VIRTIO_GSO_TCPV4, VIRTIO_GSO_UDP, VIRTIO_GSO_TCPV6 = 1, 3, 4


class Wire:
    """One end of a cable: sends any frame, sees what the other side sent."""

    def __init__(self, ns, interface, vnet_header=False):
        self.interface = interface
        with ns:
            self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        self.socket.setsockopt(_SOL_PACKET, _PACKET_AUXDATA, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 64 << 20)
        self.vnet_header = vnet_header
        if vnet_header:
            self.socket.setsockopt(_SOL_PACKET, _PACKET_VNET_HDR, 1)
        with ns:
            self.socket.bind((interface, _ETH_P_ALL))

    def send(self, packet, flags=0, gso_type=0, header_len=0, gso_size=0, csum_start=0, csum_offset=0):
        """`packet` is scapy's or bytes; the rest is for vnet_header sockets."""
        data = bytes(packet)
        if self.vnet_header:
            data = struct.pack("<BBHHHH", flags, gso_type, header_len, gso_size, csum_start, csum_offset) + data
        self.socket.send(data)

    def try_send(self, packet, **vnet):
        """False when the kernel itself refuses the frame."""
        try:
            self.send(packet, **vnet)
            return True
        except OSError:
            return False

    def receive_bytes(self, timeout):
        """The next frame from the other side, or None."""
        deadline = time.monotonic() + timeout
        while True:
            left = deadline - time.monotonic()
            ready, _, _ = select.select([self.socket], [], [], max(left, 0))
            if not ready:
                return None
            try:
                data, ancillary, _, address = self.socket.recvmsg(70000, 256)
            except OSError as error:
                if error.errno == errno.ENETDOWN:  # told once, when the interface goes down
                    continue
                raise
            if address[2] == _OUTGOING:
                continue
            if self.vnet_header:
                data = data[10:]
            for level, kind, payload in ancillary:
                if level == _SOL_PACKET and kind == _PACKET_AUXDATA:
                    status, _, _, _, _, tci, tpid = struct.unpack("IIIHHHH", payload[:20])
                    if status & _VLAN_VALID:
                        data = data[:12] + struct.pack("!HH", tpid or 0x8100, tci) + data[12:]
            return data

    def expect(self, matches=lambda packet: True, timeout=2.0, what="a packet"):
        """The next frame that matches, as scapy's; others are passed over."""
        deadline = time.monotonic() + timeout
        seen = []
        while True:
            data = self.receive_bytes(deadline - time.monotonic())
            if data is None:
                raise AssertionError(f"{what} did not arrive at {self.interface}; saw: {seen[:10]}")
            packet = Ether(data)
            if matches(packet):
                return packet
            seen.append(packet.summary())

    def expect_nothing(self, matches=lambda packet: True, timeout=0.15, what="a packet"):
        deadline = time.monotonic() + timeout
        while True:
            data = self.receive_bytes(deadline - time.monotonic())
            if data is None:
                return
            packet = Ether(data)
            if matches(packet):
                raise AssertionError(f"{what} arrived at {self.interface}, which it must not: {packet.summary()}")

    def collect(self, matches=lambda packet: True, timeout=0.3, count=None):
        """Every match until nothing comes for `timeout`."""
        found = []
        while count is None or len(found) < count:
            data = self.receive_bytes(timeout)
            if data is None:
                break
            packet = Ether(data)
            if matches(packet):
                found.append(packet)
        return found

    def drain(self):
        while self.receive_bytes(0) is not None:
            pass

    def close(self):
        self.socket.close()
