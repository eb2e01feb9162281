"""What bench/memory.sh runs. Root; Debian's python3."""
import argparse
import contextlib
import functools
import json
import pathlib
import re
import sys

_HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), str(_HERE.parent / "tests")]

from lab import build, by_turns, podwire, table_updates, traffic
from lab.stateful_costs import Cell
from support.netns import Netns, sweep
from support.process import wait_until

_MOST_FLOWS = 1 << 17  # of the engine under test: what is told is that of a table in use
_FLOWS = 120_000
_WARM = 5000  # endpoints that come and go before: what a message of them needs once is not theirs


def resident(pid):
    """Bytes of memory that the process has, hugepages included."""
    text = pathlib.Path(f"/proc/{pid}/smaps_rollup").read_text()
    kib = {name: int(size) for name, size in re.findall(r"(?m)^(\w+):\s+(\d+) kB", text)}
    return (kib["Rss"] + kib["Private_Hugetlb"] + kib["Shared_Hugetlb"]) * 1024


@contextlib.contextmanager
def running(make):
    with contextlib.ExitStack() as stack:
        ns = Netns("bench", ipv6=False)
        stack.callback(ns.delete)
        system = make(ns=ns, directory=stack.enter_context(by_turns.scratch()), march=build.march("podwire"))
        stack.callback(system.close)
        yield system


def of_endpoints(options):
    cell = Cell("replaced", "64", 1, traffic.pcap("plain", "64", 1))
    with running(functools.partial(table_updates.Tables, cell=cell)) as system:
        for count in (_WARM, 0):
            system.replace(system.replacement(count, podwire.FIRST_PEER))
        before = resident(system.engine.pid)
        system.replace(system.replacement(options.endpoints, podwire.FIRST_PEER))
        grown = resident(system.engine.pid) - before
    return {"figure": "a remote endpoint", "entries": options.endpoints, "bytes_each": round(grown / options.endpoints, 1),
            "goal": 200}


class Connections(podwire.Podwire):
    """Its source begins the connections only when it is told to."""

    programs = {"memory": (podwire.encap_new, 1)}

    def options(self, cell):
        return {"max_flows": _MOST_FLOWS}

    def establish(self):
        pass  # unanswered ones take as much

    def put(self):
        self.source = {"ports": [port for port in self.objects["ports"] if port["id"] == podwire.SOURCE],
                       "endpoints": [one for one in self.objects["endpoints"] if one.get("port") == podwire.SOURCE]}
        for noun, late in self.source.items():
            self.objects[noun] = [one for one in self.objects[noun] if one not in late]
        super().put()

    def entries(self):
        return self.engine.call("status")["flows"]["entries"]


def of_connections():
    cell = Cell("memory", "64", _FLOWS, traffic.pcap("plain", "64", _FLOWS))
    with running(functools.partial(Connections, "podwire", cell=cell)) as system:
        before = resident(system.engine.pid)
        system.engine.put(**system.source)
        wait_until(lambda: system.entries() > 0.95 * _FLOWS, 30, "the connections have begun")
        entries, grown = system.entries(), resident(system.engine.pid) - before
        table = system.engine.call("status")["flows"]
    return {"figure": "a connection, both directions", "entries": entries, "bytes_each": round(grown / entries, 1),
            "goal": 256, "reserved_each": round(table["bytes"] / table["capacity"], 1)}


def main():
    parser = argparse.ArgumentParser(prog="bench/memory.sh", add_help=False)
    parser.add_argument("--endpoints", type=int, default=traffic.WIDE_PODS)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if not _WARM <= options.endpoints <= traffic.WIDE_PODS:
        parser.error(f"--endpoints must be from {_WARM} to {traffic.WIDE_PODS}")
    sweep()
    with by_turns.hugepages("memory", podwire.memory_mib(_FLOWS)):
        for line in (of_connections(), of_endpoints(options)):
            met = "met" if line["bytes_each"] <= line["goal"] else "missed"
            print(json.dumps(line) if options.json else
                  f"{line['figure']:32} {line['bytes_each']:8.1f} bytes, measured with {line['entries']} "
                  f"(goal {line['goal']}: {met})", flush=True)


if __name__ == "__main__":
    main()
