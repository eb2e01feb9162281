"""The laboratory of bench/ runs against the build under test: one short cell, and one short search for a loss-free rate;
what it measures is judged by the project's goals."""
import json
import os
import subprocess
import sys

from support.process import BUILD, REPO

sys.path.append(str(REPO / "bench"))
from lab import goals, results  # noqa: E402


def bench(script, *arguments, timeout=120):
    done = subprocess.run([sys.executable, REPO / "bench" / script, *arguments],
                          env=dict(os.environ, PODWIRE_BUILD_DIR=str(BUILD)), text=True, capture_output=True, timeout=timeout)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_cell_is_measured_and_reported(directory):
    figure = bench("run.py", "--scenario", "p2p", "--size", "64", "--flows", "1", "--system", "podwire", "--repeat", "2",
                   "--seconds", "0.1", "--without-hugepages", "--json", "-", "--results", directory)[0]
    assert {key: figure[key] for key in ("scenario", "system", "size", "flows")} == {
        "scenario": "p2p", "system": "podwire", "size": 64, "flows": 1}
    assert figure["cycles_per_packet"] > 0 and figure["mpps"] > 0
    (document,) = directory.glob("*.json")
    assert json.loads(document.read_text())["cells"][0]["stages"]["receive"] > 0
    assert "| p2p | 64 B | 1 |" in document.with_suffix(".md").read_text()
    assert (directory / f"{document.stem}-p2p.svg").read_text().startswith("<svg")


def cell(system, scenario, flows, cycles, size=64, spread=0.01, **more):
    return {"scenario": scenario, "system": system, "size": size, "flows": flows, "cycles_per_packet": cycles, "mpps": 1,
            "spread": spread, "by": "cycles_per_packet", "march": "native", "windows": [cycles] * 3, **more}


def judged(*cells):
    return {(one["goal"], one["scenario"], one["flows"]): one for one in goals.judge(cells, results.ratios(cells))}


def test_figures_are_judged_by_the_goals():
    found = judged(cell("podwire", "encap", 10_000, 85), cell("podwire", "encap-many", 10_000, 94),
                   cell("testpmd", "encap", 10_000, 44), cell("podwire", "decap", 10_000, 95.1, spread=0.2),
                   cell("podwire", "p2p", 10_000, 80, size=1400), cell("testpmd", "p2p", 10_000, 70, size=1400),
                   cell("podwire", "churn", 10_000, 90, lost=0.03), cell("podwire-baseline", "route", 10_000, 60))
    verdicts = {key: (one["met"], one["noisy"]) for key, one in found.items()}
    assert verdicts == {("cycles a packet", "encap", 10_000): (True, False),
                        ("times as fast as testpmd", "encap", 10_000): (False, False),
                        ("times the cycles of encap", "encap-many", 10_000): (False, False),
                        ("cycles a packet", "decap", 10_000): (False, True),
                        ("times as fast as testpmd", "p2p", 10_000): (True, False),
                        ("lost", "churn", 10_000): (False, False)}


def test_with_many_flows_a_goal_goes_by_the_source():
    ours = cell("podwire", "encap", 100_000, 130)
    key = ("cycles a packet", "encap", 100_000)
    assert judged(ours)[key]["at_most"] == 125 and not judged(ours)[key]["met"]
    beside = judged(ours, cell("testpmd", "encap", 100_000, 91.5), cell("testpmd", "encap", 10_000, 46))[key]
    assert (beside["at_most"], beside["named"], beside["met"]) == (130.5, 125, True)


def test_a_loss_free_rate_is_found(directory):
    lines = bench("ndr.py", "--system", "podwire", "--quick", "--loss", "0", "--json", "-", "--results", directory, "--",
                  "--trial=0.05", "--repeat=1", "--resolution=25", "--max-rate=50k", "--latency-time=0.1", "--latency-at=50",
                  "--no-huge", "--memory=128")
    rate, = lines
    assert (rate["system"], rate["kind"], rate["size"], rate["rate"]) == ("podwire", "memif", "64", "NDR")
    assert 0 < rate["mpps"] <= 0.1
    latency = rate["latency"]["at_50_percent"]
    assert 0 < latency["min_us"] <= latency["p50_us"] <= latency["max_us"]
    table, = (path for path in directory.glob("*-ndr-memif.md"))
    assert "| podwire | 64 | 1 | NDR 0 % |" in table.read_text()
    assert next(directory.glob("*-ndr-memif-podwire.svg")).read_text().startswith("<svg")
