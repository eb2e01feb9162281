"""Two nodes and the kernel's VXLAN: ping all pairs, iperf3 TCP and UDP, hashed files of 100 MiB between every pair of port
kinds in both directions, with 1 % loss, without offloads, with an IPv6 underlay; the node's own services through the host
interface; the CLI against a live node. Rates are printed, never asserted."""
import itertools
import json

import pytest

from support.cluster import Cluster, HostEnd
from support.traffic import file_server, iperf, iperf_server, loss, send_file


def pair(nodes, name):
    """(client, server, interface of the client where loss can be made)"""
    return {
        "same-node": lambda: (nodes.a, nodes.pods["node1-b"], "eth0"),
        "across-nodes": lambda: (nodes.a, nodes.b, "eth0"),
        "flannel": lambda: (nodes.a, nodes.flannel, "eth0"),
        "l2-learning": lambda: (nodes.lan["node1"], nodes.learner, "eth0"),
        "l2-across": lambda: (nodes.lan["node1"], nodes.lan["node2"], "eth0"),
        "host": lambda: (nodes.a, HostEnd(nodes.node1), "eth0"),
    }[name]()


PAIRS = ["same-node", "across-nodes", "flannel", "l2-learning", "host"]
FAMILIES = [4, 6]


@pytest.mark.parametrize("family", FAMILIES)
def test_ping_all_pairs(nodes, family):
    everyone = list(nodes.pods.values()) + [nodes.flannel]
    for one, other in itertools.permutations(everyone, 2):
        assert one.ns.ping(other.address(family)), f"{one.name} → {other.name}"


@pytest.mark.parametrize("family", FAMILIES)
def test_ping_all_pairs_of_a_flat_domain(nodes, family):
    everyone = list(nodes.lan.values()) + [nodes.learner]
    for one, other in itertools.permutations(everyone, 2):
        assert one.ns.ping(other.address(family)), f"{one.name} → {other.name}"


@pytest.mark.parametrize("family", FAMILIES)
def test_pods_gateways_and_nodes_answer(nodes, family):
    for pod, node in ((nodes.a, nodes.node1), (nodes.b, nodes.node2)):
        gateway = f"10.244.{node.number}.1" if family == 4 else f"fd00:10:244:{node.number}::1"
        assert pod.ns.ping(gateway)
        assert pod.ns.ping(HostEnd(node).address(family))
        assert node.ns.ping(pod.address(family))


@pytest.mark.parametrize("size", [1, 1400, 1422, 5000, 20000])
def test_ping_of_every_size(nodes, size):
    """Larger than the MTU: fragments, both ways, both families."""
    for family in FAMILIES:
        for name in ("same-node", "across-nodes", "flannel"):
            client, server, _ = pair(nodes, name)
            assert client.ns.ping(server.address(family), size=size), (name, family)


@pytest.mark.parametrize("name", PAIRS)
def test_iperf3(nodes, name):
    client, server, _ = pair(nodes, name)
    with iperf_server(server.ns):
        for family, reverse in ((4, False), (4, True), (6, False)):
            result = iperf(client.ns, server.address(family), seconds=1, reverse=reverse)
            print(f"{name} v{family} {'from' if reverse else 'to'} server TCP: {result}")
            assert result["mbit_s"] > 0
        for reverse in (False, True):
            result = iperf(client.ns, server.address(4), seconds=1, udp_rate="20M", reverse=reverse)
            print(f"{name} v4 {'from' if reverse else 'to'} server UDP: {result}")
            assert result["lost_percent"] < 50


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("name", PAIRS + ["l2-across"])
def test_a_file_of_100_mib(nodes, name, family):
    client, server, _ = pair(nodes, name)
    with file_server(server.ns):
        for direction in ("put", "get"):
            print(f"{name} v{family} {direction}: {send_file(client.ns, server.address(family), direction)} Mbit/s")


@pytest.mark.parametrize("name", PAIRS)
def test_a_file_with_one_percent_loss(nodes, name):
    client, server, device = pair(nodes, name)
    with file_server(server.ns), loss(client.ns, device):
        for direction in ("put", "get"):
            print(f"{name} {direction}: {send_file(client.ns, server.address(4), direction, mib=20)} Mbit/s")


def test_a_file_with_one_percent_loss_on_the_underlay(nodes):
    """Outer packets, merged segments: what is lost is single packets."""
    with file_server(nodes.b.ns), loss(nodes.fabric.ns, "port1"), loss(nodes.fabric.ns, "port2", table="second"):
        for direction in ("put", "get"):
            print(f"{direction}: {send_file(nodes.a.ns, nodes.b.ipv4, direction, mib=20)} Mbit/s")


@pytest.mark.parametrize("name", ["same-node", "across-nodes", "flannel"])
def test_a_file_without_offloads(nodes, name):
    client, server, _ = pair(nodes, name)
    client.ns.run("ethtool", "-K", "eth0", "tx", "off", "tso", "off", "gso", "off")
    try:
        with file_server(server.ns):
            for direction in ("put", "get"):
                print(f"{name} {direction}: {send_file(client.ns, server.address(4), direction)} Mbit/s")
    finally:
        client.ns.run("ethtool", "-K", "eth0", "tx", "on", "tso", "on", "gso", "on")


@pytest.mark.parametrize("family", FAMILIES)
def test_a_service_of_the_node_itself_from_another_machine(nodes, family):
    """As ssh would: through the engine's NIC to the host interface, and out again."""
    address = HostEnd(nodes.node1).address(family)
    with file_server(nodes.node1.ns, port=2222):
        for machine in (nodes.flannel, HostEnd(nodes.node2)):
            assert machine.ns.ping(address)
            for direction in ("put", "get"):
                print(f"{direction}: {send_file(machine.ns, address, direction, mib=20, port=2222)} Mbit/s")
    # And the node as the client.
    with file_server(nodes.flannel.ns, port=2222):
        target = nodes.flannel.underlay6 if family == 6 else nodes.flannel.underlay4
        send_file(nodes.node1.ns, target, mib=20, port=2222)


def test_traceroute_sees_the_gateway(nodes):
    done = nodes.a.ns.run("ping", "-n", "-c", "1", "-W", "2", "-t", "1", nodes.b.ipv4, check=False)
    assert "10.244.1.1" in done.stdout and "exceeded" in done.stdout


def test_unreachable_is_told_to_the_pod(nodes):
    done = nodes.a.ns.run("ping", "-n", "-c", "1", "-W", "2", "172.31.0.1", check=False)
    assert "Unreachable" in done.stdout


def test_the_cli_on_a_live_node(nodes):
    node = nodes.node1
    assert json.loads(node.cli("status", "--json").stdout)["differences"] == []
    for verb in ("status", "port", "domain", "endpoint", "route", "peer", "stats"):
        assert node.cli(verb).stdout.strip()
        json.loads(node.cli(verb, "--json").stdout)
    assert nodes.a.ipv4 in node.cli("endpoint").stdout
    assert "node2" in node.cli("peer").stdout
    explained = node.cli("explain", "--from", nodes.a.ipv4, "--to", nodes.b.ipv4, "--proto", "tcp", "--dport", "443").stdout
    assert "encapsulated" in explained and "node2" in explained and "10.244.2.0/24" in explained
    assert node.cli("nonsense", check=False).returncode != 0


def test_checks_of_the_plugin_pass(nodes):
    for pod in nodes.pods.values():
        pod.check()


@pytest.fixture(scope="module")
def over_ipv6(short_directory):
    cluster = Cluster(short_directory / "over6", driver="af_packet", underlay_family=6, kernel_machines=False, pods=1)
    yield cluster
    cluster.close()


@pytest.mark.parametrize("family", FAMILIES)
def test_two_nodes_over_an_ipv6_underlay(over_ipv6, family):
    checks = [node.ledger(slack=256) for node in over_ipv6.podwire]
    one, other = over_ipv6.a, over_ipv6.b
    assert one.ns.ping(other.address(family)) and other.ns.ping(one.address(family))
    mtu = int(one.ns.run("cat", "/sys/class/net/eth0/mtu").stdout)
    assert mtu == 1430
    with file_server(other.ns):
        for direction in ("put", "get"):
            print(f"{direction}: {send_file(one.ns, other.address(family), direction, mib=50)} Mbit/s")
    for check in checks:
        check.check()


@pytest.mark.parametrize("cluster, family", [("nodes", 4), ("nodes", 6), ("over_ipv6", 6)])
def test_fragments_to_the_node_itself(request, cluster, family):
    """Datagrams larger than the underlay's MTU through the host interface, with both drivers. Not IPv4 with af_packet:
    DPDK's driver has the kernel put fragments together (PACKET_FANOUT_FLAG_DEFRAG) and then has no room for the whole."""
    one, other = (HostEnd(node) for node in request.getfixturevalue(cluster).podwire)
    for size in (1472, 3000, 20000):
        assert one.ns.ping(other.address(family), size=size), size
