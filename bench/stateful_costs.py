"""What bench/stateful-costs.sh runs. Root; Debian's python3."""
import argparse
import functools
import json
import pathlib
import statistics
import sys

_HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), str(_HERE.parent / "tests")]

from lab import build, by_turns, podwire, results, traffic
from lab.stateful_costs import PROGRAMS, Cell, StatefulCosts
from support.netns import sweep

# What is told: a figure, what it is divided by, and the ratio that was aimed at.
RATIOS = (("policy-10000", "policy-1", 1.05), ("masquerade", "plain", 1.25), ("service", "plain", 1.25))


def measure(options):
    """Program -> its windows, taken in turn."""
    cells = {name: Cell(name, options.size, options.flows, traffic.pcap("plain", options.size, options.flows))
             for name in PROGRAMS}
    starters = {name: functools.partial(StatefulCosts, "podwire", cell=cell, march=build.march("podwire"))
                for name, cell in cells.items()}
    memory = len(PROGRAMS) * podwire.memory_mib(traffic.packets_of(options.size, options.flows))
    return {name: [window.cycles for window in of]
            for name, of in by_turns.measure("stateful-costs", starters, memory, options).items()}


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
        times, spread = by_turns.ratio(windows[of], windows[to])
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
