"""The connection table under attack: one pod sends SYNs as fast as it can to a host that never answers. Others open TCP
connections between their own kernels all the while and keep those they have; lists and flushes of the table."""
import socket
import struct
import subprocess
import sys
import threading

import pytest
from scapy.layers.inet import IP, TCP, UDP
from scapy.layers.l2 import Ether

from support.engine import GATEWAY_MAC
from support.process import wait_until
from support.rpc import RpcError
from support.switch import BLUE, Switch

CAPACITY, LIMIT = 4096, 1024  # of the table, and what a pod may begin where nothing is said
PORT = 8080
HELD, OPENED = 20, 100  # connections from before the flood, and those opened during it

# Frames made beforehand, differing in their source port; argv: interface and pause
# after every 64 of them in seconds; the frames come in by standard input.
_FLOOD = """
import socket, sys, time
wire = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
wire.bind((sys.argv[1], 0))
frames = [bytes.fromhex(line) for line in sys.stdin]
print("ready", flush=True)
while True:
    for i, frame in enumerate(frames):
        try:
            wire.send(frame)
        except OSError:
            pass
        if i % 64 == 63:
            time.sleep(float(sys.argv[2]))
"""


@pytest.fixture(scope="module")
def switch(directory):
    bench = Switch(directory, max_flows=CAPACITY)
    bench.attacker, bench.victim = bench.add("attacker", 10, BLUE), bench.add("victim", 11, BLUE)
    bench.client, bench.server = bench.add("client", 12, BLUE), bench.add("server", 13, BLUE)
    for station in (bench.client, bench.server):  # kernels of their own; the other two are silent
        station.ns.ip(f"addr add {station.ip4}/32 dev eth0")
        station.ns.ip("route add 10.244.1.1 dev eth0")
        station.ns.ip("route add default via 10.244.1.1")
        station.ns.ip(f"neigh replace 10.244.1.1 lladdr {GATEWAY_MAC} dev eth0")
    bench.domain = next(d for d in bench.engine.call("dump", {"noun": "domains"})["objects"] if d["id"] == BLUE)
    bench.engine.put(domains=[{**bench.domain, "stateful": True}])
    bench.echo = Echo(bench.server)
    yield bench
    bench.echo.close()
    bench.close()


@pytest.fixture(autouse=True)
def fresh(switch):
    switch.engine.put(ports=[switch.attacker.port_object()])
    flush(switch, all=True)
    yield
    switch.quiet()


class Echo:
    """A TCP server in a pod that sends back what it gets."""

    def __init__(self, pod):
        with pod.ns:
            self.listener = socket.create_server((pod.ip4, PORT), backlog=256)
        self.listener.settimeout(0.2)
        self.stop = threading.Event()
        self.clients = []
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while not self.stop.is_set():
            try:
                client, _ = self.listener.accept()
            except TimeoutError:
                continue
            self.clients.append(threading.Thread(target=self.answer, args=[client], daemon=True))
            self.clients[-1].start()

    def answer(self, client):
        with client:
            while data := client.recv(64):
                client.sendall(data)

    def close(self):
        self.stop.set()
        self.thread.join()
        self.listener.close()
        for client in self.clients:
            client.join(10)


class Flood:
    """SYNs of many ports from the attacker to the victim, which stays silent. Not spoofed: the guard lets them pass."""

    def __init__(self, switch, pause=0.0):
        self.switch = switch
        source, target = switch.attacker, switch.victim
        frame = bytearray(bytes(Ether(src=source.mac, dst=GATEWAY_MAC) / IP(src=source.ip4, dst=target.ip4)
                                / TCP(sport=1, dport=1, flags="S")))
        lines = []
        for sport in range(1024, 64000):
            struct.pack_into("!H", frame, 34, sport)
            lines.append(frame.hex())
        self.process = source.ns.popen(sys.executable, "-c", _FLOOD, "eth0", pause, stdin=subprocess.PIPE)
        self.process.stdin.write("\n".join(lines))
        self.process.stdin.close()

    def __enter__(self):
        assert self.process.stdout.readline().strip() == "ready"
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()


def flows(switch):
    return switch.engine.call("stats")["flows"]


def of_port(switch, pod):
    return switch.engine.port_stats(pod.name)["flows"]


def listed(switch, **filters):
    found, after = [], 0
    while after is not None:
        page = switch.engine.call("flows", {**filters, "after_id": after})
        found += page["flows"]
        after = page["next_after_id"]
    return found


def flush(switch, **filters):
    flushed, after = 0, 0
    while after is not None:
        page = switch.engine.call("flows_flush", {**filters, "after_id": after})
        flushed += page["flushed"]
        after = page["next_after_id"]
    return flushed


def connect(switch):
    with switch.client.ns:
        return socket.create_connection((switch.server.ip4, PORT), timeout=20)


def echoes(connection, text):
    connection.settimeout(20)
    connection.sendall(text)
    return connection.recv(64) == text


def others_do_not_notice(switch, flooding):
    """`flooding`: what tells that the flood has reached what bounds it."""
    held = [connect(switch) for _ in range(HELD)]
    assert all(echoes(one, b"before") for one in held)
    with flooding():
        for n in range(OPENED):
            with connect(switch) as one:
                assert echoes(one, b"%d" % n)
        assert all(echoes(one, b"during") for one in held)
    assert all(echoes(one, b"after") for one in held)
    for one in held:
        one.close()


def test_a_pods_limit_keeps_the_table_from_others(switch):
    refused = flows(switch)["refused"]

    class Flooding(Flood):
        def __enter__(self):
            super().__enter__()
            wait_until(lambda: of_port(switch, switch.attacker)["refused"] > 1000, 30, "the flood reaches the limit")
            assert of_port(switch, switch.attacker)["limit"] == LIMIT

    before = flows(switch)["evicted"]
    others_do_not_notice(switch, lambda: Flooding(switch))
    assert of_port(switch, switch.attacker)["entries"] == LIMIT
    assert of_port(switch, switch.client)["refused"] == 0
    assert flows(switch)["refused"] == refused and flows(switch)["evicted"] == before


def test_a_full_table_makes_room_for_others_and_keeps_what_is_established(switch):
    switch.engine.put(ports=[{**switch.attacker.port_object(), "flow_limit": 1 << 24}])

    class Flooding(Flood):
        def __enter__(self):
            super().__enter__()
            wait_until(lambda: flows(switch)["evicted"] > before + CAPACITY, 60, "the flood has filled the table")

    before = flows(switch)["evicted"]
    # So slow that the table is gone through in a quarter of a second: that long a handshake has.
    others_do_not_notice(switch, lambda: Flooding(switch, pause=0.004))
    assert of_port(switch, switch.client)["refused"] == 0


def test_what_a_removed_port_began_is_forgotten(switch):
    pod = switch.add("passing", 20, BLUE)
    for port in range(30):
        pod.wire.send(Ether(src=pod.mac, dst=GATEWAY_MAC) / IP(src=pod.ip4, dst=switch.victim.ip4)
                      / UDP(sport=1000 + port, dport=53))
    wait_until(lambda: of_port(switch, pod)["entries"] == 30, 5, "thirty connections")
    switch.remove(pod)
    left = lambda: listed(switch, addresses=[f"{pod.ip4}/32"])
    wait_until(lambda: left() == [], 30, "the connections of a removed port are forgotten")


def test_lists_and_flushes(switch):
    status = switch.engine.call("status")["flows"]
    assert status["capacity"] == CAPACITY and status["bytes"] < 256 * CAPACITY + 2**19
    with connect(switch) as one, connect(switch) as two:
        assert echoes(one, b"one") and echoes(two, b"two")
        (first, second) = listed(switch, addresses=[f"{switch.client.ip4}/32"], port=PORT, state="established")
        assert {first["source_port"], second["source_port"]} == {s.getsockname()[1] for s in (one, two)}
        assert (first["source"], first["destination"], first["protocol"]) == (switch.client.ip4, switch.server.ip4, "tcp")
        assert first["port"] == switch.client.port and first["domain"] == BLUE
        assert listed(switch, port=PORT, protocol="udp") == []
        assert flush(switch, port=one.getsockname()[1]) == 1
        assert len(listed(switch, port=PORT)) == 1
        # Under way, it is picked up again with its next packet.
        assert echoes(one, b"again") and echoes(two, b"still")
        assert len(listed(switch, port=PORT)) == 2
    with pytest.raises(RpcError) as refused:
        switch.engine.call("flows_flush", {})
    assert "all" in refused.value.message
