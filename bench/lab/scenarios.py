"""The table of scenarios: what each asks, of which frames, and which systems can be asked."""
import dataclasses
import pathlib

from lab import podwire, testpmd


@dataclasses.dataclass(frozen=True)
class Scenario:
    name: str
    frames: str  # traffic.py's kind
    title: str


SCENARIOS = {s.name: s for s in (
    Scenario("p2p", "plain", "L2 domain, from one local port to another"),
    Scenario("route", "plain", "L3 domain, from a local pod by the gateway to 64 local pods"),
    Scenario("encap", "plain", "L3 domain, from a local pod by one route to one VXLAN peer"),
    Scenario("encap-many", "plain", "L3 domain, from a local pod to 64 remote pods on 16 VXLAN peers"),
    Scenario("encap-100k", "wide", "L3 domain, from a local pod to 100,000 remote pods on 16 VXLAN peers"),
    Scenario("decap", "vxlan", "L3 domain, from a VXLAN peer to a local pod"),
)}
DEFAULT = [name for name in SCENARIOS if name != "encap-100k"]


@dataclasses.dataclass(frozen=True)
class Cell:
    """One column of a figure: every system is measured on the same of these."""

    scenario: str
    size: str
    flows: int
    pcap: pathlib.Path = None
    hugepages: bool = True

    def __str__(self):
        return f"{self.scenario}, {self.size} B, {self.flows} flows"


SYSTEMS = {system.name: system for system in (podwire.Podwire, testpmd.TestpmdIo)}


def takes(system, scenario):
    """Whether the system has this scenario."""
    return system == "testpmd" or scenario in podwire.PROGRAMS


def memory_mib(system, packets):
    return {"podwire": podwire.memory_mib, "testpmd": testpmd.memory_mib}[system](packets)
