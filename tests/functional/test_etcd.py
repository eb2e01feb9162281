"""Three nodes that know each other by a real etcd only: pods reach each other in every pair, over l3 and l2 domains; the store
dies and comes back, nodes die and come back, a node boots while the store is away, a node is forgotten; two nodes race for the
last prefix of a range."""
import itertools
import json

import pytest

from support.etcd import Etcd, Members
from support.netns import Fabric
from support.node import Node
from support.process import alive, kill9, wait_until

FAMILIES = [4, 6]
CONVERGED = 5  # seconds


def domains():
    return [{"name": "default", "vni": 1, "mode": "l3", "host_access": True,
             "prefixes": ["10.244.0.0/16", "fd00:10:244::/48"]},
            {"name": "lan", "vni": 2, "mode": "l2", "learning": True, "prefixes": ["10.245.0.0/24"],
             "gateways": ["10.245.0.254"], "lease_v4": 28}]


def etcd_node(fabric, etcd, directory, name, number, **keys):
    return Node(fabric, name, number, directory / name, domains=keys.pop("domains", domains()),
                cluster={"mode": "etcd", "endpoints": ["http://192.168.100.251:2379", etcd.url]}, **keys)


class Nodes(Members):
    """`pods`: one a node in the domain default; `lan`: one a node in the domain lan."""

    def __init__(self, directory):
        self.fabric = Fabric()
        self.etcd = Etcd(self.fabric, directory / "etcd").start()
        self.podwire = [etcd_node(self.fabric, self.etcd, directory, f"node{n}", n) for n in (1, 2, 3)]
        for node in self.podwire:
            node.start()
        self.pods = [node.pod(f"{node.name}-a") for node in self.podwire]
        self.lan = [node.pod(f"{node.name}-l", domain="lan") for node in self.podwire]
        self.settle()

    def settle(self, within=CONVERGED):
        """Every node knows the others, and the engine agrees."""
        for node in self.podwire:
            wait_until(lambda: len(node.call("peers")["peers"]) == len(self.podwire) - 1, within, f"peers of {node.name}")
            wait_until(lambda: node.status()["differences"] == [], within, f"{node.name} agrees with its engine")


@pytest.fixture(scope="module")
def nodes(directory):
    cluster = Nodes(directory)
    yield cluster
    cluster.close()


def assert_all_pairs(pods, families=FAMILIES):
    for family in families:
        for one, other in itertools.permutations(pods, 2):
            assert one.ns.ping(other.address(family)), f"{one.name} → {other.name}, IPv{family}"


def test_pods_of_all_nodes_reach_each_other(nodes):
    assert_all_pairs(nodes.pods)
    assert_all_pairs(nodes.lan, [4])


def test_every_node_has_prefixes_of_its_own(nodes):
    owners = nodes.etcd.owners("default")
    assert sorted(owners.values()) == sorted(2 * [node.name for node in nodes.podwire])
    assert {"10.244.0.0-24", "10.244.1.0-24", "10.244.2.0-24"} <= set(owners)
    assert set(nodes.etcd.owners("lan")) == {"10.245.0.0-28", "10.245.0.16-28", "10.245.0.32-28"}
    for pod in nodes.pods:
        network = ".".join(pod.ipv4.split(".")[:3]) + ".0-24"
        assert owners[network] == pod.node.name


def test_pods_and_the_other_nodes_themselves(nodes):
    one, other = nodes.pods[0], nodes.podwire[1]
    assert one.ns.ping(other.underlay4)
    assert other.ns.ping(one.ipv4)


def test_node_list(nodes):
    node = nodes.podwire[0]
    listed = {n["name"]: n for n in json.loads(node.cli("node", "--json").stdout)["nodes"]}
    assert [listed[f"node{n}"]["state"] for n in (1, 2, 3)] == ["this node", "alive", "alive"]
    text = node.cli("node", "list").stdout
    assert "node3" in text and "192.168.100.3" in text and "default: 10.244." in text
    routes = node.cli("route").stdout
    assert "peer node2" in routes and "peer node3" in routes
    refused = node.cli("node", "forget", "node2", check=False)
    assert refused.returncode != 0 and "node \"node2\" is alive" in refused.stderr
    assert "is this one" in node.cli("node", "forget", "node1", check=False).stderr
    assert "did you mean" in node.cli("node", "forget", "nodex", check=False).stderr


def test_the_store_dies_and_comes_back(nodes):
    nodes.etcd.kill9()
    assert_all_pairs(nodes.pods)
    node = nodes.podwire[0]
    wait_until(lambda: any("store has not answered" in d for d in node.status()["differences"]), 15, "status tells of it")
    # From the prefix that the node holds.
    pod = node.pod("while-away")
    assert pod.ns.ping(nodes.pods[1].ipv4) and nodes.pods[2].ns.ping(pod.ipv4)
    pod.delete()
    nodes.etcd.start()
    nodes.settle()
    assert_all_pairs(nodes.pods)


def test_a_node_is_killed_and_comes_back(nodes):
    node = nodes.podwire[1]
    before = nodes.etcd.owners("default")
    engine = node.engine_pid
    node.daemon.kill9()
    kill9(engine)
    wait_until(lambda: not alive(engine), 5, "engine gone")
    # The others do not mind, and keep their routes to it.
    assert nodes.pods[0].ns.ping(nodes.pods[2].ipv4)
    assert any(hop.get("peer") == "node2" for route in nodes.podwire[0].call("routes")["routes"] for hop in route["next_hops"])
    node.start()
    nodes.settle()
    assert nodes.etcd.owners("default") == before
    assert_all_pairs(nodes.pods)


def test_a_node_boots_while_the_store_is_away(nodes):
    node = nodes.podwire[2]
    engine = node.engine_pid
    nodes.etcd.kill9()
    node.daemon.kill9()
    kill9(engine)
    wait_until(lambda: not alive(engine), 5, "engine gone")
    node.start()
    wait_until(lambda: nodes.pods[2].ns.ping(nodes.pods[0].ipv4), 10, "its pods have their routes")
    assert_all_pairs(nodes.pods, [4])
    nodes.etcd.start()
    nodes.settle()


def test_a_domain_is_added_while_the_node_is_down(nodes):
    """It needs a prefix from the store, and the way to the store leads through a device that nobody serves."""
    node = nodes.podwire[2]
    engine = node.engine_pid
    node.daemon.kill9()
    kill9(engine)
    wait_until(lambda: not alive(engine), 5, "engine gone")
    node.config["domains"].append({"name": "added", "vni": 3, "prefixes": ["10.250.0.0/16"]})
    node.start(timeout=40)
    nodes.settle(10)
    assert nodes.etcd.owners("added") == {"10.250.0.0-24": "node3"}
    assert node.pod("added", domain="added").ipv4.startswith("10.250.0.")
    assert_all_pairs(nodes.pods)


def test_what_strangers_write_is_left_out(nodes):
    """Records that would break a node: not ours, or another node's address, prefix or port."""
    node = nodes.podwire[0]
    record = {"addresses": ["192.168.100.77"], "udp_port": 4789, "mac": "02:00:00:00:00:77"}
    strangers = {
        "garbage": "{{{",
        "nobody": json.dumps({**record, "addresses": []}),
        "thief": json.dumps({**record, "addresses": ["192.168.100.1"]}),
        "twin": json.dumps({**record, "addresses": ["192.168.100.2"]}),
        "elsewhere": json.dumps({**record, "addresses": ["192.168.100.78"], "udp_port": 8472}),
        "greedy": json.dumps({**record, "addresses": ["192.168.100.79"]}),
    }
    for name, value in strangers.items():
        nodes.etcd.ctl("put", f"/podwire/nodes/{name}", value)
    nodes.etcd.ctl("put", "/podwire/prefixes/default/0.0.0.0-0", json.dumps({"node": "greedy"}))
    nodes.etcd.ctl("put", "/podwire/prefixes/default/nonsense", "nonsense")
    nodes.etcd.ctl("put", "/podwire/prefixes/no-such-domain/10.1.0.0-24", json.dumps({"node": "greedy"}))

    def told():
        text = "\n".join(node.status()["differences"])
        return all(f'node "{name}"' in text for name in ("thief", "twin", "elsewhere", "greedy"))
    wait_until(told, CONVERGED, "status tells what is left out")
    assert_all_pairs(nodes.pods, [4])
    for name in strangers:
        nodes.etcd.ctl("del", f"/podwire/nodes/{name}")
    nodes.etcd.ctl("del", "--prefix", "/podwire/prefixes/no-such-domain/")
    for key in ("0.0.0.0-0", "nonsense"):
        nodes.etcd.ctl("del", f"/podwire/prefixes/default/{key}")
    nodes.settle()


def test_compaction_is_survived(nodes):
    for i in range(20):
        nodes.etcd.ctl("put", "/podwire/other", str(i))
    revision = json.loads(nodes.etcd.ctl("get", "/podwire/other", "-w", "json").stdout)["header"]["revision"]
    nodes.etcd.ctl("compaction", str(revision))
    nodes.etcd.ctl("del", "/podwire/other")
    nodes.settle()
    assert_all_pairs(nodes.pods, [4])


def test_a_node_that_is_gone_is_forgotten(nodes, directory):
    other = etcd_node(nodes.fabric, nodes.etcd, directory, "node4", 4)
    other.start()
    pod = other.pod("node4-a")
    wait_until(lambda: nodes.pods[0].ns.ping(pod.ipv4), CONVERGED, "the new node is reached")
    other.close()
    node = nodes.podwire[0]
    state = lambda: {n["name"]: n["state"] for n in node.call("nodes")["nodes"]}
    wait_until(lambda: state()["node4"].startswith("silent"), 30, "node4 is silent")
    assert any(p["name"] == "node4" for p in node.call("peers")["peers"])  # with its routes, all the same
    assert "Forgot node node4" in node.cli("node", "forget", "node4").stdout
    wait_until(lambda: "node4" not in state(), CONVERGED, "node4 is forgotten")
    nodes.settle()
    assert "node4" not in nodes.etcd.owners("default").values()


def test_tls_with_client_certificates_and_a_user(nodes, directory):
    """What is wrong with any of them is told, with the node's network untouched. An etcd of its own."""
    secure = Etcd(nodes.fabric, directory / "secure", tls=True, number=249)
    node = None
    try:
        secure.start()
        secure.enable_auth("podwire", "secret")
        secret = directory / "password"
        secret.write_text("guess\n")
        keys = {"user": "podwire", "password_file": str(secret), "tls": secure.certificates.of_client()}
        node = etcd_node(nodes.fabric, secure, directory, "secured", 7)
        node.config["cluster"] = {"mode": "etcd", "endpoints": [secure.url], **keys,
                                  "tls": {"ca": secure.certificates.path("other-ca.pem")}}

        def started():
            (node.directory / "podwired.json").write_text(json.dumps(node.config))
            node.daemon.start(node.control_socket)
        started()
        wait_until(lambda: "certificate is not for this host or not of an authority" in node.daemon.tail(), 10, "the authority")
        assert node.daemon.stop() == 0
        node.config["cluster"].update(keys)
        started()
        assert node.daemon.wait() == 1
        assert "check cluster.user and cluster.password_file" in node.daemon.tail()
        secret.write_text("secret\n")
        node.start()
        wait_until(lambda: [n["state"] for n in node.call("nodes")["nodes"]] == ["this node"], CONVERGED, "it is listed")
        assert set(secure.owners("default").values()) == {"secured"}
    finally:
        if node:
            node.close()
        secure.close()


def test_two_nodes_race_for_the_last_prefix(nodes, directory):
    ranges = [{"name": "small", "vni": 9, "prefixes": ["10.99.0.0/24"], "lease_v4": 24}]
    racers = [etcd_node(nodes.fabric, nodes.etcd, directory, f"racer{n}", n, domains=ranges) for n in (5, 6)]
    try:
        for racer in racers:
            (racer.directory / "podwired.json").write_text(json.dumps(racer.config))
            racer.daemon.start(racer.control_socket)

        def decided():
            gone = [racer for racer in racers if not racer.daemon.running()]
            return gone if gone and any(r.daemon.running() and r.engine_ready() for r in racers) else None
        losers = wait_until(decided, 20, "one has it and the other has given up")
        assert len(losers) == 1 and losers[0].daemon.wait() == 1
        winner = next(racer for racer in racers if racer not in losers)
        assert nodes.etcd.owners("small") == {"10.99.0.0-24": winner.name}
        said = losers[0].daemon.tail()
        assert "no /24 of 10.99.0.0/24 is left" in said and "podwirectl node forget" in said
        assert "192.168.100" in losers[0].ns.ip("-4 addr show dev eth0").stdout  # nothing was touched
    finally:
        for racer in racers:
            racer.close()
