"""A real container runtime: podman with a conflist of version 1.0.0 and two containers that talk."""
import json
import os
import re
import shutil
import subprocess
import tarfile
import uuid

import pytest

from support.cni import CNI_BIN_DIR
from support.process import binary


class Podman:
    """podman with storage, configuration and plugins of its own."""

    def __init__(self, node, directory):
        self.directory = directory
        plugins, networks = directory / "plugins", directory / "networks"
        plugins.mkdir(parents=True)
        networks.mkdir()
        os.symlink(binary("podwire"), plugins / "podwire")
        plugin = {"type": "podwire", "socket": node.control_socket, "capabilities": {"ips": True, "mac": True}}
        (networks / "10-podwire.conflist").write_text(json.dumps(
            {"cniVersion": "1.0.0", "name": "podwire", "plugins": [plugin]}))
        (directory / "containers.conf").write_text(
            f'[network]\nnetwork_backend = "cni"\ncni_plugin_dirs = ["{plugins}", "{CNI_BIN_DIR}"]\n'
            f'network_config_dir = "{networks}"\n[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\n')
        self.names = []

    def __call__(self, *arguments, check=True, input=None):
        argv = ["podman", "--root", self.directory / "root", "--runroot", self.directory / "run", "--storage-driver", "vfs",
                "--runtime", "runc", *arguments]
        environment = {**os.environ, "CONTAINERS_CONF": str(self.directory / "containers.conf")}
        done = subprocess.run([str(a) for a in argv], env=environment, capture_output=True, text=True, timeout=120)
        if check:
            assert done.returncode == 0, f"{' '.join(map(str, arguments))}\n{done.stdout}{done.stderr}"
        return done

    def import_busybox(self):
        archive = self.directory / "busybox.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add("/usr/bin/busybox", "bin/busybox")
            for applet in ("sh", "ping", "sleep", "ip", "cat"):
                link = tarfile.TarInfo(f"bin/{applet}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(link)
            for name in ("etc", "proc", "sys", "dev", "tmp"):
                entry = tarfile.TarInfo(name)
                entry.type, entry.mode = tarfile.DIRTYPE, 0o755
                tar.addfile(entry)
        self("import", archive, "localhost/busybox")

    def run(self, *options):
        name = f"pwt{os.getpid()}-{uuid.uuid4().hex[:8]}"
        self.names.append(name)
        self("run", "-d", "--name", name, "--network", "podwire", "--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1000:1000",
             *options, "localhost/busybox", "/bin/sleep", "600")
        return name

    def addresses(self, name):
        text = self("exec", name, "/bin/ip", "addr", "show", "eth0").stdout
        return re.findall(r"inet6? ([0-9a-f.:]+)/\d+ scope global", text)

    def close(self):
        for name in self.names:
            self("rm", "-f", "-t", "0", name, check=False)
        for mount in open("/proc/mounts").read().splitlines():
            if str(self.directory) in mount:
                subprocess.run(["umount", "-l", mount.split()[1]], check=False)
        shutil.rmtree(self.directory, ignore_errors=True)


@pytest.fixture
def podman(node, short_directory):
    runtime = Podman(node, short_directory / "podman")
    runtime.import_busybox()
    yield runtime
    runtime.close()


def test_two_containers_ping_each_other_and_are_gone_cleanly(node, podman):
    first = podman.run()
    second = podman.run("--ip", "10.244.1.222", "--mac-address", "02:00:00:00:02:22")
    assert "10.244.1.222" in podman.addresses(second)
    assert "02:00:00:00:02:22" in podman("exec", second, "/bin/ip", "link", "show", "eth0").stdout
    assert node.attachments() == 2
    for source, target in ((first, second), (second, first)):
        for address in podman.addresses(target):
            output = podman("exec", source, "/bin/ping", "-c", "3", "-i", "0.2", "-W", "3", address).stdout
            assert " 0% packet loss" in output, output
    inspected = json.loads(podman("inspect", second).stdout)[0]["NetworkSettings"]["Networks"]["podwire"]
    assert inspected["IPAddress"] == "10.244.1.222"
    podman("stop", "-t", "0", first)
    assert node.attachments() == 1
    podman("start", first)
    assert " 0% packet loss" in podman("exec", first, "/bin/ping", "-c", "2", "-W", "3", "10.244.1.222").stdout
    for name in (first, second):
        podman("rm", "-f", "-t", "0", name)
    node.assert_empty()
