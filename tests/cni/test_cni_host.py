"""The node's own programs: they reach published ports, node ports and service addresses, by loopback's addresses too, over
TCP and UDP; they cannot take such a port, and a pod cannot have one that a program has."""
import errno
import json
import os
import socket

import pytest

from support.netns import Netns
from support.node import Node
from support.process import kill9, wait_until

DEFAULT_DOMAIN = {"masquerade": True}
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
ANY = {4: "0.0.0.0", 6: "::"}
LOOPBACK = {4: "127.0.0.1", 6: "::1"}
GATEWAY = {4: "10.244.1.1", 6: "fd00:10:244:1::1"}
SECOND = "192.168.100.21"

SERVICE = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  type: NodePort
  clusterIPs: [10.96.0.10, "fd00:10:96::10"]
  ports: [{name: http, port: 80, nodePort: 30080}, {name: dns, port: 53, nodePort: 30053, protocol: UDP}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-4, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}, {name: dns, port: 5353, protocol: UDP}]
endpoints: [{addresses: [%s]}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-6, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv6
ports: [{name: http, port: 8080}, {name: dns, port: 5353, protocol: UDP}]
endpoints: [{addresses: ["%s"]}]
"""


def published(*mappings):
    return {"portMappings": [{"hostPort": h, "containerPort": c, "protocol": p, **({"hostIP": ip} if ip else {})}
                             for h, c, p, ip in mappings]}


def open_socket(ns, kind, family):
    with ns:
        made = socket.socket(FAMILY[family], socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    made.settimeout(10)
    return made


def serve(ns, kind, family, port, address=None):
    server = open_socket(ns, kind, family)
    try:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((address or ANY[family], port))
        if kind == "tcp":
            server.listen()
    except OSError:
        server.close()
        raise
    return server


def asks(ns, kind, family, address, port, server):
    """A word each way between a program in `ns` and `server`; whom the server saw."""
    with open_socket(ns, kind, family) as client:
        client.connect((address, port))
        if kind == "udp":
            client.send(b"question")
            word, peer = server.recvfrom(100)
            server.sendto(b"answer", peer)
        else:
            connection, peer = server.accept()
            with connection:
                connection.settimeout(10)
                client.sendall(b"question")
                word = connection.recv(100)
                connection.sendall(b"answer")
        assert word == b"question" and client.recv(100) == b"answer"
        assert client.getpeername()[:2] == (address, port)
    return peer[0]


def node_address(node, family):
    return node.underlay4 if family == 4 else node.underlay6


def differences(node):
    return node.status()["differences"]


@pytest.fixture
def web(node, pod, tmp_path):
    """A service with cluster IPs and node ports, and its pod."""
    backend = pod("web")
    manifests = tmp_path / "web.yaml"
    manifests.write_text(SERVICE % (backend.ipv4, backend.ipv6))
    node.cli("service", "apply", "-f", str(manifests))
    yield backend
    node.cli("service", "delete", "shop/web")


@pytest.mark.parametrize("kind", ("tcp", "udp"))
@pytest.mark.parametrize("family", (4, 6))
def test_a_published_port_is_reached(node, pod, family, kind):
    p = pod("server", runtimeConfig=published((8080, 80, "tcp", None), (8080, 80, "udp", None)))
    own = node_address(node, family)
    with serve(p.ns, kind, family, 80) as server:
        for address in (LOOPBACK[family], own) + (("127.9.9.9",) if family == 4 else ()):
            assert asks(node.ns, kind, family, address, 8080, server) == own, "the pod sees the node"
    assert differences(node) == []


@pytest.mark.parametrize("kind, port, node_port, target", (("tcp", 80, 30080, 8080), ("udp", 53, 30053, 5353)))
@pytest.mark.parametrize("family", (4, 6))
def test_a_service_is_reached(node, web, family, kind, port, node_port, target):
    vip = {4: "10.96.0.10", 6: "fd00:10:96::10"}[family]
    with serve(web.ns, kind, family, target) as server:
        for address, number in ((vip, port), (node_address(node, family), node_port), (LOOPBACK[family], node_port)):
            assert asks(node.ns, kind, family, address, number, server) == GATEWAY[family]


def test_a_port_that_a_service_lacks_is_refused(node, web):
    with open_socket(node.ns, "tcp", 4) as client, pytest.raises(ConnectionRefusedError):
        client.connect(("10.96.0.10", 81))


def test_the_network_does_not_reach_loopback(node, pod, fabric):
    pod("server", runtimeConfig=published((8080, 80, "tcp", None)))
    neighbor = Netns("neighbor")
    try:
        fabric.attach(neighbor, "eth0", ["192.168.100.77/24"])
        neighbor.ip(f"route add 127.0.0.53/32 via {node.underlay4}", check=False)
        neighbor.sysctl("net/ipv4/conf/eth0/route_localnet", 1)
        neighbor.ip("route del local 127.0.0.0/8 dev lo table local", check=False)
        neighbor.ip(f"route replace 127.0.0.53/32 via {node.underlay4} dev eth0")
        with serve(node.ns, "udp", 4, 5300, "127.0.0.53") as server, open_socket(neighbor, "udp", 4) as client:
            server.settimeout(1)
            client.bind(("192.168.100.77", 0))
            client.sendto(b"x", ("127.0.0.53", 5300))
            with pytest.raises(TimeoutError):
                server.recvfrom(100)
    finally:
        neighbor.delete()


def test_a_held_port_is_nobody_elses(node, pod):
    p = pod("server", runtimeConfig=published((8080, 80, "tcp", None), (8053, 53, "udp", node.underlay4)))
    for kind, family, port, address in (("tcp", 4, 8080, None), ("tcp", 6, 8080, None), ("tcp", 4, 8080, "127.0.0.1"),
                                        ("udp", 4, 8053, None), ("udp", 4, 8053, node.underlay4)):
        with pytest.raises(OSError) as refused:
            serve(node.ns, kind, family, port, address)
        assert refused.value.errno == errno.EADDRINUSE, (kind, family, port, address)
    serve(node.ns, "udp", 4, 8053, "127.0.0.1").close()
    p.delete()
    serve(node.ns, "tcp", 4, 8080).close()


def test_a_port_that_a_program_has_is_refused_by_name(node, namespace, container):
    with serve(node.ns, "tcp", 4, 8080, "127.0.0.1"):
        config = node.config_of(runtimeConfig=published((9000, 90, "tcp", None), (8080, 80, "tcp", None)))
        status, output, _ = node.plugin("ADD", config, container_id=container, netns=namespace("refused").path)
    error = json.loads(output)
    assert status != 0 and error["code"] == 100
    assert "host port tcp *:8080 is taken: program " in error["msg"] and f"(pid {os.getpid()})" in error["msg"]
    serve(node.ns, "tcp", 4, 9000).close()  # nothing is left of it


def test_the_vxlan_port_is_refused(node, namespace, container):
    config = node.config_of(runtimeConfig=published((4789, 53, "udp", None)))
    status, output, _ = node.plugin("ADD", config, container_id=container, netns=namespace("vxlan").path)
    assert status != 0 and "carries this node's VXLAN" in json.loads(output)["msg"]


def test_a_node_port_is_its_services(node, web, namespace, container, tmp_path):
    config = node.config_of(runtimeConfig=published((30080, 80, "tcp", None)))
    status, output, _ = node.plugin("ADD", config, container_id=container, netns=namespace("second").path)
    error = json.loads(output)
    assert status != 0 and error["code"] == 100
    assert "host port tcp *:30080 is taken: service shop/web:http has it" in error["msg"]


def test_a_node_port_that_a_program_has_is_refused(node, pod, tmp_path):
    manifests = tmp_path / "web.yaml"
    manifests.write_text(SERVICE % ("10.244.1.200", "fd00:10:244:1::200"))
    with serve(node.ns, "tcp", 4, 30080):
        done = node.cli("service", "apply", "-f", str(manifests), check=False)
    assert done.returncode != 0 and "host port tcp *:30080 is taken: program " in done.stderr
    assert "shop/web" not in node.cli("service", "list").stdout


def test_restarts_change_nothing(node, pod, web):
    p = pod("server", runtimeConfig=published((8080, 80, "tcp", None)))
    with serve(p.ns, "tcp", 4, 80) as server, serve(web.ns, "tcp", 4, 8080) as backend:
        def all_are_reached():
            asks(node.ns, "tcp", 4, "127.0.0.1", 8080, server)
            asks(node.ns, "tcp", 4, "10.96.0.10", 80, backend)
            with pytest.raises(OSError):
                serve(node.ns, "tcp", 4, 8080)
        all_are_reached()
        node.daemon.kill9()
        asks(node.ns, "tcp", 4, "127.0.0.1", 8080, server)  # without podwired
        node.start()
        all_are_reached()
        assert differences(node) == []
        engine = node.engine_pid
        kill9(engine)
        wait_until(lambda: node.engine_ready() and node.engine_pid != engine, 20, "another engine")
        all_are_reached()


def test_a_table_that_somebody_removed_is_told_and_put_back(node, pod):
    p = pod("server", runtimeConfig=published((8080, 80, "tcp", None)))
    node.ns.nft("delete table inet podwire_host")
    assert any("nftables table inet podwire_host" in text for text in differences(node))
    assert "podwire_host" in node.cli("status", check=False).stdout
    node.cli("reconcile")
    assert differences(node) == []
    with serve(p.ns, "tcp", 4, 80) as server:
        asks(node.ns, "tcp", 4, "127.0.0.1", 8080, server)


def test_two_addresses_have_a_port_each_and_leaving_ends_it(fabric, directory):
    node = Node(fabric, "two", 5, directory / "two", pod_sockets={"directory": f"{directory}/two-pods"})
    node.config["domains"][0].update({"masquerade": True, "host_access": False})
    node.ns.ip(f"addr add {SECOND}/24 dev eth0")
    try:
        node.start()
        first, second = (node.pod(name, runtimeConfig=published((8080, 80, "tcp", address)))
                         for name, address in (("first", node.underlay4), ("second", SECOND)))
        for p, address in ((first, node.underlay4), (second, SECOND)):
            with serve(p.ns, "tcp", 4, 80) as server:
                assert asks(node.ns, "tcp", 4, address, 8080, server) == address
        with open_socket(node.ns, "tcp", 4) as client, pytest.raises(ConnectionRefusedError):
            client.connect(("127.0.0.1", 8080))
        assert differences(node) == []
        for p in (first, second):
            p.delete()
        node.cli("leave", "--yes")
        node.daemon.wait()
        assert "podwire_host" not in node.ns.run("nft", "list", "tables").stdout
        assert "169.254" not in node.ns.ip("route").stdout
    finally:
        node.close()
