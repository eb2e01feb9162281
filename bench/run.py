"""What bench/run.sh runs; its --help describes it. Root; Debian's python3."""
import argparse
import json
import os
import pathlib
import sys

_HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), str(_HERE.parent / "tests")]

from lab import build, machine, results, scenarios, traffic
from lab.machine import say
from lab.runner import Runner
from support.netns import sweep
from support.process import BUILD


def parse():
    parser = argparse.ArgumentParser(prog="bench/run.sh", add_help=False)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--scenario", action="append", choices=list(scenarios.SCENARIOS))
    parser.add_argument("--system", action="append", choices=list(scenarios.SYSTEMS))
    parser.add_argument("--size", action="append", choices=traffic.SIZES)
    parser.add_argument("--flows", action="append", type=int)
    parser.add_argument("--repeat", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--json", metavar="FILE")
    parser.add_argument("--stages", action="store_true")
    parser.add_argument("--without-hugepages", action="store_true")
    options = parser.parse_args()
    quick = options.quick
    options.scenario = options.scenario or (["p2p", "route", "encap", "decap"] if quick else scenarios.DEFAULT)
    options.system = options.system or list(scenarios.SYSTEMS)
    options.size = options.size or (["64"] if quick else list(traffic.SIZES))
    options.flows = options.flows or ([1, 10_000] if quick else [1, 1000, 10_000, 100_000])
    options.repeat = options.repeat or (3 if quick else 5)
    options.seconds = options.seconds or (0.5 if quick else 1.0)
    if min(options.flows) < 1 or options.repeat < 1 or options.seconds <= 0:
        parser.error("--flows and --repeat must be at least 1, --seconds more than 0")
    return options


def measure(options, emit):
    marches = {name: build.of_debian() for name in scenarios.SYSTEMS} | {"podwire": build.of_podwire(BUILD)}
    runner = Runner(options, marches)
    cells = []
    try:
        for scenario in options.scenario:
            for size in options.size:
                for flows in options.flows:
                    for one in runner.cell(scenario, size, flows):
                        cells.append(one)
                        emit(one)
    finally:
        runner.close()
    return cells, runner.left_out


def main():
    options = parse()
    if os.cpu_count() < 2:
        sys.exit("bench/run.sh: two CPUs are needed, one for the switch and one for everything else")
    sweep()
    machine.prefer_this()
    keys = ("scenario", "system", "size", "flows", "cycles_per_packet", "mpps", "spread")

    def emit(one):
        if options.json == "-":
            print(json.dumps({key: one[key] for key in keys}), flush=True)
        if options.stages and "stages" in one:
            say("  cycles a packet: " + ", ".join(f"{name} {value}" for name, value in one["stages"].items()))
        if one["spread"] > results.NOISY:
            say(f"  too noisy to conclude: the windows differ by {one['spread']:.0%}")
    cells, _ = measure(options, emit)
    for ratio in results.ratios(cells):
        if options.json == "-":
            print(json.dumps(ratio))


if __name__ == "__main__":
    main()
