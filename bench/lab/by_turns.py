"""Systems that a script of bench/ sets up by itself, measured side by side: window by window, stopped but for one."""
import contextlib
import pathlib
import shutil
import statistics
import sys
import tempfile

from lab import machine, results
from lab.machine import say
from support.netns import Netns

_SPARE_MIB = 64  # of hugepages: others take some


@contextlib.contextmanager
def hugepages(script, mib):
    """So many MiB of them, or the script ends and says what would help."""
    reserved = machine.Hugepages()
    try:
        if not reserved.want(mib + _SPARE_MIB):
            sys.exit(f"{script}: {mib + _SPARE_MIB} MiB of hugepages are needed, {machine.free_hugepages() * 2} are free; "
                     "choose fewer --flows")
        yield
    finally:
        reserved.close()


@contextlib.contextmanager
def scratch():
    """A directory of one system's own."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="pwc-", dir="/tmp"))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def measure(script, starters, memory_mib, options):
    """Name -> its windows. `starters`: name -> function(ns=, directory=) that starts a lab.system.System; `memory_mib`: of
    hugepages, for all; `options`: repeat, seconds."""
    windows = {name: [] for name in starters}
    with contextlib.ExitStack() as stack:
        stack.enter_context(hugepages(script, memory_mib))
        ns = Netns("bench", ipv6=False)
        stack.callback(ns.delete)
        running = {}
        for name, start in starters.items():
            running[name] = start(ns=ns, directory=stack.enter_context(scratch()))
            stack.callback(running[name].close)
            running[name].pause()
        for number in range(options.repeat):
            for name, system in running.items():
                window = system.measure(options.seconds)
                windows[name].append(window)
                say(f"{name}, window {number + 1} of {options.repeat}: {window.cycles:.1f} cycles a packet, "
                    f"{window.mpps:.2f} Mpps")
    return windows


def ratio(of, to):
    """The median of the ratios round by round, so that what slowed down both of a round counts for neither; its spread."""
    times = [a / b for a, b in zip(of, to)]
    return round(statistics.median(times), 3), round(results.spread(times), 3)
