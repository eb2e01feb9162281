"""Which -march a build is for."""
import json
import pathlib
import re
import subprocess

_DEBIAN = "corei7 (Debian)"


def of_dpdk():
    """Of Debian's DPDK, as its libdpdk.pc says it."""
    flags = subprocess.run(["pkg-config", "--cflags-only-other", "libdpdk"], text=True, capture_output=True).stdout
    found = re.search(r"-march=(\S+)", flags)
    return f"{found.group(1)} (Debian)" if found else _DEBIAN


def of_podwire(directory):
    options = json.loads((pathlib.Path(directory) / "meson-info/intro-buildoptions.json").read_text())
    return next(option["value"] for option in options if option["name"] == "march")
