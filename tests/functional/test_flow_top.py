"""Which connections have the most traffic: two unequal ones through a running engine are told with what they had, in the
order of their bytes, and nothing else is."""
import time

import pytest
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from support.engine import GATEWAY_MAC
from support.process import wait_until
from support.rpc import RpcError
from support.switch import BLUE, Switch

SECONDS = 3  # a loaded machine may take a while to send 80 packets


@pytest.fixture(scope="module")
def switch(directory):
    bench = Switch(directory)
    bench.a = bench.add("a", 10, BLUE)
    bench.b = bench.add("b", 11, BLUE)
    domain = next(d for d in bench.engine.call("dump", {"noun": "domains"})["objects"] if d["id"] == BLUE)
    bench.engine.put(domains=[{**domain, "stateful": True}])
    yield bench
    bench.quiet()
    bench.close()


def frame(source, target, sport, size, dport=53):
    return bytes(Ether(src=source.mac, dst=GATEWAY_MAC) / IP(src=source.ip4, dst=target.ip4)
                 / UDP(sport=sport, dport=dport) / bytes(size))


def begin(switch, seconds):
    return switch.engine.call("flows_sample", {"seconds": seconds})["sample"]


def told(switch, number, seconds, **filters):
    """What the engine tells of the sample when it is over."""
    def ask():
        try:
            return switch.engine.call("flows_top", {"sample": number, **filters})
        except RpcError as error:
            assert "still under way" in error.message
            return None

    assert ask() is None
    time.sleep(seconds)
    return wait_until(ask, 10, "the sample does not end")


def test_the_busiest_come_first_with_what_they_had(switch):
    large, small = frame(switch.a, switch.b, 2000, 1000), frame(switch.a, switch.b, 3000, 100)
    back = frame(switch.b, switch.a, 53, 100, dport=2000)

    number = begin(switch, SECONDS)
    for _ in range(30):
        switch.a.wire.send(large)
        switch.b.wire.send(back)
    for _ in range(20):
        switch.a.wire.send(small)
    reply = told(switch, number, SECONDS)
    assert reply["packets_seen"] == reply["packets_sampled"] == 80
    first, second = reply["flows"]
    assert (first["source_port"], second["source_port"]) == (2000, 3000)
    assert first["state"] == "udp_replied" and second["state"] == "udp_new"
    for flow, packets, size in ((first, 60, 30 * (len(large) + len(back))), (second, 20, 20 * len(small))):
        assert flow["packets_per_s"] == pytest.approx(packets / reply["seconds"], abs=1)
        assert flow["bits_per_s"] == pytest.approx(size * 8 / reply["seconds"], abs=1)


def test_only_those_that_were_asked_for(switch):
    number = begin(switch, 1)
    with pytest.raises(RpcError) as second:
        begin(switch, 1)
    assert "try again in" in second.value.message
    switch.a.wire.send(frame(switch.a, switch.b, 4000, 10))
    switch.a.wire.send(frame(switch.a, switch.b, 4001, 10))
    assert [flow["source_port"] for flow in told(switch, number, 1, port=4001)["flows"]] == [4001]
    with pytest.raises(RpcError) as former:
        switch.engine.call("flows_top", {"sample": number - 1})
    assert "not the last one" in former.value.message
