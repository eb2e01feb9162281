"""Bandwidth of pods as runtimes ask for it: shaped both ways, TCP and UDP, and nobody else is touched."""
import json

import pytest

from support.cni import CniError
from support.traffic import iperf, iperf_server

RATE = 40_000_000
# Payload in what counts: a full frame of 1,464 bytes has 1,398 of TCP, one of 1,242 has 1,200 of UDP.
TCP_SHARE, UDP_SHARE = 1398 / 1464, 1200 / 1242


@pytest.fixture
def limited(pod):
    return pod("limited", runtimeConfig={"bandwidth": {"ingressRate": RATE, "ingressBurst": 2**31 - 1,
                                                       "egressRate": RATE, "egressBurst": 2**31 - 1}})


def rate_limited(node):
    return sum(d["packets"] for d in node.engine_call("stats")["drops"] if d["reason"] == "rate_limited")


def close_to(mbit_s, share):
    """Above the rate by no more than the burst at the beginning; below it as far as a loaded machine may be late."""
    wanted = RATE * share / 1e6
    return 0.85 * wanted <= mbit_s <= 1.06 * wanted


@pytest.mark.parametrize("reverse", [False, True], ids=["from-pod", "to-pod"])
def test_tcp_is_held_to_its_rate(limited, pod, reverse):
    other = pod("other")
    with iperf_server(other.ns):
        measured = iperf(limited.ns, other.ipv4, seconds=3, reverse=reverse)
    assert close_to(measured["mbit_s"], TCP_SHARE), measured


@pytest.mark.parametrize("reverse", [False, True], ids=["from-pod", "to-pod"])
def test_udp_is_held_to_its_rate(node, limited, pod, reverse):
    other = pod("other")
    dropped = rate_limited(node)
    with iperf_server(other.ns):
        measured = iperf(limited.ns, other.ipv4, seconds=3, reverse=reverse, udp_rate="120M")
    received = measured["mbit_s"] * (1 - measured["lost_percent"] / 100)
    assert close_to(received, UDP_SHARE), measured
    # The pod's own stack waits; what others send has nowhere to.
    assert (rate_limited(node) > dropped) == reverse


def test_others_have_the_whole_machine(limited, pod):
    one, two = pod("one"), pod("two")
    with iperf_server(limited.ns), iperf_server(two.ns, port=5202):
        with one.ns.popen("iperf3", "-c", limited.ipv4, "-t", 3) as busy:
            measured = iperf(one.ns, two.ipv4, seconds=2, port=5202)
            busy.wait()
    assert measured["mbit_s"] > 4 * RATE / 1e6, measured


def test_limits_outlive_the_daemon_and_are_shown(node, limited):
    name = node.pod_ports()[0]
    for _ in range(2):
        port = json.loads(node.cli("port", "show", name, "--json").stdout)["ports"][0]
        assert port["from_pod"] == port["to_pod"] == {"rate_bps": RATE}
        node.daemon.stop()
        node.start()
    assert "rate bps" in node.cli("port", "show", name).stdout.replace("_", " ")


def test_a_burst_is_what_may_pass_at_once(node, pod):
    pod("bursty", runtimeConfig={"bandwidth": {"ingressRate": 1_000_000, "ingressBurst": 8_000_000}})
    port = json.loads(node.cli("port", "show", node.pod_ports()[0], "--json").stdout)["ports"][0]
    assert port["to_pod"] == {"rate_bps": 1_000_000, "burst_bytes": 1_000_000} and "from_pod" not in port


def test_the_network_has_a_default(node, pod):
    pod("plain", bandwidth={"egressRate": 5_000_000})
    pod("own", bandwidth={"egressRate": 5_000_000}, runtimeConfig={"bandwidth": {"egressRate": 7_000_000}})
    ports = [json.loads(node.cli("port", "show", name, "--json").stdout)["ports"][0] for name in node.pod_ports()]
    assert [port["from_pod"]["rate_bps"] for port in ports] == [5_000_000, 7_000_000]


@pytest.mark.parametrize("bandwidth,words", [
    ({"ingressBurst": 8000}, "ingressBurst is 8000 without ingressRate"),
    ({"egressRate": 999}, "egressRate is 999 bits a second, must be at least 1000"),
    ({"egressRate": -1}, "egressRate is -1"),
    ({"egressRate": "10M"}, "egressRate"),
    ({"rate": 1000000}, "unknown key"),
    ([1], "must be an object"),
])
def test_wrong_limits_are_refused_and_leave_nothing(node, pod, bandwidth, words):
    with pytest.raises(CniError) as refused:
        pod("wrong", runtimeConfig={"bandwidth": bandwidth})
    assert words in str(refused.value), refused.value
    node.assert_empty()
