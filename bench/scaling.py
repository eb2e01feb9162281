"""What bench/scaling.sh runs. Root; Debian's python3."""
import argparse
import functools
import json
import pathlib
import statistics
import sys

_HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), str(_HERE.parent / "tests")]

from lab import build, by_turns, podwire, results, scaling, traffic
from lab.stateful_costs import Cell
from support.netns import sweep

_SIZES = ("64", "1400")
_GOAL = 1.8  # times what one worker forwards


def measure(scenario, options):
    """Number of workers -> its windows."""
    cell = Cell(scenario, options.size, options.flows, traffic.pcap("plain", options.size, options.flows))
    starters = {f"{scenario}, {workers} worker{'s' * (workers > 1)}":
                functools.partial(scaling.Scaled, workers, cell=cell, march=build.march("podwire"))
                for workers in range(1, scaling.MOST_WORKERS + 1)}
    packets = traffic.packets_of(options.size, options.flows)
    memory = sum(podwire.memory_mib(workers * packets) for workers in range(1, scaling.MOST_WORKERS + 1))
    windows = by_turns.measure("scaling", starters, memory, options)
    return dict(zip(range(1, scaling.MOST_WORKERS + 1), windows.values()))


def summaries(scenario, windows, options):
    for workers, of in windows.items():
        mpps = [window.mpps for window in of]
        middle = sorted(of, key=lambda window: window.mpps)[len(of) // 2]
        yield {"scenario": scenario, "workers": workers, "size": int(options.size), "flows_a_worker": options.flows,
               "cycles_per_packet": round(statistics.median(window.cycles for window in of), 1),
               "mpps": round(statistics.median(mpps), 3), "spread": round(results.spread(mpps), 3),
               "stages": middle.more["stages"]}
    one, two = ([window.mpps for window in windows[workers]] for workers in (1, scaling.MOST_WORKERS))
    times, spread = by_turns.ratio(two, one)
    yield {"scenario": scenario, "ratio": f"{scaling.MOST_WORKERS} workers to 1", "times": times, "spread": spread,
           "goal": _GOAL, "noisy": spread > results.NOISY}


def text(line):
    if "ratio" in line:
        return (f"{line['scenario']:16} {line['ratio']:14} {line['times']:8.3f} times the packets (spread "
                f"{line['spread']:.1%}, goal {line['goal']})" + (" too noisy to conclude" if line["noisy"] else ""))
    return (f"{line['scenario']:16} workers {line['workers']:6} {line['cycles_per_packet']:8.1f} cycles a packet, "
            f"{line['mpps']:.2f} Mpps (spread {line['spread']:.1%}); "
            + ", ".join(f"{name} {cycles}" for name, cycles in line["stages"].items()))


def main():
    parser = argparse.ArgumentParser(prog="bench/scaling.sh", add_help=False)
    parser.add_argument("--scenario", action="append", choices=list(scaling.PROGRAMS))
    parser.add_argument("--flows", type=int, default=10_000)
    parser.add_argument("--size", choices=_SIZES, default="64")
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--seconds", type=float, default=0.3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if min(options.flows, options.repeat) < 1 or options.seconds <= 0:
        parser.error("--flows and --repeat must be at least 1, --seconds more than 0")
    sweep()
    for scenario in options.scenario or scaling.PROGRAMS:
        for line in summaries(scenario, measure(scenario, options), options):
            print(json.dumps(line) if options.json else text(line), flush=True)
    traffic.forget_large()


if __name__ == "__main__":
    main()
