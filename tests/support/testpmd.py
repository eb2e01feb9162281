"""dpdk-testpmd as a pod's packet program: one shared-memory port of DPDK's own drivers, bridged to a cable that the
test holds."""
import itertools
import os
import pathlib
import subprocess
import time

from scapy.layers.l2 import Ether

from support.engine import hugepages
from support.netns import Netns, veth
from support.process import Daemon, wait_until
from support.wire import Wire

_prefixes = itertools.count(1)


class Testpmd:
    """Runs from start() to stop() or kill(). `vdevs` are its ports, forwarded to each other in pairs."""

    __test__ = False  # its name is no test's

    def __init__(self, ns, vdevs, log, eal=(), mode="io", queues=1, mbufs=8192, more=()):
        self.ns = ns
        self.log = pathlib.Path(log)
        memory = ["--no-huge"] if hugepages() == "never" else ["--in-memory"]
        arguments = ["dpdk-testpmd", "-l", "0,1", *memory, "-m", "192", "--no-pci", "--no-telemetry", *eal,
                     "--file-prefix", f"pwp{os.getpid()}_{next(_prefixes)}"]
        for vdev in vdevs:
            arguments += ["--vdev", vdev]
        self.argv = [*arguments, "--", f"--total-num-mbufs={mbufs}", f"--forward-mode={mode}", "--auto-start",
                     "--disable-link-check", "--no-lsc-interrupt", f"--rxq={queues}", f"--txq={queues}", *more]
        self.name = "testpmd"
        self.process = None

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(["ip", "netns", "exec", self.ns.name, *self.argv], stdin=subprocess.PIPE,
                                            stdout=log, stderr=subprocess.STDOUT)
        if self not in Daemon.live:
            Daemon.live.append(self)
        return self

    def running(self):
        return self.process is not None and self.process.poll() is None

    def stop(self):
        """As a person does: Enter ends it, and it says goodbye to its peers."""
        if self.running():
            self.process.stdin.write(b"\n")
            self.process.stdin.close()
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.kill()

    def kill(self):
        if self.running():
            self.process.kill()
            self.process.wait()
        if self.process is not None and not self.process.stdin.closed:
            self.process.stdin.close()
        if self in Daemon.live:
            Daemon.live.remove(self)

    def tail(self, lines=40):
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:]) if self.log.exists() else ""


class MemifStation:
    """A pod on a Switch bench whose interface is a memif: testpmd's, and behind it a cable. Like switch.Station."""

    def __init__(self, switch, name, number, domain, mode="server", options="", eal=(), queues=1, mtu=None, start=True,
                 **port):
        self.switch, self.name, self.domain, self.queues, self.mode = switch, name, domain, queues, mode
        self.mac = f"02:00:00:00:00:{number:02x}"
        self.ip4, self.ip6 = f"10.244.1.{number}", f"fd00:10:244:1::{number:x}"
        self.mtu = mtu or switch.mtu
        self.port, self.endpoint = next(switch.port_ids), next(switch.endpoint_ids)
        self.socket = str(switch.engine.directory / f"{name}.memif")
        self.more = port
        self.ns = Netns(name, ipv6=False)
        veth(self.ns, "cnf0", self.ns, "wire0", mtu=max(self.mtu, 1500))
        self.wire = Wire(self.ns, "wire0")
        own_role = "client" if mode == "server" else "server"
        memif = f"net_memif0,role={own_role},id=0,socket={self.socket},socket-abstract=no{options}"
        # A frame of the cable must fit one buffer of the program.
        jumbo = self.mtu > 1900
        af_packet = f"net_af_packet0,iface=cnf0,framesz={16384 if jumbo else 2048},blocksz=65536,qpairs={queues}"
        self.program = Testpmd(self.ns, [memif, af_packet], switch.engine.directory / f"{name}.log", eal, queues=queues,
                               mbufs=2048 if jumbo else 8192, more=["--mbuf-size=16640"] if jumbo else [])
        if mode == "client" and start:
            self.start()
        self.attach()
        if mode == "server" and start:
            self.start()

    def start(self):
        if self.mode == "client":  # net_memif does not replace what a killed one has left
            pathlib.Path(self.socket).unlink(missing_ok=True)
        self.program.start()

    def port_object(self):
        return {"id": self.port, "name": self.name, "kind": "memif", "role": "pod", "domain": self.domain, "mac": self.mac,
                "mtu": self.mtu, "queues": self.queues, "socket": self.socket, "socket_mode": self.mode, **self.more}

    def endpoint_object(self):
        return {"id": self.endpoint, "name": self.name, "domain": self.domain, "port": self.port, "mac": self.mac,
                "addresses": [self.ip4, self.ip6]}

    def attach(self):
        self.switch.engine.put(ports=[self.port_object()], endpoints=[self.endpoint_object()])

    def detach(self):
        self.switch.engine.delete(endpoints=[self.endpoint], ports=[self.port])

    def status(self):
        return next(p for p in self.switch.engine.call("status")["ports"] if p["name"] == self.name)

    def up(self):
        return self.status()["link"] == "up"

    def wait_ready(self, timeout=20):
        """Until the program forwards, which it does a while after it has connected."""
        probe = bytes(Ether(src=self.mac, dst="ff:ff:ff:ff:ff:ff", type=0x88B5) / b"probe")

        def forwarding():
            before = self.switch.engine.port_stats(self.name)["received_packets"]
            self.wire.send(probe)
            time.sleep(0.05)
            return self.up() and self.switch.engine.port_stats(self.name)["received_packets"] > before
        wait_until(forwarding, timeout, f"{self.name} forwarding\n{self.program.tail()}")
        self.wire.drain()

    def address(self, family):
        return self.ip6 if family == 6 else self.ip4

    def close(self):
        self.program.kill()
        self.wire.close()
        self.ns.delete()
