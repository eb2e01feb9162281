"""Interfaces that are a socket: memif and vhost-user beside an ordinary eth0, by CNI and by `podwirectl port add`. What ADD
makes and DEL leaves, restarts and kills of engine and daemon, and traffic through a packet program in a pod."""
import json
import pathlib
import socket
import stat

import pytest

from support.cni import CniError, cni
from support.netns import Netns, veth
from support.process import kill9, wait_until
from support.testpmd import Testpmd

GROUP = 107  # as conftest.py configures it
KINDS = ["memif", "vhostuser"]


@pytest.fixture(autouse=True)
def no_directory_left(node):
    yield
    pods = pathlib.Path(node.config["pod_sockets"]["directory"])
    assert not pods.exists() or list(pods.iterdir()) == []


@pytest.fixture
def attach(node, namespace):
    """Adds socket interfaces to containers; they are deleted with the test."""
    made = []

    def make(container, ns, ifname="net1", network="podnet", **keys):
        config = node.config_of(name=network, **keys)
        made.append((config, container, ifname))
        return config, cni("ADD", config, container_id=container, netns=ns.path, ifname=ifname)
    yield make
    for config, container, ifname in made:
        cni("DEL", config, container_id=container, ifname=ifname)


@pytest.fixture
def added(node):
    """`podwirectl port add` and `endpoint add`; what was added goes with the test."""
    names = []

    def add(noun, name, *options):
        names.append((noun, name))
        return json.loads(node.cli(noun, "add", name, *options, "--json").stdout)
    yield add
    for noun, name in reversed(names):
        node.cli(noun, "del", name)


def is_socket(path):
    return path.exists() and stat.S_ISSOCK(path.stat().st_mode)


def listening(path):
    """Not what a killed engine has left."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as seqpacket, socket.socket(socket.AF_UNIX) as stream:
        for client in (seqpacket, stream):  # memif's and vhost-user's
            try:
                client.connect(str(path))
                return True
            except OSError:
                pass
    return False


def pod_socket(result):
    return pathlib.Path(next(i["socketPath"] for i in result["interfaces"] if "socketPath" in i))


def engine_port(node, name):
    return next(p for p in node.engine_call("status")["ports"] if p["name"] == name)


@pytest.mark.parametrize("interface", KINDS)
def test_add_check_del(node, namespace, container, interface, directory):
    ns = namespace()
    info = directory / f"{container}.json"
    config = node.config_of(interface=interface, queues=2, runtimeConfig={"CNIDeviceInfoFile": str(info)})
    result = cni("ADD", config, container_id=container, netns=ns.path, ifname="net1")
    host, pod = result["interfaces"]
    path = pod_socket(result)
    assert pod["sandbox"] == ns.path and pod["mtu"] == 1450 and "sandbox" not in host
    assert [ip["interface"] for ip in result["ips"]] == [1, 1]
    assert "net1" not in ns.ip("-br link").stdout
    assert path.parent.name == container[:12] and len(str(path)) <= 107
    assert is_socket(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o660 and path.stat().st_gid == GROUP
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o750 and path.parent.stat().st_gid == GROUP
    port = engine_port(node, host["name"])
    assert port["kind"] == {"memif": "memif", "vhostuser": "vhost"}[interface] and port["mac"] == pod["mac"]
    written = json.loads(info.read_text())
    assert written == ({"type": "memif", "version": "1.1.0",
                        "memif": {"role": "slave", "path": str(path), "mode": "ethernet"}} if interface == "memif" else
                       {"type": "vhost-user", "version": "1.1.0", "vhost-user": {"mode": "client", "path": str(path)}})
    with_result = {**config, "prevResult": result}
    assert node.plugin("CHECK", with_result, container_id=container, netns=ns.path, ifname="net1") == (0, "", "")
    assert node.plugin("DEL", with_result, container_id=container, netns=ns.path, ifname="net1") == (0, "", "")
    assert not path.parent.exists() and not info.exists()
    assert node.plugin("DEL", config, container_id=container, ifname="net1") == (0, "", ""), "again"


def test_a_pod_with_eth0_memif_and_vhost_user(node, pod, attach):
    p = pod()
    memif_config, memif = attach(p.container_id, p.ns, interface="memif", network="fast")
    vhost_config, vhost = attach(p.container_id, p.ns, "net2", interface="vhostuser", network="faster")
    assert pod_socket(memif).parent == pod_socket(vhost).parent
    assert len({ip["address"] for r in (p.result, memif, vhost) for ip in r["ips"]}) == 6
    p.check()
    assert p.ns.ping("10.244.1.1")
    cni("DEL", memif_config, container_id=p.container_id, netns=p.ns.path, ifname="net1")
    assert not pod_socket(memif).exists() and is_socket(pod_socket(vhost))
    cni("CHECK", {**vhost_config, "prevResult": vhost}, container_id=p.container_id, netns=p.ns.path, ifname="net2")
    p.check()


@pytest.mark.parametrize("interface", KINDS)
def test_the_sockets_are_back_after_an_engine_restart(node, namespace, container, attach, interface):
    ns = namespace()
    config, result = attach(container, ns, interface=interface)
    before = node.status()["engine"]["instance"]
    kill9(node.engine_pid)

    def serves_again():
        engine = node.status()["engine"]
        return engine["connected"] and engine["instance"] != before and listening(pod_socket(result))
    wait_until(serves_again, 30, "the new engine listens")
    cni("CHECK", {**config, "prevResult": result}, container_id=container, netns=ns.path, ifname="net1")


@pytest.mark.parametrize("interface", KINDS)
def test_a_daemon_restart_leaves_the_socket_alone(node, namespace, container, attach, interface):
    ns = namespace()
    config, result = attach(container, ns, interface=interface)
    inode = pod_socket(result).stat().st_ino
    node.daemon.kill9()
    node.start()
    assert pod_socket(result).stat().st_ino == inode
    cni("CHECK", {**config, "prevResult": result}, container_id=container, netns=ns.path, ifname="net1")


@pytest.mark.parametrize("interface", KINDS)
def test_the_pod_may_make_the_socket(node, namespace, container, attach, interface):
    ns = namespace()
    config, result = attach(container, ns, interface=interface, socketMode="client")
    path = pod_socket(result)
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o770 and not path.exists()
    port = engine_port(node, result["interfaces"][0]["name"])
    assert port["link"] == "down"
    cni("CHECK", {**config, "prevResult": result}, container_id=container, netns=ns.path, ifname="net1")


def test_gc_removes_sockets_too(node, namespace, container, attach):
    config, result = attach(container, namespace(), interface="memif")
    cni("GC", {**config, "cni.dev/valid-attachments": []})
    assert not pod_socket(result).parent.exists()


def test_what_does_not_fit_is_refused_by_name(node, namespace, container):
    ns = namespace()
    for keys, named in [({"interface": "memfi"}, "memif"), ({"ringSize": 512}, "ringSize"),
                        ({"interface": "vhostuser", "secret": "x"}, "secret"),
                        ({"interface": "memif", "ringSize": 1000}, "power of two"),
                        ({"interface": "memif", "runtimeConfig": {"CNIDeviceInfoFile": "x"}}, "absolute")]:
        with pytest.raises(CniError) as refused:
            cni("ADD", node.config_of(**keys), container_id=container, netns=ns.path, ifname="net1")
        assert refused.value.code == 7 and named in refused.value.output


def drops(node):
    return {d["reason"]: d["packets"] for d in node.engine_call("stats", {"all": True})["drops"]}


class Program:
    """What runs in the pod: testpmd between its memif and the kernel of a namespace, which has the pod's addresses."""

    def __init__(self, result, directory, role="client"):
        self.ns = Netns("cnf")
        veth(self.ns, "cnf0", self.ns, "wire0")
        interface = next(i for i in result["interfaces"] if "socketPath" in i)
        self.ns.ip(f"link set wire0 down address {interface['mac']} mtu {interface['mtu']}")
        self.ns.ip("link set wire0 up")
        for ip in result["ips"]:
            self.ns.ip(f"addr add {ip['address']} dev wire0" + (" nodad" if ":" in ip["address"] else ""))
        memif = f"net_memif0,role={role},id=0,socket={interface['socketPath']},socket-abstract=no"
        self.testpmd = Testpmd(self.ns, [memif, "net_af_packet0,iface=cnf0,blocksz=65536"], directory / "testpmd.log").start()

    def close(self):
        self.testpmd.kill()
        self.ns.delete()


@pytest.mark.parametrize("mode", ["server", "client"])
def test_a_program_in_the_pod_talks_to_other_pods_and_its_gateway(node, pod, namespace, container, attach, directory, mode):
    other = pod()
    _, result = attach(container, namespace(), interface="memif", socketMode=mode)
    program = Program(result, directory, {"server": "client", "client": "server"}[mode])
    try:
        name = result["interfaces"][0]["name"]
        wait_until(lambda: engine_port(node, name)["link"] == "up", 30, f"the memif is up\n{program.testpmd.tail()}")
        wait_until(lambda: program.ns.ping("10.244.1.1"), 30, f"the gateway answers\n{program.testpmd.tail()}")
        assert program.ns.ping("fd00:10:244:1::1")
        assert other.ns.ping(result["ips"][0]["address"].split("/")[0])
        assert other.ns.ping(result["ips"][1]["address"].split("/")[0])
        shown = node.cli("port", "show", name).stdout
        assert "link" in shown and "up" in shown and "received packets" in shown, shown
        # The guard holds the pod to its addresses.
        before = drops(node)
        program.ns.ip("addr add 10.244.1.250/24 dev wire0")
        spoofed = program.ns.run("ping", "-n", "-c", 2, "-W", 1, "-I", "10.244.1.250", other.ipv4, check=False)
        assert spoofed.returncode != 0
        assert drops(node)["spoofed_ip"] > before["spoofed_ip"]
    finally:
        program.close()


def test_a_port_without_a_runtime(node, directory, added):
    """It stays over kills of engine and daemon, and goes with `port del`."""
    path = directory / "vm1.sock"
    port = added("port", "vm1", "--kind", "vhost", "--socket", str(path), "--socket-mode", "server",
                 "--address", "10.244.1.77", "--queues", "2")
    assert port["addresses"] == ["10.244.1.77/24"] and port["dhcp"] and port["hostname"] == "vm1"
    assert is_socket(path) and stat.S_IMODE(path.stat().st_mode) == 0o660 and path.stat().st_gid == GROUP
    endpoint = added("endpoint", "vip", "--port", "vm1", "--address", "10.244.1.78")
    assert endpoint["addresses"] == ["10.244.1.78/24"]
    listed = {e["name"]: e for e in node.call("endpoints")["endpoints"]}
    assert listed["vip"]["where"] == "port vm1" and listed["vm1"]["dhcp"]
    kill9(node.engine_pid)
    node.daemon.kill9()
    node.start()
    assert engine_port(node, "vm1")["id"] == port["id"] and is_socket(path)
    assert node.status()["differences"] == []
    assert "vm1" in node.cli("port", "list").stdout and str(path) in node.cli("port", "show", "vm1").stdout
    again = node.cli("port", "add", "vm1", "--kind", "vhost", "--socket", str(path), check=False)
    assert again.returncode == 1 and "podwirectl port del vm1" in again.stderr
    taken = node.cli("port", "add", "vm2", "--kind", "vhost", "--socket", str(directory / "vm2.sock"),
                     "--address", "10.244.1.78", check=False)
    assert taken.returncode == 1 and "taken by port vm1" in taken.stderr
    assert "Deleted" in node.cli("endpoint", "del", "vip").stdout
    assert "Deleted" in node.cli("port", "del", "vm1").stdout
    assert "There was no" in node.cli("port", "del", "vm1").stdout
    assert not path.exists()


def test_mistakes_of_port_add_are_named(node, directory):
    for options, named in [(["--kind", "tap"], "params.kind"), (["--kind", "vhost", "--queues", "99"], "queues"),
                           (["--kind", "vhost", "--domain", "defualt"], "did you mean"),
                           (["--kind", "memif", "--address", "192.0.2.1"], "outside the prefixes")]:
        done = node.cli("port", "add", "vm1", "--socket", str(directory / "vm1.sock"), *options, check=False)
        assert done.returncode == 1 and named in done.stderr, done.stderr
