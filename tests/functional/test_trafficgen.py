"""podwire-trafficgen against an engine with two memif ports, without hugepages: the figures of a short run add up, over an
L2 segment and routed; a switch that is not there, does not forward or dies is told."""
import json
import os
import shutil
import subprocess
import xml.etree.ElementTree as ElementTree

import pytest

from support.engine import GATEWAY_MAC, Engine
from support.netns import Netns
from support.process import binary, wait_until
from support.switch import BLUE, LAN, Switch

PREFIX = f"pwt{os.getpid()}gen"
SHORT = ["--trial=0.2", "--repeat=1", "--warm-up=0.1", "--resolution=10", "--latency-time=0.2", "--latency-at=50",
         "--max-rate=200k", "--link-time=20"]


@pytest.fixture(scope="module")
def switch(directory):
    bench = Switch(directory, mtu=1550)
    yield bench
    bench.close()


class Side:
    """A memif port whose other end the generator gets."""

    def __init__(self, switch, domain, number, **port):
        self.switch, self.domain = switch, domain
        self.port, self.endpoint = next(switch.port_ids), next(switch.endpoint_ids)
        self.name = f"gen{number}"
        self.mac = f"02:00:00:00:00:{number:02x}"
        network = "10.245.0" if domain == LAN else "10.244.1"
        self.ip4 = f"{network}.{number}"
        self.ip6 = f"fd00:10:245::{number:x}" if domain == LAN else f"fd00:10:244:1::{number:x}"
        self.socket = str(switch.engine.directory / f"{self.name}.memif")
        switch.engine.put(
            ports=[{"id": self.port, "name": self.name, "kind": "memif", "role": "pod", "domain": domain, "mac": self.mac,
                    "mtu": 1500, "socket": self.socket, **port}],
            endpoints=[{"id": self.endpoint, "name": self.name, "domain": domain, "port": self.port, "mac": self.mac,
                        "addresses": [self.ip4, self.ip6]}])

    def detach(self):
        self.switch.engine.delete(endpoints=[self.endpoint], ports=[self.port])


@pytest.fixture
def sides(switch):
    made = []

    def make(domain, **port):
        made.extend(Side(switch, domain, 80 + i, **port) for i in range(2))
        return made
    yield make
    for side in made:
        side.detach()


def generator(*arguments):
    return [binary("podwire-trafficgen"), "--no-huge", "--memory=128", f"--file-prefix={PREFIX}", *arguments]


def run(*arguments, status=0, timeout=180):
    done = subprocess.run(generator(*arguments), capture_output=True, text=True, timeout=timeout)
    assert done.returncode == status, done.stdout + done.stderr
    return done


def pair(option, values):
    return [f"--{option}={value}" for value in values]


def check_directions(trial, count):
    """Every frame is in exactly one of the sums."""
    assert len(trial["directions"]) == count
    for way in trial["directions"]:
        assert way["sent"] > 0
        assert way["sent"] + way["refused"] == way["received"] + way["lost"]
        assert way["duplicated"] == way["reordered"] == way["stale"] == 0


def test_figures_of_an_l2_segment(switch, sides, directory):
    two = sides(LAN)
    files = {kind: directory / f"report.{kind}" for kind in ("json", "markdown", "svg")}
    run(*pair("port", (f"memif:{s.socket}" for s in two)), *pair("mac", (s.mac for s in two)),
        *pair("address", (s.ip4 for s in two)), *SHORT, "--flows=1000", "--loss=0,1",
        *(f"--{kind}={file}" for kind, file in files.items()))
    report = json.loads(files["json"].read_text())
    assert [port["driver"] for port in report["ports"]] == ["net_memif", "net_memif"]
    cell, = report["results"]
    assert (cell["size"], cell["flows"]) == ("64", 1000)
    ndr, pdr = cell["rates"]
    assert 0 < ndr["pps_per_direction"] <= 200e3 and 0 < pdr["pps_per_direction"] <= 200e3
    assert ndr["mpps"] == pytest.approx(2 * ndr["pps_per_direction"] / 1e6, rel=1e-3, abs=1e-4)
    best = ndr["searches"][0]["best"]
    check_directions(best, 2)
    assert all(way["sent"] == way["received"] for way in best["directions"])
    rate = sum(way["sent"] for way in best["directions"]) / best["seconds"] / 2
    assert rate == pytest.approx(ndr["pps_per_direction"], rel=0.05)
    for probe in ndr["searches"][0]["probes"]:
        check_directions(probe["trial"], 2)
    for way in cell["latency"][0]["trial"]["directions"]:
        us = way["latency"]
        assert 0 < us["min_us"] <= us["p50_us"] <= us["p99_us"] <= us["p99_9_us"] <= us["max_us"]
        assert us["frames"] == way["received"]
    assert "| 64 | 1000 | NDR 0 % |" in files["markdown"].read_text()
    assert ElementTree.parse(files["svg"]).getroot().tag.endswith("svg")


def test_routed_ipv6_imix_in_one_direction_with_sockets_of_its_own(switch, sides):
    two = sides(BLUE, socket_mode="client")
    done = run(*pair("port", (f"memif:{s.socket},role=server" for s in two)), *pair("mac", (s.mac for s in two)),
               *pair("destination-mac", [GATEWAY_MAC] * 2), *pair("address", (s.ip6 for s in two)), *SHORT,
               "--size=imix", "--direction=a-to-b", "--json=-")
    rate, = json.loads(done.stdout)["results"][0]["rates"]
    best = rate["searches"][0]["best"]
    check_directions(best, 1)
    assert best["directions"][0]["from"] == "A" and best["directions"][0]["lost"] == 0
    assert not any(os.path.exists(s.socket) for s in two)


def test_a_switch_that_is_not_there_is_told(directory):
    missing = directory / "missing.sock"
    done = run("--port", f"memif:{missing}", "--port", f"vhost:{missing}", "--link-time=0.2", status=1)
    assert f"port A: memif:{missing}: there is no such socket within 0.2 s; start the switch first" in done.stderr


def test_a_switch_that_does_not_forward_is_told(switch, sides):
    two = sides(LAN)
    done = run(*pair("port", (f"memif:{s.socket}" for s in two)), *pair("mac", (s.mac for s in two)),
               "--address=10.99.0.1", "--address=10.99.0.2", "--link-time=1", status=1)
    assert "from A to B none arrived, although both links are up" in done.stderr
    assert f"{two[0].mac} 10.99.0.1" in done.stderr and "--address" in done.stderr


def test_a_switch_that_dies_under_traffic_is_told(directory):
    machine = Netns("mortal", ipv6=False)
    engine = Engine(machine, directory / "mortal").start()
    macs = ["02:00:00:00:00:51", "02:00:00:00:00:52"]
    sockets = [str(engine.directory / f"{i}.sock") for i in (1, 2)]
    process = None
    try:
        engine.put(
            domains=[{"id": 2, "name": "lan", "vni": 1, "mode": "l2", "mtu": 1500, "gateway_mac": GATEWAY_MAC}],
            ports=[{"id": i + 1, "name": f"p{i}", "kind": "memif", "role": "pod", "domain": 2, "mac": macs[i], "mtu": 1500,
                    "socket": sockets[i]} for i in (0, 1)],
            endpoints=[{"id": i + 1, "name": f"p{i}", "domain": 2, "port": i + 1, "mac": macs[i],
                        "addresses": [f"198.18.0.{i + 1}"]} for i in (0, 1)])
        log = directory / "mortal.log"
        with open(log, "wb") as output:
            process = subprocess.Popen(generator(*pair("port", (f"memif:{s}" for s in sockets)), *pair("mac", macs),
                                                 "--trial=1", "--repeat=99", "--max-rate=100k"),
                                       stdout=output, stderr=subprocess.STDOUT)
        wait_until(lambda: process.poll() is not None or "a direction" in log.read_text(), 60, "the search has begun")
        engine.daemon.kill9()
        assert process.wait(60) == 1, log.read_text()
        # The second when DPDK's driver has unmapped the memory under the traffic.
        assert "the link went down during a trial" in log.read_text() or "shared memory went away" in log.read_text()
    finally:
        if process is not None and process.poll() is None:
            process.kill()
            process.wait()
        shutil.rmtree(f"/var/run/dpdk/{PREFIX}", ignore_errors=True)  # a process that faulted left it
        engine.close()
        machine.delete()
