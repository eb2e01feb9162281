"""The real CNI plugin, called as a runtime calls it: environment, stdin, one JSON object on stdout."""
import json
import os
import pathlib
import subprocess
import uuid

from support.netns import Netns
from support.process import binary

CNI_BIN_DIR = "/usr/lib/cni"  # Debian's containernetworking-plugins


class CniError(Exception):
    def __init__(self, exit_status, output):
        super().__init__(f"exit {exit_status}: {output}")
        self.exit_status = exit_status
        self.output = output

    @property
    def code(self):
        return json.loads(self.output)["code"]


def network_config(socket, version="1.1.0", name="podwire", **keys):
    return {"cniVersion": version, "name": name, "type": "podwire", "socket": socket, **keys}


def call_plugin(command, config, container_id=None, netns=None, ifname="eth0", args=None, timeout=60, **environment):
    """Returns (exit status, stdout text, stderr text)."""
    env = {"PATH": os.environ["PATH"], "CNI_COMMAND": command, "CNI_PATH": CNI_BIN_DIR}
    for key, value in (("CNI_CONTAINERID", container_id), ("CNI_NETNS", netns), ("CNI_IFNAME", ifname), ("CNI_ARGS", args)):
        if value is not None:
            env[key] = value
    env.update(environment)
    stdin = config if isinstance(config, str) else json.dumps(config)
    done = subprocess.run([binary("podwire")], input=stdin, env=env, capture_output=True, text=True, timeout=timeout)
    return done.returncode, done.stdout, done.stderr


def cni(command, config, **kwargs):
    """Calls the plugin; its result as a dict (None when it printed nothing), CniError when it failed."""
    status, output, errors = call_plugin(command, config, **kwargs)
    if status != 0:
        raise CniError(status, output or errors)
    return json.loads(output) if output.strip() else None


class Pod:
    """A namespace attached by the plugin."""

    def __init__(self, node, name, attach=True, **config_keys):
        self.node = node
        self.name = name
        self.container_id = uuid.uuid4().hex
        self.config = network_config(node.control_socket, **config_keys)
        self.ns = Netns(name)
        self.result = None
        if attach:
            self.add()

    def add(self, **kwargs):
        self.result = cni("ADD", self.config, container_id=self.container_id, netns=self.ns.path, **kwargs)
        return self.result

    def addresses(self):
        return [entry["address"].split("/")[0] for entry in self.result["ips"]]

    @property
    def ipv4(self):
        return next(a for a in self.addresses() if ":" not in a)

    @property
    def ipv6(self):
        return next(a for a in self.addresses() if ":" in a)

    def address(self, family):
        return self.ipv6 if family == 6 else self.ipv4

    @property
    def mac(self):
        return next(i["mac"] for i in self.result["interfaces"] if i.get("sandbox"))

    def check(self):
        cni("CHECK", {**self.config, "prevResult": self.result}, container_id=self.container_id, netns=self.ns.path)

    def delete(self):
        """DEL and the namespace; safe to repeat."""
        try:
            if pathlib.Path(self.node.control_socket).exists():
                call_plugin("DEL", self.config, container_id=self.container_id, netns=self.ns.path)
        finally:
            self.ns.delete()
