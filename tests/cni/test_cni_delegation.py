"""IPAM delegation: Debian's host-local, and a plugin of 1.1.0 that writes down how it is called."""
import json
import os
import pathlib

import pytest

from support.cni import CNI_BIN_DIR, cni


@pytest.fixture
def host_local(node, tmp_path):
    def config(version="1.0.0", **ipam):
        return node.config_of(version, name="delegated", ipam={
            "type": "host-local", "dataDir": str(tmp_path / "leases"),
            "ranges": [[{"subnet": "10.244.1.0/24", "rangeStart": "10.244.1.128", "rangeEnd": "10.244.1.130"}],
                       [{"subnet": "fd00:10:244:1::/64", "rangeStart": "fd00:10:244:1::80", "rangeEnd": "fd00:10:244:1::90"}]],
            **ipam})

    def leases():
        directory = tmp_path / "leases" / "delegated"
        return sorted(n for n in os.listdir(directory) if n[0].isdigit() or n.startswith("fd")) if directory.exists() else []
    config.leases = leases
    return config


@pytest.mark.parametrize("version", ["0.3.1", "0.4.0", "1.0.0", "1.1.0"])
def test_host_local(node, namespace, container, host_local, version):
    ns = namespace()
    config = host_local(version)
    result = cni("ADD", config, container_id=container, netns=ns.path)
    assert result["cniVersion"] == version
    assert [ip["address"] for ip in result["ips"]] == ["10.244.1.128/24", "fd00:10:244:1::80/64"]
    assert [ip.get("version") for ip in result["ips"]] == (["4", "6"] if version < "1.0.0" else [None, None])
    assert len(host_local.leases()) == 2
    assert ns.ping("10.244.1.1") and ns.ping("fd00:10:244:1::1")
    if version != "0.3.1":
        assert cni("CHECK", {**config, "prevResult": result}, container_id=container, netns=ns.path) is None
    cni("DEL", config, container_id=container, netns=ns.path)
    assert host_local.leases() == []
    cni("DEL", config, container_id=container, netns=ns.path)


def test_host_local_routes_and_requested_ips(node, namespace, container, host_local):
    ns = namespace()
    config = host_local("1.0.0", routes=[{"dst": "10.0.0.0/8"}, {"dst": "172.16.0.0/12", "gw": "10.244.1.1"}])
    config["runtimeConfig"] = {"ips": ["10.244.1.130/24"]}
    result = cni("ADD", config, container_id=container, netns=ns.path)
    assert "10.244.1.130/24" in [ip["address"] for ip in result["ips"]]
    assert result["routes"] == [{"dst": "10.0.0.0/8", "gw": "10.244.1.1"}, {"dst": "172.16.0.0/12", "gw": "10.244.1.1"}]
    assert "default" not in ns.ip("route").stdout
    cni("DEL", config, container_id=container, netns=ns.path)
    assert host_local.leases() == []


def test_exhausted_host_local(node, namespace, host_local):
    config = host_local()
    spaces = [namespace() for _ in range(4)]
    for i in range(3):
        cni("ADD", config, container_id=f"full{i}", netns=spaces[i].path)
    status, output, _ = node.plugin("ADD", config, container_id="full3", netns=spaces[3].path)
    error = json.loads(output)
    assert status != 0 and "host-local" in error["msg"], error
    assert len(host_local.leases()) == 6
    for i in range(3):
        cni("DEL", config, container_id=f"full{i}", netns=spaces[i].path)
    assert host_local.leases() == []


def test_failure_after_delegation_gives_the_address_back(node, namespace, container, host_local):
    ns = namespace()
    ns.ip("link add eth0 type bridge")
    status, output, _ = node.plugin("ADD", host_local(), container_id=container, netns=ns.path)
    assert status != 0 and json.loads(output)["code"] == 100
    assert host_local.leases() == []


def test_second_add_spares_the_first_lease(node, namespace, container, host_local):
    ns = namespace()
    config = host_local()
    cni("ADD", config, container_id=container, netns=ns.path)
    leases = host_local.leases()
    assert node.plugin("ADD", config, container_id=container, netns=ns.path)[0] != 0
    assert host_local.leases() == leases
    cni("DEL", config, container_id=container, netns=ns.path)


def test_gc_frees_leases_of_a_plugin_that_has_no_gc(node, namespace, container, host_local):
    ns = namespace()
    config = host_local("1.1.0")
    cni("ADD", config, container_id=container, netns=ns.path)
    cni("STATUS", config)
    cni("GC", {**config, "cni.dev/valid-attachments": []})
    assert host_local.leases() == []
    assert "eth0" not in ns.ip("-br link").stdout


RECORDER = """#!/usr/bin/python3
import json, os, sys
command = os.environ["CNI_COMMAND"]
here = os.path.dirname(os.path.abspath(sys.argv[0]))
if command == "VERSION":
    print(json.dumps({"cniVersion": "1.1.0", "supportedVersions": ["0.4.0", "1.0.0", "1.1.0"]}))
    sys.exit()
config = json.load(sys.stdin)
with open(here + "/calls", "a") as calls:
    calls.write(json.dumps({"command": command, "config": config, "env": dict(os.environ)}) + "\\n")
behaviour = here + "/" + command
if os.path.exists(behaviour):
    print(open(behaviour).read())
    sys.exit(1 if '"code"' in open(behaviour).read() else 0)
if command == "ADD":
    print(json.dumps({"cniVersion": config["cniVersion"], "ips": [{"address": "10.244.1.150/24"}],
                      "dns": {"nameservers": ["10.0.0.53"]}}))
"""


@pytest.fixture
def recorder(node, tmp_path):
    class Recorder:
        path = f"/nonexistent:{tmp_path}"
        config = node.config_of(name="recorded", ipam={"type": "recorder", "x": 1})

        def calls(self):
            file = tmp_path / "calls"
            return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []

        def behave(self, command, text):
            (tmp_path / command).write_text(text)
    script = tmp_path / "recorder"
    script.write_text(RECORDER)
    script.chmod(0o755)
    return Recorder()


def test_every_command_reaches_a_plugin_that_knows_it(node, namespace, container, recorder):
    ns = namespace()
    kwargs = {"container_id": container, "netns": ns.path, "CNI_PATH": recorder.path}
    result = cni("ADD", recorder.config, args="IgnoreUnknown=1;A=b", **kwargs)
    assert result["ips"] == [{"interface": 1, "address": "10.244.1.150/24", "gateway": "10.244.1.1"}]
    assert result["dns"] == {"nameservers": ["10.0.0.53"]}
    cni("CHECK", {**recorder.config, "prevResult": result}, **kwargs)
    cni("STATUS", recorder.config, CNI_PATH=recorder.path)
    cni("GC", {**recorder.config, "cni.dev/valid-attachments": [{"containerID": container, "ifname": "eth0"}]},
        CNI_PATH=recorder.path)
    cni("DEL", recorder.config, **kwargs)
    calls = recorder.calls()
    assert [c["command"] for c in calls] == ["ADD", "CHECK", "STATUS", "GC", "DEL"]
    for call in calls:
        assert call["config"]["cniVersion"] == "1.1.0" and call["config"]["ipam"]["x"] == 1
        assert call["env"]["CNI_PATH"] == recorder.path
    assert calls[0]["env"]["CNI_CONTAINERID"] == container and calls[0]["env"]["CNI_NETNS"] == ns.path
    assert calls[0]["env"]["CNI_ARGS"] == "IgnoreUnknown=1;A=b"
    assert "cni.dev/valid-attachments" in calls[3]["config"]


@pytest.mark.parametrize("answer,code", [
    ('{"cniVersion":"1.1.0","code":11,"msg":"later"}', 11), ('{"cniVersion":"1.1.0","code":999,"msg":"own"}', 103),
    ("no json", 103), ("", 103), ("[]", 103), ('{"cniVersion":"1.1.0"}', 103), ('{"ips":[{"address":"x"}]}', 103),
    ('{"ips":[{"address":"10.244.1.150/24","gateway":"fd00::1"}]}', 103),
])
def test_answers_that_no_plugin_should_give(node, namespace, container, recorder, answer, code):
    recorder.behave("ADD", answer)
    ns = namespace()
    status, output, _ = node.plugin("ADD", recorder.config, container_id=container, netns=ns.path, CNI_PATH=recorder.path)
    error = json.loads(output)
    assert status != 0 and error["code"] == code and "recorder" in error["msg"], error
    assert [c["command"] for c in recorder.calls()] == ["ADD", "DEL"], "a failed ADD is undone at the plugin"
    assert "eth0" not in ns.ip("-br link").stdout


def test_status_of_the_plugin_counts(node, recorder):
    recorder.behave("STATUS", '{"cniVersion":"1.1.0","code":50,"msg":"pool is empty"}')
    status, output, _ = node.plugin("STATUS", recorder.config, CNI_PATH=recorder.path)
    assert status != 0 and json.loads(output)["code"] == 50 and "pool is empty" in json.loads(output)["msg"]


def test_path_and_type(node, namespace, container, host_local):
    ns = namespace()
    config = host_local()
    status, output, _ = node.plugin("ADD", config, container_id=container, netns=ns.path, CNI_PATH="")
    assert json.loads(output)["code"] == 4 and "CNI_PATH" in json.loads(output)["msg"]
    status, output, _ = node.plugin("ADD", config, container_id=container, netns=ns.path, CNI_PATH="/nonexistent:relative")
    assert json.loads(output)["code"] == 7 and "host-local" in json.loads(output)["msg"]
    config["ipam"]["type"] = "../../bin/sh"
    status, output, _ = node.plugin("ADD", config, container_id=container, netns=ns.path)
    assert json.loads(output)["code"] == 7
    assert pathlib.Path(CNI_BIN_DIR, "host-local").exists(), "apt install containernetworking-plugins"
