"""Kills memif and vhost peers at random instants under full traffic, both roles, while another pair of pods talks.

Four victim ports (memif and vhost-user, engine as server and as client). In turn one of them generates and another
reflects, as fast as one dpdk-testpmd each can; then one of the two is killed and started again. The bystanders are
two ordinary pods of another domain that send numbered datagrams at a pace far below what the switch loses at.
"""
import dataclasses
import os
import random
import socket
import struct
import threading
import time

from support.engine import GATEWAY_MAC, Engine
from support.ledger import LedgerCheck, mbufs_in_use
from support.netns import Netns
from support.process import wait_until
from support.tap import create_tap
from support.testpmd import Testpmd

VICTIMS_DOMAIN, BYSTANDERS_DOMAIN = 2, 3
PACE_PER_SECOND = 500
_SO_RCVBUFFORCE = 33  # socket(7); Python has no name for it
_FULL_TRAFFIC = 20_000  # packets through the pair since it was started


@dataclasses.dataclass
class Victim:
    kind: str         # memif or vhost
    socket_mode: str  # the engine's
    number: int
    socket: str
    peer: Testpmd = None

    @property
    def name(self):
        return f"{self.kind}-{self.socket_mode}"

    @property
    def mac(self):
        return f"02:00:00:00:01:{self.number:02x}"

    @property
    def ip(self):
        return f"10.66.0.{self.number}"

    def port(self):
        return {"id": self.number, "name": self.name, "kind": self.kind, "role": "pod", "domain": VICTIMS_DOMAIN,
                "mac": self.mac, "mtu": 1500, "socket": self.socket, "socket_mode": self.socket_mode}

    def endpoint(self):
        return {"id": self.number, "name": self.name, "domain": VICTIMS_DOMAIN, "port": self.number, "mac": self.mac,
                "addresses": [self.ip]}

    def vdev(self):
        theirs = "client" if self.socket_mode == "server" else "server"
        if self.kind == "memif":
            return f"net_memif0,role={theirs},socket={self.socket},socket-abstract=no,mac={self.mac}"
        return f"net_virtio_user0,path={self.socket},mac={self.mac},server={int(theirs == 'server')}"

    def start(self, ns, log, mode, *more):
        if self.socket_mode == "client" and os.path.exists(self.socket):
            os.unlink(self.socket)  # what the killed one left; no driver of DPDK removes it
        # A virtio-user device shares its memory by file, and vhost-user takes eight files.
        eal = ["--single-file-segments"] if self.kind == "vhost" else []
        self.peer = Testpmd(ns, [self.vdev()], log, eal, mode, more=more).start()

    def end(self):
        if self.peer:
            self.peer.kill()
            self.peer = None


class Bystanders:
    """Two pods; a thread sends numbered datagrams from one to the other, another counts what comes."""

    def __init__(self, engine):
        self.namespaces, self.fds = [], []
        self.sent = 0
        self.received = set()
        self._stop = threading.Event()
        for number in (1, 2):
            ns = Netns(f"bystander{number}")
            port, mac, ip = 10 + number, f"02:00:00:00:02:{number:02x}", f"10.77.0.{number}"
            _, fds = create_tap(ns, "eth0", mac=mac)
            ns.ip(f"addr add {ip}/24 dev eth0")
            engine.put(fds=fds, ports=[{"id": port, "name": f"bystander{number}", "kind": "tap", "role": "pod",
                                        "domain": BYSTANDERS_DOMAIN, "mac": mac, "mtu": 1450, "descriptors": 1}],
                       endpoints=[{"id": port, "name": f"bystander{number}", "domain": BYSTANDERS_DOMAIN, "port": port,
                                   "mac": mac, "addresses": [ip]}])
            self.namespaces.append(ns)
            self.fds += fds
        if not self.namespaces[0].ping("10.77.0.2"):
            raise AssertionError("the bystanders do not reach each other even before the first kill")
        with self.namespaces[1]:
            self._receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._receiver.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, 32 << 20)
        self._receiver.bind(("10.77.0.2", 7000))
        self._receiver.settimeout(0.2)
        with self.namespaces[0]:
            self._sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._threads = [threading.Thread(target=t, daemon=True) for t in (self._send, self._receive)]
        for thread in self._threads:
            thread.start()

    def _send(self):
        start = time.monotonic()
        while not self._stop.is_set():
            # Behind schedule after a stall: no burst, the schedule moves.
            ahead = start + self.sent / PACE_PER_SECOND - time.monotonic()
            if ahead > 0:
                time.sleep(ahead)
            elif ahead < -0.05:
                start -= ahead
            self._sender.sendto(struct.pack("!I", self.sent) + bytes(60), ("10.77.0.2", 7000))
            self.sent += 1

    def _receive(self):
        while True:
            try:
                self.received.add(struct.unpack("!I", self._receiver.recv(2048)[:4])[0])
            except TimeoutError:
                if self._stop.is_set():
                    return

    def finish(self):
        """Datagrams lost."""
        self._stop.set()
        for thread in self._threads:
            thread.join(10)
        return self.sent - len(self.received)

    def close(self):
        self._stop.set()
        for ns in self.namespaces:
            ns.delete()
        for fd in self.fds:
            os.close(fd)
        self._receiver.close()
        self._sender.close()


@dataclasses.dataclass
class Outcome:
    rounds: int
    engine_deaths: int
    bystander_lost: int
    bystander_sent: int
    mbufs_leaked: int
    imbalance: str
    packets: int
    seconds: float

    def __str__(self):
        return (f"murder: rounds={self.rounds} engine_deaths={self.engine_deaths} "
                f"bystander_lost={self.bystander_lost} mbufs_leaked={self.mbufs_leaked}")

    def innocent(self):
        return not (self.engine_deaths or self.bystander_lost or self.mbufs_leaked or self.imbalance)


class Murder:
    def __init__(self, directory, seed):
        self.directory = directory
        self.random = random.Random(seed)
        self.machine = Netns("murder", ipv6=False)
        self.engine = Engine(self.machine, directory).start()
        self.bystanders = None
        self.victims = [Victim(kind, mode, number, f"{directory}/{kind}-{mode}.sock") for number, (kind, mode) in
                        enumerate([("memif", "server"), ("vhost", "server"), ("memif", "client"), ("vhost", "client")],
                                  1)]
        domain = lambda id, name, subnet: {"id": id, "name": name, "vni": id, "mode": "l3",
                                           "gateway_mac": GATEWAY_MAC, "gateways": [subnet], "mtu": 1450}
        self.engine.put(domains=[domain(VICTIMS_DOMAIN, "victims", "10.66.0.254/24"),
                                 domain(BYSTANDERS_DOMAIN, "bystanders", "10.77.0.254/24")])
        self.engine.put(ports=[v.port() for v in self.victims], endpoints=[v.endpoint() for v in self.victims])
        self.ledger = LedgerCheck(self.engine.call)

    def packets_of(self, victim):
        """(to it, from it)"""
        stats = self.engine.port_stats(victim.name)
        return stats["sent_packets"], stats["received_packets"]

    def start(self, victim, generator, other):
        log = self.directory / f"{victim.name}.log"
        if generator:
            victim.start(self.machine, log, "txonly", f"--tx-ip={victim.ip},{other.ip}", f"--eth-peer=0,{GATEWAY_MAC}")
        else:
            victim.start(self.machine, log, "5tswap")

    def await_traffic(self, generator, reflector):
        # What comes back to a generator that does not look at it fills its ring and stays there.
        before = self.packets_of(reflector)
        wait_until(lambda: all(now - then > _FULL_TRAFFIC for now, then in zip(self.packets_of(reflector), before)),
                   30, f"traffic {generator.name} -> {reflector.name} and back")

    def round(self, generator, reflector):
        for victim in (generator, reflector):
            if victim.peer is None:
                self.start(victim, victim is generator, reflector if victim is generator else generator)
        self.await_traffic(generator, reflector)
        time.sleep(self.random.uniform(0, 0.2))
        doomed = self.random.choice([generator, reflector])
        doomed.end()
        time.sleep(self.random.uniform(0, 0.1))

    def pairs(self, rounds):
        """(generator, reflector) for every round; each port plays both parts."""
        a, b, c, d = self.victims
        turns = [(a, b), (b, c), (c, d), (d, a)]
        for number in range(rounds):
            yield turns[number * len(turns) // rounds]

    def run(self, rounds, progress=lambda text: None):
        started = time.monotonic()
        self.bystanders = Bystanders(self.engine)
        deaths = 0
        previous = ()
        done = 0
        try:
            for done, pair in enumerate(self.pairs(rounds), 1):
                if previous != pair:
                    for victim in previous:
                        victim.end()
                previous = pair
                self.round(*pair)
                if not self.engine.daemon.running():
                    deaths = 1
                    break
                if done % 20 == 0:
                    progress(f"{done} rounds, {time.monotonic() - started:.0f} s")
        finally:
            for victim in self.victims:
                victim.end()
        lost = self.bystanders.finish()
        if deaths:
            return Outcome(done, deaths, lost, self.bystanders.sent, 0, "the engine died", 0,
                           time.monotonic() - started)
        imbalance = ""
        try:
            self.ledger.check(10)
        except AssertionError as error:
            imbalance = str(error)
        leaked = max(0, mbufs_in_use(self.engine.call("status")) - self.ledger.start)
        packets = self.engine.call("stats")["ledger"]["received"]
        return Outcome(done, deaths, lost, self.bystanders.sent, leaked, imbalance, packets,
                       time.monotonic() - started)

    def close(self):
        for victim in self.victims:
            victim.end()
        if self.bystanders:
            self.bystanders.finish()
            self.bystanders.close()
        self.engine.close()
        self.machine.delete()
