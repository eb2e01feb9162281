"""The machine under the benches: who has which CPU, real-time polling, hugepages, one measurement at a time."""
import contextlib
import fcntl
import os
import pathlib
import platform
import subprocess
import sys
import threading
import time

_CPUS = sorted(os.sched_getaffinity(0))
ENOUGH_CPUS = len(_CPUS) >= 2
OTHER_CPU, SWITCH_CPU = _CPUS[0], _CPUS[-1]
_PRIORITY = 50
_LOCK = "/run/lock/podwire-bench.lock"
_HUGEPAGES = pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
# A real-time thread must not outlive who would have ended it.
DIES_WITH_US = ["setpriv", "--pdeathsig", "KILL"]


def say(*words):
    print(*words, file=sys.stderr, flush=True)


def threads_of(pid, *prefixes):
    """The ids of the threads whose names begin with one of these, in the order in which they were made."""
    tasks = pathlib.Path(f"/proc/{pid}/task").iterdir()
    found = sorted(int(task.name) for task in tasks if (task / "comm").read_text().startswith(prefixes))
    if not found:
        raise RuntimeError(f"process {pid} has no thread called {' or '.join(prefixes)}")
    return found


def thread_of(pid, *prefixes):
    return threads_of(pid, *prefixes)[0]


def worker_threads(pid):
    """The forwarding threads of a DPDK process."""
    return threads_of(pid, "rte-worker", "lcore-worker", "dpdk-worker")


def worker_thread(pid):
    """Of a process that has one."""
    return worker_threads(pid)[0]


@contextlib.contextmanager
def turn():
    """Two runs on one machine measure in turn, not at once; and whoever has its turn keeps off the switch's CPU."""
    with open(_LOCK, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        before = os.sched_getaffinity(0)
        os.sched_setaffinity(0, {OTHER_CPU})
        try:
            yield
        finally:
            os.sched_setaffinity(0, before)
    time.sleep(0.02)  # who waits gets it, not who had it


class RealTime:
    """With it these threads are preempted by nothing, for `at_most` seconds: what of the kernel waits for that CPU
    meanwhile may be what the measurement waits for. Inside turn() only.

    The kernel itself takes real-time threads their CPU after about a second, so windows should be shorter.
    """

    _told = False

    def __init__(self, threads, at_most):
        self.threads, self.changed = threads, []
        self.cut_short = False
        self._watchdog = threading.Timer(at_most, self._cut)

    def __enter__(self):
        try:
            for thread in self.threads:
                os.sched_setscheduler(thread, os.SCHED_FIFO, os.sched_param(_PRIORITY))
                self.changed.append(thread)
        except PermissionError as error:
            if not RealTime._told:
                say(f"polling threads are not real-time here, expect noise: {error}")
            RealTime._told = True
        self._watchdog.daemon = True
        self._watchdog.start()
        return self

    @property
    def allowed(self):
        return len(self.changed) == len(self.threads)

    def _lower(self):
        for thread in self.changed:
            with contextlib.suppress(ProcessLookupError):
                os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))

    def _cut(self):
        self.cut_short = True
        self._lower()

    def __exit__(self, *_):
        self._watchdog.cancel()
        self._watchdog.join()
        self._lower()


def run_time(pid, thread):
    """Seconds for which the thread has had a CPU."""
    return int(pathlib.Path(f"/proc/{pid}/task/{thread}/schedstat").read_text().split()[0]) / 1e9


def free_hugepages():
    try:
        return int((_HUGEPAGES / "free_hugepages").read_text())
    except OSError:
        return 0


class Hugepages:
    """Reserves what is missing, and gives it back with close()."""

    def __init__(self):
        self.before = None

    def want(self, mib):
        """Whether `mib` MiB of 2 MiB pages are free, if need be after having asked the kernel for more."""
        missing = (mib + 1) // 2 - free_hugepages()
        if missing <= 0:
            return True
        file = _HUGEPAGES / "nr_hugepages"
        try:
            total = int(file.read_text())
            available = int(next(line.split()[1] for line in open("/proc/meminfo") if line.startswith("MemAvailable")))
            if missing * 2 > available // 1024 * 3 // 4:
                return False
            if self.before is None:
                self.before = total
            file.write_text(str(total + missing))
        except OSError:
            return False
        return free_hugepages() * 2 >= mib

    def close(self):
        if self.before is not None:
            (_HUGEPAGES / "nr_hugepages").write_text(str(self.before))
            self.before = None


def prefer_this():
    """What else runs on the machine disturbs less. Nice values count inside a session only."""
    with contextlib.suppress(OSError):
        pathlib.Path("/proc/self/autogroup").write_text("-15")
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, -15)


def facts():
    """What a reader must know to compare figures of two machines."""
    cpu = next((line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")), "?")
    dpdk = subprocess.run(["dpkg-query", "-Wf", "${Version}", "dpdk"], text=True, capture_output=True).stdout
    return {"cpu": cpu, "cpus": os.cpu_count(), "kernel": platform.release(), "dpdk": dpdk}
