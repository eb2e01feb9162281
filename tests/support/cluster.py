"""Two Podwire nodes with pods on one underlay, and machines with ordinary kernel VXLAN beside them."""
from support.netns import Fabric, Netns
from support.node import Node, podwire_peer
from support.process import wait_until

FLANNEL, LEARNER = 3, 4  # numbers of the kernel machines


def vtep_mac(number):
    return f"02:00:00:f1:00:{number:02x}"


class KernelMachine:
    """A machine on the underlay with the kernel's VXLAN; its "pod" addresses are its own."""

    def __init__(self, fabric, name, number):
        self.name, self.number = name, number
        self.ns = Netns(name)
        self.underlay4, self.underlay6 = f"192.168.100.{number}", f"fd00:100::{number}"
        fabric.attach(self.ns, "eth0", [f"{self.underlay4}/24", f"{self.underlay6}/64"])
        self.addresses = {}

    def address(self, family):
        return self.addresses[family]

    def close(self):
        self.ns.delete()


class FlannelMachine(KernelMachine):
    """As Flannel's vxlan backend sets a node up: one device without learning; for every other node an onlink route, a
    static neighbour and a static FDB entry."""

    def __init__(self, fabric, others):
        super().__init__(fabric, "flannel", FLANNEL)
        self.addresses = {4: "10.244.3.10", 6: "fd00:10:244:3::10"}
        ip = self.ns.ip
        ip(f"link add flannel.1 address {vtep_mac(FLANNEL)} mtu 1450 type vxlan id 1 dev eth0 local {self.underlay4} "
           "dstport 4789 nolearning")
        ip("link set flannel.1 up")
        ip(f"addr add {self.addresses[4]}/32 dev lo")
        ip(f"addr add {self.addresses[6]}/128 dev lo")
        for node in others:
            mac = vtep_mac(node.number)
            self.ns.run("bridge", "fdb", "append", mac, "dev", "flannel.1", "dst", node.underlay4)
            for gateway, prefix, source in ((f"10.244.{node.number}.0", 24, self.addresses[4]),
                                            (f"fd00:10:244:{node.number}::", 64, self.addresses[6])):
                ip(f"neigh replace {gateway} lladdr {mac} dev flannel.1 nud permanent")
                ip(f"route add {gateway}/{prefix} via {gateway} dev flannel.1 onlink src {source}")

    def peer(self):
        return {"name": "flannel", "address": self.underlay4, "mac": vtep_mac(FLANNEL),
                "domains": {"default": {"prefixes": ["10.244.3.0/24", "fd00:10:244:3::/64"]}}}


class LearningMachine(KernelMachine):
    """Plain L2 VXLAN in the domain lan: unknown destinations to every node, the rest learned."""

    def __init__(self, fabric, others):
        super().__init__(fabric, "learner", LEARNER)
        self.addresses = {4: "10.245.0.200", 6: "fd00:10:245::200"}
        ip = self.ns.ip
        ip(f"link add vxlan2 mtu 1450 type vxlan id 2 dev eth0 local {self.underlay4} dstport 4789 learning")
        for node in others:
            self.ns.run("bridge", "fdb", "append", "00:00:00:00:00:00", "dev", "vxlan2", "dst", node.underlay4)
        ip(f"addr add {self.addresses[4]}/24 dev vxlan2")
        ip(f"addr add {self.addresses[6]}/64 dev vxlan2 nodad")
        ip("link set vxlan2 up")

    def peer(self):
        return {"name": "learner", "address": self.underlay4, "domains": {"lan": {"prefixes": []}}}


class HostEnd:
    """A node itself, reached through its host interface."""

    def __init__(self, node):
        self.ns, self.node = node.ns, node

    def address(self, family):
        return self.node.underlay6 if family == 6 else self.node.underlay4


class Cluster:
    def __init__(self, directory, driver="af_xdp", underlay_family=4, kernel_machines=True, pods=2):
        self.fabric = Fabric()
        self.podwire = [Node(self.fabric, f"node{n}", n, directory / f"n{n}", driver=driver,
                             vxlan={"mac": vtep_mac(n)}) for n in (1, 2)]
        self.machines = []
        if kernel_machines:
            self.machines = [FlannelMachine(self.fabric, self.podwire), LearningMachine(self.fabric, self.podwire)]
            self.flannel, self.learner = self.machines
        for node, other in zip(self.podwire, reversed(self.podwire)):
            peer = podwire_peer(other.number, underlay_family)
            peer["mac"] = vtep_mac(other.number)
            node.config["peers"] = [peer] + [machine.peer() for machine in self.machines]
        self.node1, self.node2 = (node.start() for node in self.podwire)
        self.pods = {f"{node.name}-{letter}": node.pod(f"{node.name}-{letter}")
                     for node in self.podwire for letter in "abc"[:pods]}
        self.a, self.b = self.pods["node1-a"], self.pods["node2-a"]
        self.lan = {node.name: node.pod(f"{node.name}-lan", domain="lan") for node in self.podwire} if kernel_machines else {}
        wait_until(lambda: self.a.ns.ping(self.b.ipv4), 10, "pods of both nodes reach each other")

    def close(self):
        for node in self.podwire:
            node.close()
        for machine in self.machines:
            machine.close()
        self.fabric.delete()
