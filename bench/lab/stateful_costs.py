"""What policy, masquerade and services cost established connections: one engine for each, fed with the same frames."""
import dataclasses
import pathlib

from lab import podwire, traffic

BACKENDS = "10.244.3.0/24"
_POLICY = 1


@dataclasses.dataclass(frozen=True)
class Cell:
    """What scenarios.Cell is to a scenario."""

    scenario: str
    size: str
    flows: int
    pcap: pathlib.Path
    hugepages: bool = True
    burst: int = None


def answered(objects, cell, kind):
    """The peer's answers come in by an uplink of their own, so that every connection is established."""
    played = traffic.pcap(kind, cell.size, cell.flows)
    return podwire.unlimited(objects) | {"answers": podwire.port(podwire.ANSWERS, "answers", f"net_pcap2,rx_pcap={played}", "uplink")}


def policy(rules):
    """The pod's egress has so many rules; the last is the one that allows."""
    def program(cell, directory):
        objects = podwire.encap(cell, directory, stateful=True)
        others = [{"blocks": [{"prefix": f"10.245.{i >> 8}.{i & 255}/32"}], "protocol": "udp", "ports": [80, 80]}
                  for i in range(rules - 1)]
        allowed = {"blocks": [{"prefix": "10.244.2.0/24"}], "protocol": "udp", "ports": [5201, 5201]}
        objects["policies"] = [{"id": _POLICY, "name": "bench/egress", "egress": {"rules": [*others, allowed]}}]
        objects["endpoints"][0]["policy"] = _POLICY
        return answered(objects, cell, "vxlan")
    return program


def masquerade(cell, directory):
    """Nothing of the domain covers the destination, so packets leave on the underlay with the node's address."""
    ports = {"addresses": [traffic.VTEP_IP], "ports": [1024, 65535]}
    objects = podwire.encap(cell, directory, stateful=True, masquerade=ports, gateways=["10.244.1.1/24"])
    # The peer's MAC is known to the underlay by its VTEP; the world is behind it.
    objects["routes"][-1] = {"id": 2, "domain": 1, "prefix": "10.244.2.0/24",
                             "next_hops": [{"port": podwire.UPLINK, "address": traffic.PEER_IP}]}
    return answered(objects, cell, "world")


def service(cell, directory):
    """64 services of one backend each, behind the VXLAN peer."""
    objects = podwire.encap(cell, directory, stateful=True)
    objects["routes"][-1]["prefix"] = BACKENDS
    objects["services"] = [
        {"id": 1 + i, "name": f"bench/s{i}", "domain": podwire.DOMAIN,
         "frontends": [{"domain": podwire.DOMAIN, "address": traffic.remote_pod(i), "protocol": "udp", "port": 5201}],
         "backends": [{"address": f"10.244.3.{2 + i}", "port": 5201}]} for i in range(traffic.REMOTE_PODS)]
    return answered(objects, cell, "backends")


PROGRAMS = {"plain": (podwire.encap_stateful(1), 1), "policy-1": (policy(1), 1), "policy-10000": (policy(10_000), 1),
            "masquerade": (masquerade, 1), "service": (service, 1)}


class StatefulCosts(podwire.Podwire):
    programs = PROGRAMS
