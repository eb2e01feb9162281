"""What the plugin prints and what it makes: every command in every version."""
import json
import subprocess
import time

import pytest

from support.cni import Pod, cni
from support.process import binary

VERSIONS = ["0.3.1", "0.4.0", "1.0.0", "1.1.0"]


def test_version_needs_neither_stdin_nor_daemon():
    """stdin is held open and never written to."""
    begin = time.monotonic()
    plugin = subprocess.Popen([binary("podwire")], env={"CNI_COMMAND": "VERSION"}, stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    output = plugin.stdout.read()
    assert plugin.wait(10) == 0
    assert time.monotonic() - begin < 5
    assert json.loads(output) == {"cniVersion": "1.1.0", "supportedVersions": VERSIONS}
    plugin.stdin.close()


@pytest.mark.parametrize("version", VERSIONS)
def test_add_check_del(node, namespace, container, version):
    ns = namespace()
    config = node.config_of(version)
    status, output, errors = node.plugin("ADD", config, container_id=container, netns=ns.path)
    assert status == 0 and errors == "", output + errors
    result = json.loads(output)  # exactly one object
    assert result["cniVersion"] == version
    host, pod = result["interfaces"]
    assert "sandbox" not in host and host["name"] in node.pod_ports()
    assert pod["name"] == "eth0" and pod["sandbox"] == ns.path
    assert ("mtu" in pod) == (version == "1.1.0")
    assert "dns" not in result
    assert [ip["interface"] for ip in result["ips"]] == [1, 1]
    assert [ip.get("version") for ip in result["ips"]] == (["4", "6"] if version < "1.0.0" else [None, None])
    assert [ip["gateway"] for ip in result["ips"]] == ["10.244.1.1", "fd00:10:244:1::1"]
    assert [route["dst"] for route in result["routes"]] == ["0.0.0.0/0", "::/0"]

    link = json.loads(ns.ip("-j -d addr show eth0").stdout)[0]
    assert link["address"] == pod["mac"]
    assert link["mtu"] == 1450 and "UP" in link["flags"]
    present = {f"{a['local']}/{a['prefixlen']}": a for a in link["addr_info"]}
    for ip in result["ips"]:
        assert ip["address"] in present
        assert not present[ip["address"]].get("tentative")
    assert ns.ping("10.244.1.1") and ns.ping("fd00:10:244:1::1"), "the gateway answers at once"

    with_result = {**config, "prevResult": result}
    if version == "0.3.1":
        status, output, _ = node.plugin("CHECK", with_result, container_id=container, netns=ns.path)
        assert status != 0 and json.loads(output)["code"] == 1
    else:
        assert node.plugin("CHECK", with_result, container_id=container, netns=ns.path) == (0, "", "")
    assert node.plugin("DEL", with_result, container_id=container, netns=ns.path) == (0, "", "")
    assert "eth0" not in ns.ip("-br link").stdout


def test_capabilities_ips_and_mac(node, pod):
    p = pod(runtimeConfig={"ips": ["10.244.1.200/24", "fd00:10:244:1::200"], "mac": "02:aa:bb:cc:dd:ee"})
    assert p.ipv4 == "10.244.1.200" and p.ipv6 == "fd00:10:244:1::200"
    assert p.mac == "02:aa:bb:cc:dd:ee"
    assert "02:aa:bb:cc:dd:ee" in p.ns.ip("link show eth0").stdout
    assert p.ns.ping("10.244.1.1")


def test_arguments_from_cni_args_and_config(node, namespace, container):
    ns = namespace()
    config = node.config_of(args={"cni": {"ips": ["10.244.1.211"]}})
    arguments = "IgnoreUnknown=1;X=2;IP=10.244.1.210;MAC=02:00:00:00:02:10;K8S_POD_NAMESPACE=shop;K8S_POD_NAME=web-1"
    result = cni("ADD", config, container_id=container, netns=ns.path, args=arguments)
    assert "10.244.1.211/24" in [ip["address"] for ip in result["ips"]], "args.cni wins over CNI_ARGS"
    assert result["interfaces"][1]["mac"] == "02:00:00:00:02:10"
    endpoint = next(e for e in node.call("endpoints")["endpoints"] if e["container_id"] == container)
    assert endpoint["pod"] == "shop/web-1", endpoint
    cni("DEL", config, container_id=container, netns=ns.path)


def test_own_keys_mtu_queues_domain_dns(node, pod):
    p = pod(mtu=1300, queues=2, domain="lan", dns={"nameservers": ["10.96.0.10"], "search": ["svc"]})
    assert p.ipv4.startswith("10.245.0.")
    assert p.result["dns"] == {"nameservers": ["10.96.0.10"], "search": ["svc"]}
    assert p.result["interfaces"][1]["mtu"] == 1300
    link = json.loads(p.ns.ip("-j -d link show eth0").stdout)[0]
    assert link["mtu"] == 1300
    assert link["linkinfo"]["info_data"]["multi_queue"] is True
    port = next(q for q in node.engine_call("status")["ports"] if q["name"] == p.result["interfaces"][0]["name"])
    assert port["queues"] == 2 and port["mtu"] == 1300


def test_configured_routes(node, pod):
    p = pod(ipam={"routes": [{"dst": "10.0.0.0/8"}, {"dst": "fd00::/16"}]})
    assert [r["dst"] for r in p.result["routes"]] == ["10.0.0.0/8", "fd00::/16"]
    assert "default" not in p.ns.ip("route").stdout
    assert "10.0.0.0/8 via 10.244.1.1 dev eth0" in p.ns.ip("route").stdout


def test_prev_result_is_passed_through_and_added_to(node, namespace, container):
    ns = namespace()
    previous = {"cniVersion": "1.0.0", "interfaces": [{"name": "other0"}, {"name": "net9", "sandbox": ns.path, "x": 1}],
                "ips": [{"address": "192.168.7.7/24", "interface": 1}], "routes": [{"dst": "192.168.0.0/16"}],
                "dns": {"nameservers": ["1.1.1.1"]}}
    config = node.config_of("1.0.0", prevResult=previous)
    result = cni("ADD", config, container_id=container, netns=ns.path)
    assert result["interfaces"][:2] == previous["interfaces"] and len(result["interfaces"]) == 4
    assert result["ips"][0] == previous["ips"][0]
    assert {ip["interface"] for ip in result["ips"][1:]} == {3}
    assert result["dns"] == previous["dns"]
    cni("DEL", config, container_id=container, netns=ns.path)


def test_two_interfaces_of_one_pod(node, pod, container):
    p = pod()
    config = node.config_of(name="second")
    result = cni("ADD", config, container_id=p.container_id, netns=p.ns.path, ifname="net1")
    assert result.get("routes", []) == [], "the default routes are eth0's"
    cni("CHECK", {**config, "prevResult": result}, container_id=p.container_id, netns=p.ns.path, ifname="net1")
    p.check()
    cni("DEL", config, container_id=p.container_id, netns=p.ns.path, ifname="net1")
    p.check()
    assert p.ns.ping("10.244.1.1")


def test_check_notices_differences(node, pod):
    p = pod()
    p.check()
    config = {**p.config, "prevResult": p.result}

    def code():
        status, output, _ = node.plugin("CHECK", config, container_id=p.container_id, netns=p.ns.path)
        return json.loads(output)["code"] if status else 0
    p.ns.ip(f"addr del {p.ipv4}/24 dev eth0")
    assert code() == 102
    p.ns.ip(f"addr add {p.ipv4}/24 dev eth0")
    assert code() == 102, "the default route went with the address"
    p.ns.ip("route add default via 10.244.1.1")
    assert code() == 0
    p.ns.ip("link set eth0 down")
    assert code() == 102
    p.ns.ip("link set eth0 up")
    p.ns.ip("link del eth0")
    assert code() == 102


def test_gc(node, pod, namespace):
    kept, removed = pod(), pod()
    foreign = pod(network="othernet")
    config = node.config_of()
    cni("GC", config)
    assert node.attachments() == 3, "an absent key removes nothing"
    valid = [{"containerID": kept.container_id, "ifname": "eth0"}]
    cni("GC", {**config, "cni.dev/valid-attachments": valid})
    assert node.attachments() == 2
    assert "eth0" not in removed.ns.ip("-br link").stdout
    kept.check()
    cni("GC", {**config, "cni.dev/valid-attachments": []})
    assert node.attachments() == 1
    foreign.check()


def test_status(node):
    assert cni("STATUS", node.config_of()) is None


def test_same_container_gets_the_same_address_again(node, namespace, container):
    ns = namespace()
    config = node.config_of()
    first = cni("ADD", config, container_id=container, netns=ns.path)
    cni("DEL", config, container_id=container, netns=ns.path)
    other = Pod(node, "between")
    again = cni("ADD", config, container_id=container, netns=ns.path)
    assert again["ips"] == first["ips"]
    cni("DEL", config, container_id=container, netns=ns.path)
    other.delete()
