"""One engine in a namespace, programmed directly over its socket (no podwired)."""
import itertools
import json
import os
import pathlib

from support.process import Daemon, binary
from support.rpc import Rpc

_epochs = itertools.count(1)
_prefixes = itertools.count(1)

PODS_MAC = "02:00:00:00:00:%02x"
GATEWAY_MAC = "02:70:77:00:00:01"


def hugepages():
    """"auto" when this machine has enough free 2 MiB pages for a few engines, else "never"."""
    try:
        free = int(pathlib.Path("/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages").read_text())
    except OSError:
        return "never"
    return "auto" if free >= 512 else "never"


def engine_config(directory, **overrides):
    """The configuration of an engine of its own: socket and file prefix are nobody else's."""
    config = {
        "socket": f"{directory}/engine.sock",
        "memory_mib": 128,
        "hugepages": hugepages(),
        "mbufs": 16384,
        "jumbo_mbufs": 256,
        "workers": 1,
        "cpus": None,
        "idle": "adaptive",
        "file_prefix": f"pwt{os.getpid()}_{next(_prefixes)}",
        "log_level": "info",
    }
    config.update(overrides)
    return config


class Engine:
    """put() and delete() patch it; `call` is any verb."""

    def __init__(self, ns, directory, **overrides):
        self.ns = ns
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.config = engine_config(self.directory, **overrides)
        self.socket = self.config["socket"]
        config_file = self.directory / "engine.json"
        config_file.write_text(json.dumps(self.config))
        self.daemon = Daemon("podwire-engine", ns, [binary("podwire-engine"), "--config", config_file],
                             self.directory / "engine.log")
        self.rpc = None

    @property
    def pid(self):
        return self.daemon.pid

    def start(self):
        self.daemon.start(self.socket)
        self.rpc = Rpc(self.socket)
        self.rpc.call("hello", {"epoch": next(_epochs)})
        return self

    def call(self, method, params=None, fds=()):
        return self.rpc.call(method, params, fds)

    def put(self, fds=(), **nouns):
        return self.call("patch", {"put": nouns}, fds)

    def delete(self, **nouns):
        return self.call("patch", {"delete": nouns})

    def replace(self, *chunks, fds=()):
        self.call("replace_begin")
        for chunk in chunks:
            self.call("replace_chunk", {"put": chunk}, fds)
        return self.call("replace_commit")

    def port_stats(self, name):
        return next(p for p in self.call("stats")["ports"] if p["name"] == name)

    def stop(self):
        """SIGTERM; the exit status."""
        if self.rpc:
            self.rpc.close()
            self.rpc = None
        return self.daemon.stop()

    def close(self):
        try:
            if self.daemon.running():
                self.stop()
        finally:
            self.daemon.forget()
