"""DEL frees everything whatever became of the container, and any number of times."""
import json
import threading
import time

from support.cni import Pod, cni
from support.process import wait_until


def test_unknown_container(node, container):
    assert node.plugin("DEL", container_id=container) == (0, "", "")
    assert node.plugin("DEL", container_id=container, netns="/run/netns/no-such") == (0, "", "")


def test_twice_and_without_netns(node, namespace, container):
    ns = namespace()
    cni("ADD", node.config_of(), container_id=container, netns=ns.path)
    for _ in range(2):
        assert node.plugin("DEL", container_id=container, CNI_NETNS="") == (0, "", "")
    assert "eth0" not in ns.ip("-br link").stdout, "the namespace was found by its recorded path"
    node.assert_empty()


def test_namespace_gone(node, container):
    p = Pod(node, "gone")
    p.ns.delete()
    assert node.plugin("DEL", p.config, container_id=p.container_id, netns=p.ns.path) == (0, "", "")
    node.assert_empty()


def test_another_namespace_under_the_same_path(node, namespace):
    """The old one is gone and its name used again: the new one's eth0 is nobody's to remove."""
    from support.netns import run
    p = Pod(node, "reused")
    run("ip", "netns", "del", p.ns.name)
    run("ip", "netns", "add", p.ns.name)
    p.ns.ip("link add eth0 type bridge")
    assert node.plugin("DEL", p.config, container_id=p.container_id, netns=p.ns.path) == (0, "", "")
    assert "eth0" in p.ns.ip("-br link").stdout
    p.ns.delete()


def test_interface_gone(node):
    p = Pod(node, "nolink")
    p.ns.ip("link del eth0")
    cni("DEL", p.config, container_id=p.container_id, netns=p.ns.path)
    p.ns.delete()
    node.assert_empty()


def test_broken_configuration(node):
    """A configuration edited since then must not keep the container from going."""
    p = Pod(node, "broken")
    config = {**p.config, "nonsense": 1, "mtu": "x", "runtimeConfig": {"portMappings": [1]}}
    cni("DEL", config, container_id=p.container_id, netns=p.ns.path, args="garbage")
    p.ns.delete()
    node.assert_empty()


def test_daemon_restarted_meanwhile(node):
    p = Pod(node, "restart")
    assert node.daemon.stop() == 0
    assert json.loads(node.plugin("DEL", p.config, container_id=p.container_id, netns=p.ns.path)[1])["code"] == 11
    node.start()
    p.check()
    assert p.ns.ping("10.244.1.1")
    cni("DEL", p.config, container_id=p.container_id, netns=p.ns.path)
    assert "eth0" not in p.ns.ip("-br link").stdout
    p.ns.delete()


def test_overtakes_a_slow_add(node, namespace, container, tmp_path):
    """The ADD hangs in its IPAM plugin; the DEL does not wait for that, and wins."""
    slow = tmp_path / "slow-ipam"
    slow.write_text("#!/bin/sh\n"
                    "case $CNI_COMMAND in\n"
                    'VERSION) echo \'{"cniVersion":"1.0.0","supportedVersions":["1.0.0"]}\';;\n'
                    f"ADD) touch {tmp_path}/asked; sleep 30;;\n"
                    "esac\n")
    slow.chmod(0o755)
    ns = namespace()
    config = node.config_of(ipam={"type": "slow-ipam"})
    added = []
    add = threading.Thread(target=lambda: added.append(
        node.plugin("ADD", config, container_id=container, netns=ns.path, CNI_PATH=str(tmp_path))))
    add.start()
    wait_until(lambda: (tmp_path / "asked").exists(), 10, "the IPAM plugin is asked")
    begin = time.monotonic()
    cni("DEL", config, container_id=container, netns=ns.path, CNI_PATH=str(tmp_path))
    add.join()
    assert time.monotonic() - begin < 10
    assert json.loads(added[0][1])["code"] == 105
    assert "eth0" not in ns.ip("-br link").stdout
