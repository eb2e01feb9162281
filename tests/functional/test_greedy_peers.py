"""Peers that ask for all packet buffers at once, by frames without end or as long as may be: the bystanders, two ordinary
pods at a pace far below what the switch loses at, lose nothing and never find the pool empty."""
import time

import pytest

from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from support.engine import GATEWAY_MAC, Engine
from support.hostile_guest import HostileGuest
from support.ledger import LedgerCheck, drops
from support.murder import BYSTANDERS_DOMAIN, VICTIMS_DOMAIN, Bystanders
from support.netns import Netns
from support.process import wait_until
from support.testpmd import Testpmd

GREEDY = 1  # port id
MAC, ADDRESS, NOBODY = "02:00:00:00:01:01", "10.66.0.1", "10.66.0.77"
SECONDS = 3


@pytest.fixture
def engine(directory):
    machine = Netns("greedy", ipv6=False)
    # Two workers: one finds the pool as the other has left it.
    one = Engine(machine, directory, workers=2)
    try:
        one.start()
        domain = lambda id, name, subnet: {"id": id, "name": name, "vni": id, "mode": "l3", "gateway_mac": GATEWAY_MAC,
                                           "gateways": [subnet], "mtu": 9000}
        one.put(domains=[domain(VICTIMS_DOMAIN, "greedy", "10.66.0.254/24"),
                         domain(BYSTANDERS_DOMAIN, "bystanders", "10.77.0.254/24")])
        yield one
    finally:
        one.close()
        machine.delete()


def status(engine, name):
    return next(port for port in engine.call("status")["ports"] if port["name"] == name)


def attach(engine, kind, socket):
    engine.put(ports=[{"id": GREEDY, "name": "greedy", "kind": kind, "role": "pod", "domain": VICTIMS_DOMAIN, "mac": MAC,
                       "mtu": 9000, "socket": str(socket)}],
               endpoints=[{"id": GREEDY, "name": "greedy", "domain": VICTIMS_DOMAIN, "port": GREEDY, "mac": MAC,
                           "addresses": [ADDRESS]}])


def guest(chain, bytes_each):
    def start(engine, directory):
        frame = bytes(Ether(src=MAC, dst=GATEWAY_MAC) / IP(src=ADDRESS, dst=NOBODY) / UDP() / b"greedy")
        return HostileGuest(str(directory / "greedy.sock"), frame, chain=chain, bytes_each=bytes_each)
    return start


def memif_program(engine, directory):
    vdev = f"net_memif0,role=client,socket={directory}/greedy.sock,socket-abstract=no,mac={MAC},bsize=16384"
    return Testpmd(engine.ns, [vdev], directory / "greedy.log", mode="txonly", mbufs=2048, more=[
        "--mbuf-size=16640", "--txpkts=8900", f"--tx-ip={ADDRESS},{NOBODY}", f"--eth-peer=0,{GATEWAY_MAC}"]).start()


# What asks, its kind of port, and what the engine says of it: frames without end are none, the others wait.
PEERS = {"a guest, frames without end": ("vhost", guest(255, None), "oversized"),
         "a guest, the longest frames": ("vhost", guest(32, 2048), "receive_held"),
         "a memif program, jumbo frames": ("memif", memif_program, "receive_held")}


@pytest.mark.parametrize("kind, start, counted", PEERS.values(), ids=PEERS)
def test_a_greedy_peer_costs_nobody_else_anything(engine, directory, kind, start, counted):
    attach(engine, kind, directory / "greedy.sock")
    ledger = LedgerCheck(engine.call)
    bystanders = Bystanders(engine)
    peer = None
    try:
        peer = start(engine, directory)
        received = lambda: engine.port_stats("greedy")["received_packets"]
        wait_until(lambda: received() > 100, 20, "the greedy peer's traffic")
        begun, before = time.monotonic(), received()
        time.sleep(SECONDS)
        rate = (received() - before) / (time.monotonic() - begun)
        device = status(engine, "greedy")["device"]
    finally:
        if peer:
            peer.close() if kind == "vhost" else peer.kill()
        lost = bystanders.finish()
    try:
        others = {name: status(engine, name)["device"]["receive_without_buffers"] for name in ("bystander1", "bystander2")}
        print(f"{rate:.0f} frames a second, {counted} {device[counted]}; bystanders: {lost} of {bystanders.sent} lost")
        assert device[counted] > 0 and device["receive_without_buffers"] == 0, device
        assert lost == 0 and bystanders.sent > 100 * SECONDS
        assert not any(others.values()), f"bystanders found the pool empty: {others}"
        if counted == "oversized":
            assert drops(engine.call("stats"))["too_big"] >= device["oversized"]
        wait_until(lambda: status(engine, "greedy")["link"] == "down", 10, "the greedy peer is gone")
        ledger.check(10)
    finally:
        bystanders.close()
