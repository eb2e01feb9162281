"""The builds of Podwire that are measured, their engines, and which -march each system is compiled for."""
import json
import os
import pathlib
import re
import subprocess

from lab import machine
from support import process
from support.engine import Engine

# The one that packages have; bench/run.sh makes it beside the one for this machine.
_BASELINE = os.environ.get("PODWIRE_BASELINE_DIR")


def _directory(system):
    return pathlib.Path(_BASELINE) if system == "podwire-baseline" else process.BUILD


def has(system):
    return system != "podwire-baseline" or _BASELINE is not None


def engine(system, ns, directory, **options):
    """An engine of that build, running; with one worker unless `options` say otherwise."""
    options = {"workers": 1, "cpus": [machine.SWITCH_CPU], "idle": "busy", "log_level": "warn", **options}
    engine = Engine(ns, directory, **options)
    engine.daemon.argv[:1] = [*machine.DIES_WITH_US, str(_directory(system) / "dataplane/podwire-engine")]
    try:
        return engine.start()
    except BaseException:
        engine.close()
        raise


def march(system):
    if system == "ovs-dpdk":
        return "x86-64 (Debian)"
    if system == "testpmd":
        flags = subprocess.run(["pkg-config", "--cflags-only-other", "libdpdk"], text=True, capture_output=True).stdout
        found = re.search(r"-march=(\S+)", flags)
        return f"{found.group(1)} (Debian)" if found else "Debian's"
    options = json.loads((_directory(system) / "meson-info/intro-buildoptions.json").read_text())
    return next(option["value"] for option in options if option["name"] == "march")
