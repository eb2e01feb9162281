"""The table of scenarios: what each asks, of which frames, and which systems can be asked."""
import dataclasses
import pathlib

from lab import churn, new_flows, ovs, podwire, shared_memory, testpmd, traffic


@dataclasses.dataclass(frozen=True)
class Scenario:
    name: str
    title: str
    frames: str = "plain"  # traffic.py's kind; none: the traffic machine makes them
    sizes: tuple = traffic.SIZES
    flows: tuple = (1, 1000, 10_000, 100_000)
    by: str = "cycles_per_packet"  # the figure that is compared
    burst: int = None  # packets that a system takes from its source at a time; none: what it does by itself


SCENARIOS = {s.name: s for s in (
    Scenario("p2p", "one local port to another, L2 domain"),
    Scenario("route", "a local pod by the gateway to 64 local pods, L3 domain"),
    Scenario("encap", "a local pod by one route to one VXLAN peer"),
    Scenario("encap-many", "a local pod to 64 remote pods on 16 VXLAN peers"),
    Scenario("encap-100k", "a local pod to 100,000 remote pods on 16 VXLAN peers", "wide", ("64",),
             (100_000, 1_000_000)),
    Scenario("decap", "a VXLAN peer to a local pod", "vxlan"),
    Scenario("encap-stateful", "encap of established connections, 1,000 rules"),
    Scenario("encap-stateful-1-rule", "encap of established connections, one rule", sizes=("64",)),
    Scenario("encap-stateful-1m", "encap of a million established connections, one rule", sizes=("64",),
             flows=(1_000_000,)),
    Scenario("decap-stateful", "decap of established connections, 1,000 rules", "vxlan"),
    Scenario("decap-stateful-1-rule", "decap of established connections, one rule", "vxlan", ("64",)),
    Scenario("new-flows", "encap, every packet a new connection", sizes=("64",), flows=(1_000_000,)),
    Scenario("small-bursts-16", "encap, 16 packets at a time", sizes=("64",), burst=16),
    Scenario("small-bursts-4", "encap, 4 packets at a time", sizes=("64",), burst=4),
    Scenario("churn", "encap while 1,000 remote endpoints a second change", sizes=("64",), flows=(10_000,)),
    Scenario("memif", "two memif ports, both directions together", None, shared_memory.SIZES, (1,), "mpps"),
    Scenario("memif-few", "the same with 32 frames under way in each direction", None, ("64",), (1,), "mpps"),
    Scenario("vhost", "two vhost-user ports, both directions together", None, shared_memory.SIZES, (1,), "mpps"),
)}
QUICK = ("p2p", "route", "encap", "decap")
SIZES = tuple(dict.fromkeys(size for scenario in SCENARIOS.values() for size in scenario.sizes))
SYSTEMS = ("podwire", "podwire-baseline", "testpmd", "ovs-dpdk")


@dataclasses.dataclass(frozen=True)
class Cell:
    """What every system is measured on alike."""

    scenario: str
    size: str
    flows: int
    pcap: pathlib.Path = None
    hugepages: bool = True

    @property
    def burst(self):
        return SCENARIOS[self.scenario].burst

    def __str__(self):
        return f"{self.scenario}, {self.size}{'' if self.size == 'imix' else ' B'}, {self.flows} flow" + "s" * (
            self.flows != 1)


def _setups(system):
    """Scenario -> what starts the system for it, for those fed by a pcap."""
    if system == "testpmd":
        return dict.fromkeys((name for name, s in SCENARIOS.items() if s.frames and name != "churn"), testpmd.TestpmdIo)
    if system == "ovs-dpdk":
        return dict.fromkeys(ovs.SETUPS, ovs.OvsDpdk)
    return dict.fromkeys(podwire.PROGRAMS, podwire.Podwire) | {"churn": churn.Churn,
                                                               "new-flows": new_flows.NewFlows}


def takes(system, scenario):
    """Whether the system has this scenario."""
    return scenario in shared_memory.KINDS or scenario in _setups(system)


def start(system, ns, directory, cell, march):
    if cell.scenario in shared_memory.KINDS:
        return shared_memory.SharedMemory(system, ns, directory, cell, march)
    return _setups(system)[cell.scenario](system, ns, directory, cell, march)


def memory_mib(system, cell):
    """Of hugepages."""
    if cell.scenario in shared_memory.KINDS:
        return shared_memory.MEMORY_MIB[system]
    if system == "ovs-dpdk":
        return ovs.MEMORY_MIB
    return (testpmd if system == "testpmd" else podwire).memory_mib(traffic.packets_of(cell.size, cell.flows))
