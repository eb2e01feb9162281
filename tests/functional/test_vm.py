"""A real VM on a vhost-user port: it pings a tap pod, moves a hashed file both ways with the offloads that its kernel
negotiates, and goes on after the engine was killed and restarted under it, in both socket roles."""
import hashlib
import os
import re
import socket
import time

import pytest

from support.process import kill9, wait_until
from support.switch import BLUE, Switch
from support.traffic import file_server
from support.vhost import VhostStation
from support.vm import Vm

GATEWAY = "10.244.1.1"
MIB = 20


@pytest.fixture(scope="module")
def switch(short_directory):
    bench = Switch(short_directory / "vm")
    bench.pod = bench.add("pod", 10, BLUE)
    bench.pod.ns.ip(f"addr add {bench.pod.ip4}/32 dev eth0")
    bench.pod.ns.ip(f"route add {GATEWAY} dev eth0")
    bench.pod.ns.ip(f"route add default via {GATEWAY}")
    yield bench
    bench.close()


@pytest.fixture(params=["engine_serves", "engine_connects"])
def station(request, switch, short_directory):
    one = VhostStation(switch, "guest", 20, BLUE, short_directory / "vm", server=request.param == "engine_serves",
                       peer=False)
    yield one
    one.detach()
    one.close()


@pytest.fixture
def vm(station, short_directory):
    machine = Vm(short_directory / "vm", "guest", station.socket, station.mac, socket_server=not station.server)
    started = time.monotonic()
    try:
        machine.start()
        machine.run(f"ip addr add {station.ip4}/32 dev eth0; ip link set eth0 mtu {station.mtu} up; "
                    f"ip route add {GATEWAY} dev eth0; ip route add default via {GATEWAY}")
        print(f"booted with {Vm.working} in {time.monotonic() - started:.1f} s")
        yield machine
    finally:
        machine.kill()


def answers(vm, address):
    return "1 packets received" in vm.run(f"ping -c 1 -W 1 {address}", check=False)


def from_vm(vm, pod):
    """A file from the VM: its digest arrives. Mbit/s."""
    with pod.ns:
        listener = socket.create_server((pod.ip4, 5301))
    begun = time.monotonic()
    vm.send(f"nc {pod.ip4} 5301 </tmp/file")
    listener.settimeout(20)
    connection, _ = listener.accept()
    connection.settimeout(20)
    digest = hashlib.sha256()
    while data := connection.recv(1 << 20):
        digest.update(data)
    seconds = time.monotonic() - begun
    connection.close()
    listener.close()
    assert vm.run("sha256sum /tmp/file", timeout=60).split()[0] == digest.hexdigest()
    return MIB * 8.389 / seconds


def to_vm(vm, pod):
    data = os.urandom(MIB << 20)
    vm.seen = ""
    vm.send("nc -l -p 5302 | sha256sum; echo received")
    with pod.ns:
        connection = wait_until(lambda: connected(vm.address, 5302), 10, "the VM listens")
    begun = time.monotonic()
    connection.settimeout(60)
    connection.sendall(data)
    connection.shutdown(socket.SHUT_WR)
    assert vm.wait_for("received\n", 60), vm.seen
    seconds = time.monotonic() - begun
    connection.close()
    assert re.search(r"[0-9a-f]{64}", vm.seen)[0] == hashlib.sha256(data).hexdigest()
    return MIB * 8.389 / seconds


def connected(address, port):
    try:
        return socket.create_connection((address, port), timeout=2)
    except OSError:
        return None


def test_vm(switch, station, vm):
    pod = switch.pod
    vm.address = station.ip4
    wait_until(lambda: answers(vm, pod.ip4), 10, "the VM reaches the pod")
    assert pod.ns.ping(station.ip4, count=3)
    device = station.status()["device"]
    assert {"csum", "guest_csum", "host_tso4", "guest_tso4", "mrg_rxbuf", "event_idx"} <= set(device["features"]), device
    print("negotiated:", " ".join(device["features"]))

    vm.run(f"dd if=/dev/urandom of=/tmp/file bs=1M count={MIB} 2>/dev/null", timeout=60)
    print(f"{MIB} MiB: from the VM {from_vm(vm, pod):.0f} Mbit/s, to the VM {to_vm(vm, pod):.0f} Mbit/s")

    switch.engine.daemon.kill9()
    killed = time.monotonic()
    switch.restart_engine()
    station.attach()
    wait_until(lambda: answers(vm, pod.ip4), 30, "the VM reaches the pod through the new engine")
    print(f"engine killed: the VM reaches the pod again after {time.monotonic() - killed:.1f} s")
    assert station.status()["device"]["connects"] >= 1
    print(f"{MIB} MiB from the VM after that: {from_vm(vm, pod):.0f} Mbit/s")
