"""What bench/run.sh runs; its --help describes it. Root; Debian's python3."""
import argparse
import json
import pathlib
import signal
import sys

_HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), str(_HERE.parent / "tests")]

from lab import build, goals, machine, report, results, scenarios
from lab.machine import say
from lab.runner import Runner
from support.netns import sweep


def parse():
    parser = argparse.ArgumentParser(prog="bench/run.sh", add_help=False)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--scenario", action="append", choices=list(scenarios.SCENARIOS))
    parser.add_argument("--system", action="append", choices=scenarios.SYSTEMS)
    parser.add_argument("--size", action="append", choices=scenarios.SIZES)
    parser.add_argument("--flows", action="append", type=int)
    parser.add_argument("--repeat", type=int)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--json", choices=["-"])
    parser.add_argument("--stages", action="store_true")
    parser.add_argument("--results", type=pathlib.Path, default=_HERE / "results")
    parser.add_argument("--without-hugepages", action="store_true")
    options = parser.parse_args()
    quick = options.quick
    options.scenario = options.scenario or list(scenarios.QUICK if quick else scenarios.SCENARIOS)
    options.system = options.system or [name for name in scenarios.SYSTEMS if build.has(name)]
    if not all(build.has(name) for name in options.system):
        parser.error("podwire-baseline needs PODWIRE_BASELINE_DIR where PODWIRE_BUILD_DIR is set")
    options.repeat = options.repeat or (5 if quick else 9)
    options.seconds = options.seconds or (0.3 if quick else 0.5)
    if min(options.flows or [1]) < 1 or options.repeat < 1 or options.seconds <= 0:
        parser.error("--flows and --repeat must be at least 1, --seconds more than 0")
    return options


def wanted(options):
    """(scenario, size, flows) of every cell."""
    for name in options.scenario:
        scenario = scenarios.SCENARIOS[name]
        sizes = options.size or (["64"] if options.quick else scenario.sizes)
        # A scenario that has one number of flows has it whatever others are asked for.
        flows = options.flows or ([1, 10_000] if options.quick else scenario.flows)
        for size in sizes:
            if size in scenario.sizes:
                yield from ((name, size, n) for n in (flows if len(scenario.flows) > 1 else scenario.flows))


def measure(options, emit):
    runner = Runner(options, {name: build.march(name) for name in options.system})
    cells = []
    try:
        for scenario, size, flows in wanted(options):
            for one in runner.cell(scenario, size, flows):
                cells.append(one)
                emit(one)
    finally:
        runner.close()
    return cells, runner


def main():
    options = parse()
    if not machine.ENOUGH_CPUS:
        sys.exit("bench/run.sh: two CPUs are needed, one for the switch and one for everything else")
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, _: sys.exit(128 + number))
    sweep()
    machine.prefer_this()

    def emit(one):
        if options.json:
            print(json.dumps({key: one[key] for key in results.KEYS + results.MORE_KEYS if key in one}), flush=True)
        if options.stages and "stages" in one:
            say("  cycles a packet: " + ", ".join(f"{name} {value}" for name, value in one["stages"].items()))
        if "switch_busy" in one:
            say(f"  {one['system']} had packets in hand for {one['switch_busy']:.0%} of the time, its traffic machine for "
                f"{one['traffic_busy']:.0%}")
        if one["spread"] > results.NOISY:
            say(f"  {one['system']}: too noisy to conclude, its windows differ by {one['spread']:.0%}")

    cells, runner = measure(options, emit)
    if not cells:
        sys.exit("bench/run.sh: nothing was measured")
    ratios = results.ratios(cells)
    judged = goals.judge(cells, ratios)
    path = report.write(options.results, machine.facts(), cells, ratios, runner.left_out)
    if options.json:
        for line in [*ratios, *judged]:
            print(json.dumps(line))
    else:
        print("\n".join([*report.table(cells, ratios), "", *report.goal_table(judged)]))
    say(f"written: {path}, .md and a chart a scenario")
    sys.exit(1 if runner.failed else 0)


if __name__ == "__main__":
    main()
