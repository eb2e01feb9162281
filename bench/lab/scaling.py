"""One and two workers of Podwire on the same traffic: every worker has a receive queue of the source to itself, as a
NIC's RSS would have it, with flows of its own, and a transmit queue of the sink. Answers that establish connections come
in by one port that one of the two workers polls, so that the other's connections have their directions on both."""
import contextlib
import os

from lab import machine, podwire, traffic

MOST_WORKERS = 2
CPUS = [machine.SWITCH_CPU, machine.OTHER_CPU]
_OUR_PRIORITY = 60  # above polling threads: both CPUs belong to those


def _queues(number, kind, cell, workers, role, id, name):
    played = ",".join(f"rx_pcap={traffic.pcap(kind, cell.size, cell.flows, part)}" for part in range(workers))
    return podwire.port(id, name, f"net_pcap{number},{played},infinite_rx=1", role, queues=workers)


def _with_queues(objects, cell, workers):
    """The same objects with a source, and an uplink where there is one, of as many queues as there are workers."""
    for port in objects["ports"]:
        if port["id"] == podwire.SOURCE:
            kind = "vxlan" if port["role"] == "uplink" else "plain"
            port |= _queues(0, kind, cell, workers, port["role"], port["id"], port["name"])
        elif port["id"] == podwire.UPLINK:
            # net_pcap drops what is sent by as many queues as it receives from.
            played = port["devargs"].split(",", 1)[1]
            port |= {"devargs": ",".join(["net_pcap1", *[played] * workers]), "queues": workers}
    return objects


def _program(make, peers):
    return lambda workers: (lambda cell, directory: _with_queues(make(cell, directory), cell, workers), peers)


def _encap_stateful(cell, directory):
    return podwire.unlimited(podwire.encap(cell, directory, **podwire.stateful(1, podwire.SERVED)))


PROGRAMS = {"p2p": _program(podwire.p2p, 0), "encap": _program(podwire.encap, 1), "decap": _program(podwire.decap, 0),
            "encap-stateful": _program(_encap_stateful, 1)}


@contextlib.contextmanager
def above_workers(*threads):
    """This thread and these others run when they have something to do, although polling threads have every CPU in real
    time. They have little: they sleep through the windows."""
    changed = []
    try:
        with contextlib.suppress(PermissionError):
            for thread in (0, *threads):
                os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(_OUR_PRIORITY))
                changed.append(thread)
        yield
    finally:
        for thread in changed:
            with contextlib.suppress(ProcessLookupError):
                os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))


class Scaled(podwire.Podwire):
    """With `workers` of them."""

    def __init__(self, workers, ns, directory, cell, march):
        self.workers, self.cell = workers, cell
        self.programs = {cell.scenario: PROGRAMS[cell.scenario](workers)}
        self.spare_mbufs = podwire.SPARE_MBUFS + (workers - 1) * traffic.packets_of(cell.size, cell.flows)
        super().__init__("podwire", ns, directory, cell, march)

    def options(self, cell):
        return {"workers": self.workers, "cpus": CPUS[:self.workers],
                "max_flows": podwire.max_flows(self.workers * cell.flows)}

    def establish(self):
        if "stateful" not in self.objects["domains"][0]:
            return
        for part in range(self.workers):
            played = traffic.pcap("vxlan", self.cell.size, self.cell.flows, part)
            self.answers = podwire.port(podwire.ANSWERS, "answers", f"net_pcap2,rx_pcap={played}", "uplink")
            super().establish()

    def measure(self, seconds):
        with above_workers(self.engine.pid):
            return super().measure(seconds)
