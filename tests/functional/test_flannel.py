"""A Podwire node in a Flannel cluster: a real etcd with Flannel's configuration, and a machine set up in the kernel from the
leases that it finds there, the way Flannel's vxlan backend does it."""
import json
import re

import pytest

from support.etcd import Etcd
from support.netns import Fabric, Netns
from support.node import Node
from support.process import alive, kill9, wait_until
from support.traffic import file_server, send_file

ROOT = "/coreos.com/network"
NETWORK = {"Network": "10.5.0.0/16", "SubnetMin": "10.5.34.0", "EnableIPv6": True, "IPv6Network": "fd05::/48",
           "Backend": {"Type": "vxlan"}}
PORT = 8472  # Flannel's where nothing is said
MACS = {4: "02:00:00:f1:00:04", 6: "02:00:00:f1:00:06"}


def domain(**keys):
    return {"name": "default", "vni": 1, "mode": "l3", "prefixes": ["10.5.0.0/16", "fd05::/48"], **keys}


def flannel_node(fabric, etcd, directory, name, number, **keys):
    return Node(fabric, name, number, directory / name, domains=[keys.pop("domain", domain())], vxlan={"port": PORT},
                cluster={"mode": "flannel", "endpoints": [etcd.url], "subnet_file": str(directory / name / "subnet.env")}, **keys)


class Flannel:
    """A machine of the cluster with the kernel's VXLAN. Its pods are addresses of its own, on lo."""

    def __init__(self, fabric, etcd, number, subnet4, subnet6):
        self.etcd, self.number = etcd, number
        self.ns = Netns(f"flannel{number}")
        self.public = {4: f"192.168.100.{number}", 6: f"fd00:100::{number}"}
        fabric.attach(self.ns, "eth0", [f"{self.public[4]}/24", f"{self.public[6]}/64"])
        self.key = f"{subnet4}.0-24&{subnet6}::-64"
        self.pod = {4: f"{subnet4}.10", 6: f"{subnet6}::10"}
        ip = self.ns.ip
        for family, device, own in ((4, "flannel.1", f"{subnet4}.0/32"), (6, "flannel-v6.1", f"{subnet6}::/128")):
            ip(f"link add {device} address {MACS[family]} mtu 1430 type vxlan id 1 dev eth0 local {self.public[family]} "
               f"dstport {PORT} nolearning")
            ip(f"addr add {own} dev {device}" + (" nodad" if family == 6 else ""))
            ip(f"link set {device} up")
        ip(f"addr add {self.pod[4]}/32 dev lo")
        ip(f"addr add {self.pod[6]}/128 dev lo nodad")

    def lease(self):
        granted = self.etcd.ctl("lease", "grant", "86400").stdout
        data = {family: {"VNI": 1, "VtepMAC": mac} for family, mac in MACS.items()}
        self.etcd.ctl("put", f"--lease={re.search('lease ([0-9a-f]+) ', granted)[1]}", f"{ROOT}/subnets/{self.key}", json.dumps(
            {"PublicIP": self.public[4], "PublicIPv6": self.public[6], "BackendType": "vxlan", "BackendData": data[4],
             "BackendV6Data": data[6]}))

    def follow(self, key, lease):
        """What Flannel does about another node's lease: an onlink route, a static neighbour, a static FDB entry."""
        for family, device, subnet, public, data in (
                (4, "flannel.1", key.split("&")[0], "PublicIP", "BackendData"),
                (6, "flannel-v6.1", key.split("&")[1], "PublicIPv6", "BackendV6Data")):
            gateway, length = subnet.rsplit("-", 1)
            mac = lease[data]["VtepMAC"]
            self.ns.run("bridge", "fdb", "append", mac, "dev", device, "dst", lease[public])
            self.ns.ip(f"neigh replace {gateway} lladdr {mac} dev {device} nud permanent")
            self.ns.ip(f"route add {gateway}/{length} via {gateway} dev {device} onlink src {self.pod[family]}")


class Cluster:
    def __init__(self, directory):
        self.fabric = Fabric()
        self.etcd = Etcd(self.fabric, directory / "etcd").start()
        self.etcd.ctl("put", f"{ROOT}/config", json.dumps(NETWORK))
        # Somebody is there already, in the lowest subnet.
        self.peer = Flannel(self.fabric, self.etcd, 9, "10.5.34", "fd05:0:0:1")
        self.peer.lease()
        self.node = flannel_node(self.fabric, self.etcd, directory, "node1", 1).start()
        self.peer.follow(*self.own_lease())
        self.pod = self.node.pod("pod")

    def own_lease(self):
        leases = {key.removeprefix(f"{ROOT}/subnets/"): json.loads(value)
                  for key, value in self.etcd.keys(f"{ROOT}/subnets/").items()}
        return next((key, lease) for key, lease in leases.items() if lease["PublicIP"] == "192.168.100.1")

    def close(self):
        self.node.close()
        self.peer.ns.delete()
        self.etcd.close()
        self.fabric.delete()


@pytest.fixture(scope="module")
def cluster(directory):
    made = Cluster(directory)
    yield made
    made.close()


def test_the_lease_is_one_that_flannel_accepts(cluster):
    key, lease = cluster.own_lease()
    assert key == "10.5.35.0-24&fd05:0:0:2::-64"  # the lowest that is free
    mac = lease["BackendData"]["VtepMAC"]
    assert re.fullmatch("([0-9a-f]{2}:){5}[0-9a-f]{2}", mac)
    assert lease == {"PublicIP": "192.168.100.1", "PublicIPv6": "fd00:100::1", "BackendType": "vxlan",
                     "BackendData": {"VNI": 1, "VtepMAC": mac}, "BackendV6Data": {"VNI": 1, "VtepMAC": mac}}
    ids = cluster.etcd.ctl("lease", "list").stdout.split()
    told = [cluster.etcd.ctl("lease", "timetolive", "--keys", one).stdout for one in ids if re.fullmatch("[0-9a-f]{8,}", one)]
    assert any("granted with TTL(86400s)" in text and key in text for text in told), told


def test_the_subnet_file(cluster):
    text = (cluster.node.directory / "subnet.env").read_text()
    assert dict(line.split("=") for line in text.splitlines()) == {
        "FLANNEL_NETWORK": "10.5.0.0/16", "FLANNEL_SUBNET": "10.5.35.1/24", "FLANNEL_IPV6_NETWORK": "fd05::/48",
        "FLANNEL_IPV6_SUBNET": "fd05:0:0:2::1/64", "FLANNEL_MTU": str(cluster.node.call("domains")["domains"][0]["mtu"]),
        "FLANNEL_IPMASQ": "false"}


@pytest.mark.parametrize("family", [4, 6])
def test_tcp_both_ways(cluster, family):
    peer, pod = cluster.peer, cluster.pod
    wait_until(lambda: pod.ns.ping(peer.pod[family]), 5, "the way there")
    with file_server(peer.ns, address=peer.pod[family]):
        send_file(pod.ns, peer.pod[family], mib=8)
    with file_server(pod.ns, address=pod.address(family)):
        send_file(peer.ns, pod.address(family), mib=8)


def test_a_lease_that_runs_out_takes_its_routes_along(cluster):
    peer, node = cluster.peer, cluster.node
    to_peer = lambda: [r for r in node.call("routes")["routes"] if r["prefix"] in ("10.5.34.0/24", "fd05:0:0:1::/64")]
    assert len(to_peer()) == 2
    cluster.etcd.ctl("del", f"{ROOT}/subnets/{peer.key}")
    wait_until(lambda: to_peer() == [], 5, "its routes are gone")
    assert not cluster.pod.ns.ping(peer.pod[4], timeout=1)
    peer.lease()
    wait_until(lambda: len(to_peer()) == 2, 5, "its routes are back")
    wait_until(lambda: cluster.pod.ns.ping(peer.pod[4]), 5, "the way there")


def test_a_restart_keeps_the_subnet(cluster):
    before = cluster.own_lease()
    engine = cluster.node.engine_pid
    cluster.node.daemon.kill9()
    kill9(engine)
    wait_until(lambda: not alive(engine), 5, "engine gone")
    cluster.node.start()
    assert cluster.own_lease() == before
    wait_until(lambda: cluster.pod.ns.ping(cluster.peer.pod[4]), 5, "the way there")


def test_an_own_lease_that_was_lost_is_taken_again(cluster):
    key, lease = cluster.own_lease()
    cluster.etcd.ctl("del", f"{ROOT}/subnets/{key}")
    wait_until(lambda: f"{ROOT}/subnets/{key}" in cluster.etcd.keys(f"{ROOT}/subnets/"), 5, "the lease is back")
    assert cluster.own_lease() == (key, lease)


def test_foreign_backends_and_nonsense_are_left_out(cluster):
    for key, value in (("10.5.50.0-24", '{"PublicIP":"192.168.100.77","BackendType":"host-gw"}'), ("10.5.51.0-24", "nonsense"),
                       ("what", "{}")):
        cluster.etcd.ctl("put", f"{ROOT}/subnets/{key}", value)
    cluster.etcd.ctl("put", f"{ROOT}/subnets/10.5.52.0-24", json.dumps(
        {"PublicIP": "192.168.100.78", "BackendType": "vxlan", "BackendData": {"VNI": 1, "VtepMAC": "02:00:00:f1:00:78"}}))
    has = lambda prefix: any(r["prefix"] == prefix for r in cluster.node.call("routes")["routes"])
    wait_until(lambda: has("10.5.52.0/24"), 5, "the good one is taken")
    assert not has("10.5.50.0/24") and not has("10.5.51.0/24")


def test_a_reservation_is_taken_and_stays_one(cluster, directory):
    key = f"{ROOT}/subnets/10.5.60.0-24&fd05:0:0:60::-64"
    cluster.etcd.ctl("put", key, '{"PublicIP":"192.168.100.2"}')
    node = flannel_node(cluster.fabric, cluster.etcd, directory, "node2", 2)
    try:
        node.start()
        assert json.loads(cluster.etcd.keys(key)[key])["BackendType"] == "vxlan"
        ids = cluster.etcd.ctl("lease", "list").stdout.split()
        told = "".join(cluster.etcd.ctl("lease", "timetolive", "--keys", one).stdout for one in ids
                       if re.fullmatch("[0-9a-f]{8,}", one))
        assert "10.5.60.0-24" not in told, "a reservation has no lease of etcd's"
        pod = node.pod("reserved")
        assert pod.ipv4.startswith("10.5.60.")
        # Two Podwire nodes of a Flannel cluster reach each other, too.
        wait_until(lambda: pod.ns.ping(cluster.pod.ipv4) and pod.ns.ping(cluster.pod.ipv6), 5, "the way there")
    finally:
        node.close()


def test_direct_routing_needs_no_tunnel_to_neighbours(cluster, directory):
    """A network of its own, beside the other. The peer is set up as Flannel does it then: a route by its neighbour's address."""
    root = "/direct/network"
    cluster.etcd.ctl("put", f"{root}/config", json.dumps(
        {"Network": "10.7.0.0/16", "Backend": {"Type": "vxlan", "DirectRouting": True}}))
    node = flannel_node(cluster.fabric, cluster.etcd, directory, "direct", 5, domain=domain(prefixes=["10.7.0.0/16"]))
    node.config["cluster"]["prefix"] = root
    peer = Netns("direct-peer")
    try:
        cluster.fabric.attach(peer, "eth0", ["192.168.100.6/24"])
        peer.ip("addr add 10.7.200.10/32 dev lo")
        cluster.etcd.ctl("put", f"{root}/subnets/10.7.200.0-24", json.dumps(
            {"PublicIP": "192.168.100.6", "BackendType": "vxlan", "BackendData": {"VNI": 1, "VtepMAC": MACS[4]}}))
        node.start()
        pod = node.pod("direct")
        network = pod.ipv4.rsplit(".", 1)[0] + ".0/24"
        peer.ip(f"route add {network} via {node.underlay4} dev eth0 src 10.7.200.10")
        wait_until(lambda: pod.ns.ping("10.7.200.10"), 5, "the way there")
        assert peer.ping(pod.ipv4)
        with file_server(peer, address="10.7.200.10"):
            send_file(pod.ns, "10.7.200.10", mib=4)
        # As the lease goes, so does the route.
        cluster.etcd.ctl("del", f"{root}/subnets/10.7.200.0-24")
        wait_until(lambda: not pod.ns.ping("10.7.200.10", timeout=1), 5, "the way is gone")
    finally:
        node.close()
        peer.delete()


@pytest.mark.parametrize("keys, told", [
    ({"domain": domain(vni=2)}, "set domains[0].vni to 1"),
    ({"domain": domain(prefixes=["10.6.0.0/16"])}, 'set domains[0].prefixes to ["10.5.0.0/16", "fd05::/48"]'),
])
def test_configurations_that_disagree_are_told(cluster, directory, keys, told):
    node = flannel_node(cluster.fabric, cluster.etcd, directory, "node3", 3, **keys)
    try:
        with pytest.raises(AssertionError):
            node.start(timeout=5)
        assert told in (node.directory / "podwired.log").read_text()
    finally:
        node.close()
