"""What bench/userspace-ports.sh runs: sets every switch up in turn, measures it, prints medians. Root; Debian's python3."""
import argparse
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests"))

from ovs import Ovs
from support.engine import Engine, hugepages
from support.netns import Netns, sweep
from support.process import wait_until

SWITCH_CPU, TRAFFIC_CPU = 1, 0
MACS = ("02:00:00:00:03:01", "02:00:00:00:03:02")
# Bursts of 32 that go round in each direction: enough to keep both sides busy, never more than a ring holds.
BURSTS = {"memif": 16, "vhost": 6}


class Testpmd:
    """dpdk-testpmd at its prompt, forwarding on `cpu`."""

    def __init__(self, name, directory, cpu, vdevs, *options, eal=()):
        self.log = directory / f"{name}.log"
        memory = ["--in-memory", "-m", "256"] if hugepages() == "auto" else ["--no-huge", "-m", "256"]
        argv = ["stdbuf", "-oL", "dpdk-testpmd", "--lcores", f"0@{TRAFFIC_CPU},1@{cpu}", "--main-lcore=0", "--no-pci",
                "--no-telemetry", *memory, *eal, "--file-prefix", f"{directory.name}-{name}",
                *(f"--vdev={vdev}" for vdev in vdevs), "--", "-i", "--nb-cores=1", "--total-num-mbufs=16384",
                "--no-mlockall", "--no-lsc-interrupt", *options]
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=log, stderr=subprocess.STDOUT,
                                            text=True)
        try:
            wait_until(lambda: "testpmd>" in self.text() or self.process.poll() is not None, 60, f"{name}'s prompt")
            if self.process.poll() is not None:
                raise RuntimeError(f"{name} ended: {self.text()[-600:]}")
        except Exception:
            self.close()
            raise

    def text(self):
        return self.log.read_text(errors="replace")

    def ask(self, command, expected, timeout=20):
        """What it prints after `command` until `expected`."""
        start = len(self.text())
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        wait_until(lambda: re.search(expected, self.text()[start:]), timeout, f"testpmd's answer to \"{command}\"")
        return self.text()[start:]

    def received(self):
        text = self.ask("show port stats all", r"(?s)port 1 .*Tx-pps.*?#{20}")
        return [int(n) for n in re.findall(r"RX-packets: (\d+)", text)]

    def links_up(self):
        text = self.ask("show port summary all", r"(?m)^1 .*$")
        return len(re.findall(r"(?m)^\d .*\bup\b", text)) == 2

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        self.process.stdin.close()


class Podwire:
    name = "podwire"

    def __init__(self, ns, directory, scenario, sockets):
        self.engine = Engine(ns, directory, workers=1, cpus=[SWITCH_CPU]).start()
        self.before = None
        kind = {"memif": "memif", "vhost": "vhost"}[scenario]
        port = lambda i: {"id": i + 1, "name": f"p{i}", "kind": kind, "role": "pod", "domain": 2, "mac": MACS[i],
                          "mtu": 1500, "socket": str(sockets[i])}
        endpoint = lambda i: {"id": i + 1, "name": f"p{i}", "domain": 2, "port": i + 1, "mac": MACS[i],
                              "addresses": [f"198.18.0.{i + 1}"],
                              # testpmd gives the frames of both its ports one source address.
                              "allowed_pairs": [{"address": "198.18.0.0/24"}]}
        self.engine.put(domains=[{"id": 2, "name": "bench", "vni": 1, "mode": "l2", "mtu": 1500,
                                  "gateway_mac": "02:70:77:00:00:01", "gateways": ["198.18.0.254/24"]}],
                        ports=[port(0), port(1)], endpoints=[endpoint(0), endpoint(1)])

    def sample(self):
        stats = self.engine.call("stats")
        return sum(stage["cycles"] for stage in stats["stages"]), stats["ledger"]["received"]

    def ready(self):
        return all(port["link"] == "up" for port in self.engine.call("status")["ports"])

    def begin(self):
        self.before = self.sample()

    def end(self):
        cycles, packets = (after - before for after, before in zip(self.sample(), self.before))
        return {"cycles_per_packet": round(cycles / packets, 1) if packets else None}

    def close(self):
        self.engine.close()


class Quiet:
    """A switch that tells nothing of itself."""

    def ready(self):
        return True

    def begin(self):
        pass

    def end(self):
        return {}


class TestpmdMac(Quiet):
    name = "testpmd"

    def __init__(self, ns, directory, scenario, sockets):
        if scenario == "memif":
            vdevs = [f"net_memif{i},role=server,socket={s},socket-abstract=no,mac={MACS[i]}"
                     for i, s in enumerate(sockets)]
        else:
            vdevs = [f"eth_vhost{i},iface={s},queues=1" for i, s in enumerate(sockets)]
        self.testpmd = Testpmd("switch", directory, SWITCH_CPU, vdevs, "--forward-mode=mac")
        self.testpmd.ask("start", "testpmd>|packet forwarding")

    def close(self):
        self.testpmd.close()


class OvsDpdk(Quiet):
    name = "ovs-dpdk"

    def __init__(self, ns, directory, scenario, sockets):
        self.ovs = Ovs(ns, directory / "ovs", SWITCH_CPU, TRAFFIC_CPU)
        try:
            for i, path in enumerate(sockets):
                if scenario == "memif":
                    # It sends on its second queue only.
                    self.ovs.add_port(f"p{i}", "type=dpdk", "options:n_rxq=2", "options:dpdk-devargs="
                                      f"net_memif{i},role=server,socket={path},socket-abstract=no,mac={MACS[i]}")
                else:
                    self.ovs.add_port(f"p{i}", "type=dpdkvhostuser")
                    os.symlink(self.ovs.directory / f"p{i}", path)
            self.ovs.join("p0", "p1")
        except Exception:
            self.close()
            raise

    def close(self):
        self.ovs.close()


def traffic_machine(system, scenario, size, directory, sockets):
    # A virtio-user device shares its memory by file, and vhost-user takes eight files.
    eal = ["--single-file-segments"] if scenario == "vhost" else []
    queues = 2 if system is OvsDpdk and scenario == "memif" else 1
    if scenario == "memif":
        vdevs = [f"net_memif{i},role=client,socket={s},socket-abstract=no,mac={MACS[i]}"
                 for i, s in enumerate(sockets)]
    else:
        vdevs = [f"net_virtio_user{i},path={s},mac={MACS[i]},queue_size=1024,queues=1" for i, s in enumerate(sockets)]
    return Testpmd("traffic", directory, TRAFFIC_CPU, vdevs, "--forward-mode=io", f"--rxq={queues}", f"--txq={queues}",
                   f"--txpkts={size}", f"--eth-peer=0,{MACS[1]}", f"--eth-peer=1,{MACS[0]}",
                   "--tx-ip=198.18.0.1,198.18.0.2", eal=eal)


class TrafficDied(Exception):
    """The switch lost every frame that went round in one of the directions: the run says nothing."""


def measure(system, scenario, size, seconds, directory):
    """{"mpps", ...} of one run of one switch."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="r", dir=directory))
    sockets = [directory / f"{i}.sock" for i in (0, 1)]
    ns = Netns("bench", ipv6=False)
    switch = traffic = None
    try:
        switch = system(ns, directory, scenario, sockets)
        traffic = traffic_machine(system, scenario, size, directory, sockets)
        wait_until(lambda: traffic.links_up() and switch.ready(), 20, f"links of {system.name}")
        traffic.ask(f"start tx_first {BURSTS[scenario]}", "packet forwarding")
        time.sleep(0.5)
        switch.begin()
        begin, started = traffic.received(), time.monotonic()
        time.sleep(seconds)
        end, elapsed = traffic.received(), time.monotonic() - started
        facts = switch.end()
        packets = [after - before for after, before in zip(end, begin)]
        if min(packets) == 0:
            raise TrafficDied(f"{system.name}, {scenario}, {size} B: the traffic died out ({packets} packets)")
        return {"mpps": sum(packets) / elapsed / 1e6, **facts}
    finally:
        for part in (traffic, switch):
            if part:
                part.close()
        ns.delete()
        shutil.rmtree(directory, ignore_errors=True)


def prefer_this():
    """What else runs on the machine disturbs less. Nice values count inside a session only."""
    try:
        pathlib.Path("/proc/self/autogroup").write_text("-15")
    except OSError:
        pass
    os.setpriority(os.PRIO_PROCESS, 0, -15)


def summary(runs):
    if not runs:
        return {"mpps": None, "spread": None}  # every run died out
    rates = [run["mpps"] for run in runs]
    median = statistics.median(rates)
    out = {"mpps": round(median, 2), "spread": round((max(rates) - min(rates)) / median, 3)}
    cycles = [run["cycles_per_packet"] for run in runs if run.get("cycles_per_packet")]
    if cycles:
        out["cycles_per_packet"] = round(statistics.median(cycles), 1)
    return out


def main():
    parser = argparse.ArgumentParser(prog="userspace-ports.sh", add_help=False)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--scenario", action="append", choices=("memif", "vhost"))
    parser.add_argument("--size", action="append", type=int, choices=(64, 1500))
    parser.add_argument("--without-ovs", action="store_true")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2)
    options = parser.parse_args()
    systems = [Podwire, TestpmdMac] + ([] if options.without_ovs else [OvsDpdk])
    sweep()
    prefer_this()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="pwb", dir="/tmp"))
    result = {}
    try:
        for scenario in options.scenario or ("memif", "vhost"):
            for size in options.size or (64, 1500):
                runs = {system.name: [] for system in systems}
                for _ in range(options.repeat):
                    for system in systems:
                        try:
                            runs[system.name].append(measure(system, scenario, size, options.seconds, directory))
                        except TrafficDied as error:
                            print(error, file=sys.stderr)
                            continue
                        print(f"{scenario} {size} B {system.name}: {runs[system.name][-1]['mpps']:.2f} Mpps",
                              file=sys.stderr)
                cell = {name: summary(of) for name, of in runs.items()}
                for name in list(cell):
                    if name != Podwire.name and cell[name]["mpps"] and cell[Podwire.name]["mpps"]:
                        cell[f"ratio_to_{name}"] = round(cell[Podwire.name]["mpps"] / cell[name]["mpps"], 2)
                result[f"{scenario}-{size}"] = cell
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if options.json:
        print(json.dumps(result))
        return
    for cell, values in result.items():
        print(f"{cell} B, one worker, both directions together")
        for name, value in values.items():
            if isinstance(value, dict) and value["mpps"] is None:
                print(f"  {name:10} its traffic died out in every run")
            elif isinstance(value, dict):
                noisy = "  (noisy: do not conclude)" if value["spread"] > 0.1 else ""
                print(f"  {name:10} {value['mpps']:7.2f} Mpps, spread {value['spread']:.0%}{noisy}")
            else:
                print(f"  Podwire is {value} x {name.removeprefix('ratio_to_')}")


if __name__ == "__main__":
    main()
