"""A real VM on a vhost-user port: it pings a tap pod, moves a hashed file both ways with the offloads that its kernel
negotiates, and goes on after the engine was killed and restarted under it, in both socket roles. Behind an IOMMU, where
every page of every frame is asked for, the files are small."""
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


@pytest.fixture(params=["engine_serves", "engine_connects", "behind_an_iommu"])
def station(request, switch, short_directory):
    one = VhostStation(switch, "guest", 20, BLUE, short_directory / "vm", server=request.param != "engine_connects",
                       peer=False, dhcp=True, iommu=request.param == "behind_an_iommu")
    yield one
    one.detach()
    one.close()


# What udhcpc calls when it has been told everything.
SCRIPT = ('[ "$1" = bound ] || exit 0; ip link set $interface mtu $mtu; ip addr add $ip/32 dev $interface; '
          "ip route add $router dev $interface; ip route add default via $router; hostname $hostname")


def configure(vm, station):
    """By DHCP and router advertisements, as a VM's system does it."""
    vm.run(f"echo '#!/bin/sh' >/tmp/client; echo '{SCRIPT}' >>/tmp/client; chmod +x /tmp/client; ip link set eth0 up")
    told = vm.run("udhcpc -i eth0 -f -q -n -t 10 -T 1 -O mtu -O hostname -O router -s /tmp/client 2>&1")
    assert f"lease of {station.ip4} obtained from {GATEWAY}" in told
    assert vm.run("hostname").strip() == station.name
    assert f"mtu {station.mtu}" in vm.run("ip link show eth0")
    wait_until(lambda: "default via fe80:" in vm.run("ip -6 route show"), 10, "the router was advertised")


@pytest.fixture
def vm(station, short_directory):
    machine = Vm(short_directory / "vm", "guest", station.socket, station.mac, socket_server=not station.server,
                 iommu=station.port_options["iommu"])
    started = time.monotonic()
    try:
        machine.start()
        configure(machine, station)
        print(f"booted with {Vm.working} in {time.monotonic() - started:.1f} s")
        yield machine
    finally:
        machine.kill()


def answers(vm, address):
    return "1 packets received" in vm.run(f"ping -c 1 -W 1 {address}", check=False)


def make_file(vm, mib):
    vm.mib = mib
    vm.run(f"dd if=/dev/urandom of=/tmp/file bs=1M count={mib} 2>/dev/null", timeout=60)


def from_vm(vm, pod):
    """The file from the VM: its digest arrives. Mbit/s."""
    with pod.ns:
        listener = socket.create_server((pod.ip4, 5301))
    begun = time.monotonic()
    vm.send(f"nc {pod.ip4} 5301 </tmp/file")
    listener.settimeout(20)
    connection, _ = listener.accept()
    connection.settimeout(60)
    digest = hashlib.sha256()
    while data := connection.recv(1 << 20):
        digest.update(data)
    seconds = time.monotonic() - begun
    connection.close()
    listener.close()
    assert vm.run("sha256sum /tmp/file", timeout=60).split()[0] == digest.hexdigest()
    return vm.mib * 8.389 / seconds


def to_vm(vm, pod):
    data = os.urandom(vm.mib << 20)
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
    return vm.mib * 8.389 / seconds


def exchange_files(vm, pod, mib):
    make_file(vm, mib)
    print(f"{mib} MiB: from the VM {from_vm(vm, pod):.0f} Mbit/s, to the VM {to_vm(vm, pod):.0f} Mbit/s")


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
    # Behind an IOMMU no large frame is offered towards the guest.
    expected = {"csum", "guest_csum", "host_tso4", "mrg_rxbuf", "event_idx"}
    expected.add("iommu_platform" if "translations" in device else "guest_tso4")
    assert expected <= set(device["features"]), device
    print("negotiated:", " ".join(device["features"]))
    if "translations" in device:
        assert vm.run("ls /sys/class/iommu").split() == ["dmar0"]
        connects = device["connects"]
        exchange_files(vm, pod, 1)
        device = station.status()["device"]
        told = device["translations"]
        print("translations:", ", ".join(f"{count} {kind}" for kind, count in told.items()))
        assert min(told[kind] for kind in ("misses", "updates", "invalidations")) > 500, told
        assert (device["protocol_violations"], device["connects"]) == (0, connects), device
        return
    exchange_files(vm, pod, MIB)

    switch.engine.daemon.kill9()
    killed = time.monotonic()
    switch.restart_engine()
    station.attach()
    wait_until(lambda: answers(vm, pod.ip4), 30, "the VM reaches the pod through the new engine")
    print(f"engine killed: the VM reaches the pod again after {time.monotonic() - killed:.1f} s")
    assert station.status()["device"]["connects"] >= 1
    print(f"{MIB} MiB from the VM after that: {from_vm(vm, pod):.0f} Mbit/s")
