"""What bench/cluster-scale.sh runs. Root; Debian's python3."""
import argparse
import base64
import contextlib
import http.client
import json
import os
import pathlib
import shutil
import socket
import statistics
import sys
import tempfile
import threading
import time

_HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE.parent / "tests")]

from support.etcd import Etcd
from support.netns import Fabric, sweep
from support.node import Node
from support.rpc import Rpc

_DOMAINS = [{"name": "default", "vni": 1, "mode": "l3", "prefixes": ["10.0.0.0/8", "fd00::/32"], "lease_v4": 24,
             "lease_v6": 64},
            {"name": "lan", "vni": 2, "mode": "l2", "flood_peers": False, "prefixes": ["11.0.0.0/8"], "gateways": ["11.255.255.254"],
             "lease_v4": 24}]
_FIRST_ID = 0x20000000  # of other nodes' objects in the engine
_CHANGES_A_TRANSACTION = 20
_MARK_EVERY = 0.25  # seconds


def address(number):
    return f"172.{16 + (number >> 16)}.{number >> 8 & 255}.{number & 255}"


def record(number, mac):
    return {"addresses": [address(number)], "udp_port": 4789, "mac": f"02:{mac >> 32 & 255:02x}:{mac >> 24 & 255:02x}:"
            f"{mac >> 16 & 255:02x}:{mac >> 8 & 255:02x}:{mac & 255:02x}"}


def _base64(text):
    return base64.b64encode(text.encode()).decode()


def connect(etcd, timeout=30):
    """To its JSON gateway, from inside of its own namespace."""
    with etcd.ns:
        gateway = http.client.HTTPConnection("127.0.0.1", 2379, timeout=timeout)
        gateway.connect()
    return gateway


class Gateway:
    def __init__(self, etcd):
        self.http = connect(etcd)

    def put(self, values):
        """All of them in one transaction."""
        puts = [{"request_put": {"key": _base64(key), "value": _base64(json.dumps(value))}} for key, value in values]
        self.http.request("POST", "/v3/kv/txn", json.dumps({"success": puts}))
        reply = self.http.getresponse()
        body = reply.read()
        if reply.status != 200:
            raise RuntimeError(f"etcd: {reply.status} {body[:200]}")


class Observer(threading.Thread):
    """Another watch of one key: when etcd itself told of its changes, by value."""

    def __init__(self, etcd, key):
        super().__init__(daemon=True)
        self.http, self.told = connect(etcd, timeout=None), {}
        self.http.request("POST", "/v3/watch", json.dumps({"create_request": {"key": _base64(key)}}))
        self.reply = self.http.getresponse()
        self.reply.readline()  # it is set up
        self.start()

    def run(self):
        with contextlib.suppress(OSError, ValueError, AttributeError, http.client.HTTPException):
            while line := self.reply.readline():
                now = time.monotonic()
                for event in json.loads(line).get("result", {}).get("events", []):
                    self.told[base64.b64decode(event["kv"]["value"]).decode()] = now

    def close(self):
        with contextlib.suppress(OSError):
            self.http.sock.shutdown(socket.SHUT_RDWR)
        self.join(5)


def cpu_seconds(pid):
    """Of a process, all its threads."""
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def fill(gateway, nodes):
    values = []
    for n in range(1, nodes + 1):
        owner = {"node": f"n{n}"}
        values += [(f"/podwire/nodes/n{n}", record(n, n)), (f"/podwire/prefixes/default/10.{n >> 8}.{n & 255}.0-24", owner),
                   (f"/podwire/prefixes/default/fd00:0:0:{n:x}::-64", owner), (f"/podwire/prefixes/lan/11.{n >> 8}.{n & 255}.0-24", owner)]
    put_all(gateway, values)


def put_all(gateway, values):
    for begin in range(0, len(values), 60):
        gateway.put(values[begin:begin + 60])


def endpoint(n, number, pod):
    return (f"/podwire/endpoints/n{n}/{number}",
            {"domain": "lan", "mac": f"0a:58:0b:{n >> 8:02x}:{n & 255:02x}:{number:02x}",
             "addresses": [f"11.{n >> 8}.{n & 255}.{number}"], "namespace": "scale", "pod": pod})


def fill_endpoints(gateway, nodes, endpoints):
    put_all(gateway, [endpoint(n, number, f"p{n}-{number}") for n in range(1, nodes + 1) for number in range(1, endpoints + 1)])


def has_endpoints(rpc, options):
    """Whether the engine has the last one of the last node, which comes last."""
    if options.endpoints == 0:
        return True
    vtep = remote_vteps(rpc)[f"n{options.nodes}"]["id"]
    wanted = _FIRST_ID + ((vtep - _FIRST_ID) << 16) + options.endpoints
    found = rpc.call("dump", {"noun": "endpoints", "after_id": wanted - 1, "limit": 1})["objects"]
    return bool(found) and found[0]["id"] == wanted


def resident_mib(pid):
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 2**20


def remote_vteps(rpc):
    """Of the engine: by name."""
    vteps, after = {}, 0
    while after is not None:
        page = rpc.call("dump", {"noun": "vteps", **({"after_id": after} if after else {})})
        vteps.update({vtep["name"]: vtep for vtep in page["objects"] if not vtep.get("local")})
        after = page.get("next_after_id")
    return vteps


def wait_for(condition, timeout, what):
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: not within {timeout} s")
        time.sleep(0.002)


def start_up(node, etcd, options):
    """Seconds from when podwired is started until the engine has every node and every endpoint, and what the processes
    spent of the processors meanwhile."""
    etcd_before, begun = cpu_seconds(etcd.daemon.process.pid), time.monotonic()
    node.start()
    with Rpc(node.engine_socket) as rpc:
        wait_for(lambda: len(remote_vteps(rpc)) >= options.nodes, 120, "every node in the engine")
        reached = time.monotonic() - begun
        wait_for(lambda: has_endpoints(rpc, options), 300, "every endpoint in the engine")
    whole = time.monotonic() - begun
    spent = {"etcd": cpu_seconds(etcd.daemon.process.pid) - etcd_before, "podwired": cpu_seconds(node.daemon.pid),
             "engine": cpu_seconds(node.engine_pid)}
    return whole, reached, ", ".join(f"{name} {seconds:.1f} s" for name, seconds in spent.items())


def split(node):
    """What podwired says of its last listing."""
    nodes, shared = " other nodes: ", "what nodes share is "

    def said():
        return [line for line in node.daemon.log.read_text().splitlines() if nodes in line or shared in line]
    wait_for(lambda: any(nodes in line for line in said()) and shared in said()[-1], 60, "the end of the listing")
    last = next(line for line in reversed(said()) if nodes in line)
    return f"nodes {last.split(nodes)[1]}, what nodes share {said()[-1].split(shared)[1]}"


def long_changes(node):
    """What podwired says of changes that took it long."""
    return [line.split("cluster: ")[1] for line in node.daemon.log.read_text().splitlines() if " changes took " in line]


def changes(etcd, options, stop, done):
    """Of nodes, and of endpoints if there are any, in turn."""
    gateway, number, begun = Gateway(etcd), 0, time.monotonic()
    while not stop.is_set():
        values = []
        for _ in range(_CHANGES_A_TRANSACTION):
            number += 1
            n = 2 + number % (options.nodes - 1)
            if options.endpoints and number % 2:
                values.append(endpoint(n, 1, f"p{n}-1-{number}"))
            else:
                values.append((f"/podwire/nodes/n{n}", record(n, (1 << 24) + number)))
        gateway.put(values)
        time.sleep(max(0, begun + number / options.rate - time.monotonic()))
    done.append(number / (time.monotonic() - begun))


def lags(node, etcd, seconds):
    """Of each of a row of changes, while others are under way: how long etcd takes to answer and to tell its watchers,
    and how long after its answer the engine's tables have it, in ms."""
    key, found, number = "/podwire/nodes/n1", [], 0
    gateway, observer = Gateway(etcd), Observer(etcd, key)
    with contextlib.closing(observer), Rpc(node.engine_socket) as rpc:
        vtep = remote_vteps(rpc)["n1"]["id"]
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            number += 1
            wanted = record(1, (2 << 24) + number)
            asked = time.monotonic()
            gateway.put([(key, wanted)])
            begun = time.monotonic()
            wait_for(lambda: rpc.call("dump", {"noun": "vteps", "after_id": vtep - 1, "limit": 1})["objects"][0]["mac"]
                     == wanted["mac"], 30, "a change in the engine")
            done = time.monotonic()
            text = json.dumps(wanted)
            wait_for(lambda: text in observer.told, 30, "etcd tells of a change")
            found.append({"etcd_answer_ms": round((begun - asked) * 1000, 1), "etcd_tells_ms":
                          round(max(0, observer.told[text] - begun) * 1000, 1), "lag_ms": round((done - begun) * 1000, 1)})
            time.sleep(_MARK_EVERY)
    return found


def spread(found, key):
    values = sorted(one[key] for one in found)
    return f"p50 {statistics.median(values):.1f}, p99 {values[int(len(values) * 0.99)]:.1f}, most {values[-1]:.1f}"


def measure(options, directory):
    with contextlib.ExitStack() as stack:
        fabric = Fabric()
        stack.callback(fabric.delete)
        etcd = Etcd(fabric, directory / "etcd")
        stack.callback(etcd.close)
        etcd.start()
        node = Node(fabric, "measured", 1, directory / "node", domains=_DOMAINS,
                    cluster={"mode": "etcd", "endpoints": [etcd.url]})
        stack.callback(node.close)
        node.start()
        engine = node.engine_pid
        before = {"podwired": resident_mib(node.daemon.pid), "engine": resident_mib(engine)}
        begun = time.monotonic()
        fill(Gateway(etcd), options.nodes)
        with Rpc(node.engine_socket) as rpc:
            wait_for(lambda: len(remote_vteps(rpc)) >= options.nodes, 120, "every node in the engine")
        result = {"nodes": options.nodes, "followed_while_written_s": round(time.monotonic() - begun, 2)}
        result["podwired_kib_a_node"] = round((resident_mib(node.daemon.pid) - before["podwired"]) * 1024 / options.nodes, 2)
        result["engine_kib_a_node"] = round((resident_mib(engine) - before["engine"]) * 1024 / options.nodes, 2)
        if options.endpoints:
            before = {"podwired": resident_mib(node.daemon.pid), "engine": resident_mib(engine)}
            fill_endpoints(Gateway(etcd), options.nodes, options.endpoints)
            with Rpc(node.engine_socket) as rpc:
                wait_for(lambda: has_endpoints(rpc, options), 300, "every endpoint in the engine")
            count = options.nodes * options.endpoints
            result["endpoints"] = count
            result["podwired_kib_an_endpoint"] = round((resident_mib(node.daemon.pid) - before["podwired"]) * 1024 / count, 2)
            result["engine_kib_an_endpoint"] = round((resident_mib(engine) - before["engine"]) * 1024 / count, 2)
        # A node that knows nobody: its state is lost, its engine new. Then one that knows all of it.
        for own in ("start_up_s", "start_up_with_state_s"):
            node.call("leave")
            node.daemon.wait()
            if own == "start_up_s":
                etcd.ctl("del", "/podwire/alive/measured")
                shutil.rmtree(directory / "node/state")
            whole, reached, spent = start_up(node, etcd, options)
            result[own] = round(whole, 2)
            result[own + "_nodes"] = round(reached, 2)
            result[own + "_split"] = split(node)
            result[own + "_cpu"] = spent
        idle = lags(node, etcd, 2)
        stop, done = threading.Event(), []
        writer = threading.Thread(target=changes, args=(etcd, options, stop, done))
        writer.start()
        try:
            busy = lags(node, etcd, options.seconds)
        finally:
            stop.set()
            writer.join()
        worst = max(busy, key=lambda one: one["lag_ms"])
        result.update(lag_idle_ms=spread(idle, "lag_ms"), changes_a_second=round(done[0]), lag_ms=spread(busy, "lag_ms"),
                      etcd_answer_ms=spread(busy, "etcd_answer_ms"), etcd_tells_ms=spread(busy, "etcd_tells_ms"),
                      worst_lag=f"{worst['lag_ms']} ms, of which etcd told its watchers after {worst['etcd_tells_ms']} ms",
                      long_changes=long_changes(node)[-5:])
        return result


def main():
    parser = argparse.ArgumentParser(prog="cluster-scale.sh")
    parser.add_argument("--nodes", type=int, default=5000)
    parser.add_argument("--endpoints", type=int, default=50)
    parser.add_argument("--rate", type=int, default=1000)
    parser.add_argument("--seconds", type=float, default=10)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    sweep()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="pwc", dir="/tmp"))
    try:
        result = measure(options, directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print(json.dumps(result) if options.json else "\n".join(f"{key:26} {value}" for key, value in result.items()))


if __name__ == "__main__":
    main()
