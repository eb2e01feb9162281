"""Fixtures of the functional and CNI tests; run with Debian's /usr/bin/python3 -m pytest as root."""
import os
import pathlib
import shutil
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parent))

import pytest

from support.netns import Fabric, sweep
from support.process import Daemon


def pytest_sessionstart(session):
    if os.geteuid() != 0:
        pytest.exit("these tests make network namespaces: run them as root", returncode=4)
    sweep()


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed:
        for daemon in Daemon.live:
            report.sections.append((f"log of {daemon.name} ({daemon.log})", daemon.tail()))


def pytest_terminal_summary(terminalreporter):
    """What passing tests printed: rates, latencies, outages. Never asserted, so they are shown."""
    reports = [r for r in terminalreporter.stats.get("passed", []) if r.when == "call" and r.capstdout.strip()]
    if reports:
        terminalreporter.section("figures")
    for report in reports:
        name = report.nodeid.rsplit("/", 1)[-1]
        for line in report.capstdout.strip().splitlines():
            terminalreporter.write_line(f"{name}: {line}")


@pytest.fixture(scope="session")
def short_directory():
    """Under /tmp and short: a socket's path has 107 characters."""
    path = tempfile.mkdtemp(prefix="pwt", dir="/tmp")
    yield pathlib.Path(path)
    shutil.rmtree(path, ignore_errors=True)


@pytest.fixture(scope="module")
def directory(short_directory, request):
    path = short_directory / request.module.__name__.rsplit(".", 1)[-1].removeprefix("test_")
    path.mkdir(exist_ok=True)
    return path


@pytest.fixture(scope="module")
def fabric():
    underlay = Fabric()
    yield underlay
    underlay.delete()
