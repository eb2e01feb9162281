"""What bench/flow-flood.sh runs. Root; Debian's python3."""
import argparse
import contextlib
import json
import pathlib
import shutil
import statistics
import sys
import tempfile
import threading
import time

_HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), str(_HERE.parent / "tests")]

from lab import build, flow_flood, machine, podwire, traffic
from lab.machine import say
from lab.stateful_costs import Cell
from support.netns import Netns, sweep

_FLOOD_FLOWS = 1 << 17  # more than the default limit of a pod


def phase(system, options, held):
    """What everybody gets in a while: the source's packets, the flooder's, and the bystanders' connections."""
    client, server = (system.bystanders[name] for name in ("client", "server"))
    done = {}
    worker = threading.Thread(target=lambda: done.update(took=flow_flood.open_connections(client, server, options.connections)))
    before = system.engine.call("stats")
    began = time.monotonic()
    worker.start()
    worker.join()
    time.sleep(max(0, options.seconds - (time.monotonic() - began)))
    after, seconds = system.engine.call("stats"), time.monotonic() - began
    took = sorted(t for t in done["took"] if t is not None)
    count = lambda stats, name, key: next((p[key] for p in stats["ports"] if p["name"] == name), 0)
    of = lambda name, key: count(after, name, key) - count(before, name, key)
    found = {"established_mpps": round(of("source", "received_packets") / seconds / 1e6, 3),
             "source_connections": system.of_port("source")["flows"]["entries"],
             "opened": len(took), "failed": len(done["took"]) - len(took),
             "open_ms_p50": round(statistics.median(took), 2) if took else None,
             "open_ms_p99": round(took[int(len(took) * 0.99)], 2) if took else None,
             "held_alive": sum(map(alive, held)),
             "evicted": after["flows"]["evicted"] - before["flows"]["evicted"]}
    if any(p["name"] == "flooder" for p in after["ports"]):
        flooder = system.of_port("flooder")["flows"]
        found |= {"flood_mpps": round(of("flooder", "received_packets") / seconds / 1e6, 3),
                  "flooder_connections": flooder["entries"], "flooder_refused": flooder["refused"]}
    return found


def alive(connection):
    try:
        return flow_flood.echoes(connection)
    except OSError:
        return False


def measure(options):
    hugepages = machine.Hugepages()
    with contextlib.ExitStack() as stack:
        stack.callback(hugepages.close)
        wanted = podwire.memory_mib(options.flows, _FLOOD_FLOWS + 8192) + 64
        if not hugepages.want(wanted):
            sys.exit(f"flow-flood: {wanted} MiB of hugepages are needed, {machine.free_hugepages() * 2} are free; "
                     "choose fewer --flows")
        ns = Netns("bench", ipv6=False)
        stack.callback(ns.delete)
        directory = pathlib.Path(tempfile.mkdtemp(prefix="pwc-", dir="/tmp"))
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        cell = Cell("flow-flood", "64", options.flows, traffic.pcap("plain", "64", options.flows))
        system = flow_flood.FlowFlood(ns, directory, cell, build.march("podwire"), _FLOOD_FLOWS)
        stack.callback(system.close)
        server = flow_flood.Server(system.bystanders["server"])
        stack.callback(server.close)
        with machine.turn():
            held = [stack.enter_context(flow_flood.connect(system.bystanders["client"], system.bystanders["server"]))
                    for _ in range(options.held)]
            phases = {}
            for name, flood in (("quiet", None), ("flood", True), ("after", False)):
                if flood is not None:
                    system.flood(flood)
                say(f"{name} …")
                phases[name] = phase(system, options, held)
    traffic.forget_large()
    return phases


def main():
    parser = argparse.ArgumentParser(prog="flow-flood.sh", add_help=False)
    parser.add_argument("--flows", type=int, default=1_000_000)
    parser.add_argument("--connections", type=int, default=300)
    parser.add_argument("--held", type=int, default=50)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if min(options.flows, options.connections, options.held) < 1:
        parser.error("--flows, --connections and --held must be at least 1")
    sweep()
    phases = measure(options)
    for name, found in phases.items():
        print(json.dumps({"phase": name, **found}) if options.json
              else f"{name}:\n" + "\n".join(f"  {key:24} {value}" for key, value in found.items()))


if __name__ == "__main__":
    main()
