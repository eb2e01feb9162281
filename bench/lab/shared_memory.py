"""Scenarios `memif`, `memif-few` and `vhost`: a switch between two shared-memory ports, whose other ends a second process
joins.

The traffic machine is one dpdk-testpmd on the other CPU that passes what comes out of one port into the other, so that
a fixed number of frames goes round in both directions. A window tells for which part of it either side had packets in
hand (`switch_busy`, `traffic_busy`): only where that is nearly 1 for the switch is the figure the switch's.
"""
import contextlib
import os
import re
import signal
import time

from lab import build, machine, podwire, testpmd
from lab.ovs import Ovs
from lab.system import System, Unmeasurable, Window
from lab.testpmd import Testpmd
from support.engine import hugepages
from support.process import wait_until

KINDS = {"memif": "memif", "memif-few": "memif", "vhost": "vhost"}  # of port, by scenario
SIZES = ("64", "1400", "1500")
MACS = ("02:00:00:00:03:01", "02:00:00:00:03:02")
# Of the switch and its traffic machine.
MEMORY_MIB = {"podwire": 600, "podwire-baseline": 600, "testpmd": 600, "ovs-dpdk": 1100}
# Bursts of 32 that go round in each direction: enough to keep both sides busy, never more than a ring holds.
_BURSTS = {"memif": 16, "memif-few": 1, "vhost": 6}
_ATTEMPTS = 3
_PATIENCE = 1.0  # seconds


class Switch:
    """What is measured. A subclass has `pid`, `thread` (which polls) and `queues` (what its peer must bring)."""

    queues = 1

    def ready(self):
        return True

    def begin(self):
        """Begins to count cycles."""

    def cycles(self):
        """TSC cycles a packet since begin(); of the bursts that found packets."""
        raise NotImplementedError

    def facts(self):
        """What else is known of the time between the two."""
        return {}


class PodwireSwitch(Switch):
    def __init__(self, name, ns, directory, kind, sockets):
        self.engine = build.engine(name, ns, directory)
        self.pid = self.engine.pid
        port = lambda i: {"id": i + 1, "name": f"p{i}", "kind": kind, "role": "pod", "domain": 2, "mac": MACS[i],
                          "mtu": 1500, "socket": str(sockets[i])}
        # testpmd gives the frames of both its ports one source address, podwire-trafficgen each its own; and each port is to
        # allow one IPv4 source, like a pod's.
        sources = [{"addresses": ["198.18.0.1"]},
                   {"addresses": ["2001:2::2"], "allowed_pairs": [{"address": "198.18.0.0/30"}]}]
        endpoint = lambda i: {"id": i + 1, "name": f"p{i}", "domain": 2, "port": i + 1, "mac": MACS[i], **sources[i]}
        try:
            self.thread = machine.worker_thread(self.pid)
            self.engine.put(domains=[{"id": 2, "name": "bench", "vni": 1, "mode": "l2", "mtu": 1500,
                                      "gateway_mac": "02:70:77:00:00:01", "gateways": ["198.18.0.254/24"]}],
                            ports=[port(0), port(1)], endpoints=[endpoint(0), endpoint(1)])
        except BaseException:
            self.close()
            raise

    def ready(self):
        return all(port["link"] == "up" for port in self.engine.call("status")["ports"])

    def begin(self):
        self.before = self.engine.call("stats")

    def cycles(self):
        self.after = self.engine.call("stats")
        cycles = self.after["worker"]["busy_cycles"] - self.before["worker"]["busy_cycles"]
        packets = self.after["ledger"]["received"] - self.before["ledger"]["received"]
        return cycles / packets if packets else None

    def facts(self):
        return podwire.stage_facts(self.before, self.after)

    def close(self):
        self.engine.close()


class TestpmdSwitch(Switch):
    def __init__(self, name, ns, directory, kind, sockets):
        if kind == "memif":
            vdevs = [f"net_memif{i},role=server,socket={s},socket-abstract=no,mac={MACS[i]}"
                     for i, s in enumerate(sockets)]
        else:
            vdevs = [f"eth_vhost{i},iface={s},queues=1" for i, s in enumerate(sockets)]
        self.testpmd = Testpmd("switch", ns, directory, machine.SWITCH_CPU, vdevs, "--forward-mode=mac",
                               hugepages=hugepages() == "auto")
        self.pid, self.thread = self.testpmd.process.pid, self.testpmd.thread
        self.testpmd.start()

    def begin(self):
        self.testpmd.ask("clear fwd stats all", "testpmd>")

    def cycles(self):
        return testpmd.cycles_per_packet(self.testpmd.ask("show fwd stats all", "CPU cycles/packet.*Clock"))

    def close(self):
        self.testpmd.close()


class OvsSwitch(Switch):
    def __init__(self, name, ns, directory, kind, sockets):
        # It sends on its second queue only.
        self.queues = 2 if kind == "memif" else 1
        self.ovs = Ovs(ns, directory / "ovs", machine.SWITCH_CPU, machine.OTHER_CPU)
        try:
            self.pid, self.thread = self.ovs.vswitchd.pid, None
            self.ovs.bridge("br0")
            for i, path in enumerate(sockets):
                if kind == "memif":
                    self.ovs.add_port("br0", f"p{i}", "type=dpdk", "options:n_rxq=2", "options:dpdk-devargs="
                                      f"net_memif{i},role=server,socket={path},socket-abstract=no,mac={MACS[i]}")
                else:
                    self.ovs.add_port("br0", f"p{i}", "type=dpdkvhostuser")
                    os.symlink(self.ovs.directory / f"p{i}", path)
            self.ovs.flows("br0", "in_port=p0,actions=output:p1", "in_port=p1,actions=output:p0")
            self.thread = self.ovs.pmd_thread
        except BaseException:
            self.close()
            raise

    def begin(self):
        self.ovs.clear_cycles()

    def cycles(self):
        return self.ovs.cycles_per_packet(machine.SWITCH_CPU)

    def close(self):
        self.ovs.close()


SWITCHES = {"podwire": PodwireSwitch, "podwire-baseline": PodwireSwitch, "testpmd": TestpmdSwitch,
            "ovs-dpdk": OvsSwitch}


class TrafficMachine(Testpmd):
    def __init__(self, ns, directory, kind, size, queues, sockets):
        if kind == "memif":
            vdevs = [f"net_memif{i},role=client,socket={s},socket-abstract=no,mac={MACS[i]}"
                     for i, s in enumerate(sockets)]
        else:
            vdevs = [f"net_virtio_user{i},path={s},mac={MACS[i]},queue_size=1024,queues=1"
                     for i, s in enumerate(sockets)]
        super().__init__("traffic", ns, directory, machine.OTHER_CPU, vdevs, "--forward-mode=io", f"--rxq={queues}",
                         f"--txq={queues}", f"--txpkts={size}", f"--eth-peer=0,{MACS[1]}", f"--eth-peer=1,{MACS[0]}",
                         "--tx-ip=198.18.0.1,198.18.0.2", hugepages=hugepages() == "auto",
                         # A virtio-user device shares its memory by file, and vhost-user takes eight files.
                         eal=["--single-file-segments"] if kind == "vhost" else [])

    def received(self):
        text = self.ask("show port stats all", r"(?s)port 1 .*Tx-pps.*?#{20}")
        return [int(n) for n in re.findall(r"RX-packets: (\d+)", text)]

    def clear_cycles(self):
        self.ask("clear fwd stats all", "testpmd>")

    def cycles(self):
        """TSC cycles with packets in hand since clear_cycles(), and cycles a second."""
        text = self.ask("show fwd stats all", testpmd.CYCLES)
        total, mhz = re.search(testpmd.CYCLES, text).group(2, 3)
        return int(total), int(mhz) * 1e6

    def links_up(self):
        text = self.ask("show port summary all", r"(?m)^1 .*$")
        return len(re.findall(r"(?m)^\d .*\bup\b", text)) == 2


class SharedMemory(System):
    """A switch of `name` and its traffic machine."""

    def __init__(self, name, ns, directory, cell, march):
        self.name, self.march, self.cell = name, march, cell
        sockets = [directory / f"{i}.sock" for i in (0, 1)]
        kind = KINDS[cell.scenario]
        self.switch = SWITCHES[name](name, ns, directory, kind, sockets)
        self.traffic = None
        try:
            self.traffic = TrafficMachine(ns, directory, kind, cell.size, self.switch.queues, sockets)
            wait_until(lambda: self.traffic.links_up() and self.switch.ready(), 20, f"links of {name}")
        except BaseException:
            self.close()
            raise
        self.pids, self.threads = [self.switch.pid, self.traffic.process.pid], [self.switch.thread]
        self.started = False

    def pause(self):
        # The switch last: what is on its way then waits in rings that have room for it.
        os.kill(self.traffic.process.pid, signal.SIGSTOP)
        time.sleep(0.01)
        os.kill(self.switch.pid, signal.SIGSTOP)

    def ready(self):
        for _ in range(_ATTEMPTS):
            if self.started and self.flows():
                return
            if self.started:
                self.traffic.stop()
            self.traffic.ask(f"start tx_first {_BURSTS[self.cell.scenario]}", "packet forwarding -")
            self.started = True
        if not self.flows():
            raise Unmeasurable("its traffic dies out")

    def flows(self):
        """Whether frames go round in both directions."""
        before, deadline = self.traffic.received(), time.monotonic() + _PATIENCE
        while time.monotonic() < deadline:
            time.sleep(0.02)
            if all(after > before for after, before in zip(self.traffic.received(), before)):
                return True
        return False

    def observe(self, seconds):
        self.traffic.clear_cycles()
        self.switch.begin()
        before, began = self.traffic.received(), time.monotonic()
        time.sleep(seconds)
        after, ended = self.traffic.received(), time.monotonic()
        cycles = self.switch.cycles()
        busy, hz = self.traffic.cycles()
        packets = [b - a for a, b in zip(before, after)]
        if min(packets) == 0:
            raise Unmeasurable(f"its traffic died out ({packets} packets)")
        window = Window(ended - began, sum(packets), cycles)
        # What the two ask before and after a window takes a moment, in which traffic goes on.
        window.more["traffic_busy"] = round(min(busy / hz / window.seconds, 1), 2)
        if cycles is not None:
            window.more["switch_busy"] = round(min(cycles * window.packets / hz / window.seconds, 1), 2)
            window.more |= self.switch.facts()
        return window

    def close(self):
        if self.traffic is not None:
            self.traffic.close()
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.switch.pid, signal.SIGCONT)
        self.switch.close()
