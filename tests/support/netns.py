"""Network namespaces and veth pairs for tests.

Names carry the pid of the test process (`pwt<pid>-<n>-<label>`), so parallel runs never meet and what a crashed run
left is recognised and swept by the next. Interfaces are created inside namespaces only, never in the machine's own.
"""
import ctypes
import itertools
import os
import re
import signal
import subprocess

_libc = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000
_counter = itertools.count(1)
_NAME = re.compile(r"^pwt(\d+)-")


def run(*argv, check=True, input=None, timeout=30):
    """Runs a command on the machine; the output comes back as text."""
    done = subprocess.run([str(a) for a in argv], input=input, capture_output=True, text=True, timeout=timeout)
    if check and done.returncode != 0:
        raise RuntimeError(f"{' '.join(map(str, argv))}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done


def sweep():
    """Removes namespaces whose test process is gone."""
    if not os.path.isdir("/run/netns"):
        return
    for name in os.listdir("/run/netns"):
        match = _NAME.match(name)
        if match and not os.path.exists(f"/proc/{match.group(1)}"):
            for pid in run("ip", "netns", "pids", name, check=False).stdout.split():
                os.kill(int(pid), signal.SIGKILL)
            run("ip", "netns", "del", name, check=False)


class Netns:
    """A network namespace. `with ns:` moves the calling thread into it (for opening sockets)."""

    def __init__(self, label="", ipv6=True):
        self.name = f"pwt{os.getpid()}-{next(_counter)}-{label}"[:40]
        self.path = f"/run/netns/{self.name}"
        self.children = []
        self._outer = []
        run("ip", "netns", "add", self.name)
        if not ipv6:
            self.sysctl("net/ipv6/conf/all/disable_ipv6", 1)
            self.sysctl("net/ipv6/conf/default/disable_ipv6", 1)
        else:
            # Addresses of tests are usable at once.
            self.sysctl("net/ipv6/conf/all/accept_dad", 0)
            self.sysctl("net/ipv6/conf/default/accept_dad", 0)
        self.ip("link set lo up")

    def __enter__(self):
        self._outer.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY))
        self._setns(self.path)
        return self

    def __exit__(self, *_):
        outer = self._outer.pop()
        if _libc.setns(outer, _CLONE_NEWNET) != 0:
            os._exit(70)  # nothing below would run where it believes to be
        os.close(outer)

    @staticmethod
    def _setns(path):
        fd = os.open(path, os.O_RDONLY)
        try:
            if _libc.setns(fd, _CLONE_NEWNET) != 0:
                raise OSError(ctypes.get_errno(), f"setns {path}")
        finally:
            os.close(fd)

    def sysctl(self, key, value):
        with self, open(f"/proc/sys/{key}", "w") as file:
            file.write(str(value))

    def ip(self, text, check=True):
        return run("ip", "-n", self.name, *text.split(), check=check)

    def run(self, *argv, check=True, input=None, timeout=30):
        return run("ip", "netns", "exec", self.name, *argv, check=check, input=input, timeout=timeout)

    def popen(self, *argv, **kwargs):
        """A process in the namespace, killed when the namespace is deleted."""
        kwargs.setdefault("stdout", subprocess.PIPE)
        kwargs.setdefault("stderr", subprocess.STDOUT)
        child = subprocess.Popen(["ip", "netns", "exec", self.name, *map(str, argv)], text=True, **kwargs)
        self.children.append(child)
        return child

    def nft(self, rules):
        self.run("nft", "-f", "-", input=rules)

    def ping(self, address, count=1, size=56, timeout=2, interval=0.2, df=False):
        """True when every echo came back."""
        argv = ["ping", "-n", "-q", "-c", count, "-W", timeout, "-i", interval, "-s", size]
        if df:
            argv += ["-M", "do"]
        done = self.run(*argv, address, check=False, timeout=timeout + count * interval + 20)
        return done.returncode == 0 and " 0% packet loss" in done.stdout

    def delete(self):
        for child in self.children:
            if child.poll() is None:
                child.kill()
                child.wait()
            for stream in (child.stdin, child.stdout, child.stderr):
                if stream:
                    stream.close()
        run("ip", "netns", "del", self.name, check=False)


def veth(a, a_name, b, b_name, mtu=1500, a_mac=None, b_mac=None):
    """A pair between two namespaces, up, with the offloads off that AF_PACKET and AF_XDP cannot take.

    Receive-side GRO needs no mention: veth has it only with an XDP program, which does without.
    """
    a_mac = ["address", a_mac] if a_mac else []
    b_mac = ["address", b_mac] if b_mac else []
    run("ip", "link", "add", a_name, "netns", a.name, "mtu", mtu, *a_mac, "type", "veth",
        "peer", "name", b_name, "netns", b.name, "mtu", mtu, *b_mac)
    for ns, name in ((a, a_name), (b, b_name)):
        ns.run("ethtool", "-K", name, "tx", "off", "tso", "off", "gso", "off")
        ns.ip(f"link set {name} up")


def link_mac(ns, name):
    return ns.ip(f"-o link show {name}").stdout.split("link/ether ")[1].split()[0]


class Fabric:
    """The underlay: a bridge in a namespace of its own, each attached namespace a machine on it."""

    def __init__(self):
        self.ns = Netns("fabric", ipv6=False)
        self.ns.ip("link add br0 type bridge")
        self.ns.ip("link set br0 up")
        self._ports = itertools.count(1)

    def attach(self, ns, name, addresses=(), mtu=1500):
        """Returns the name of the bridge's end."""
        port = f"port{next(self._ports)}"
        veth(ns, name, self.ns, port, mtu=mtu)
        self.ns.ip(f"link set {port} master br0")
        for address in addresses:
            ns.ip(f"addr add {address} dev {name}" + (" nodad" if ":" in address else ""))
        return port

    def delete(self):
        self.ns.delete()
