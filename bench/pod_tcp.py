"""What bench/pod-tcp.sh runs: sets every contender up, measures them in turn, prints medians. Root; Debian's python3."""
import argparse
import contextlib
import json
import os
import pathlib
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parents[1] / "tests"))

from support.cluster import Cluster
from support.engine import hugepages
from support.netns import Netns, run, sweep, veth
from support.process import wait_until
from support.traffic import iperf, iperf_server, wait_for_line


class Podwire:
    """Two pods of a node, or of two nodes joined by a veth underlay; everything as a user has it."""

    name = "podwire"

    def __init__(self, directory, cross_node):
        self.cluster = Cluster(directory, kernel_machines=False, pods=2)
        self.client = self.cluster.a
        self.server = self.cluster.b if cross_node else self.cluster.pods["node1-b"]
        self.address = self.server.ipv4

    def resume(self):
        pass  # the idle policy sees to it

    pause = resume

    def close(self):
        self.cluster.close()


class Pair:
    """Two plain namespaces with an address each."""

    def __init__(self):
        self.client, self.server = (type("Pod", (), {"ns": Netns(f"{self.name}-{end}")})() for end in "cs")
        self.address = "10.99.0.2"
        self.namespaces = [self.client.ns, self.server.ns]

    def address_up(self, device):
        for pod, host in ((self.client, 1), (self.server, 2)):
            pod.ns.ip(f"addr add 10.99.0.{host}/24 dev {device}")
            pod.ns.ip(f"link set {device} up")

    def resume(self):
        pass

    pause = resume

    def close(self):
        for ns in self.namespaces:
            ns.delete()


class Bridge(Pair):
    """Linux bridge + veth with all their offloads."""

    name = "bridge"

    def __init__(self):
        super().__init__()
        switch = Netns("bridge")
        self.namespaces.append(switch)
        switch.ip("link add br0 type bridge")
        switch.ip("link set br0 up")
        for index, pod in enumerate((self.client, self.server)):
            run("ip", "link", "add", "eth0", "netns", pod.ns.name, "mtu", 1450, "type", "veth",
                "peer", "name", f"pod{index}", "netns", switch.name, "mtu", 1450)
            switch.ip(f"link set pod{index} master br0 up")
        self.address_up("eth0")


class NetTap(Pair):
    """dpdk-testpmd forwarding between two of DPDK's own taps."""

    name = "net_tap"

    def __init__(self):
        super().__init__()
        switch = Netns("net_tap")
        self.namespaces.append(switch)
        memory = ["--no-huge", "-m", "512"] if hugepages() == "never" else ["--in-memory", "-m", "256"]
        cores = sorted(os.sched_getaffinity(0))[:2]
        self.testpmd = switch.popen(
            "stdbuf", "-oL", "dpdk-testpmd", "-l", ",".join(map(str, cores)), "--no-pci", *memory,
            "--vdev=net_tap0,iface=podc", "--vdev=net_tap1,iface=pods", "--", "--forward-mode=io", "--auto-start",
            "--total-num-mbufs=16384", stdin=subprocess.PIPE)
        # It opens its taps again by name until it forwards: only then may they move.
        wait_for_line(self.testpmd, "Press enter to exit")
        for pod, tap in ((self.client, "podc"), (self.server, "pods")):
            switch.ip(f"link set {tap} netns {pod.ns.name}")
            pod.ns.ip(f"link set {tap} name eth0 mtu 1450")
        self.address_up("eth0")
        wait_until(lambda: self.client.ns.ping(self.address), 5, "testpmd forwards")
        self.pause()

    def pause(self):
        self.testpmd.send_signal(signal.SIGSTOP)  # it polls: the others need its core

    def resume(self):
        self.testpmd.send_signal(signal.SIGCONT)

    def close(self):
        self.resume()
        super().close()


class KernelVxlan(Pair):
    """Bridge + vxlan device on each of two nodes, over a veth underlay without offloads, as Podwire's is."""

    name = "kernel_vxlan"

    def __init__(self):
        super().__init__()
        nodes = [Netns("kernel1"), Netns("kernel2")]
        self.namespaces += nodes
        veth(nodes[0], "under", nodes[1], "under")
        for index, (node, pod) in enumerate(zip(nodes, (self.client, self.server))):
            node.ip(f"addr add 192.168.100.{index + 1}/24 dev under")
            node.ip("link add br0 type bridge")
            node.ip(f"link add vxlan1 mtu 1450 type vxlan id 1 local 192.168.100.{index + 1} remote "
                    f"192.168.100.{2 - index} dev under dstport 4789")
            run("ip", "link", "add", "eth0", "netns", pod.ns.name, "mtu", 1450, "type", "veth",
                "peer", "name", "pod", "netns", node.name, "mtu", 1450)
            for device in ("br0", "vxlan1", "pod"):
                node.ip(f"link set {device} up")
            node.ip("link set vxlan1 master br0")
            node.ip("link set pod master br0")
        self.address_up("eth0")


def measure(contender, seconds):
    contender.resume()
    try:
        with iperf_server(contender.server.ns):
            return iperf(contender.client.ns, contender.address, seconds)["mbit_s"] / 1000
    finally:
        contender.pause()


def main():
    parser = argparse.ArgumentParser(prog="pod-tcp.sh")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--cross-node", action="store_true")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=3)
    options = parser.parse_args()
    if options.repeat < 1 or options.seconds < 1:
        parser.error("--repeat and --seconds must be at least 1")
    sweep()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="pwb", dir="/tmp"))
    runs = {}
    with contextlib.ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        contenders = []
        for make in ([KernelVxlan] if options.cross_node else [Bridge, NetTap]) + [
                lambda: Podwire(directory, options.cross_node)]:
            contenders.append(make())
            stack.callback(contenders[-1].close)
        contenders.reverse()
        for number in range(options.repeat):
            for contender in contenders:
                gbps = measure(contender, options.seconds)
                runs.setdefault(contender.name, []).append(round(gbps, 3))
                print(f"run {number + 1} of {options.repeat}: {contender.name} {gbps:.2f} Gbit/s", file=sys.stderr)
    medians = {name: round(statistics.median(values), 3) for name, values in runs.items()}
    result = {f"{name}_gbps": value for name, value in medians.items()}
    for name, value in medians.items():
        if name != "podwire":
            result[f"podwire_to_{name}"] = round(medians["podwire"] / value, 3) if value else None
    result |= {"cross_node": options.cross_node, "seconds": options.seconds, "runs": runs, "cpus": os.cpu_count()}
    if options.json:
        print(json.dumps(result))
        return
    for name, value in medians.items():
        ratio = "" if name == "podwire" else f"   podwire is {result[f'podwire_to_{name}']:.2f} of it"
        print(f"{name:14} {value:7.2f} Gbit/s{ratio}")


if __name__ == "__main__":
    main()
