"""A container runtime's picture, by CNI and podwirectl alone: pods reach a machine outside, which sees the node; that machine
and other pods reach a published port, the pod itself included; a service leads to its endpoints, and refuses without."""
import socket

import pytest

from support.netns import Netns

ANY = {4: "0.0.0.0", 6: "::"}
FAMILY = {4: socket.AF_INET, 6: socket.AF_INET6}
OUTSIDE = {4: "192.168.100.200", 6: "fd00:100::200"}


def listen(ns, family, port):
    with ns:
        server = socket.socket(FAMILY[family], socket.SOCK_STREAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((ANY[family], port))
    server.listen()
    server.settimeout(10)
    return server


def connect(ns, family, address, port):
    with ns:
        client = socket.socket(FAMILY[family], socket.SOCK_STREAM)
    client.settimeout(10)
    client.connect((address, port))
    return client


def exchange(client, server):
    """A word each way; whom the server saw."""
    peer, (address, *_) = server.accept()
    with client, peer:
        peer.settimeout(10)
        client.sendall(b"question")
        assert peer.recv(100) == b"question"
        peer.sendall(b"answer")
        assert client.recv(100) == b"answer"
    return address


@pytest.fixture(scope="module")
def node(fabric, directory):
    from conftest import CniNode
    node = CniNode(fabric, "translation", 1, directory)
    node.config["domains"][0]["masquerade"] = True
    node.start()
    yield node
    node.close()


@pytest.fixture(scope="module")
def outside(fabric):
    ns = Netns("outside")
    fabric.attach(ns, "eth0", [f"{OUTSIDE[4]}/24", f"{OUTSIDE[6]}/64"])
    yield ns
    ns.delete()


def node_address(node, family):
    return node.underlay4 if family == 4 else node.underlay6


@pytest.mark.parametrize("family", (4, 6))
def test_a_pod_is_the_node_to_the_world_outside(node, pod, outside, family):
    p = pod("client")
    with listen(outside, family, 7000) as server:
        assert exchange(connect(p.ns, family, OUTSIDE[family], 7000), server) == node_address(node, family)


@pytest.mark.parametrize("family", (4, 6))
def test_a_published_port_is_reached_from_everywhere(node, pod, outside, family):
    p = pod("server", runtimeConfig={"portMappings": [{"hostPort": 8080, "containerPort": 80}]})
    other = pod("other")
    address = node_address(node, family)
    with listen(p.ns, family, 80) as server:
        assert exchange(connect(outside, family, address, 8080), server) == OUTSIDE[family]
        assert exchange(connect(other.ns, family, address, 8080), server) == other.address(family)
        exchange(connect(p.ns, family, address, 8080), server)


def test_a_published_port_follows_to_the_next_pod(node, pod, outside):
    wanted = {"portMappings": [{"hostPort": 8080, "containerPort": 80}]}
    first = pod("first", runtimeConfig=wanted)
    with listen(first.ns, 4, 80) as server:
        exchange(connect(outside, 4, node.underlay4, 8080), server)
    first.delete()
    second = pod("second", runtimeConfig=wanted)
    with listen(second.ns, 4, 80) as server:
        exchange(connect(outside, 4, node.underlay4, 8080), server)


def test_a_service_leads_to_its_endpoints_and_refuses_without(node, pod, outside, tmp_path):
    server_pod, client = pod("server"), pod("client")
    manifests = tmp_path / "web.yaml"
    service = """
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {type: NodePort, clusterIP: 10.96.0.10, ports: [{name: http, port: 80, nodePort: 30080}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [%s]
"""
    try:
        manifests.write_text(service % f"{{addresses: [{server_pod.ipv4}]}}")
        node.cli("service", "apply", "-f", str(manifests))
        with listen(server_pod.ns, 4, 8080) as server:
            assert exchange(connect(client.ns, 4, "10.96.0.10", 80), server) == client.ipv4
            assert exchange(connect(outside, 4, node.underlay4, 30080), server) != OUTSIDE[4], "policy Cluster hides clients"
        manifests.write_text(service % "")
        node.cli("service", "apply", "-f", str(manifests))
        for ns, address, port in ((client.ns, "10.96.0.10", 80), (outside, node.underlay4, 30080)):
            with pytest.raises(ConnectionRefusedError):
                connect(ns, 4, address, port)
    finally:
        node.cli("service", "delete", "shop/web")
