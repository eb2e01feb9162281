"""The laboratory of bench/ runs against the build under test: one short cell, without hugepages."""
import json
import os
import subprocess
import sys

from support.process import BUILD, REPO


def test_a_cell_is_measured_and_reported(directory):
    done = subprocess.run(
        [sys.executable, REPO / "bench/run.py", "--scenario", "p2p", "--size", "64", "--flows", "1", "--system",
         "podwire", "--repeat", "2", "--seconds", "0.1", "--without-hugepages", "--json", "-", "--results", directory],
        env=dict(os.environ, PODWIRE_BUILD_DIR=str(BUILD)), text=True, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
    figure = json.loads(done.stdout.splitlines()[0])
    assert {key: figure[key] for key in ("scenario", "system", "size", "flows")} == {
        "scenario": "p2p", "system": "podwire", "size": 64, "flows": 1}
    assert figure["cycles_per_packet"] > 0 and figure["mpps"] > 0
    (document,) = directory.glob("*.json")
    assert json.loads(document.read_text())["cells"][0]["stages"]["receive"] > 0
    assert "| p2p | 64 B | 1 |" in document.with_suffix(".md").read_text()
    assert (directory / f"{document.stem}-p2p.svg").read_text().startswith("<svg")
