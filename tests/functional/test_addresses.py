"""Egress and floating addresses as a person gives them: podwirectl, podwired, the engine and real kernels. A machine on the
underlay sees them, reaches floating ones, and sees what becomes of them when they change, podwired dies, or the node leaves."""
import socket

import pytest

from support.netns import Netns
from support.node import Node
from support.process import wait_until

FAMILIES = (4, 6)
KIND = {4: socket.AF_INET, 6: socket.AF_INET6}
OUTSIDE = {4: "192.168.100.200", 6: "fd00:100::200"}
EGRESS = {4: "192.168.100.50", 6: "fd00:100::50"}
FLOATING = {4: "192.168.100.60", 6: "fd00:100::60"}
FAR = "203.0.113.80"  # on no network of the node


def listen(ns, family, port):
    with ns:
        server = socket.socket(KIND[family], socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind(("0.0.0.0" if family == 4 else "::", port))
    server.listen()
    server.settimeout(10)
    return server


def connect(ns, family, address, port, own=0):
    with ns:
        client = socket.socket(KIND[family], socket.SOCK_STREAM)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    client.settimeout(10)
    if own:
        client.bind(("", own))
    client.connect((address, port))
    return client


def seen_by(server, client):
    """Whom the server sees, once both have heard of each other."""
    peer, (address, port, *_) = server.accept()
    with client, peer:
        peer.settimeout(10)
        client.sendall(b"question")
        assert peer.recv(100) == b"question"
        peer.sendall(b"answer")
        assert client.recv(100) == b"answer"
    return address, port


class Lab:
    def __init__(self, fabric, directory):
        self.node = Node(fabric, "addresses", 1, directory)
        self.node.config["domains"][0]["masquerade"] = True
        self.own = {4: self.node.underlay4, 6: self.node.underlay6}
        self.outside = Netns("outside")
        fabric.attach(self.outside, "eth0", [f"{OUTSIDE[4]}/24", f"{OUTSIDE[6]}/64"])
        self.node.start()
        self.web, self.db, self.other = (self.attach(*name) for name in (("shop", "web"), ("shop", "db"), ("other", "x")))

    def attach(self, space, name):
        pod = self.node.pod(f"{space}-{name}", attach=False)
        pod.add(args=f"IgnoreUnknown=1;K8S_POD_NAMESPACE={space};K8S_POD_NAME={name}")
        return pod

    def give(self, kind, name, *addresses, **keys):
        options = [word for address in addresses for word in ("--address", address)]
        return self.node.cli("address", kind, name, *options, **keys)

    def outside_sees(self, pod, family, own=0):
        with listen(self.outside, family, 7000) as server:
            return seen_by(server, connect(pod.ns, family, OUTSIDE[family], 7000, own))

    def reaches(self, client, pod, family, address=None, port=8000):
        with listen(pod.ns, family, port) as server:
            return seen_by(server, connect(client, family, address or FLOATING[family], port))[0]

    def host_addresses(self):
        return self.node.ns.ip("addr show dev podwire0").stdout

    def agree(self):
        assert self.node.status()["differences"] == []

    def close(self):
        self.node.close()
        self.outside.delete()


@pytest.fixture(scope="module")
def lab(fabric, directory):
    made = Lab(fabric, directory)
    yield made
    made.close()


@pytest.fixture(autouse=True)
def clean(lab):
    ledger = lab.node.ledger(slack=256)
    yield
    for given in lab.node.call("addresses")["addresses"]:
        lab.node.cli("address", "delete", given["name"])
    lab.agree()
    ledger.check()


@pytest.mark.parametrize("family", FAMILIES)
def test_a_namespaces_pods_are_seen_as_its_egress_address(lab, family):
    assert lab.outside_sees(lab.web, family)[0] == lab.own[family]
    out = lab.give("egress", "shop", *EGRESS.values()).stdout
    assert "in force for shop/db" in out and "shop/web" in out and "warning" not in out
    for pod in (lab.web, lab.db, lab.attach("shop", f"later{family}")):
        assert lab.outside_sees(pod, family)[0] == EGRESS[family]
    assert lab.outside_sees(lab.other, family)[0] == lab.own[family]
    lab.agree()
    # The node's own connections do not come from there.
    with listen(lab.outside, family, 7000) as server:
        assert seen_by(server, connect(lab.node.ns, family, OUTSIDE[family], 7000))[0] == lab.own[family]
    lab.node.cli("address", "delete", "shop")
    assert EGRESS[family] not in lab.host_addresses()
    assert lab.outside_sees(lab.web, family)[0] == lab.own[family]


@pytest.mark.parametrize("family", FAMILIES)
def test_a_floating_address_is_the_pods_in_both_directions(lab, family):
    lab.give("floating", "shop/web", *FLOATING.values())
    assert lab.outside_sees(lab.web, family, own=1234) == (FLOATING[family], 1234)
    assert lab.reaches(lab.outside, lab.web, family) == OUTSIDE[family]
    assert lab.reaches(lab.outside, lab.web, family, port=22) == OUTSIDE[family]
    assert lab.outside.ping(FLOATING[family], count=2)
    if family == 6:  # in fragments; DPDK's af_packet does not get those of IPv4
        assert lab.outside.ping(FLOATING[6], size=3000) or lab.outside.ping(FLOATING[6], size=3000)
    assert lab.reaches(lab.db.ns, lab.web, family) == lab.db.address(family)
    lab.reaches(lab.web.ns, lab.web, family)
    # Programs of the node, who has no such address.
    assert lab.reaches(lab.node.ns, lab.web, family) == lab.own[family]
    assert FLOATING[family] not in lab.host_addresses()
    lab.agree()


def test_a_floating_address_follows_its_name(lab):
    lab.give("floating", "shop/next", FLOATING[4])
    pod = lab.attach("shop", "next")
    assert lab.reaches(lab.outside, pod, 4) == OUTSIDE[4]
    successor = lab.attach("shop", "next")
    assert lab.reaches(lab.outside, pod, 4) == OUTSIDE[4]
    pod.delete()
    assert lab.reaches(lab.outside, successor, 4) == OUTSIDE[4]
    lab.agree()


def test_connections_end_when_their_address_goes(lab):
    lab.give("floating", "shop/web", FLOATING[4])
    with listen(lab.outside, 4, 7000) as server:
        client = connect(lab.web.ns, 4, OUTSIDE[4], 7000)
        peer, _ = server.accept()
        lab.node.cli("address", "delete", "shop/web")
        # What the pod sends now comes from the node, whom the server does not know.
        with client, peer, pytest.raises(ConnectionError):
            for _ in range(2):
                client.sendall(b"anybody there?")
                client.recv(100)


def test_an_address_elsewhere_needs_routers(lab):
    out = lab.give("floating", "shop/web", FAR).stdout
    assert f"routers must bring it here, as in: ip route add {FAR} via {lab.own[4]}" in out
    lab.outside.ip(f"route add {FAR} via {lab.own[4]}")
    try:
        assert lab.reaches(lab.outside, lab.web, 4, FAR) == OUTSIDE[4]
        assert lab.outside_sees(lab.web, 4)[0] == FAR
    finally:
        lab.outside.ip(f"route del {FAR}")


def test_addresses_outlive_podwired(lab):
    lab.give("egress", "shop", *EGRESS.values())
    lab.give("floating", "shop/web", FLOATING[4])
    lab.node.daemon.kill9()
    # As a crash between two steps, or somebody, may leave it.
    lab.node.ns.ip(f"addr del {EGRESS[4]}/32 dev podwire0")
    lab.node.ns.ip("addr add 192.168.100.99/32 dev podwire0 scope link")
    lab.node.start()
    wait_until(lambda: EGRESS[4] in lab.host_addresses(), 10, "the egress address is back")
    assert "192.168.100.99" not in lab.host_addresses()
    assert lab.outside_sees(lab.db, 4)[0] == EGRESS[4]
    assert lab.reaches(lab.outside, lab.web, 4) == OUTSIDE[4]
    lab.agree()


def test_what_cannot_be_is_refused_and_changes_nothing(lab):
    def refused(text, *words):
        done = lab.give(*words, check=False)
        assert done.returncode != 0 and text in done.stderr, done.stderr
    lab.give("floating", "shop/web", FLOATING[4])
    refused("is the node's own", "egress", "shop", lab.own[4])
    refused("the pods' prefix of domain \"default\"", "egress", "shop", "10.244.1.200")
    refused("is the floating address of shop/web", "egress", "shop", FLOATING[4])
    refused("is the floating address of shop/web", "floating", "shop/db", FLOATING[4])
    refused("is the second of its family", "egress", "shop", EGRESS[4], "192.168.100.51")
    refused("no unicast address", "egress", "shop", "224.0.0.1")
    refused("needs --address", "egress", "shop")
    given = lab.node.call("addresses")["addresses"]
    assert given == [{"name": "shop/web", "kind": "floating", "addresses": [FLOATING[4]], "pods": ["shop/web"]}]
    assert "shop/web" in lab.node.cli("address").stdout


def test_leaving_takes_them_along(fabric, directory):
    node = Node(fabric, "leaver", 2, directory / "leaver")
    node.config["domains"][0]["masquerade"] = True
    try:
        node.start()
        node.cli("address", "egress", "shop", "--address", EGRESS[4])
        node.cli("address", "floating", "shop/web", "--address", FLOATING[4])
        assert f"inet {EGRESS[4]}/32" in node.ns.ip("addr").stdout and FLOATING[4] in node.ns.ip("route").stdout
        node.cli("leave", "--yes")
        left = node.ns.ip("addr").stdout + node.ns.ip("route").stdout
        assert f"inet {node.underlay4}/24" in left and EGRESS[4] not in left and FLOATING[4] not in left
    finally:
        node.close()
