"""Vhost-user peers of the engine: dpdk-testpmd with net_virtio_user, which bridges the engine's port to an interface in
a namespace (net_tap) or makes and counts traffic itself."""
import itertools
import os
import pathlib
import re
import subprocess

from support.engine import GATEWAY_MAC
from support.netns import Netns
from support.process import wait_until
from support.wire import Wire

_numbers = itertools.count(1)


class Testpmd:
    """One testpmd with its prompt on a pipe."""

    def __init__(self, ns, directory, vdevs, arguments=(), lcores="0,1", memory_mib=192):
        self.prefix = f"pwtv{os.getpid()}_{next(_numbers)}"
        self.log = pathlib.Path(directory) / f"{self.prefix}.log"
        argv = ["ip", "netns", "exec", ns.name, "stdbuf", "-oL", "dpdk-testpmd", "--lcores", lcores, "--no-pci", "--no-telemetry", "--in-memory",
                "--single-file-segments", "-m", memory_mib, "--file-prefix", self.prefix]
        for vdev in vdevs:
            argv += ["--vdev", vdev]
        argv += ["--", "-i", "--total-num-mbufs=8192", *arguments]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen([str(a) for a in argv], stdin=subprocess.PIPE, stdout=log,
                                            stderr=subprocess.STDOUT)

    @property
    def pid(self):
        return self.process.pid

    def output(self):
        return self.log.read_text(errors="replace")

    def running(self):
        return self.process.poll() is None

    def command(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def ask(self, line, pattern, timeout=10):
        """The matches of `pattern` in what the command prints, once there are some."""
        before = len(self.output())
        self.command(line)
        try:
            return wait_until(lambda: re.findall(pattern, self.output()[before:]), timeout, f"testpmd answering {line!r}")
        except AssertionError as error:
            raise AssertionError(f"{error}:\n{self.output()[before:]}") from None

    def ready(self, timeout=30):
        def prompt():
            assert self.running(), f"testpmd ended:\n{self.output()[-3000:]}"
            return "testpmd>" in self.output()
        wait_until(prompt, timeout, "testpmd's prompt")
        return self

    def kill9(self):
        self.process.kill()
        self.process.wait()

    def close(self):
        if self.running():
            try:
                self.command("quit")
                self.process.wait(10)
            except (OSError, subprocess.TimeoutExpired):
                self.kill9()
        self.process.stdin.close()


class VhostStation:
    """A pod on a Switch whose interface reaches the engine through vhost-user: testpmd forwards between the virtio
    device and eth0 of the pod's namespace, whose far side is what tests hold."""

    def __init__(self, switch, name, number, domain, directory, queues=1, server=True, mtu=None, peer=True,
                 testpmd=(), dhcp=False, **port_options):
        self.switch, self.name, self.domain, self.queues, self.server = switch, name, domain, queues, server
        self.directory = directory
        self.mac = f"02:00:00:00:00:{number:02x}"
        self.ip4, self.ip6 = f"10.244.1.{number}", f"fd00:10:244:1::{number:x}"
        self.mtu = mtu or switch.mtu
        self.port = next(switch.port_ids)
        self.endpoint = next(switch.endpoint_ids)
        self.socket = f"{directory}/{name}.sock"
        self.port_options = port_options
        self.dhcp = {"dhcp": True, "hostname": name} if dhcp else {}
        self.testpmd_arguments = testpmd
        self.ns = Netns(name, ipv6=False)
        self.fds = []
        self.testpmd = self.wire = None
        self.attach()
        if peer:
            self.start_peer()

    def attach(self):
        self.switch.engine.put(ports=[self.port_object()], endpoints=[self.endpoint_object()])

    def port_object(self):
        return {"id": self.port, "name": self.name, "kind": "vhost", "role": "pod", "domain": self.domain, "mac": self.mac,
                "mtu": self.mtu, "queues": self.queues, "socket": self.socket,
                "socket_mode": "server" if self.server else "client", **self.port_options}

    def endpoint_object(self):
        return {"id": self.endpoint, "name": self.name, "domain": self.domain, "port": self.port, "mac": self.mac,
                "addresses": [self.ip4, self.ip6], **self.dhcp}

    def virtio_user(self, extra=""):
        return f"net_virtio_user0,mac={self.mac},path={self.socket},queues={self.queues}," \
               f"server={0 if self.server else 1}{extra}"

    def start_peer(self, extra=""):
        """A new testpmd as the peer, up and forwarding."""
        self.testpmd = Testpmd(self.ns, self.directory, [self.virtio_user(extra), "net_tap0,iface=eth0"],
                               [f"--rxq={self.queues}", f"--txq={self.queues}", *self.testpmd_arguments]).ready()
        self.wait_link("up")
        self.ns.ip(f"link set eth0 mtu {self.mtu}")
        self.testpmd.ask("start", "packet forwarding - ports=2")
        self.wire = Wire(self.ns, "eth0")

    def start_sender(self, target, length=64):
        """A new testpmd as the peer that sends to `target` as fast as it can."""
        self.testpmd = Testpmd(self.ns, self.directory, [self.virtio_user()], [
            "--forward-mode=txonly", f"--tx-ip={self.ip4},{target.ip4}", f"--eth-peer=0,{GATEWAY_MAC}",
            f"--txpkts={length}", f"--rxq={self.queues}", f"--txq={self.queues}"]).ready()
        self.wait_link("up")
        self.testpmd.command("start")

    def start_receiver(self):
        """A new testpmd as the peer that takes and drops what comes."""
        self.testpmd = Testpmd(self.ns, self.directory, [self.virtio_user()], [
            "--forward-mode=rxonly", f"--rxq={self.queues}", f"--txq={self.queues}"]).ready()
        self.wait_link("up")
        self.testpmd.command("start")

    def stats(self):
        return self.switch.engine.port_stats(self.name)

    def status(self):
        return next(p for p in self.switch.engine.call("status")["ports"] if p["name"] == self.name)

    def wait_link(self, state, timeout=15):
        wait_until(lambda: self.status()["link"] == state, timeout, f"link of {self.name} {state}")

    def kill_peer(self):
        """SIGKILL; a socket that the peer made stays behind, as it does with QEMU, and is removed for the next one."""
        if self.wire:
            self.wire.close()
            self.wire = None
        self.testpmd.kill9()
        self.testpmd.process.stdin.close()
        self.testpmd = None
        if not self.server:
            os.unlink(self.socket)

    def detach(self):
        self.switch.engine.delete(endpoints=[self.endpoint], ports=[self.port])

    def close(self):
        if self.wire:
            self.wire.close()
        if self.testpmd:
            self.testpmd.close()
        self.ns.delete()
