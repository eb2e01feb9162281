"""Stateful domains on the wire: rules decide on the first packet of a connection and let its replies pass, a change of rules
cuts what it forbids, TCP that nothing led up to is stopped, connections through the tunnel, counters."""
import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN

from support.engine import GATEWAY_MAC
from support.process import wait_until
from support.rpc import RpcError
from support.switch import BLUE, LOCAL_VTEP_MAC, PEER, VTEP_MAC, Switch


@pytest.fixture(scope="module")
def switch(directory):
    bench = Switch(directory)
    bench.a = bench.add("a", 10, BLUE)
    bench.b = bench.add("b", 11, BLUE)
    bench.domain = next(d for d in bench.engine.call("dump", {"noun": "domains"})["objects"] if d["id"] == BLUE)
    yield bench
    bench.close()


@pytest.fixture(autouse=True)
def stateful(switch):
    """Every test starts with a stateful domain without rules and no connection."""
    switch.engine.put(domains=[switch.domain])
    wait_for_no_flows(switch)
    program(switch)
    yield
    switch.quiet()


def program(switch, rules=(), **fields):
    switch.engine.put(domains=[{**switch.domain, "stateful": True, "rules": list(rules), **fields}])


def flows(switch):
    return switch.engine.call("stats")["flows"]


def wait_for_no_flows(switch):
    """The engine forgets connections of stateless domains on its next way through the table."""
    wait_until(lambda: flows(switch)["entries"] == 0, 60, "connections of a stateless domain are still there")


def send(source, target, inner):
    source.wire.send(Ether(src=source.mac, dst=GATEWAY_MAC) / IP(src=source.ip4, dst=target.ip4) / inner)


def arrives(source, target, inner):
    send(source, target, inner)
    target.wire.expect(lambda p: IP in p and p[IP].src == source.ip4 and type(inner) in p)


def stopped(switch, source, target, inner, reason):
    with switch.drops(**{reason: 1}):
        send(source, target, inner)


def handshake(switch, port=80):
    a, b = switch.a, switch.b
    arrives(a, b, TCP(sport=4000, dport=port, flags="S"))
    arrives(b, a, TCP(sport=port, dport=4000, flags="SA"))
    arrives(a, b, TCP(sport=4000, dport=port, flags="A"))


def test_replies_pass_where_new_connections_are_denied(switch):
    program(switch, [{"action": "deny", "source": f"{switch.b.ip4}/32"}])
    stopped(switch, switch.b, switch.a, UDP(sport=53, dport=1000), "policy_denied")
    arrives(switch.a, switch.b, UDP(sport=1000, dport=53))
    arrives(switch.b, switch.a, UDP(sport=53, dport=1000))
    handshake(switch)
    assert flows(switch)["entries"] == 2


def test_the_first_rule_that_matches_decides(switch):
    program(switch, [{"action": "allow", "protocol": "tcp", "destination_ports": [80, 80]},
                     {"action": "deny", "protocol": "tcp"}])
    handshake(switch)
    stopped(switch, switch.a, switch.b, TCP(sport=4000, dport=81, flags="S"), "policy_denied")
    arrives(switch.a, switch.b, UDP(sport=1000, dport=81))


def test_a_change_of_rules_cuts_established_connections(switch):
    handshake(switch, 80)
    handshake(switch, 443)
    program(switch, [{"action": "deny", "protocol": "tcp", "destination_ports": [80, 80]}])
    stopped(switch, switch.b, switch.a, TCP(sport=80, dport=4000, flags="A"), "policy_denied")
    stopped(switch, switch.a, switch.b, TCP(sport=4000, dport=80, flags="A"), "policy_denied")
    arrives(switch.a, switch.b, TCP(sport=4000, dport=443, flags="A"))
    arrives(switch.b, switch.a, TCP(sport=443, dport=4000, flags="A"))


def test_tcp_that_nothing_led_up_to_is_stopped(switch):
    stopped(switch, switch.a, switch.b, TCP(sport=1, dport=2, flags="SA"), "flow_invalid")
    stopped(switch, switch.a, switch.b, TCP(sport=1, dport=2, flags="R"), "flow_invalid")
    stopped(switch, switch.a, switch.b, TCP(sport=1, dport=2, flags="FSPU"), "flow_invalid")
    arrives(switch.a, switch.b, TCP(sport=1, dport=2, flags="A"))  # under way since before the engine started
    program(switch, strict_tcp=True)
    stopped(switch, switch.a, switch.b, TCP(sport=1, dport=3, flags="A"), "flow_invalid")


def test_an_echo_reply_without_a_request_is_stopped(switch):
    arrives(switch.a, switch.b, ICMP(type=8, id=7))
    arrives(switch.b, switch.a, ICMP(type=0, id=7))
    stopped(switch, switch.b, switch.a, ICMP(type=0, id=8), "flow_invalid")


def test_connections_through_the_tunnel(switch):
    switch.engine.put(routes=[{"id": 900, "domain": BLUE, "prefix": "10.244.77.0/24", "next_hops": [{"vtep": PEER}]}])
    program(switch, [{"action": "deny", "source": "10.244.77.0/24"}])
    a = switch.a
    a.wire.send(Ether(src=a.mac, dst=GATEWAY_MAC) / IP(src=a.ip4, dst="10.244.77.5") / UDP(sport=7, dport=8))
    switch.expect_vxlan(lambda p: p[VXLAN][IP].dst == "10.244.77.5")
    answer = (Ether(src=VTEP_MAC[PEER], dst=LOCAL_VTEP_MAC) / IP(src="10.244.77.5", dst=a.ip4) / UDP(sport=8, dport=7))
    switch.wire.send(switch.encap(answer))
    a.wire.expect(lambda p: UDP in p and p[UDP].sport == 8)
    switch.engine.delete(routes=[900])


def test_wrong_rules_are_refused_by_name(switch):
    with pytest.raises(RpcError) as refused:
        program(switch, [{"action": "deny", "destination_ports": [80, 80]}])
    assert "rules[0]" in refused.value.message
    with pytest.raises(RpcError) as refused:
        switch.engine.put(domains=[{**switch.domain, "rules": [{"action": "deny"}]}])
    assert "stateful" in refused.value.message


def test_counters_add_up(switch):
    before = flows(switch)
    for port in range(20):
        arrives(switch.a, switch.b, UDP(sport=2000 + port, dport=53))
    after = flows(switch)
    assert after["inserted"] == before["inserted"] + 20
    assert after["entries"] == after["inserted"] - after["evicted"] - after["removed"] - after["expired"]
