"""Numbered datagrams from one pod to another, one every few milliseconds: which of them did not arrive."""
import contextlib
import itertools
import socket
import threading
import time

FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
_LATEST_S = 5  # behind the last of them, on a loaded machine
_BUFFER_BYTES = 4 << 20  # the test may be slow to read
_SO_RCVBUFFORCE = 33


class Stream:
    """Between start() and lost(); with source and target something with a namespace `ns` and `address(family)`."""

    _ports = itertools.count(20000)

    def __init__(self, source, target, family=4, interval=0.02):
        self.name = f"{source.name} → {target.name}"
        self.interval = interval
        self.target = target.address(family), next(Stream._ports)
        with target.ns:
            self.receiver = socket.socket(FAMILIES[family], socket.SOCK_DGRAM)
        self.receiver.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER_BYTES)
        self.receiver.bind(self.target)
        self.receiver.setblocking(False)
        with source.ns:
            self.sender = socket.socket(FAMILIES[family], socket.SOCK_DGRAM)
        self.sent, self.arrived = 0, set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._send, daemon=True)

    def start(self):
        self._thread.start()
        return self

    def _send(self):
        begun = time.monotonic()
        while not self._stop.is_set():
            self.sender.sendto(self.sent.to_bytes(8, "big"), self.target)
            self.sent += 1
            time.sleep(max(0, begun + self.sent * self.interval - time.monotonic()))

    def _take(self):
        with contextlib.suppress(BlockingIOError):
            while True:
                self.arrived.add(int.from_bytes(self.receiver.recv(64), "big"))

    def lost(self):
        """Ends it: the numbers that did not arrive."""
        self._stop.set()
        self._thread.join()
        deadline = time.monotonic() + _LATEST_S
        self._take()
        while len(self.arrived) < self.sent and time.monotonic() < deadline:
            time.sleep(0.02)
            self._take()
        self.sender.close()
        self.receiver.close()
        return [number for number in range(self.sent) if number not in self.arrived]


@contextlib.contextmanager
def undisturbed(*streams):
    """Nothing that these send is lost while the body runs."""
    for stream in streams:
        stream.start()
    try:
        yield
    finally:
        lost = {stream.name: (stream.lost(), stream.sent) for stream in streams}
    for name, (numbers, sent) in lost.items():
        assert sent > 0 and not numbers, f"{name}: {len(numbers)} of {sent} lost, the first {numbers[:5]}"
