"""One node for each file of CNI tests. Every test ends on: nothing leaked, no differences, the ledger balances."""
import uuid

import pytest

from support.cni import Pod, call_plugin, network_config
from support.netns import Netns
from support.node import Node
from support.process import wait_until


class CniNode(Node):
    """A node, and the plugin called with any environment and configuration."""

    def config_of(self, version="1.1.0", name="podnet", **keys):
        return network_config(self.control_socket, version, name, **keys)

    def plugin(self, command, config=None, **kwargs):
        """(exit status, stdout, stderr)"""
        return call_plugin(command, self.config_of() if config is None else config, **kwargs)

    def running_after_a_while(self):
        """Whether podwired lives; a thread that was killed takes a moment to take the others along."""
        try:
            wait_until(lambda: not self.daemon.running(), 0.3, "podwired is killed")
            return False
        except AssertionError:
            return True

    def pod_ports(self):
        return [p["name"] for p in self.engine_call("status")["ports"] if p["role"] == "pod"]

    def attachments(self):
        return self.status()["counts"]["attachments"]

    def used_addresses(self, domain="default"):
        return next(d for d in self.status()["domains"] if d["name"] == domain)["addresses_used"]

    def assert_empty(self):
        """No attachment, no address, no engine port, no difference."""
        assert self.attachments() == 0
        assert self.used_addresses() == 0
        assert self.pod_ports() == []
        assert wait_until(lambda: self.status()["differences"] == [] or None, 3,
                          f"no differences (there are: {self.status()['differences']})")


@pytest.fixture(scope="module")
def node(fabric, directory, request):
    """A module's DEFAULT_DOMAIN adds to what its default domain has."""
    node = CniNode(fabric, "cni", 1, directory, pod_sockets={"directory": f"{directory}/pods", "group": 107})
    node.config["domains"][0].update(getattr(request.module, "DEFAULT_DOMAIN", {}))
    node.start()
    yield node
    node.close()


@pytest.fixture
def namespace():
    """Makes pods' namespaces; they go with the test."""
    made = []

    def make(label="pod", **kwargs):
        made.append(Netns(label, **kwargs))
        return made[-1]
    yield make
    for ns in made:
        ns.delete()


@pytest.fixture
def pod(node):
    """Makes attached pods; they are deleted with the test."""
    made = []

    def make(label="pod", network="podnet", **keys):
        made.append(Pod(node, label, attach=False, **keys))
        made[-1].config["name"] = network
        made[-1].add()
        return made[-1]
    yield make
    for pod in made:
        pod.delete()


@pytest.fixture
def container():
    """A container id that no other test has."""
    return uuid.uuid4().hex


@pytest.fixture(autouse=True)
def nothing_leaked(request):
    """Declared here so that it ends after the pods of the test are gone."""
    if "node" not in request.fixturenames:
        yield
        return
    node = request.getfixturevalue("node")
    yield
    if node.daemon.running():
        node.assert_empty()
        node.ledger(slack=4096).check()
