"""What bench/vhost.sh runs. The traffic machine is a testpmd with two virtio devices on a core of its own: it sends 1024
packets on each and sends on what arrives on the other, so that the forwarder in between sets the rate. Both need their
core for themselves: with others on it packets wait for the scheduler. Root; Debian's python3."""
import argparse
import contextlib
import json
import pathlib
import shutil
import statistics
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests"))

from support.engine import Engine
from support.netns import Netns, sweep
from support.process import wait_until
from support.vhost import Testpmd

MACS = ["02:00:00:00:00:0a", "02:00:00:00:00:0b"]
ADDRESSES = ["10.1.0.10", "10.1.0.11"]
SIZES = [64, 1500]
MACHINE_CORES, FORWARDER_CORES = "0@0,1@0", "0@0,1@1"


class Podwire:
    name = "podwire"

    def __init__(self, ns, directory, sockets):
        self.engine = Engine(ns, directory, idle="busy", cpus=[1], log_level="warn").start()
        self.engine.put(
            domains=[{"id": 2, "name": "lan", "vni": 7, "mode": "l2", "gateway_mac": "02:00:00:00:00:01", "gateways": [],
                      "mtu": 1500}],
            ports=[{"id": 10 + i, "name": f"vm{i}", "kind": "vhost", "role": "pod", "domain": 2, "mac": MACS[i], "mtu": 1500,
                    "socket": sockets[i]} for i in (0, 1)],
            endpoints=[{"id": 1 + i, "name": f"vm{i}", "domain": 2, "port": 10 + i, "mac": MACS[i],
                        "addresses": [ADDRESSES[i]], "allowed_pairs": [{"address": f"{ADDRESSES[1 - i]}/32"}]} for i in (0, 1)])

    def ready(self):
        def up():
            return all(p["link"] == "up" for p in self.engine.call("status")["ports"] if p["kind"] == "vhost")
        wait_until(up, 15, "both links")

    def close(self):
        self.engine.close()


class TestpmdForwarder:
    name = "testpmd"

    def __init__(self, ns, directory, sockets):
        self.testpmd = Testpmd(ns, directory, [f"net_vhost{i},iface={sockets[i]},queues=1" for i in (0, 1)],
                               ["--forward-mode=mac", f"--eth-peer=0,{MACS[0]}", f"--eth-peer=1,{MACS[1]}"],
                               lcores=FORWARDER_CORES, memory_mib=128).ready()

    def ready(self):
        self.testpmd.ask("start", "packet forwarding - ports=2")

    def close(self):
        self.testpmd.close()


def received(machine):
    return sum(int(machine.ask(f"show port stats {port}", r"RX-packets: (\d+)")[0]) for port in (0, 1))


def measure(contender, size, seconds):
    """Mpps"""
    with contextlib.ExitStack() as stack:
        directory = pathlib.Path(tempfile.mkdtemp(prefix="pwt", dir="/tmp"))
        stack.callback(shutil.rmtree, directory, True)
        ns = Netns("bench", ipv6=False)
        stack.callback(ns.delete)
        sockets = [f"{directory}/{i}.sock" for i in (0, 1)]
        forwarder = contender(ns, directory, sockets)
        stack.callback(forwarder.close)
        machine = Testpmd(ns, directory, [f"net_virtio_user{i},mac={MACS[i]},path={sockets[i]},queues=1,queue_size=1024"
                                          for i in (0, 1)],
                          ["--forward-mode=mac", "--txd=1024", "--rxd=1024", f"--txpkts={size}",
                           f"--tx-ip={ADDRESSES[0]},{ADDRESSES[1]}", f"--eth-peer=0,{MACS[1]}", f"--eth-peer=1,{MACS[0]}"],
                          lcores=MACHINE_CORES, memory_mib=128).ready()
        stack.callback(machine.close)
        forwarder.ready()
        machine.command("start tx_first 32")
        time.sleep(0.5)
        before, begun = received(machine), time.monotonic()
        time.sleep(seconds)
        return (received(machine) - before) / (time.monotonic() - begun) / 1e6


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=3)
    options = parser.parse_args()
    sweep()
    result = {}
    for size in SIZES:
        figures = {Podwire.name: [], TestpmdForwarder.name: []}
        for _ in range(options.repeat):
            for contender in (Podwire, TestpmdForwarder):
                figures[contender.name].append(measure(contender, size, options.seconds))
                print(f"{size} B {contender.name}: {figures[contender.name][-1]:.2f} Mpps", file=sys.stderr)
        medians = {name: round(statistics.median(values), 3) for name, values in figures.items()}
        result[f"{size}B"] = {"mpps": medians, "ratio": round(medians["podwire"] / medians["testpmd"], 3)}
    if options.json:
        print(json.dumps({"scenario": "vhost", **result}))
        return
    for size, one in result.items():
        print(f"{size:>6}  podwire {one['mpps']['podwire']:6.2f} Mpps  testpmd {one['mpps']['testpmd']:6.2f} Mpps  "
              f"ratio {one['ratio']:.2f}")


if __name__ == "__main__":
    main()
