"""What bench/stateful-costs.sh runs. Root; Debian's python3."""
import argparse
import contextlib
import json
import pathlib
import shutil
import statistics
import sys
import tempfile

_HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), str(_HERE.parent / "tests")]

from lab import build, machine, podwire, results, traffic
from lab.machine import say
from lab.stateful_costs import PROGRAMS, Cell, StatefulCosts
from support.netns import Netns, sweep

# What is told: a figure, what it is divided by, and the ratio that was aimed at.
RATIOS = (("policy-10000", "policy-1", 1.05), ("masquerade", "plain", 1.25), ("service", "plain", 1.25))


def measure(options):
    """Program -> its windows, taken in turn."""
    hugepages = machine.Hugepages()
    windows = {name: [] for name in PROGRAMS}
    with contextlib.ExitStack() as stack:
        stack.callback(hugepages.close)
        wanted = len(PROGRAMS) * podwire.memory_mib(traffic.packets_of(options.size, options.flows)) + 64
        if not hugepages.want(wanted):
            sys.exit(f"stateful-costs: {wanted} MiB of hugepages are needed, {machine.free_hugepages() * 2} are free; "
                     "choose fewer --flows")
        ns = Netns("bench", ipv6=False)
        stack.callback(ns.delete)
        frames = traffic.pcap("plain", options.size, options.flows)
        running = []
        for name in PROGRAMS:
            directory = pathlib.Path(tempfile.mkdtemp(prefix="pwc-", dir="/tmp"))
            stack.callback(shutil.rmtree, directory, ignore_errors=True)
            cell = Cell(name, options.size, options.flows, frames)
            system = StatefulCosts("podwire", ns, directory, cell, build.march("podwire"))
            stack.callback(system.close)
            system.pause()
            running.append((name, system))
        for number in range(options.repeat):
            for name, system in running:
                window = system.measure(options.seconds)
                windows[name].append(window.cycles)
                say(f"{name}, window {number + 1} of {options.repeat}: {window.cycles:.1f} cycles a packet")
    return windows


def ratio(windows, of, to):
    """Round by round, so that what slowed down both of a round counts for neither."""
    times = [a / b for a, b in zip(windows[of], windows[to])]
    return round(statistics.median(times), 3), round(results.spread(times), 3)


def main():
    parser = argparse.ArgumentParser(prog="bench/stateful-costs.sh", add_help=False)
    parser.add_argument("--flows", type=int, default=10_000)
    parser.add_argument("--size", choices=traffic.SIZES, default="64")
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    sweep()
    windows = measure(options)
    traffic.forget_large()
    lines = [{"program": name, "size": options.size, "flows": options.flows,
              "cycles_per_packet": round(statistics.median(of), 1), "spread": round(results.spread(of), 3)}
             for name, of in windows.items()]
    for of, to, goal in RATIOS:
        times, spread = ratio(windows, of, to)
        lines.append({"ratio": f"{of} to {to}", "times": times, "spread": spread, "goal": goal,
                      "noisy": spread > results.NOISY})
    for line in lines:
        if options.json:
            print(json.dumps(line))
        elif "ratio" in line:
            print(f"{line['ratio']:28} {line['times']:8.3f} (spread {line['spread']:.1%}, goal {line['goal']})"
                  + (" too noisy to conclude" if line["noisy"] else ""))
        else:
            print(f"{line['program']:28} {line['cycles_per_packet']:8.1f} cycles a packet (spread {line['spread']:.1%})")


if __name__ == "__main__":
    main()
