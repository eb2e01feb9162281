"""A vhost-user guest by hand that asks for as much as it can: its transmit ring lists one and the same chain of
descriptors over and over, and every one of them names all of its memory. So each frame has as many bytes as
`chain` times the memory, and the ring is never empty."""
import array
import mmap
import os
import socket
import struct
import threading

_GET_FEATURES, _SET_FEATURES, _SET_OWNER, _SET_MEM_TABLE = 1, 2, 3, 5
_VRING_NUM, _VRING_ADDR, _VRING_BASE, _VRING_KICK, _VRING_CALL = 8, 9, 10, 12, 13
_VERSION = 1
_VIRTIO_VERSION_1, _MERGEABLE = 1 << 32, 1 << 15
_NEXT = 1  # VRING_DESC_F_NEXT
RING = 256


class HostileGuest:
    """`frame`: what a frame begins with, behind the virtio header; `bytes_each` of memory a descriptor, `chain`
    descriptors a frame."""

    def __init__(self, path, frame=b"", memory=4 << 20, chain=RING - 1, bytes_each=None):
        self.memory = memory
        self.file = os.memfd_create("hostile-guest", os.MFD_ALLOW_SEALING)
        os.ftruncate(self.file, memory + (1 << 20))
        self.map = mmap.mmap(self.file, memory + (1 << 20))
        self.events = [os.eventfd(0, os.EFD_NONBLOCK) for _ in range(4)]
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._flood, daemon=True)
        self.map[memory + 12:memory + 12 + len(frame)] = frame  # behind the header, which is zero
        self._write_rings(chain, bytes_each or memory)
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self._negotiate()
        self._thread.start()

    def _ring(self, index):
        return self.memory + (1 << 19) + index * 65536

    def _write_rings(self, chain, bytes_each):
        base = self._ring(1)
        for i in range(chain):
            # The first from where the frame's beginning lies; all within the memory.
            address, length = (self.memory, 2048) if i == 0 else (0, bytes_each)
            struct.pack_into("<QIHH", self.map, base + 16 * i, address, length, _NEXT if i + 1 < chain else 0, i + 1)
        for i in range(RING):
            struct.pack_into("<H", self.map, base + 8192 + 4 + 2 * i, 0)

    def _send(self, request, payload=b"", fds=()):
        header = struct.pack("<III", request, _VERSION, len(payload))
        rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
        self.socket.sendmsg([header + payload], rights)

    def _negotiate(self):
        self._send(_GET_FEATURES)
        offered = struct.unpack("<12xQ", self.socket.recv(20, socket.MSG_WAITALL))[0]
        self._send(_SET_OWNER)
        self._send(_SET_FEATURES, struct.pack("<Q", offered & (_VIRTIO_VERSION_1 | _MERGEABLE)))
        # What it calls its own addresses are the offsets in its memory.
        self._send(_SET_MEM_TABLE, struct.pack("<II4Q", 1, 0, 0, self.memory + (1 << 20), 1 << 40, 0), [self.file])
        for ring in (0, 1):
            base = (1 << 40) + self._ring(ring)
            self._send(_VRING_NUM, struct.pack("<II", ring, RING))
            self._send(_VRING_BASE, struct.pack("<II", ring, 0))
            self._send(_VRING_ADDR, struct.pack("<II4Q", ring, 0, base, base + 4096, base + 8192, 0))
            self._send(_VRING_CALL, struct.pack("<Q", ring), [self.events[2 * ring]])
            self._send(_VRING_KICK, struct.pack("<Q", ring), [self.events[2 * ring + 1]])

    def _flood(self):
        """A full ring, always."""
        available, used = self._ring(1) + 8192, self._ring(1) + 4096
        while not self._stop.is_set():
            index = struct.unpack_from("<H", self.map, used + 2)[0]
            struct.pack_into("<H", self.map, available + 2, (index + RING) & 0xFFFF)
            os.eventfd_write(self.events[3], 1)
            self._stop.wait(0.0005)

    def close(self):
        self._stop.set()
        self._thread.join()
        self.socket.close()
        self.map.close()
        for fd in (self.file, *self.events):
            os.close(fd)
