"""Published ports (portMappings): what they are in the engine, whom they exclude, and that they go with their pod."""
import json

from support.process import kill9, wait_until

DEFAULT_DOMAIN = {"masquerade": True}  # which implies that connections are tracked


def mapping(host_port, container_port=80, protocol="tcp", host_ip=None):
    entry = {"hostPort": host_port, "containerPort": container_port, "protocol": protocol}
    return entry if host_ip is None else {**entry, "hostIP": host_ip}


def published(*mappings):
    return {"portMappings": list(mappings)}


def services(node):
    return {s["name"]: s for s in node.engine_call("dump", {"noun": "services"})["objects"]}


HOST = {"169.254.112.1", "fd70:6f64:7769:7265::1"}  # how the node's own programs ask for ports of all its addresses


def frontends(service, from_host=False):
    return [f for f in service["frontends"] if f.get("from_host", False) == from_host]


def test_a_published_port_is_a_service_until_del(node, pod):
    p = pod("web", runtimeConfig=published(mapping(8080), mapping(8053, 53, "udp")))
    assert "portMappings" not in json.dumps(p.result), "the result says nothing of them"
    found = services(node)
    assert len(found) == 2
    web = next(s for name, s in found.items() if name.endswith("tcp *:8080"))
    own = {(f["domain"] == 1, f["address"], f["port"]) for f in frontends(web)}
    assert own == {(outside, address, 8080) for outside in (True, False) for address in (node.underlay4, node.underlay6)}
    assert {(f["domain"], f["address"], f["port"]) for f in frontends(web, True)} == {(1, a, 8080) for a in HOST}
    assert {(b["address"], b["port"]) for b in web["backends"]} == {(p.ipv4, 80), (p.ipv6, 80)}
    dns = next(s for name, s in found.items() if name.endswith("udp *:8053"))
    assert {f["protocol"] for f in dns["frontends"]} == {"udp"}
    p.check()
    p.delete()
    assert services(node) == {}


def test_a_taken_port_names_its_pod(node, pod, namespace, container):
    pod("first", runtimeConfig=published(mapping(8080)), args={"cni": {"K8S_POD_NAMESPACE": "shop", "K8S_POD_NAME": "web-0"}})
    for wanted in (mapping(8080), mapping(8080, host_ip=node.underlay4), mapping(8080, host_ip="0.0.0.0")):
        config = node.config_of(runtimeConfig=published(mapping(9000), wanted))
        status, output, _ = node.plugin("ADD", config, container_id=container, netns=namespace("second").path)
        error = json.loads(output)
        assert status != 0 and error["code"] == 100
        assert "is taken: pod shop/web-0" in error["msg"]
    assert node.attachments() == 1 and len(services(node)) == 1, "the refused ADD left nothing"
    pod("third", runtimeConfig=published(mapping(8080, protocol="udp"), mapping(9000)))


def test_a_host_ip_is_one_of_the_nodes(node, pod, namespace, container):
    p = pod("web", runtimeConfig=published(mapping(8080, host_ip=node.underlay6)))
    web, = services(node).values()
    assert {f["address"] for f in frontends(web)} == {node.underlay6}
    assert [f["address"] for f in frontends(web, True)] == ["fd70:6f64:7769:7265::2"]
    assert [b["address"] for b in web["backends"]] == [p.ipv6]
    config = node.config_of(runtimeConfig=published(mapping(8081, host_ip="192.0.2.1")))
    status, output, _ = node.plugin("ADD", config, container_id=container, netns=namespace("other").path)
    error = json.loads(output)
    assert status != 0 and error["code"] == 7
    assert "this node does not have that address" in error["msg"] and node.underlay4 in error["msg"]


def test_a_stateless_domain_says_what_to_set(node, namespace, container):
    config = node.config_of(domain="lan", runtimeConfig=published(mapping(8080)))
    status, output, _ = node.plugin("ADD", config, container_id=container, netns=namespace("flat").path)
    error = json.loads(output)
    assert status != 0 and error["code"] == 7
    assert 'domain "lan" is not stateful' in error["msg"] and '"stateful": true' in error["msg"]


def test_port_show_tells_them(node, pod):
    p = pod("web", runtimeConfig=published(mapping(8080, 80), mapping(8443, 443, host_ip=node.underlay4)))
    shown = json.loads(node.cli("port", "show", p.container_id[:12], "--json").stdout)["ports"][0]["published"]
    assert shown == [{"host_ip": "all", "host_port": 8080, "container_port": 80, "protocol": "tcp"},
                     {"host_ip": node.underlay4, "host_port": 8443, "container_port": 443, "protocol": "tcp"}]
    assert "HOST PORT" in node.cli("port", "show", p.container_id[:12]).stdout


def test_a_new_engine_gets_them_again(node, pod):
    pod("web", runtimeConfig=published(mapping(8080)))
    before = services(node)
    engine = node.engine_pid
    kill9(engine)
    wait_until(lambda: node.engine_ready() and node.engine_pid != engine, 20, "another engine")
    assert services(node) == before


def test_services_by_podwirectl(node, tmp_path):
    manifests = tmp_path / "web.yaml"
    manifests.write_text("""
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec:
  type: NodePort
  clusterIP: 10.96.0.10
  ports: [{name: http, port: 80, targetPort: 8080, nodePort: 30080}]
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.244.1.200], conditions: {ready: true}}]
""")
    assert "Service shop/web created" in node.cli("service", "apply", "-f", str(manifests)).stdout
    web = services(node)["shop/web:http"]
    assert {(f["address"], f["port"]) for f in frontends(web, True)} == {("10.96.0.10", 80), *((a, 30080) for a in HOST)}
    assert {(f["domain"] == 1, f.get("address"), f["port"]) for f in frontends(web)} == {
        (False, "10.96.0.10", 80), (True, None, 30080),
        (False, node.underlay4, 30080), (False, node.underlay6, 30080)}
    assert [b["address"] for b in web["backends"]] == ["10.244.1.200"]
    assert "shop/web" in node.cli("service", "list").stdout
    assert "10.244.1.200" in node.cli("service", "show", "shop/web").stdout
    assert "deleted" in node.cli("service", "delete", "shop/web").stdout
    assert services(node) == {}
