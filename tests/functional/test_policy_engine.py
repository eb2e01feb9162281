"""Policies on the wire, over the engine's socket, between pods with real sockets: what is allowed is shown by traffic, what is
not by its counters; a change cuts connections that it forbids and no other; denials are counted by policy, logged and explained."""
import socket
import time

import pytest

from support.engine import GATEWAY_MAC
from support.process import wait_until
from support.rpc import RpcError
from support.switch import BLUE, Station, Switch
from support.traffic import iperf_server

IDENTITY = {"client": 10, "server": 20, "other": 30}
NOBODY = {"rules": []}


class Pod(Station):
    """A station whose kernel has the addresses."""

    def __init__(self, switch, name, number):
        super().__init__(switch, name, number, BLUE)
        self.ns.sysctl("net/ipv6/conf/all/disable_ipv6", 0)
        self.ns.sysctl("net/ipv6/conf/eth0/disable_ipv6", 0)
        self.ns.ip(f"addr add {self.ip4}/24 dev eth0")
        self.ns.ip(f"addr add {self.ip6}/64 dev eth0 nodad")

    def endpoint_object(self, **more):
        return {**super().endpoint_object(), "identity": IDENTITY[self.name], **more}

    def listen(self, family, port):
        with self.ns:
            listener = socket.create_server((self.address(family), port),
                                            family=socket.AF_INET6 if family == 6 else socket.AF_INET)
        listener.settimeout(5)
        return listener

    def socket(self, family, kind=socket.SOCK_STREAM):
        with self.ns:
            made = socket.socket(socket.AF_INET6 if family == 6 else socket.AF_INET, kind)
        made.settimeout(5)
        return made


@pytest.fixture(scope="module")
def switch(directory):
    bench = Switch(directory)
    bench.domain = next(d for d in bench.engine.call("dump", {"noun": "domains"})["objects"] if d["id"] == BLUE)
    bench.engine.put(domains=[{**bench.domain, "stateful": True}])
    bench.stations += [Pod(bench, name, number) for name, number in (("client", 10), ("server", 11), ("other", 12))]
    bench.client, bench.server, bench.other = bench.stations
    yield bench
    bench.close()


@pytest.fixture(autouse=True)
def no_policy(switch):
    """Every test ends without policies and with quiet pods."""
    yield
    switch.engine.put(endpoints=[pod.endpoint_object() for pod in switch.stations])
    there = [p["id"] for p in switch.engine.call("dump", {"noun": "policies"})["objects"]]
    switch.engine.delete(policies=there)


def apply(switch, pod, number=1, **sides):
    """Gives `pod` the policy with these sides."""
    switch.engine.put(policies=[{"id": number, "name": f"for {pod.name}", **sides}],
                      endpoints=[pod.endpoint_object(policy=number)])


def rule(*identities, **more):
    return {"identities": list(identities), **more}


def denials(switch, number=1):
    listed = {p["id"]: p for p in switch.engine.call("stats")["policies"]["denying"]}
    found = listed.get(number, {"denied_ingress": 0, "denied_egress": 0})
    return found["denied_ingress"], found["denied_egress"]


def connect(client, server, port, family=4, to=None):
    """A connection that carried a byte both ways; `to` is where the client takes the server to be."""
    with server.listen(family, port) as listener:
        near = client.socket(family)
        near.connect(to or (server.address(family), port))
        far, _ = listener.accept()
    far.settimeout(5)
    talk(near, far)
    return near, far


def talk(near, far):
    for a, b in ((near, far), (far, near)):
        a.sendall(b"x")
        assert b.recv(1) == b"x"


def refused_by(switch, side, client, server, port, family=4, number=1, kind=socket.SOCK_STREAM):
    """A try grows that side's counter of policy `number`."""
    before = denials(switch, number)[side]
    with client.socket(family, kind) as near:
        near.setblocking(False)
        near.connect_ex((server.address(family), port))
        if kind == socket.SOCK_DGRAM:
            near.send(b"x")
        wait_until(lambda: denials(switch, number)[side] > before, 3, f"a denial of policy {number} counted")


def hang_up(*sockets):
    for one in sockets:
        one.close()


@pytest.mark.parametrize("family", (4, 6))
def test_ingress_by_identity_and_port(switch, family):
    client, server, other = switch.client, switch.server, switch.other
    apply(switch, server, ingress={"rules": [rule(10, protocol="tcp", ports=[80, 81])]})
    hang_up(*connect(client, server, 80, family))
    hang_up(*connect(client, server, 81, family))
    refused_by(switch, 0, client, server, 82, family)
    refused_by(switch, 0, client, server, 80, family, kind=socket.SOCK_DGRAM)
    refused_by(switch, 0, other, server, 80, family)
    hang_up(*connect(server, other, 80, family))  # its egress is free


@pytest.mark.parametrize("family", (4, 6))
def test_egress_by_block(switch, family):
    client, server, other = switch.client, switch.server, switch.other
    whole = "10.244.0.0/16" if family == 4 else "fd00::/16"
    hole = f"{other.address(family)}/{32 if family == 4 else 128}"
    apply(switch, client, egress={"rules": [{"blocks": [{"prefix": whole, "except": [hole]}]}]})
    hang_up(*connect(client, server, 80, family))
    refused_by(switch, 1, client, other, 80, family)


def test_both_ends_are_asked(switch):
    client, server = switch.client, switch.server
    apply(switch, client, egress={"rules": [rule(20)]})
    apply(switch, server, 2, ingress={"rules": [rule(10)]})
    hang_up(*connect(client, server, 80))
    apply(switch, server, 2, ingress=NOBODY)
    refused_by(switch, 0, client, server, 80, number=2)
    apply(switch, client, egress=NOBODY)
    refused_by(switch, 1, client, server, 80)


def test_a_change_cuts_what_it_forbids_and_nothing_else(switch):
    client, server, other = switch.client, switch.server, switch.other
    apply(switch, server, ingress={"rules": [{"any_peer": True}]})
    near, far = connect(client, server, 80)
    spared = connect(other, server, 80)
    before = switch.engine.call("stats")["flows"]["cut"]
    apply(switch, server, ingress={"rules": [rule(30)]})
    assert switch.engine.call("stats")["flows"]["cut"] > before
    denied = denials(switch)[0]
    near.sendall(b"y")  # in neither direction
    far.sendall(b"y")
    wait_until(lambda: denials(switch)[0] >= denied + 2, 3, "packets of the cut connection counted")
    far.settimeout(0.5)
    with pytest.raises(socket.timeout):
        far.recv(1)
    talk(*spared)
    apply(switch, server, ingress={"rules": [rule(30), rule(10)]})
    far.settimeout(10)
    assert far.recv(1) == b"y"  # sent again by TCP
    hang_up(near, far, *spared)


def test_a_change_of_identity_cuts(switch):
    client, server = switch.client, switch.server
    apply(switch, server, ingress={"rules": [rule(10)]})
    near, far = connect(client, server, 80)
    switch.engine.put(endpoints=[client.endpoint_object(identity=11)])
    refused_by(switch, 0, client, server, 81)
    far.settimeout(0.5)
    near.sendall(b"y")
    with pytest.raises(socket.timeout):
        far.recv(1)
    hang_up(near, far)


def test_behind_a_service_the_backend_counts(switch):
    client, server = switch.client, switch.server
    virtual = ("10.96.0.1", 8080)
    client.ns.ip("route add 10.96.0.0/16 via 10.244.1.1")
    switch.engine.put(services=[{
        "id": 1, "name": "web", "domain": BLUE,
        "frontends": [{"domain": BLUE, "address": virtual[0], "protocol": "tcp", "port": virtual[1]}],
        "backends": [{"address": server.ip4, "port": 80}]}])
    try:
        apply(switch, server, ingress={"rules": [rule(10, protocol="tcp", ports=[80, 80])]})
        near, far = connect(client, server, 80, to=virtual)
        apply(switch, server, ingress={"rules": [rule(10, protocol="tcp", ports=[8080, 8080])]})
        near.sendall(b"y")
        far.settimeout(0.5)
        with pytest.raises(socket.timeout):
            far.recv(1)
        apply(switch, server, ingress={"rules": [rule(10, protocol="tcp", ports=[80, 80])]})
        far.settimeout(10)
        assert far.recv(1) == b"y"
        talk(near, far)
        hang_up(near, far)
    finally:
        switch.engine.delete(services=[1])
        client.ns.ip("route del 10.96.0.0/16")


def test_iperf_is_cut(switch):
    client, server = switch.client, switch.server
    apply(switch, server, ingress={"rules": [{"any_peer": True}]})

    def received():
        return switch.engine.port_stats(server.name)["sent_bytes"]

    with iperf_server(server.ns):
        run = client.ns.popen("iperf3", "-c", server.ip4, "-t", 20)
        try:
            begin = received()
            wait_until(lambda: received() > begin + (1 << 20), 10, "iperf3 under way")
            apply(switch, server, ingress=NOBODY)
            after = received()
            time.sleep(1)
            assert received() - after < 4 << 20  # a burst of large packets may have been on its way; a second is a hundred times that
        finally:
            run.kill()
            run.wait()


def test_denials_are_logged_with_names(switch):
    apply(switch, switch.server, ingress=NOBODY)

    def logged():  # not every one is
        refused_by(switch, 0, switch.client, switch.server, 4711)
        lines = (switch.engine.directory / "engine.log").read_text().splitlines()
        return [line for line in lines if "denied by" in line and "to 4711" in line]
    wait_until(logged, 10, "the denial in the log")
    assert 'policy 1 "for server" (ingress)' in logged()[0]
    assert '"client"' in logged()[0] and '"server"' in logged()[0]


def test_explain_names_the_policy(switch):
    client, server = switch.client, switch.server

    def explained(port):
        return switch.engine.call("explain", {"port": client.port, "destination": server.ip4, "protocol": "tcp",
                                              "destination_port": port})
    apply(switch, client, egress={"rules": [rule(20)]})
    apply(switch, server, 2, ingress={"rules": [rule(10, protocol="tcp", ports=[80, 80])]})
    allowed = explained(80)
    assert allowed["verdict"] == "sent"
    assert {d["id"] for d in allowed["decided_by"] if d["noun"] == "policy"} == {1, 2}
    denied = explained(81)
    assert (denied["verdict"], denied["reason"]) == ("dropped", "policy_denied")
    assert any('not allowed by policy "for server" (ingress)' in step["note"] for step in denied["steps"])


def test_wrong_objects_are_refused_by_name(switch):
    server = switch.server

    def refused(text, call):
        with pytest.raises(RpcError) as error:
            call()
        assert text in error.value.message
    refused("policy 9 does not exist", lambda: switch.engine.put(endpoints=[server.endpoint_object(policy=9)]))
    apply(switch, server, ingress=NOBODY)
    refused("cannot be deleted", lambda: switch.engine.delete(policies=[1]))
    refused("not stateful", lambda: switch.engine.put(domains=[{**switch.domain, "stateful": False}]))
    assert switch.engine.call("status")["counts"]["policies"] == 1


def test_the_gateway_answers_all_the_same(switch):
    apply(switch, switch.server, ingress=NOBODY, egress=NOBODY)
    assert switch.server.ns.ping("10.244.1.1")
    neighbours = switch.server.ns.ip("neigh show dev eth0")
    assert GATEWAY_MAC in getattr(neighbours, "stdout", neighbours)
