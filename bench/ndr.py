"""What bench/ndr.sh runs. Root; Debian's python3."""
import argparse
import contextlib
import datetime
import json
import pathlib
import subprocess
import sys

_HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE), str(_HERE.parent / "tests")]

from lab import build, by_turns, machine, shared_memory
from lab.machine import say
from support.netns import Netns, sweep
from support.process import binary

_SYSTEMS = ("podwire", "testpmd", "ovs-dpdk")
# Trials of half a second: the kernel disturbs real-time threads that run for a second and more.
_METHOD = ["--trial=0.5", "--trials=1", "--repeat=5", "--resolution=2", "--latency-time=0.5"]
_QUICK = ["--trial=0.2", "--trials=1", "--repeat=3", "--resolution=5", "--warm-up=0.2", "--latency-time=0.2"]
_LONGEST = 3600  # seconds for one system
# What it must have free to run on hugepages; without them Podwire and testpmd are measured on ordinary pages.
_HUGEPAGE_MIB = max(shared_memory.MEMORY_MIB.values())


def method(options):
    """What the generator is told of trials; what the caller says wins."""
    name = lambda word: word.split("=")[0]
    said = {name(word) for word in options.generator}
    return [word for word in (_QUICK if options.quick else _METHOD) if name(word) not in said] + options.generator


def measure(system, options, files):
    """The generator's report about one system."""
    with contextlib.ExitStack() as stack:
        ns = Netns("bench", ipv6=False)
        stack.callback(ns.delete)
        directory = stack.enter_context(by_turns.scratch())
        sockets = [directory / f"{i}.sock" for i in (0, 1)]
        switch = shared_memory.SWITCHES[system](system, ns, directory, options.kind, sockets)
        stack.callback(switch.close)
        argv = [binary("podwire-trafficgen"), f"--cpu={machine.OTHER_CPU}", "--realtime", f"--queues={switch.queues}",
                *(f"--port={options.kind}:{path}" for path in sockets), *(f"--mac={mac}" for mac in shared_memory.MACS),
                f"--size={options.size}", f"--flows={options.flows}", f"--loss={options.loss}",
                *method(options), *(f"--{kind}={file}" for kind, file in files.items())]
        stack.enter_context(machine.turn())
        stack.enter_context(machine.RealTime([switch.thread], _LONGEST))
        done = subprocess.run([*machine.DIES_WITH_US, *map(str, argv)], timeout=_LONGEST)
        if done.returncode != 0:
            raise RuntimeError(f"podwire-trafficgen ended with {done.returncode}; it says above why")
    return json.loads(files["json"].read_text())


def lines_of(system, options, report):
    """One a rate: what the generator found."""
    for cell in report["results"]:
        latency = {f"at_{at['share_percent']:g}_percent": {
            key: max(way["latency"][key] for way in at["trial"]["directions"] if "latency" in way)
            for key in ("min_us", "p50_us", "p99_us", "p99_9_us", "max_us")} for at in cell["latency"]}
        for rate in cell["rates"]:
            yield {"system": system, "march": build.march(system), "kind": options.kind, "size": cell["size"],
                   "flows": cell["flows"], "rate": rate["name"], "loss_percent": rate["loss_percent"],
                   "mpps": rate["mpps"], "spread": rate["spread"], "noisy": rate["noisy"],
                   "limited_by": rate["limited_by"], "latency": latency}


def ratios(lines):
    same = ("size", "flows", "loss_percent")
    for ours in (line for line in lines if line["system"] == "podwire"):
        for theirs in lines:
            if theirs["system"] != "podwire" and all(ours[key] == theirs[key] for key in same) and theirs["mpps"]:
                yield {"ratio": f"podwire to {theirs['system']}", **{key: ours[key] for key in same},
                       "times": round(ours["mpps"] / theirs["mpps"], 3), "noisy": ours["noisy"] or theirs["noisy"],
                       "podwire_march": ours["march"], "other_march": theirs["march"]}


def table(lines):
    """Rates of both directions together; latency of the slower direction at the highest share of the loss-free rate."""
    out = ["| system | frame | flows | rate | Mpps | spread | limited by | p50 µs | p99 | p99.9 | max |",
           "|---|---|---|---|---|---|---|---|---|---|---|"]
    for line in lines:
        at = list(line["latency"].values())[-1] if line["latency"] and line["loss_percent"] == 0 else {}
        us = " | ".join(f"{at[key]:.1f}" if at else "" for key in ("p50_us", "p99_us", "p99_9_us", "max_us"))
        out.append(f"| {line['system']} | {line['size']} | {line['flows']} | {line['rate']} {line['loss_percent']:g} % | "
                   f"{line['mpps']:.3f} | {line['spread']:.1%}{' ?' if line['noisy'] else ''} | {line['limited_by']} | "
                   f"{us} |")
    return out


def text_of(ratio):
    return (f"{ratio['ratio']}, {ratio['size']}, {ratio['flows']} flows, loss {ratio['loss_percent']:g} %: "
            f"{ratio['times']:.2f} times the rate" + (", too noisy to conclude" if ratio["noisy"] else ""))


def parse():
    parser = argparse.ArgumentParser(prog="bench/ndr.sh", add_help=False)
    parser.add_argument("--kind", choices=sorted(set(shared_memory.KINDS.values())), default="memif")
    parser.add_argument("--system", action="append", choices=_SYSTEMS)
    parser.add_argument("--size")
    parser.add_argument("--flows", default="1")
    parser.add_argument("--loss", default="0,0.1")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", choices=["-"])
    parser.add_argument("--results", type=pathlib.Path, default=_HERE / "results")
    parser.add_argument("generator", nargs="*")
    options = parser.parse_args()
    options.system = options.system or list(_SYSTEMS)
    options.size = options.size or ("64" if options.quick else "64,512,1518,imix")
    return options


def main():
    options = parse()
    if not machine.ENOUGH_CPUS:
        sys.exit("bench/ndr.sh: two CPUs are needed, one for the switch and one for the generator")
    sweep()
    options.results.mkdir(parents=True, exist_ok=True)
    date = datetime.datetime.now().strftime("%Y-%m-%dT%H-%M-%S")
    named = lambda rest: options.results / f"{date}-ndr-{options.kind}{rest}"
    lines, failed = [], False
    pages = machine.Hugepages()
    try:
        enough = pages.want(_HUGEPAGE_MIB)
        for system in options.system:
            if system == "ovs-dpdk" and not enough:
                say(f"left out: ovs-dpdk: {_HUGEPAGE_MIB} MiB of hugepages are needed")
                continue
            say(f"{system} …")
            files = {kind: named(f"-{system}.{ending}")
                     for kind, ending in (("json", "json"), ("markdown", "md"), ("svg", "svg"))}
            try:
                lines += lines_of(system, options, measure(system, options, files))
            except (RuntimeError, AssertionError, OSError, subprocess.TimeoutExpired) as error:
                say(f"left out: {system}: {error}")
                failed = True
    finally:
        pages.close()
    found = list(ratios(lines))
    summary = [f"# Loss-free rate and latency, {options.kind}, {date}", "",
               "Compiled for: " + ", ".join(dict.fromkeys(f"{one['system']} {one['march']}" for one in lines)) + ".", "",
               *table(lines), "", *(f"- {text_of(ratio)}" for ratio in found), ""]
    named(".md").write_text("\n".join(summary))
    named(".json").write_text(json.dumps({"date": date, "rates": lines, "ratios": found}, indent=1) + "\n")
    if options.json:
        for line in [*lines, *found]:
            print(json.dumps(line))
    else:
        print("\n".join([*table(lines), *map(text_of, found)]))
    say(f"written: {named('.md')}, .json and what the generator reports of each system beside it")
    sys.exit(1 if failed or not lines else 0)


if __name__ == "__main__":
    main()
