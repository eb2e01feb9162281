"""The engine in a virtual machine that has two virtio network cards on its PCI bus, bound to a userspace driver. Their other
ends are taps of namespaces on this machine. The engine is asked over the serial console: by a script of Perl, which
every Debian has, on its own socket."""
import itertools
import json
import pathlib
import re
import subprocess

from support.process import binary, wait_until
from support.rpc import RpcError
from support.vm import Machine, boot_files

_PMDS = pathlib.Path("/usr/lib/x86_64-linux-gnu/dpdk/pmds-23.0")
_DRIVERS = [f"librte_{name}.so.23" for name in ("bus_pci", "bus_vdev", "mempool_ring", "net_virtio")]
_LIBRARIES = pathlib.Path("/lib/x86_64-linux-gnu")
_PERL = pathlib.Path("/usr/bin/perl")
_PERL_MODULES = pathlib.Path("/usr/lib/x86_64-linux-gnu/perl-base")
_SOCKET = "/tmp/engine.sock"
_CONFIG = {"socket": _SOCKET, "memory_mib": 96, "hugepages": "require", "mbufs": 8192, "jumbo_mbufs": 16, "workers": 1}
# Sends its arguments, one message a line, and prints the last reply.
_ASK = """use Socket; socket(S, AF_UNIX, SOCK_STREAM, 0) or die; connect(S, sockaddr_un("%s")) or die "connect: $!";
S->autoflush(1) if S->can("autoflush"); for (@ARGV) { syswrite(S, "$_\\n"); $_ = <S>; $last = $_ } print $last;
"""
CARDS = ("0000:00:03.0", "0000:00:04.0")
# Driver -> modules, whether the machine has an IOMMU.
BINDINGS = {"vfio-pci": (["irqbypass", "vfio", "vfio_virqfd", "vfio_iommu_type1", "vfio-pci-core", "vfio-pci"], True),
            "uio_pci_generic": (["uio", "uio_pci_generic"], False)}


def _libraries(paths):
    """Every shared library that these files need, where they look for it."""
    found = {}
    for path in paths:
        listed = subprocess.run(["ldd", path], text=True, capture_output=True, check=True).stdout
        for name, place in re.findall(r"(?m)^\s*(?:(\S+) => )?(/\S+) \(0x", listed):
            found[place] = pathlib.Path(place).read_bytes()
    return found


def _engine_files():
    """Entries of the initramfs: the engine, its libraries and drivers, Perl."""
    modules = [path for path in _PERL_MODULES.rglob("*") if path.is_file()]
    drivers = [_LIBRARIES / name for name in _DRIVERS]
    files = _libraries([binary("podwire-engine"), _PERL, *drivers])
    files |= {str(path): path.read_bytes() for path in [_PERL, *modules, *drivers]}
    files |= {"/engine": pathlib.Path(binary("podwire-engine")).read_bytes(), "/engine.json": json.dumps(_CONFIG).encode(),
              "/ask": (_ASK % _SOCKET).encode()}
    # As Debian has it: loaded from there they are the libraries that others have loaded already.
    links = {f"{_PMDS}/{path.name}.0": str(path).encode() for path in drivers}
    directories = sorted({str(parent) for path in [*files, *links] for parent in pathlib.Path(path).parents
                          if str(parent) != "/"})
    return [(path.lstrip("/"), mode, data) for mode, entries in
            ((0o040755, dict.fromkeys(directories, b"")), (0o100755, files), (0o120777, links))
            for path, data in entries.items()]


class PciGuest(Machine):
    """`taps`: (MAC of the card, descriptor of the tap) of each of the two cards. call() is any verb of the engine."""

    def __init__(self, directory, name, binding, taps):
        modules, self.iommu = BINDINGS[binding]
        self.binding = binding
        options = ",iommu_platform=on,disable-legacy=on" if self.iommu else ",disable-legacy=on"
        devices = ["-machine", "q35,kernel-irqchip=split"]
        if self.iommu:
            devices += ["-device", "intel-iommu,intremap=on"]
        for i, (mac, fd) in enumerate(taps):
            devices += ["-netdev", f"tap,id=net{i},fd={fd}",
                        "-device", f"virtio-net-pci,netdev=net{i},mac={mac},romfile=,addr={3 + i:x}.0{options}"]
        super().__init__(directory, name, boot_files(pathlib.Path(directory), modules, _engine_files()), 512, devices,
                         " hugepages=64" + (" intel_iommu=on" if self.iommu else ""), [fd for _, fd in taps])
        self._epochs = itertools.count(1)

    def start_engine(self):
        """Binds the cards as an administrator would, then starts the engine on them."""
        for card in CARDS:
            self.run(f"echo {self.binding} >/sys/bus/pci/devices/{card}/driver_override")
            self.run(f"echo {card} >/sys/bus/pci/drivers_probe")
        bound = self.run("ls -l " + " ".join(f"/sys/bus/pci/devices/{card}/driver" for card in CARDS))
        assert bound.count(f"drivers/{self.binding}") == len(CARDS), bound
        self.run("mkdir -p /var/run; chmod 755 /")  # DPDK loads no drivers from below a directory that others may write to
        self.run("/engine --config /engine.json >/tmp/engine.log 2>&1 & true")
        try:
            wait_until(lambda: "there" in self.run(f"[ -S {_SOCKET} ] && echo there; true"), 30, "the engine's socket")
        except AssertionError as error:
            raise AssertionError(f"{error}: {self.run('cat /tmp/engine.log')}") from None
        return self

    def call(self, method, params=None):
        hello = {"jsonrpc": "2.0", "id": 1, "method": "hello", "params": {"epoch": next(self._epochs)}}
        asked = {"jsonrpc": "2.0", "id": 2, "method": method, "params": params or {}}
        words = " ".join(f"'{json.dumps(one, separators=(',', ':'))}'" for one in (hello, asked))
        assert len(words) < 4000, "a line of the console has 4,095 characters"
        reply = json.loads(self.run(f"perl /ask {words}").strip().splitlines()[-1])
        if "error" in reply:
            raise RpcError(reply["error"])
        return reply["result"]

    def put(self, **nouns):
        return self.call("patch", {"put": nouns})
