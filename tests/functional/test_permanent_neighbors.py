"""A router that answers neither ARP nor neighbour discovery, as some appliances are made, beyond a node with routed pods: it is reached by
permanent neighbours on the node's host interface, which the engine takes over and gives up with the kernel."""
import json

import pytest

from support.ledger import drops
from support.netns import Fabric, Netns, link_mac
from support.node import Node
from support.process import alive, kill9, wait_until

ROUTER = {4: "192.168.100.250", 6: "fd00:100::250"}
SERVER = {4: "203.0.113.9", 6: "2001:db8:9::9"}
NETWORK = {4: "203.0.113.0/24", 6: "2001:db8:9::/64"}
FAMILIES = [4, 6]

# ARP is told by arp_ignore. What it would say by itself would tell the engine its MAC.
SILENT = """table inet silent {
  chain in { type filter hook input priority 0; icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } drop; }
  chain out { type filter hook output priority 0; icmpv6 type { nd-neighbor-solicit, nd-neighbor-advert } drop; }
}"""


class Network:
    def __init__(self, directory):
        self.fabric = Fabric()
        self.node = Node(self.fabric, "node1", 1, directory / "n1")
        self.node.config["domains"] = [{"name": "default", "vni": 1, "transport": "routed",
                                        "prefixes": ["10.244.1.0/24", "fd00:10:244:1::/64"]}]
        self.router = Netns("router")
        self.router.sysctl("net/ipv4/conf/all/arp_ignore", 8)
        self.router.nft(SILENT)
        self.fabric.attach(self.router, "eth0", [f"{ROUTER[4]}/24", f"{ROUTER[6]}/64"])
        self.node_mac = link_mac(self.node.ns, "eth0")
        for family in FAMILIES:
            self.router.ip(f"addr add {SERVER[family]}/{32 if family == 4 else 128} dev lo")
        self.node.start()
        self.set_back_routes()
        for family in FAMILIES:
            self.node.ns.ip(f"route add {NETWORK[family]} via {ROUTER[family]} dev podwire0 proto 186")
        self.pod = self.node.pod("pod")
        for prefix in NETWORK.values():
            wait_until(lambda prefix=prefix: any(r["prefix"] == prefix for r in self.routes()), 10, f"route to {prefix}")

    def set_back_routes(self):
        """The router asks for nobody either."""
        for own, prefix in ((self.node.underlay4, "10.244.1.0/24"), (self.node.underlay6, "fd00:10:244:1::/64")):
            self.router.ip(f"neigh replace {own} lladdr {self.node_mac} nud permanent dev eth0")
            self.router.ip(f"route replace {prefix} via {own} dev eth0")

    def routes(self):
        routes = json.loads(self.node.cli("route", "--json").stdout)
        return routes["routes"] if isinstance(routes, dict) else routes

    def set(self, mac=None):
        for family in FAMILIES:
            self.node.ns.ip(f"neigh replace {ROUTER[family]} lladdr {mac or link_mac(self.router, 'eth0')} nud permanent dev podwire0")
        self.wait_known(True)

    def delete(self):
        for family in FAMILIES:
            self.node.ns.ip(f"neigh del {ROUTER[family]} dev podwire0")

    def permanent(self):
        """address → MAC of what the engine has as permanent."""
        known = self.node.engine_call("neighbors")["neighbors"]
        return {one["address"]: one["mac"] for one in known if one["state"] == "permanent"}

    def wait_known(self, known):
        wanted = {address: link_mac(self.router, "eth0") for address in ROUTER.values()} if known else {}
        wait_until(lambda: self.permanent() == wanted, 15, f"permanent neighbours {wanted}")

    def reached(self, patience=1):
        """By one packet each."""
        pings = [self.pod.ns.popen("ping", "-n", "-q", "-c", 1, "-W", patience, SERVER[family]) for family in FAMILIES]
        return [ping.wait(20) == 0 for ping in pings]

    def restart_engine(self):
        engine = self.node.engine_pid
        kill9(engine)
        wait_until(lambda: not alive(engine), 10, "the engine is dead")
        wait_until(lambda: self.node.engine_ready() and self.other_engine(engine), 15, "another engine")

    def other_engine(self, former):
        try:
            return self.node.engine_pid != former
        except OSError:
            return False

    def restart_podwired(self, meanwhile):
        self.node.daemon.stop()
        meanwhile()
        self.node.daemon.start(self.node.control_socket)
        wait_until(self.node.engine_ready, 15, "podwired and the engine are together again")

    def dropped(self):
        return drops(self.node.engine_call("stats")).get("neighbor_unresolved", 0)

    def close(self):
        self.node.close()
        self.router.delete()
        self.fabric.delete()


@pytest.fixture(scope="module")
def network(directory):
    made = Network(directory)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def ledger(network):
    check = network.node.ledger(slack=256)
    yield
    # An engine that started meanwhile has its own start.
    check.check(timeout=6)


def test_a_router_that_answers_nobody_is_reached_while_the_kernel_knows_it(network):
    assert network.reached() == [False, False] and network.permanent() == {}
    network.set()
    wait_until(lambda: network.reached() == [True, True], 10, "reached by its permanent neighbours")
    status = network.node.status()
    assert status["differences"] == [] and status["counts"]["neighbors"] == 2
    assert "neighbor" not in network.node.cli("endpoint", "list").stdout
    before = network.dropped()
    network.delete()
    network.wait_known(False)
    assert network.reached() == [False, False]
    wait_until(lambda: network.dropped() >= before + 2, 15, "dropped and counted")


def test_another_mac_is_used_at_once(network):
    network.set()
    wait_until(lambda: network.reached() == [True, True], 10, "reached")
    network.router.ip("link set eth0 address 02:00:00:00:99:01")  # takes the router's own neighbours with it
    network.set_back_routes()
    assert network.reached() == [False, False], "what is sent goes to the MAC that the kernel has"
    network.set()
    assert network.permanent() == {address: "02:00:00:00:99:01" for address in ROUTER.values()}
    wait_until(lambda: network.reached() == [True, True], 10, "reached at its new MAC")


def test_restarts_keep_them_and_what_went_meanwhile_is_gone(network):
    def went():
        network.delete()
        assert network.permanent() != {}, "podwired is not there to tell the engine"

    network.set()
    network.restart_engine()
    network.wait_known(True)
    wait_until(lambda: network.reached() == [True, True], 10, "reached through the new engine")
    network.restart_podwired(meanwhile=lambda: None)
    assert network.permanent() != {}
    assert network.reached(patience=10) == [True, True], "the engine forwards on"
    wait_until(lambda: network.node.status()["differences"] == [], 10, "podwired and the engine agree")
    network.restart_podwired(meanwhile=went)
    network.wait_known(False)
    assert network.reached() == [False, False]
