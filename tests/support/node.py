"""A Podwire node: a namespace on the underlay with podwired, which spawns its engine, configured as a user would."""
import json
import pathlib

from support.cni import Pod
from support.engine import engine_config
from support.ledger import LedgerCheck
from support.netns import Netns, run
from support.process import Daemon, alive, binary, kill9, wait_until
from support.rpc import Rpc


class Node:
    """`number` makes its addresses: underlay 192.168.100.N and fd00:100::N, pods 10.244.N.0/24 and fd00:10:244:N::/64;
    in the flat domain "lan" 10.245.0.(N*16)… of 10.245.0.0/24."""

    def __init__(self, fabric, name, number, directory, driver="af_packet", peers=(), mtu=1500, underlay_family=4, **keys):
        self.name = name
        self.number = number
        self.underlay4 = f"192.168.100.{number}"
        self.underlay6 = f"fd00:100::{number}"
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.ns = Netns(name)
        fabric.attach(self.ns, "eth0", [f"{self.underlay4}/24", f"{self.underlay6}/64"], mtu=mtu)
        self.control_socket = f"{self.directory}/control.sock"
        self.engine_socket = f"{self.directory}/engine.sock"
        engine_file = self.directory / "engine.json"
        engine_file.write_text(json.dumps(engine_config(self.directory)))
        self.config = {
            "node": name,
            "state_dir": f"{self.directory}/state",
            "control_socket": self.control_socket,
            "log_level": "info",
            "engine": {"socket": self.engine_socket, "spawn": True, "binary": binary("podwire-engine"),
                       "config": str(engine_file)},
            "underlay": {"device": "eth0", "driver": driver, "host_interface": "podwire0"},
            "domains": [
                {"name": "default", "vni": 1, "mode": "l3", "host_access": True,
                 "prefixes": [f"10.244.{number}.0/24", f"fd00:10:244:{number}::/64"]},
                {"name": "lan", "vni": 2, "mode": "l2", "learning": True,
                 "prefixes": ["10.245.0.0/24", "fd00:10:245::/64"], "gateways": ["10.245.0.254", "fd00:10:245::ff"],
                 "ranges": [{"start": f"10.245.0.{number * 16}", "end": f"10.245.0.{number * 16 + 15}"},
                            {"start": f"fd00:10:245::{number:x}0", "end": f"fd00:10:245::{number:x}f"}]},
            ],
            "pod_sockets": {"directory": f"{self.directory}/pods"},
            "cluster": "local",
            "peers": list(peers),
            **keys,
        }
        self.daemon = Daemon(f"podwired {name}", self.ns,
                             [binary("podwired"), "--config", self.directory / "podwired.json"],
                             self.directory / "podwired.log")
        self.pods = []

    def start(self, timeout=20):
        (self.directory / "podwired.json").write_text(json.dumps(self.config))
        self.daemon.start(self.control_socket, timeout)
        wait_until(self.engine_ready, timeout, f"the engine of {self.name} connected")
        return self

    def engine_ready(self):
        try:
            return self.status()["engine"]["connected"]
        except OSError:
            return False

    def call(self, method, params=None):
        with Rpc(self.control_socket) as rpc:
            return rpc.call(method, params)

    def engine_call(self, method, params=None):
        with Rpc(self.engine_socket) as rpc:
            return rpc.call(method, params)

    def status(self):
        return self.call("status")

    @property
    def engine_pid(self):
        return self.engine_call("status")["pid"]

    def cli(self, *argv, check=True):
        return run(binary("podwirectl"), "--socket", self.control_socket, *argv, check=check)

    def pod(self, name, **config_keys):
        pod = Pod(self, name, **config_keys)
        self.pods.append(pod)
        return pod

    def ledger(self, slack=0):
        return LedgerCheck(self.engine_call, slack)

    def close(self):
        for pod in self.pods:
            pod.delete()
        engine = None
        try:
            engine = self.engine_pid
        except (OSError, RuntimeError):
            pass
        if self.daemon.running():
            self.daemon.stop()
        self.daemon.forget()
        if engine and alive(engine):  # it outlives podwired by design
            try:
                wait_until(lambda: not alive(engine), 0.5, "engine gone")
            except AssertionError:
                kill9(engine)
        self.ns.delete()


def podwire_peer(number, family=4):
    """What another node's configuration says about the Podwire node `number`."""
    return {"name": f"node{number}", "address": f"192.168.100.{number}" if family == 4 else f"fd00:100::{number}",
            "domains": {"default": {"prefixes": [f"10.244.{number}.0/24", f"fd00:10:244:{number}::/64"]},
                        "lan": {"prefixes": []}}}
