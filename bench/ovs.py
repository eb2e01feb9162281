"""OVS-DPDK of Debian as a peer to measure against: database, switch and sockets in a directory of its own."""
import os
import pathlib
import subprocess
import time

VSWITCHD = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk"
SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"


class Ovs:
    """A netdev bridge `br0` whose one PMD thread has `cpu`. `ns`: the namespace it runs in."""

    def __init__(self, ns, directory, cpu, other_cpu):
        self.ns = ns
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.environment = dict(os.environ, **{name: str(self.directory) for name in
                                               ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR")})
        self.processes = []
        try:
            self._start(cpu, other_cpu)
        except Exception:
            self.close()
            raise

    def _start(self, cpu, other_cpu):
        database = self.directory / "conf.db"
        self.run("ovsdb-tool", "create", database, SCHEMA)
        self.spawn("ovsdb-server", database, f"--remote=punix:{self.directory}/db.sock", "-vconsole:off",
                   "-vsyslog:off", f"--log-file={self.directory}/ovsdb.log")
        self.wait(lambda: (self.directory / "db.sock").exists(), "ovsdb-server's socket")
        self.vsctl("--no-wait", "init")
        self.vsctl("--no-wait", "set", "Open_vSwitch", ".", "other_config:dpdk-init=true",
                   f"other_config:dpdk-lcore-mask={1 << other_cpu:#x}", f"other_config:pmd-cpu-mask={1 << cpu:#x}",
                   'other_config:dpdk-extra="--no-pci --in-memory --no-telemetry"', "other_config:vhost-sock-dir=.")
        self.spawn(VSWITCHD, f"unix:{self.directory}/db.sock", f"--pidfile={self.directory}/vswitchd.pid",
                   f"--log-file={self.directory}/vswitchd.log", f"--unixctl={self.directory}/vswitchd.ctl",
                   "-vconsole:off", "-vsyslog:off")
        self.wait(lambda: (self.directory / "vswitchd.ctl").exists(), "ovs-vswitchd's socket")
        self.vsctl("add-br", "br0", "--", "set", "bridge", "br0", "datapath_type=netdev", "fail-mode=secure")

    def run(self, *argv, timeout=60):
        done = subprocess.run(["ip", "netns", "exec", self.ns.name, *map(str, argv)], env=self.environment, text=True,
                              capture_output=True, timeout=timeout)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(map(str, argv))}: exit {done.returncode}: {done.stderr or done.stdout}")
        return done.stdout

    def spawn(self, *argv):
        self.processes.append(subprocess.Popen(
            ["ip", "netns", "exec", self.ns.name, *map(str, argv)], env=self.environment, stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))

    def wait(self, condition, what, timeout=60):
        deadline = time.monotonic() + timeout
        while not condition():
            if any(p.poll() is not None for p in self.processes):
                raise RuntimeError(f"waiting for {what}: a daemon of OVS ended; see {self.directory}/vswitchd.log")
            if time.monotonic() > deadline:
                raise RuntimeError(f"waiting for {what}: not within {timeout} s")
            time.sleep(0.02)

    def vsctl(self, *argv):
        return self.run("ovs-vsctl", f"--db=unix:{self.directory}/db.sock", "--timeout=30", *argv)

    def add_port(self, name, *settings):
        self.vsctl("add-port", "br0", name, "--", "set", "Interface", name, *settings)
        error = self.vsctl("get", "Interface", name, "error").strip()
        if error != "[]":
            raise RuntimeError(f"OVS port {name}: {error}")

    def join(self, a, b):
        """Frames of a to b and of b to a."""
        for source, sink in ((a, b), (b, a)):
            self.run("ovs-ofctl", "add-flow", f"{self.directory}/br0.mgmt", f"in_port={source},actions=output:{sink}")

    def close(self):
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
