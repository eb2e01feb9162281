"""What nodes share through a real etcd: policies, namespaces, pods and services that are applied on one node are in force on
all, and the endpoints of each are known to the others, so that in an l2 domain nothing is flooded for them. Two nodes."""
import json
import socket

import pytest

from support.etcd import Etcd, Members
from support.ledger import drops
from support.netns import Fabric
from support.node import Node
from support.probes import Probes
from support.process import wait_until
from support.rpc import RpcError

FOLLOWED = 10  # seconds, on a loaded machine; it takes milliseconds
SERVICE_IP = "10.96.0.10"
PODS = """
{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: web, labels: {app: web}}}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: db, labels: {app: db}}}
---
{apiVersion: v1, kind: Pod, metadata: {namespace: other, name: mon, labels: {app: mon}}}
"""
# The database, which is on the other node, is for the web server.
POLICY = """
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {namespace: shop, name: db}
spec: {podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}
"""


def service(backend):
    return f"""
{{apiVersion: v1, kind: Service, metadata: {{namespace: shop, name: web}},
  spec: {{clusterIP: {SERVICE_IP}, ports: [{{port: 80}}]}}}}
---
{{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, addressType: IPv4, ports: [{{port: 80}}], endpoints: [{{addresses: [{backend}]}}],
  metadata: {{namespace: shop, name: web-1, labels: {{kubernetes.io/service-name: web}}}}}}
"""


class Nodes(Members):
    """Node 1 has shop/web and other/mon, node 2 has shop/db; each has a pod in the domain lan, which floods to nobody."""

    def __init__(self, directory):
        self.fabric = Fabric()
        self.etcd = Etcd(self.fabric, directory / "etcd").start()
        domains = [{"name": "default", "vni": 1, "stateful": True, "host_access": True,
                    "prefixes": ["10.244.0.0/16", "fd00:10:244::/48"]},
                   {"name": "lan", "vni": 2, "mode": "l2", "flood_peers": False, "prefixes": ["10.245.0.0/24", "fd00:10:245::/64"],
                    "gateways": ["10.245.0.254", "fd00:10:245::ff"], "lease_v4": 28, "lease_v6": 80}]
        self.podwire = [Node(self.fabric, f"node{n}", n, directory / f"node{n}", domains=domains,
                             cluster={"mode": "etcd", "endpoints": [self.etcd.url]}) for n in (1, 2)]
        for node in self.podwire:
            node.start()
        self.one, self.two = self.podwire
        self.pods = {name: self.attach(node, name) for node, name in
                     ((self.one, "shop/web"), (self.one, "other/mon"), (self.two, "shop/db"))}
        self.lan = [node.pod(f"{node.name}-lan", domain="lan") for node in self.podwire]
        self.probes = Probes(self.pods, lambda: drops(self.two.engine_call("stats")).get("policy_denied", 0))
        for node in self.podwire:
            wait_until(lambda: len(node.call("peers")["peers"]) == 1, FOLLOWED, f"peers of {node.name}")

    @staticmethod
    def attach(node, name):
        space, own = name.split("/")
        pod = node.pod(name.replace("/", "-"), attach=False)
        pod.add(args=f"IgnoreUnknown=1;K8S_POD_NAMESPACE={space};K8S_POD_NAME={own}")
        return pod

    def policies(self, node):
        return [policy["name"] for policy in node.call("policies")["policies"]]

    def in_force(self, node):
        """Whether `node` has the policy and knows where the pods are that it names."""
        def allowed(source):
            return node.call("policy_explain", {"from": source, "to": "shop/db", "port": 80})["allowed"]
        try:
            return allowed("shop/web") and not allowed("other/mon")
        except RpcError:
            return False

    def content(self):
        for node in self.podwire:
            wait_until(lambda: node.status()["differences"] == [], FOLLOWED, f"{node.name} is content")

    def close(self):
        self.probes.close()
        super().close()


@pytest.fixture(scope="module")
def nodes(directory):
    cluster = Nodes(directory)
    yield cluster
    cluster.close()


def remote_macs(node):
    """Of endpoints on other nodes, in the engine."""
    objects = node.engine_call("dump", {"noun": "endpoints"})["objects"]
    return {endpoint["mac"] for endpoint in objects if "vtep" in endpoint}


def apply_policy(nodes):
    nodes.one.call("policy_apply", {"manifests": PODS + "---" + POLICY})
    for node in nodes.podwire:
        wait_until(lambda: nodes.in_force(node), FOLLOWED, f"the policy is in force on {node.name}")


def test_a_policy_of_one_node_is_in_force_on_the_other(nodes):
    nodes.probes.check(allowed=["other/mon>shop/db:tcp/80"])
    apply_policy(nodes)
    # No manifest says where the pods are; their nodes do.
    nodes.probes.check(allowed=["shop/web>shop/db:tcp/81", "shop/web>shop/db:udp/53"],
                       denied=["other/mon>shop/db:tcp/81", "other/mon>shop/db:udp/53"])
    assert "/podwire/manifests/NetworkPolicy/shop/db" in nodes.etcd.keys("/podwire/manifests/")


def test_deleted_on_one_node_it_is_gone_on_the_other(nodes):
    apply_policy(nodes)
    assert "NetworkPolicy shop/db deleted" in nodes.two.cli("policy", "delete", "shop/db").stdout
    wait_until(lambda: nodes.policies(nodes.one) == [], FOLLOWED, "gone on node1")
    nodes.probes.check(allowed=["other/mon>shop/db:tcp/82"])
    assert not nodes.etcd.keys("/podwire/manifests/NetworkPolicy/")


def test_what_went_while_a_node_was_cut_off_and_the_store_compacted(nodes):
    apply_policy(nodes)
    nodes.etcd.ns.nft(f"table inet cut {{ chain to {{ type filter hook input priority 0; ip saddr {nodes.two.underlay4} drop; }}; "
                      f"chain from {{ type filter hook output priority 0; ip daddr {nodes.two.underlay4} drop; }}; }}\n")
    try:
        nodes.one.call("policy_del", {"name": "shop/db"})
        wait_until(lambda: any("store has not answered" in d for d in nodes.two.status()["differences"]), 20, "node2 is cut off")
        assert nodes.policies(nodes.two) == ["shop/db"]  # as it was
        revision = json.loads(nodes.etcd.ctl("get", "/podwire/nodes/node1", "-w", "json").stdout)["header"]["revision"]
        nodes.etcd.ctl("compaction", str(revision))
    finally:
        nodes.etcd.ns.nft("delete table inet cut\n")
    wait_until(lambda: nodes.policies(nodes.two) == [], FOLLOWED, "gone on node2 as well")


def test_without_the_store_nothing_is_applied_and_all_stays(nodes):
    apply_policy(nodes)
    nodes.etcd.kill9()
    try:
        refused = nodes.one.cli("policy", "delete", "shop/db", check=False)
        assert refused.returncode != 0 and "the other nodes cannot be told" in refused.stderr
        assert nodes.policies(nodes.one) == ["shop/db"] == nodes.policies(nodes.two)
        nodes.probes.check(allowed=["shop/web>shop/db:tcp/83"], denied=["other/mon>shop/db:tcp/83"])
        # From what it has on disk, the other node's pods included.
        nodes.two.daemon.kill9()
        nodes.two.start()
        assert nodes.in_force(nodes.two)
        nodes.probes.check(allowed=["shop/web>shop/db:tcp/84"], denied=["other/mon>shop/db:tcp/84"])
    finally:
        nodes.etcd.start()
    nodes.content()
    nodes.one.call("policy_del", {"name": "shop/db"})
    wait_until(lambda: nodes.policies(nodes.two) == [], FOLLOWED, "gone on node2")


def test_what_strangers_write_is_left_out_and_told(nodes):
    apply_policy(nodes)
    nodes.etcd.ctl("put", "/podwire/manifests/NetworkPolicy/shop/db", "{{{")
    wait_until(lambda: any("/podwire/manifests/NetworkPolicy/shop/db of the cluster's store is left out" in d
                           for d in nodes.two.status()["differences"]), FOLLOWED, "status tells")
    assert nodes.in_force(nodes.two)
    assert "NetworkPolicy shop/db deleted" in nodes.one.cli("policy", "delete", "shop/db").stdout
    nodes.content()


def test_a_service_of_one_node_is_reached_from_the_other(nodes):
    nodes.one.call("service_apply", {"manifests": service(nodes.pods["shop/web"].ipv4)})
    wait_until(lambda: [s["name"] for s in nodes.two.call("services")["services"]] == ["shop/web"], FOLLOWED, "known on node2")
    backend = nodes.pods["shop/web"]
    with backend.ns:
        listener = socket.create_server((backend.ipv4, 80))
    with listener:
        for client in ("shop/db", "other/mon"):  # of node 2 and of node 1
            with nodes.pods[client].ns:
                socket.create_connection((SERVICE_IP, 80), timeout=FOLLOWED).close()
    assert "Service shop/web deleted" in nodes.two.cli("service", "delete", "shop/web").stdout
    wait_until(lambda: nodes.one.call("services")["services"] == [], FOLLOWED, "gone on node1")


def test_arp_and_nd_are_answered_at_home(nodes):
    """Nothing is flooded in this domain, so the other node's endpoint is reached only because it is known."""
    one, two = nodes.lan
    wait_until(lambda: two.mac in remote_macs(nodes.one) and one.mac in remote_macs(nodes.two), FOLLOWED, "both are known")
    with two.ns:
        listener = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0003))
    listener.setblocking(False)
    assert one.ns.ping(two.ipv4) and one.ns.ping(two.ipv6)
    asked = []
    while True:
        try:
            frame, where = listener.recvfrom(2048)
        except BlockingIOError:
            break
        incoming = where[2] != socket.PACKET_OUTGOING
        request = frame[12:14] == b"\x08\x06" and frame[20:22] == b"\x00\x01"
        solicitation = frame[12:14] == b"\x86\xdd" and frame[20:21] == b"\x3a" and frame[54:55] == b"\x87"
        if incoming and (request or solicitation):
            asked.append(frame.hex())
    listener.close()
    assert not asked, asked


def test_an_endpoint_that_is_gone_is_forgotten(nodes):
    pod = nodes.two.pod("passing", domain="lan")
    mac = pod.mac
    wait_until(lambda: mac in remote_macs(nodes.one), FOLLOWED, "node1 knows it")
    pod.delete()
    wait_until(lambda: mac not in remote_macs(nodes.one), FOLLOWED, "node1 has forgotten it")
    assert mac not in "".join(nodes.etcd.keys("/podwire/endpoints/node2/").values())


def test_an_endpoint_that_is_somebody_elses_is_left_out(nodes):
    """A stranger with a prefix of its own says that it has another's MAC, and another's address."""
    one, two = nodes.lan
    prefix = "/podwire/prefixes/lan/10.245.0.240-28"
    nodes.etcd.ctl("put", "/podwire/nodes/stranger",
                   json.dumps({"addresses": ["192.168.100.77"], "udp_port": 4789, "mac": "02:00:00:00:00:77"}))
    nodes.etcd.ctl("put", prefix, json.dumps({"node": "stranger"}))
    for number, record in {1: {"mac": one.mac, "addresses": ["10.245.0.241"]},
                           2: {"mac": "02:00:00:00:66:02", "addresses": [two.ipv4]},
                           3: {"mac": "01:00:5e:00:00:03", "addresses": []}}.items():
        nodes.etcd.ctl("put", f"/podwire/endpoints/stranger/{number}", json.dumps({"domain": "lan", **record}))

    def told(node):
        text = "\n".join(node.status()["differences"])
        return all(f'endpoint {number} of node "stranger" is left out' in text for number in (1, 2, 3))
    for node in nodes.podwire:
        wait_until(lambda: told(node), FOLLOWED, f"{node.name} tells")
    assert one.ns.ping(two.ipv4) and two.ns.ping(one.ipv4)
    for key in ("--prefix=true /podwire/endpoints/stranger/", "/podwire/nodes/stranger", prefix):
        nodes.etcd.ctl("del", *key.split())
    nodes.content()


def test_a_forgotten_nodes_endpoints_are_forgotten(nodes, directory):
    other = Node(nodes.fabric, "node3", 3, directory / "node3", domains=nodes.one.config["domains"],
                 cluster=nodes.one.config["cluster"])
    try:
        other.start()
        mac = other.pod("node3-lan", domain="lan").mac
        wait_until(lambda: mac in remote_macs(nodes.one), FOLLOWED, "node1 knows its pod")
        other.daemon.kill9()
        nodes.etcd.ctl("del", "/podwire/alive/node3")
        nodes.one.cli("node", "forget", "node3")
        wait_until(lambda: mac not in remote_macs(nodes.one), FOLLOWED, "node1 has forgotten it")
        assert not nodes.etcd.keys("/podwire/endpoints/node3/")
    finally:
        other.close()
    nodes.content()
