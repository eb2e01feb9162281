"""A domain with established connections in masses, a pod that begins connections as fast as it can, and two bystanders."""
import socket
import threading
import time

from lab import podwire, stateful_costs, traffic
from support.netns import Netns, link_mac, veth

FLOODER, CLIENT, SERVER = 10, 11, 12  # port ids
FLOODER_IP, FLOODER_MAC = "10.244.1.3", "02:00:00:00:01:03"
BYSTANDERS = {"client": (CLIENT, "10.244.1.4"), "server": (SERVER, "10.244.1.5")}
_TCP_PORT = 8080


class Bystander:
    """A namespace with a kernel of its own behind a port of the engine."""

    def __init__(self, name, switch):
        self.port, self.address = BYSTANDERS[name]
        self.name, self.ns = name, Netns(name, ipv6=False)
        self.device = f"pod-{name}"
        veth(switch, self.device, self.ns, "eth0")
        self.mac = link_mac(self.ns, "eth0")
        self.ns.ip(f"addr add {self.address}/32 dev eth0")
        self.ns.ip("route add 10.244.0.1 dev eth0")
        self.ns.ip("route add default via 10.244.0.1")
        self.ns.ip(f"neigh replace 10.244.0.1 lladdr {traffic.GATEWAY_MAC} dev eth0")

    def objects(self):
        return {"ports": [podwire.port(self.port, self.name, f"net_af_packet{self.port},iface={self.device}")],
                "endpoints": [{"id": self.port, "name": self.name, "domain": podwire.DOMAIN, "port": self.port,
                               "mac": self.mac, "addresses": [self.address]}]}


class Server:
    """Answers every byte with itself."""

    def __init__(self, pod):
        with pod.ns:
            self.listener = socket.create_server((pod.address, _TCP_PORT), backlog=512)
        self.listener.settimeout(0.2)
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self._serve, daemon=True)
        self.thread.start()

    def _serve(self):
        while not self.stop.is_set():
            try:
                client, _ = self.listener.accept()
            except TimeoutError:
                continue
            threading.Thread(target=self._answer, args=[client], daemon=True).start()

    @staticmethod
    def _answer(client):
        with client:
            try:
                while data := client.recv(64):
                    client.sendall(data)
            except OSError:
                pass

    def close(self):
        self.stop.set()
        self.thread.join()
        self.listener.close()


def connect(pod, to, timeout=3):
    with pod.ns:
        return socket.create_connection((to.address, _TCP_PORT), timeout=timeout)


def echoes(connection):
    connection.sendall(b"x")
    return connection.recv(1) == b"x"


def open_connections(client, server, count):
    """Milliseconds that each of `count` took, one after another, with one byte there and back; None: it failed."""
    took = []
    for _ in range(count):
        began = time.monotonic()
        try:
            with connect(client, server) as connection:
                took.append((time.monotonic() - began) * 1000 if echoes(connection) else None)
        except OSError:
            took.append(None)
    return took


def flood_frames(path, flows):
    """`flows` first packets of as many connections: plain's frames from another pod, which never come a second time soon."""
    def frames():
        template = traffic.Template(64, pod=(FLOODER_IP, FLOODER_MAC))
        base = int.from_bytes(socket.inet_aton("10.244.2.2"), "big")
        for i in range(flows):
            yield template.make(base + i % traffic.REMOTE_PODS, 1024 + i // traffic.REMOTE_PODS)
    traffic.write_pcap(path, frames())
    return path


class FlowFlood(podwire.Podwire):
    """established() connections of the source; flood(True) lets the flooder begin."""

    programs = {"flow-flood": (lambda cell, directory: _program(cell, directory), 1)}

    def __init__(self, ns, directory, cell, march, flood_flows):
        self.bystanders = {name: Bystander(name, ns) for name in BYSTANDERS}
        played = flood_frames(directory / "flood.pcap", flood_flows)
        self.flooder = {"ports": [podwire.port(FLOODER, "flooder", f"net_pcap{FLOODER},rx_pcap={played},infinite_rx=1")],
                        "endpoints": [{"id": FLOODER, "name": "flooder", "domain": podwire.DOMAIN, "port": FLOODER,
                                       "mac": FLOODER_MAC, "addresses": [FLOODER_IP]}]}
        self.spare_mbufs = flood_flows + 8192
        try:
            super().__init__("podwire", ns, directory, cell, march)
            for pod in self.bystanders.values():
                self.engine.put(**pod.objects())
        except BaseException:
            self.close_bystanders()
            raise

    def options(self, cell):
        return {"max_flows": 1 << (cell.flows + (1 << 18)).bit_length()}

    def flood(self, on):
        if on:
            self.engine.put(**self.flooder)
        else:
            self.engine.delete(ports=[FLOODER], endpoints=[FLOODER])

    def of_port(self, name):
        return self.engine.port_stats(name)

    def close_bystanders(self):
        for pod in self.bystanders.values():
            pod.ns.delete()

    def close(self):
        super().close()
        self.close_bystanders()


def _program(cell, directory):
    objects = podwire.encap(cell, directory, stateful=True)
    next(port for port in objects["ports"] if port["id"] == podwire.SOURCE)["flow_limit"] = 1 << 24
    return stateful_costs.answered(objects, cell, "vxlan")
