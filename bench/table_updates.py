"""What bench/table-updates.sh runs. Root; Debian's python3."""
import argparse
import contextlib
import json
import pathlib
import statistics
import sys
import time

_HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), str(_HERE.parent / "tests")]

from lab import build, by_turns, machine, podwire, table_updates, traffic
from lab.stateful_costs import Cell
from support.netns import Netns, sweep

_WINDOW = 0.5  # seconds
_PATIENCE = 20  # seconds for a replacement
_FLOWS = 1000
_CHURN = "bench/run.sh --scenario churn measures what 1,000 updates a second cost"


@contextlib.contextmanager
def system(scenario, flows):
    with contextlib.ExitStack() as stack:
        ns = Netns("bench", ipv6=False)
        stack.callback(ns.delete)
        cell = Cell(scenario, "64", flows, traffic.pcap("plain", "64", flows))
        one = table_updates.Tables(ns, stack.enter_context(by_turns.scratch()), cell, build.march("podwire"))
        stack.callback(one.close)
        yield one


def p99(values):
    return sorted(values)[len(values) * 99 // 100]


def visibility(options):
    """The source's only flow is for the endpoint that moves."""
    replies, seen = [], []
    with system("moving", 1) as one, machine.turn():
        table_updates.forwards(one)
        while len(seen) < options.moves:
            with machine.RealTime(one.threads, 2 * _WINDOW):
                until = time.monotonic() + _WINDOW
                while time.monotonic() < until and len(seen) < options.moves:
                    reply, after = one.move()
                    replies.append(reply * 1000)
                    seen.append(after * 1000)
            time.sleep(0.05)
    return {"figure": "an endpoint visible to the worker after the reply, at the latest", "unit": "ms", "changes": len(seen),
            "p50": round(statistics.median(seen), 3), "p99": round(p99(seen), 3), "max": round(max(seen), 3),
            "goal": {"p99": 1}, "reply_p50": round(statistics.median(replies), 3), "reply_p99": round(p99(replies), 3)}


def replacement(options):
    took, committed, lost = [], [], []
    with system("replaced", _FLOWS) as one, machine.turn():
        table_updates.forwards(one)
        here = one.endpoints()
        one.replace(one.replacement(options.endpoints, podwire.FIRST_PEER))
        for number in range(options.repeat):
            # Every endpoint moves to the other peer.
            lines = one.replacement(options.endpoints, podwire.FIRST_PEER + (number + 1) % 2)
            with machine.RealTime(one.threads, _PATIENCE):
                before = one.sent()
                time.sleep(_WINDOW)
                quiet = one.sent()
                seconds, commit = one.replace(lines)
                after = one.sent()
            took.append(seconds)
            committed.append(commit)
            rate = lambda first, last: (last[0] - first[0]) / (last[1] - first[1])
            lost.append(1 - rate(quiet, after) / rate(before, quiet))
            if one.endpoints() != here + options.endpoints:
                raise RuntimeError(f"the engine has {one.endpoints()} endpoints instead of {here + options.endpoints}")
    return {"figure": f"{options.endpoints} endpoints replaced, from the first word to the last reply", "unit": "s",
            "changes": options.repeat, "p50": round(statistics.median(took), 3), "max": round(max(took), 3),
            "goal": {"p50": 1}, "commit_p50": round(statistics.median(committed), 3),
            "forwarding_lost": round(statistics.median(lost), 3)}


def text(line):
    goal = " ".join(f"{key} <= {bound} {line['unit']}" for key, bound in line["goal"].items())
    figures = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in line.items()
                        if key not in ("figure", "unit", "goal"))
    met = all(line[key] <= bound for key, bound in line["goal"].items())
    return f"{line['figure']} ({line['unit']})\n  {figures}\n  goal: {goal}: {'met' if met else 'missed'}"


def main():
    parser = argparse.ArgumentParser(prog="bench/table-updates.sh", add_help=False)
    parser.add_argument("--moves", type=int, default=1000)
    parser.add_argument("--endpoints", type=int, default=traffic.WIDE_PODS)
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if min(options.moves, options.repeat) < 1 or not 1 <= options.endpoints <= traffic.WIDE_PODS:
        parser.error(f"--moves and --repeat must be at least 1, --endpoints 1 to {traffic.WIDE_PODS}")
    sweep()
    with by_turns.hugepages("table-updates", podwire.memory_mib(_FLOWS)):
        for measured in (visibility, replacement):
            line = measured(options)
            print(json.dumps(line) if options.json else text(line), flush=True)
    machine.say(_CHURN)


if __name__ == "__main__":
    main()
