"""Measures cells: every system of a cell is set up, then they are measured in turn, window by window."""
import contextlib
import os
import pathlib
import shutil
import tempfile

from lab import machine, results, scenarios, traffic
from lab.machine import say
from lab.system import Unmeasurable
from support.netns import Netns
from support.rpc import RpcError

MOST_TRAFFIC_BYTES = 2 << 30
_LONGEST_REASON = 200
_SPARE_MIB = 64  # of hugepages: others take some
# What costs a run one system of one cell and no more.
_FAILURES = (Unmeasurable, RuntimeError, AssertionError, OSError, RpcError)


def _sweep_directories():
    """Removes what runs left that were killed."""
    for path in pathlib.Path("/tmp").glob("pwb*-*"):
        pid = path.name[3:].split("-")[0]
        if pid.isdigit() and not os.path.exists(f"/proc/{pid}"):
            shutil.rmtree(path, ignore_errors=True)


class Runner:
    """`options`: systems, repeat, seconds; `marches`: system -> the -march it was built for."""

    def __init__(self, options, marches):
        self.options = options
        self.marches = marches
        _sweep_directories()
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix=f"pwb{os.getpid()}-", dir="/tmp"))
        self.hugepages = machine.Hugepages()
        self.left_out = []
        self.failed = False  # something went wrong that should not

    def close(self):
        self.hugepages.close()
        traffic.forget_large()
        shutil.rmtree(self.directory, ignore_errors=True)

    def fail(self, what, error):
        self.failed |= not isinstance(error, Unmeasurable)
        self.leave_out(what, error)

    def leave_out(self, what, why):
        say(f"left out: {what}: {why}")
        self.left_out.append({"cell": str(what), "why": str(why)[:_LONGEST_REASON]})

    def cell(self, scenario, size, flows):
        """The summaries of its systems, best effort: what cannot be had is told and left out."""
        cell = scenarios.Cell(scenario, size, flows)
        systems = [name for name in self.options.system if scenarios.takes(name, scenario)]
        frames = scenarios.SCENARIOS[scenario].frames
        if frames and traffic.bytes_of(size, flows) > MOST_TRAFFIC_BYTES:
            self.leave_out(cell, "its frames take more than 2 GiB")
            return []
        memory = sum(scenarios.memory_mib(name, cell) for name in systems) + _SPARE_MIB
        hugepages = not self.options.without_hugepages and self.hugepages.want(memory)
        if not hugepages and not self.options.without_hugepages:
            self.leave_out(cell, f"{memory} MiB of hugepages are needed, {machine.free_hugepages() * 2} are free")
            return []
        pcap = traffic.pcap(frames, size, flows) if frames else None
        return self._measure(scenarios.Cell(scenario, size, flows, pcap, hugepages), systems)

    def _measure(self, cell, systems):
        windows = {}
        with contextlib.ExitStack() as stack:
            ns = Netns("bench", ipv6=False)
            stack.callback(ns.delete)
            running = []
            for name in systems:
                directory = pathlib.Path(tempfile.mkdtemp(prefix=name[0], dir=self.directory))
                stack.callback(shutil.rmtree, directory, ignore_errors=True)
                try:
                    system = scenarios.start(name, ns, directory, cell, self.marches[name])
                except _FAILURES as error:
                    self.fail(f"{cell}, {name}", error)
                    continue
                stack.callback(system.close)
                system.pause()
                running.append(system)
            for number in range(self.options.repeat):
                for system in list(running):
                    try:
                        window = system.measure(self.options.seconds)
                    except _FAILURES as error:
                        self.fail(f"{cell}, {system.name}", error)
                        running.remove(system)
                        continue
                    windows.setdefault(system, []).append(window)
                    say(f"{cell}, {system.name}, window {number + 1} of {self.options.repeat}: "
                        f"{window.cycles:.1f} cycles a packet, {window.mpps:.2f} Mpps")
        by = scenarios.SCENARIOS[cell.scenario].by
        return [results.summary(cell, by, system.name, system.march, of) for system, of in windows.items()]
