"""`podwirectl doctor` between two real nodes: a healthy tunnel, one that a firewall cuts, a smaller MTU on the way, a machine
where nothing listens, one with another VNI, one that is gone; what `status` and the CNI plugin's STATUS make of it."""
import contextlib
import json

import pytest

from support.cni import CniError, cni, network_config
from support.netns import Netns
from support.node import Node, podwire_peer
from support.process import wait_until

OTHER, BARE, FOREIGN = 2, 5, 6  # numbers of the other node, a machine without VXLAN, one with another VNI
PORT = 4789


class Machine:
    """On the underlay, and no Podwire node."""

    def __init__(self, fabric, name, number):
        self.ns, self.number = Netns(name), number
        self.port = fabric.attach(self.ns, "eth0", [f"192.168.100.{number}/24", f"fd00:100::{number}/64"])

    def peer(self):
        return {"name": f"machine{self.number}", "address": f"192.168.100.{self.number}",
                "domains": {"default": {"prefixes": [f"10.244.{self.number}.0/24"]}}}


class Pair:
    def __init__(self, fabric, directory):
        self.fabric = fabric
        self.machines = []
        self.podwire = [Node(fabric, f"node{n}", n, directory / f"n{n}") for n in (1, OTHER)]
        self.node1, self.node2 = self.podwire
        self.bare = Machine(fabric, "bare", BARE)
        self.foreign = Machine(fabric, "foreign", FOREIGN)
        self.machines = [self.bare, self.foreign]
        self.node1.config["peers"] = [podwire_peer(OTHER)] + [machine.peer() for machine in self.machines]
        self.node2.config["peers"] = [podwire_peer(1)]
        for node in self.podwire:
            node.start()
        wait_until(lambda: self.ask("node2")["state"] == "well", 20, "the tunnel works")

    def ask(self, name):
        """What the doctor of node1 says of one peer."""
        return self.node1.call("doctor", {"name": name})["peers"][0]

    def close(self):
        for node in self.podwire:
            node.close()
        for machine in self.machines:
            machine.ns.delete()


@pytest.fixture(scope="module")
def nodes(fabric, directory):
    pair = Pair(fabric, directory)
    yield pair
    pair.close()


def faults(peer):
    return [fault["fault"] for fault in peer["faults"]]


@contextlib.contextmanager
def filtered(nodes):
    """A firewall between the nodes drops the tunnel's port, both ways and nothing else."""
    nodes.fabric.ns.nft(f"""table netdev doctor {{
        chain cut {{
            type filter hook ingress device "port2" priority 0; policy accept;
            udp dport {PORT} drop
        }}
    }}
    """)
    try:
        yield
    finally:
        nodes.fabric.ns.nft("delete table netdev doctor\n")


def cni_status(node):
    return cni("STATUS", network_config(node.control_socket))


def test_a_healthy_peer(nodes):
    peer = nodes.ask("node2")
    assert peer["state"] == "well" and peer["underlay"] == "answers" and peer["faults"] == []
    paths = {path.get("family"): path for path in peer["paths"] if path["domain"] == "default"}
    for family, gateway in ((4, "10.244.2.1"), (6, "fd00:10:244:2::1")):
        path = paths[family]
        assert path["gateway"] == gateway and path["answered"] == path["sent"] == 5
        assert path["largest"] == path["mtu"] == 1450
        assert 0 < path["rtt_us"]["min"] <= path["rtt_us"]["avg"] <= path["rtt_us"]["max"]
    assert next(path for path in peer["paths"] if path["domain"] == "lan")["not_probed"]


def test_the_page_for_people_and_the_exit_status(nodes):
    well = nodes.node1.cli("doctor", "node2")
    assert "node2" in well.stdout and "1450" in well.stdout and "10 of 10" in well.stdout
    assert "lan: an l2 domain" in well.stdout
    everything = nodes.node1.cli("doctor", check=False)
    assert everything.returncode == 1
    assert "What to do: " in everything.stdout
    as_json = json.loads(nodes.node1.cli("doctor", "node2", "--json").stdout)
    assert [peer["name"] for peer in as_json["peers"]] == ["node2"]
    unknown = nodes.node1.cli("doctor", "nobody", check=False)
    assert unknown.returncode == 1 and 'no peer "nobody"' in unknown.stderr


def test_a_smaller_mtu_on_the_way(nodes):
    nodes.fabric.ns.ip("link set port2 mtu 1400")
    try:
        peer = nodes.ask("node2")
    finally:
        nodes.fabric.ns.ip("link set port2 mtu 1500")
    assert set(faults(peer)) == {"mtu"}
    largest = {path["largest"] for path in peer["paths"] if "family" in path}
    assert len(largest) == 1 and largest <= set(range(1350, 1355)), largest  # the kernel grants a VLAN tag more
    assert f'"mtu": {largest.pop()}' in peer["faults"][0]["remedy"]


def test_a_filtered_port_is_one_dead_peer_among_others(nodes):
    """STATUS fails when no peer is left that answered, and not before; `status` lists it."""
    assert nodes.ask("node2")["state"] == "well"
    cni_status(nodes.node1)
    with filtered(nodes):
        peer = nodes.ask("node2")
        assert faults(peer) == ["udp_filtered"] and peer["underlay"] == "answers"
        assert f"udp dport {PORT} accept" in peer["faults"][0]["remedy"]
        nodes.ask("machine5")
        nodes.ask("machine6")
        listed = nodes.node1.cli("status", check=False)
        assert "peer node2: 192.168.100.2 answers on the underlay" in listed.stdout
        with pytest.raises(CniError) as refused:
            cni_status(nodes.node1)
        assert refused.value.code == 51 and "podwirectl doctor" in refused.value.output
    assert nodes.ask("node2")["state"] == "well"
    cni_status(nodes.node1)
    assert not any("node2" in problem for problem in nodes.node1.status()["doctor"])


def test_a_machine_where_nothing_listens(nodes):
    peer = nodes.ask("machine5")
    assert faults(peer) == ["port_closed"], peer
    assert f"UDP port {PORT}" in peer["faults"][0]["text"]


def test_another_vni(nodes):
    ns = nodes.foreign.ns
    ns.ip(f"link add vx type vxlan id 77 dev eth0 local 192.168.100.{FOREIGN} dstport {PORT} nolearning")
    ns.ip(f"addr add 10.244.{FOREIGN}.1/16 dev vx")
    ns.ip("link set vx up")
    ns.run("bridge", "fdb", "append", "00:00:00:00:00:00", "dev", "vx", "dst", nodes.node1.underlay4)
    ns.run("ping", "-c", "1", "-W", "1", "10.244.1.1", check=False)
    peer = nodes.ask("machine6")
    assert faults(peer) == ["vni_mismatch"], peer
    text = peer["faults"][0]["text"]
    assert "VNI 77" in text and "default (1)" in text


def test_a_peer_that_is_gone(nodes):
    nodes.fabric.ns.ip("link set port2 down")
    try:
        peer = nodes.ask("node2")
    finally:
        nodes.fabric.ns.ip("link set port2 up")
    assert faults(peer)[0] in ("unreachable", "neighbor_unresolved"), peer
    assert peer["underlay"] == "silent"
    wait_until(lambda: nodes.ask("node2")["state"] == "well", 20, "the tunnel works again")
