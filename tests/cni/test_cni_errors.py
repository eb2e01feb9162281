"""Every error code, hostile input, and that a failure leaves nothing behind."""
import json
import os
import pathlib
import subprocess

import pytest

from support.cni import call_plugin, cni, network_config
from support.process import binary


def failure(status, output, _errors=""):
    """Exactly one JSON error object, and a non-zero exit."""
    error = json.loads(output)
    assert status != 0 and set(error) <= {"cniVersion", "code", "msg", "details"} and error["msg"], output
    return error


@pytest.fixture
def fails(node, namespace, container):
    """Calls ADD (or another command) in a fresh namespace and returns the error; nothing may be left."""
    ns = namespace()

    def call(command="ADD", config=None, **kwargs):
        kwargs.setdefault("container_id", container)
        kwargs.setdefault("netns", ns.path)
        error = failure(*node.plugin(command, config, **kwargs))
        assert ns.ip("-br link").stdout.split()[0] == "lo" and len(ns.ip("-br link").stdout.splitlines()) == 1
        assert node.attachments() == 0
        return error
    return call


@pytest.mark.parametrize("version", ["0.1.0", "0.2.0", "0.3.0", "1.2.0", "x", None])
def test_1_incompatible_version(node, fails, version):
    config = node.config_of()
    config["cniVersion"] = version
    if version is None:
        del config["cniVersion"]
    error = fails(config=config)
    assert error["code"] == 1 and "0.3.1, 0.4.0, 1.0.0, 1.1.0" in error["msg"]


@pytest.mark.parametrize("key,value", [
    ("deviceID", "0000:01:00.0"),
    ("dns", {"servers": ["10.0.0.1"]}),
    ("aliases", {"net": ["a"]}),
])
def test_2_unsupported_field(node, fails, key, value):
    error = fails(config=node.config_of(runtimeConfig={key: value}))
    assert error["code"] == 2
    assert f"runtimeConfig.{key}" in error["msg"] and json.dumps(value, separators=(",", ":")) in error["msg"]


def test_2_ip_masquerade(node, fails):
    error = fails(config=node.config_of(ipMasq=True))
    assert error["code"] == 2 and "ipMasq is true" in error["msg"]


def test_3_unknown_container(node, fails, namespace):
    assert fails(netns="/run/netns/no-such-namespace")["code"] == 3
    result = {"cniVersion": "1.1.0", "interfaces": [], "ips": []}
    assert fails("CHECK", node.config_of(prevResult=result))["code"] == 3


@pytest.mark.parametrize("command,missing", [
    ("ADD", ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"]),
    ("CHECK", ["CNI_CONTAINERID", "CNI_NETNS", "CNI_IFNAME"]),
    ("DEL", ["CNI_CONTAINERID", "CNI_IFNAME"]),
])
def test_4_missing_variables_are_all_named(node, command, missing):
    error = failure(*node.plugin(command, ifname=None))
    assert error["code"] == 4
    for name in missing:
        assert name in error["msg"]


def test_4_wrong_variables(node, fails):
    assert "CNI_COMMAND" in fails("PURGE")["msg"]
    for ifname in ("a/b", "a:b", "a b", ".", "..", "sixteen-bytes-xx"):
        error = fails(ifname=ifname)
        assert error["code"] == 4 and "CNI_IFNAME" in error["msg"], ifname
    assert fails(container_id="../x")["code"] == 4
    assert fails(args="NoSuchKey=1")["code"] == 4
    assert fails(args="garbage")["code"] == 4
    assert fails(netns="/proc/self/ns/mnt")["code"] == 4
    assert fails(netns="/etc/hostname")["code"] == 4


def test_4_the_nodes_own_namespace(node, fails):
    error = fails(netns=f"/proc/{node.status()['pid']}/ns/net")
    assert error["code"] == 4 and "own" in error["msg"]


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"text"', "\xff", "{}{}", "[" * 100000])
def test_6_undecodable(fails, text):
    assert fails(config=text)["code"] == 6


def test_6_truncated_at_every_length(node):
    """Through the plugin process only where it decides itself; the parser's own test feeds every length to the daemon."""
    text = json.dumps(node.config_of(runtimeConfig={"ips": ["10.244.1.9"]}))
    for length in range(0, len(text), 7):
        status, output, _ = call_plugin("ADD", text[:length], container_id="c", netns="/nonexistent")
        assert status != 0 and json.loads(output)["code"] == 6


def test_6_input_without_end(node):
    plugin = subprocess.Popen([binary("podwire")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
                              env={"CNI_COMMAND": "DEL", "CNI_CONTAINERID": "c", "CNI_IFNAME": "eth0"})
    try:
        for _ in range(64):
            plugin.stdin.write(" " * 65536)
        plugin.stdin.flush()
    except BrokenPipeError:
        pass
    assert json.loads(plugin.stdout.read())["code"] == 6
    assert plugin.wait(10) != 0
    try:
        plugin.stdin.close()
    except BrokenPipeError:
        pass


@pytest.mark.parametrize("change,word", [
    ({"name": None}, "name"), ({"name": ""}, "name"), ({"name": "a/b"}, "name"), ({"type": 1}, "type"),
    ({"domian": "default"}, 'did you mean "domain"'), ({"domain": "defualt"}, 'did you mean "default"'),
    ({"mtu": 100}, "mtu"), ({"mtu": "1400"}, "mtu"), ({"mtu": 1000}, "1280"), ({"queues": 17}, "queues"),
    ({"ipam": {"type": "no-such-plugin"}}, "no-such-plugin"), ({"ipam": {"subnet": "10.0.0.0/8"}}, "subnet"),
    ({"runtimeConfig": {"ips": ["nonsense"]}}, "nonsense"), ({"runtimeConfig": {"ips": ["192.168.1.1"]}}, "192.168.1.1"),
    ({"runtimeConfig": {"ips": ["10.244.1.1"]}}, "10.244.1.1"), ({"runtimeConfig": {"mac": "ff:ff:ff:ff:ff:ff"}}, "mac"),
    ({"prevResult": {"ips": [{"address": "x"}]}}, "prevResult"),
])
def test_7_invalid_config(node, fails, change, word):
    error = fails(config={**node.config_of(), **change})
    assert error["code"] == 7 and word in error["msg"], error


def test_7_missing_name(node, fails):
    config = node.config_of()
    del config["name"]
    error = fails(config=config)
    assert error["code"] == 7 and "name" in error["msg"]


def test_7_check_without_prev_result(node, pod):
    p = pod()
    assert failure(*node.plugin("CHECK", p.config, container_id=p.container_id, netns=p.ns.path))["code"] == 7


@pytest.mark.parametrize("command", ["ADD", "CHECK", "DEL", "GC"])
def test_11_daemon_down(short_directory, command):
    socket = f"{short_directory}/nobody.sock"
    error = failure(*call_plugin(command, network_config(socket), container_id="c", netns="/proc/self/ns/net"))
    assert error["code"] == 11 and socket in error["msg"] and "systemctl start podwired" in error["msg"]


def test_50_daemon_down(short_directory):
    error = failure(*call_plugin("STATUS", network_config(f"{short_directory}/nobody.sock")))
    assert error["code"] == 50 and "systemctl" in error["msg"]


def test_50_uplink_down(node, fabric):
    """The other end of the node's cable goes down."""
    port = next(line.split("@")[0].split(": ")[-1] for line in fabric.ns.ip("-o link show type veth").stdout.splitlines())
    fabric.ns.ip(f"link set {port} down")
    try:
        from support.process import wait_until
        error = wait_until(lambda: (lambda s: failure(*s) if s[0] else None)(node.plugin("STATUS")), 5, "STATUS notices")
        assert error["code"] == 50 and "uplink" in error["msg"]
    finally:
        fabric.ns.ip(f"link set {port} up")
    wait_until(lambda: node.plugin("STATUS")[0] == 0, 5, "STATUS recovers")


def test_socket_from_the_environment(short_directory):
    config = network_config("x")
    del config["socket"]
    error = failure(*call_plugin("DEL", config, container_id="c", PODWIRE_SOCKET=f"{short_directory}/env.sock"))
    assert f"{short_directory}/env.sock" in error["msg"]
    long = failure(*call_plugin("DEL", network_config("/" + "x" * 200), container_id="c"))
    assert "107" in long["msg"]


def test_100_conflicts(node, pod, namespace):
    p = pod()
    other = namespace()
    again = failure(*node.plugin("ADD", p.config, container_id=p.container_id, netns=p.ns.path))
    assert again["code"] == 100 and p.container_id in again["msg"]
    elsewhere = failure(*node.plugin("ADD", p.config, container_id=p.container_id, netns=other.path))
    assert elsewhere["code"] == 100
    p.check()
    taken = failure(*node.plugin("ADD", node.config_of(runtimeConfig={"ips": [p.ipv4]}), container_id="other", netns=other.path))
    assert taken["code"] == 100 and p.ipv4 in taken["msg"]
    assert "eth0" not in other.ip("-br link").stdout
    other.ip("link add eth0 type bridge")
    name = failure(*node.plugin("ADD", container_id="other", netns=other.path))
    assert name["code"] == 100 and "eth0" in name["msg"]
    assert "bridge" in other.ip("-d link show eth0").stdout, "somebody else's interface stays"
    cni("DEL", node.config_of(), container_id="other", netns=other.path)
    assert "bridge" in other.ip("-d link show eth0").stdout
    assert node.attachments() == 1


def test_daemon_refuses_hostile_cni_calls(node):
    """The socket's side of the plugin: what no honest plugin sends."""
    from support.rpc import Rpc, RpcError
    for params in ({}, {"env": []}, {"env": {}, "stdin": 1}, {"env": {"LD_PRELOAD": "x"}, "stdin": ""},
                   {"env": {"CNI_COMMAND": 1}, "stdin": ""}, {"env": {"CNI_ARGS": "a\0b"}, "stdin": ""},
                   {"env": {}, "stdin": "", "more": 1}):
        with Rpc(node.control_socket) as rpc, pytest.raises(RpcError):
            rpc.call("cni", params)
    env = {"CNI_COMMAND": "ADD", "CNI_CONTAINERID": "c", "CNI_NETNS": "/x", "CNI_IFNAME": "eth0"}
    stdin = json.dumps(node.config_of())
    with Rpc(node.control_socket) as rpc, open(os.devnull) as null, open("/proc/self/ns/mnt") as mount:
        with pytest.raises(RpcError):
            rpc.call("cni", {"env": env, "stdin": stdin}, fds=[null.fileno(), null.fileno()])
        for fd in (null.fileno(), mount.fileno(), rpc.socket.fileno()):
            reply = rpc.call("cni", {"env": env, "stdin": stdin}, fds=[fd])
            assert reply["exit"] == 1 and json.loads(reply["stdout"])["code"] == 4
    descriptors = len(os.listdir(f"/proc/{node.status()['pid']}/fd"))
    with Rpc(node.control_socket) as rpc, open(os.devnull) as null:
        for _ in range(50):
            rpc.call("cni", {"env": env, "stdin": "{"}, fds=[null.fileno()])
    assert len(os.listdir(f"/proc/{node.status()['pid']}/fd")) <= descriptors + 2, "descriptors leak"


def test_the_shipped_conflist_is_taken(node, pod):
    path = pathlib.Path(__file__).parents[2] / "config" / "10-podwire.conflist"
    shipped = json.loads(path.read_text())
    plugin = shipped["plugins"][0]
    assert plugin["capabilities"] == {"ips": True, "mac": True, "portMappings": True, "bandwidth": True, "CNIDeviceInfoFile": True}
    p = pod(network=shipped["name"], **{k: v for k, v in plugin.items() if k != "type"})
    p.check()
