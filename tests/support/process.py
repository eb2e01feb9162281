"""The programs under test: where they are, how they are started, stopped, killed and watched."""
import os
import pathlib
import signal
import socket
import subprocess
import time

REPO = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("PODWIRE_BUILD_DIR", REPO / "build"))
_PLACES = {
    "podwire-engine": "dataplane/podwire-engine",
    "podwired": "control/podwired",
    "podwirectl": "control/cli/podwirectl",
    "podwire": "cni-shim/podwire",
    "podwire-trafficgen": "bench/trafficgen/podwire-trafficgen",
}


def binary(name):
    path = BUILD / _PLACES[name]
    if not path.exists():
        raise RuntimeError(f"{path} is missing; build it first: ninja -C {BUILD}")
    return str(path)


def wait_until(condition, timeout, what):
    """Polls until `condition` is true and returns its value."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what}: not within {timeout} s")
        time.sleep(0.02)


def connectable(path):
    probe = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        probe.connect(str(path))
        return True
    except OSError:
        return False
    finally:
        probe.close()


class Daemon:
    """One daemon in a namespace, its output in a log file."""

    live = []  # conftest attaches these logs to a failing test

    def __init__(self, name, ns, argv, log):
        self.name = name
        self.ns = ns
        self.argv = [str(a) for a in argv]
        self.log = pathlib.Path(log)
        self.process = None

    @property
    def pid(self):
        return self.process.pid

    def start(self, socket_path, timeout=15):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(["ip", "netns", "exec", self.ns.name, *self.argv], stdout=log,
                                            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        if self not in Daemon.live:
            Daemon.live.append(self)

        def ready():
            if self.process.poll() is not None:
                raise AssertionError(f"{self.name} exited with {self.process.returncode}:\n{self.tail()}")
            return connectable(socket_path)
        wait_until(ready, timeout, f"{self.name} listening on {socket_path}")

    def running(self):
        return self.process is not None and self.process.poll() is None

    def stop(self, timeout=10):
        """SIGTERM; the exit status."""
        if self.running():
            self.process.terminate()
        return self.wait(timeout)

    def wait(self, timeout=10):
        try:
            return self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(f"{self.name} did not exit within {timeout} s\n{self.tail()}")

    def kill9(self):
        self.process.kill()
        self.process.wait()

    def forget(self):
        if self.running():
            self.kill9()
        if self in Daemon.live:
            Daemon.live.remove(self)

    def tail(self, lines=60):
        if not self.log.exists():
            return ""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-lines:])


def cpu_seconds(pid):
    """Processor time of all threads of a process."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def kill9(pid):
    os.kill(pid, signal.SIGKILL)


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False
