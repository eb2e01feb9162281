"""A real virtual machine: QEMU with Debian's cloud kernel and an initramfs of busybox, made by the test. KVM is used where
it boots, else QEMU translates (TCG). Vm's network card is a vhost-user one that the engine serves; support/pci_guest.py
has one in which the engine runs."""
import gzip
import itertools
import os
import pathlib
import re
import select
import shutil
import signal
import subprocess
import time

from support.netns import run

CACHE = pathlib.Path(os.environ.get("PODWIRE_TEST_CACHE", "/var/cache/podwire-tests"))
META = "linux-image-cloud-amd64"
MODULES = ["virtio_ring", "virtio", "virtio_pci_legacy_dev", "virtio_pci_modern_dev", "virtio_pci", "failover",
           "net_failover", "virtio_net"]
INIT = """#!/bin/sh
/bin/busybox mkdir -p /proc /sys /dev /tmp /bin /sbin
/bin/busybox --install -s /bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs dev /dev
for module in {modules}; do insmod /modules/$module.ko; done
ip link set lo up
exec </dev/ttyS0 >/dev/ttyS0 2>&1
stty -echo
echo vm-is-ready
while read -r line; do eval "$line" </dev/null; done
"""
_commands = itertools.count(1)


def kernel_package():
    found = re.search(r"Depends: (linux-image-\S+)", run("apt-cache", "depends", META, check=False).stdout)
    return found and found[1]


def download_kernel():
    """Directory with boot/ and lib/modules/ of Debian's cloud kernel: unpacked, not installed (that would rebuild the
    machine's own initramfs)."""
    CACHE.mkdir(parents=True, exist_ok=True)
    for done in sorted(CACHE.glob("kernel-*/complete")):
        return done.parent
    package = kernel_package()
    if not package:  # fresh images have no package index
        run("apt-get", "update", timeout=120)
        package = kernel_package()
    assert package, f"apt knows no {META}"
    target = CACHE / f"kernel-{package}"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    subprocess.run(["apt-get", "download", package], cwd=target, check=True, capture_output=True, timeout=120)
    run("dpkg-deb", "-x", next(target.glob("*.deb")), target)
    next(target.glob("*.deb")).unlink()
    (target / "complete").touch()
    return target


def cpio(entries):
    """A newc archive of (path, mode, bytes)."""
    out = bytearray()
    for number, (path, mode, data) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        name = path.encode() + b"\0"
        fields = (number, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name), 0)
        out += b"070701" + b"".join(b"%08X" % field for field in fields) + name
        out += bytes(-len(out) % 4) + data
        out += bytes(-len(out) % 4)
    return bytes(out)


def boot_files(directory, modules=MODULES, more=()):
    """(kernel, initramfs in the directory); `modules` are loaded in this order, `more` are further entries of the archive."""
    root = download_kernel()
    entries = [(directory, 0o040755, b"") for directory in ("bin", "modules", "dev")]
    entries += [("bin/busybox", 0o100755, pathlib.Path("/usr/bin/busybox").read_bytes()),
                ("bin/sh", 0o120777, b"busybox"),
                ("init", 0o100755, INIT.format(modules=" ".join(modules)).encode())]
    for module in modules:
        entries.append((f"modules/{module}.ko", 0o100644, next(root.rglob(f"{module}.ko")).read_bytes()))
    entries += more
    initramfs = directory / "initramfs.gz"
    initramfs.write_bytes(gzip.compress(cpio(entries), 1))
    return next(root.glob("boot/vmlinuz-*")), initramfs


class Machine:
    """run() is its shell on the serial console. `files`: what boot_files() returns; `devices`: QEMU's arguments; `fds`:
    descriptors that they name."""

    working = None  # the accelerator that booted in this session

    def __init__(self, directory, name, files, memory_mib, devices, kernel_options="", fds=()):
        self.directory, self.name = pathlib.Path(directory), name
        self.log = self.directory / f"{name}.console"
        self.fds = fds
        kernel, initramfs = files
        self.argv = ["-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-m", memory_mib,
                     "-kernel", kernel, "-initrd", initramfs,
                     "-append", "console=ttyS0 quiet panic=-1 mitigations=off no_timer_check" + kernel_options,
                     "-chardev", "stdio,id=console,signal=off", "-serial", "chardev:console", *devices]
        self.process = None
        self.seen = ""

    def start(self, timeout=60):
        """Boots to the shell: with KVM if that comes up, else without."""
        attempts = [Machine.working] if Machine.working else ["kvm", "tcg"] if os.path.exists("/dev/kvm") else ["tcg"]
        for accelerator in attempts:
            # Nested KVM may exist and hang; a kernel that boots has said so by then.
            limit = 8 if accelerator == "kvm" and not Machine.working else timeout
            if self.boot(accelerator, limit):
                Machine.working = accelerator
                return self
        raise AssertionError(f"{self.name} did not boot with {attempts}:\n{self.seen[-3000:]}\n"
                             + self.log.read_text()[-1000:])

    def boot(self, accelerator, timeout):
        self.seen = ""
        argv = ["qemu-system-x86_64", "-accel", accelerator, "-cpu", "max", *self.argv]
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([str(a) for a in argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                                            stderr=log, pass_fds=self.fds)
        if self.wait_for("vm-is-ready\n", timeout):
            return True
        self.seen += f"\n(QEMU's exit status: {self.process.poll()})"
        self.kill()
        return False

    def send(self, line):
        self.process.stdin.write(line.encode() + b"\n")
        self.process.stdin.flush()

    def wait_for(self, pattern, timeout):
        deadline = time.monotonic() + timeout
        while not re.search(pattern, self.seen):
            ready, _, _ = select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))
            data = os.read(self.process.stdout.fileno(), 65536) if ready else b""
            if not data:
                return False
            self.seen += data.decode(errors="replace").replace("\r", "")
        return True

    def run(self, command, timeout=30, check=True):
        """What the command prints."""
        self.seen = ""
        number = next(_commands)
        self.send(f"{command}; echo status-{number}-$?-")
        if not self.wait_for(rf"status-{number}-(\d+)-", timeout):
            raise AssertionError(f"{self.name}: {command!r} did not end within {timeout} s:\n{self.seen[-2000:]}")
        output, status = re.search(rf"(?s)^(.*?)status-{number}-(\d+)-", self.seen).groups()
        if check and status != "0":
            raise AssertionError(f"{self.name}: {command!r} failed with {status}:\n{output}")
        return output

    def kill(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        if self.process:
            self.process.wait()
            self.process.stdin.close()
            self.process.stdout.close()
            self.process = None


class Vm(Machine):
    """One with a vhost-user card. `socket_server`: QEMU listens and the engine connects. `iommu`: the machine has one,
    behind which the card is."""

    def __init__(self, directory, name, socket, mac, socket_server=False, memory_mib=256, iommu=False):
        # Strict: what is unmapped is taken back by itself, and not now and then everything with it.
        kernel_options = " intel_iommu=on iommu.strict=1" if iommu else ""
        # Only a card behind a port has address translation services: by these it hears of what is taken back. Without
        # KVM nobody asks where interrupts are delivered from; with it, remapping needs them outside of the kernel.
        machine, bus, options = ("q35,kernel-irqchip=split", ",bus=port0", ",iommu_platform=on,ats=on,disable-legacy=on") \
            if iommu else ("q35", "", "")
        units = ["-device", "intel-iommu,intremap=on,device-iotlb=on", "-device", "pcie-root-port,id=port0"] if iommu else []
        role = "server=on,wait=off" if socket_server else "reconnect=1"
        super().__init__(directory, name, boot_files(pathlib.Path(directory)), memory_mib, [
            "-object", f"memory-backend-memfd,id=memory,size={memory_mib}M,share=on",
            "-machine", f"{machine},memory-backend=memory", *units,
            "-chardev", f"socket,id=port,path={socket},{role}",
            "-netdev", "vhost-user,id=net,chardev=port",
            # QEMU 7.2 without KVM crashes when it polls a vhost device's MSI-X vector of configuration changes.
            # Behind an IOMMU a larger ring would lie in pieces.
            "-device", f"virtio-net-pci,netdev=net,mac={mac},romfile=,vectors=0,rx_queue_size={256 if iommu else 1024}"
                       f"{bus}{options}"],
            kernel_options)
