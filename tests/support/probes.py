"""Single connections between pods' namespaces: whether the first packet arrives, or is counted as dropped by policy.

A probe is "FROM>TO:PROTOCOL/PORT" with names of ends, such as "shop/web>shop/db:tcp/5432"; it is made in both families.
"""
import contextlib
import os
import socket

from support.process import wait_until

FAMILIES = {4: socket.AF_INET, 6: socket.AF_INET6}
ARRIVES_S = 10  # on a loaded machine; an allowed probe takes far less


class Probes:
    """`ends`: name → something with a namespace `ns` and `address(family)`. `denied()` is the drop counter."""

    def __init__(self, ends, denied):
        self.ends = ends
        self.denied = denied
        self._open = contextlib.ExitStack()
        self._listening = {}

    def close(self):
        self._open.close()

    def check(self, allowed=(), denied=(), families=(4, 6)):
        """Every probe of `allowed` arrives; every one of `denied` is counted by the policy's drop counter, and does not."""
        for probe in allowed:
            for family in families:
                self._expect_arrival(probe, family)
        before = self.denied()
        attempts = [(probe, family, self._send(probe, family)) for probe in denied for family in families]
        try:
            expected = before + len(attempts)
            try:
                wait_until(lambda: self.denied() >= expected, ARRIVES_S, "denials")
            except AssertionError:
                raise AssertionError(f"{self.denied() - before} of {len(attempts)} probes were denied: {denied}; "
                                     f"arrived: {[a[:2] for a in attempts if self._arrived(a[2])]}") from None
            arrived = [(probe, family) for probe, family, attempt in attempts if self._arrived(attempt)]
            assert not arrived, f"these arrived, though as many packets were denied: {arrived}"
            assert self.denied() == expected, "more packets were denied than sent"
        finally:
            for _, _, (sender, _, _) in attempts:
                sender.close()

    def _expect_arrival(self, probe, family):
        attempt = self._send(probe, family)
        before = self.denied()
        try:
            wait_until(lambda: self._arrived(attempt), ARRIVES_S, f"{probe} over IPv{family} (denied since: "
                       f"{self.denied() - before})")
        finally:
            attempt[0].close()

    def _send(self, probe, family):
        """(sender, receiver, nonce): nonce is None for TCP."""
        names, _, service = probe.rpartition(":")
        source, target = names.split(">")
        protocol, port = service.split("/")
        receiver = self._receiver(target, protocol, int(port), family)
        address = (self.ends[target].address(family), int(port))
        if protocol == "icmp":
            raise ValueError("ping by hand")
        kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
        with self.ends[source].ns:
            sender = socket.socket(FAMILIES[family], kind)
        sender.setblocking(False)
        if protocol == "tcp":
            sender.connect_ex(address)
            return sender, receiver, None
        nonce = os.urandom(16)
        sender.sendto(nonce, address)
        return sender, receiver, nonce

    def _receiver(self, target, protocol, port, family):
        key = target, protocol, port, family
        if key not in self._listening:
            kind = socket.SOCK_STREAM if protocol == "tcp" else socket.SOCK_DGRAM
            with self.ends[target].ns:
                server = self._open.enter_context(socket.socket(FAMILIES[family], kind))
            if family == 6:
                server.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            server.bind((self.ends[target].address(family), port))
            server.setblocking(False)
            if protocol == "tcp":
                server.listen(64)
            self._listening[key] = server, set()
        return self._listening[key]

    @staticmethod
    def _arrived(attempt):
        sender, (server, seen), nonce = attempt
        if nonce is None:
            with contextlib.suppress(BlockingIOError):
                while True:
                    server.accept()[0].close()
            return sender.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0 and _is_connected(sender)
        with contextlib.suppress(BlockingIOError):
            while True:
                seen.add(server.recv(64))
        return nonce in seen


def _is_connected(sock):
    try:
        sock.getpeername()
        return True
    except OSError:
        return False
