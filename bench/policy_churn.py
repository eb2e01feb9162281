"""What bench/policy-churn.sh runs. Root; Debian's python3."""
import argparse
import contextlib
import json
import pathlib
import shutil
import statistics
import sys
import tempfile
import time

_HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE.parent / "tests")]

from support.netns import Fabric, sweep
from support.node import Node
from support.rpc import Rpc
from support.traffic import iperf_server

_NAMESPACES = 50
_PODS_A_MESSAGE = 500
_INTERVAL = 0.5  # seconds of iperf3's reports
_HERE_TOO = "space0"  # where the two pods live between which traffic flows


def _manifests(objects):
    return "\n---\n".join(json.dumps(one) for one in objects)


def cluster(pods, local):
    """Namespaces and pods as their manifests; `local` are (name, address) of pods on this node."""
    yield from ({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": f"space{i}", "labels": {"team": f"t{i % 10}"}}}
                for i in range(_NAMESPACES))
    where = [(_HERE_TOO, name, None) for name in local]
    where += [(f"space{i % _NAMESPACES}", f"pod{i}", f"10.{64 + (i >> 16)}.{i >> 8 & 255}.{i & 255}")
              for i in range(pods - len(where))]
    for i, (space, name, address) in enumerate(where):
        pod = {"apiVersion": "v1", "kind": "Pod",
               "metadata": {"namespace": space, "name": name, "labels": {"app": f"a{i % 200}", "tier": f"x{i % 7}"}}}
        yield pod | ({"status": {"podIP": address}} if address else {})


def policy(number, port):
    """Every pod of one namespace may be reached by one application of another, and by its neighbours at iperf3's port."""
    space = number % _NAMESPACES
    peers = [{"namespaceSelector": {"matchLabels": {"team": f"t{number % 10}"}},
              "podSelector": {"matchLabels": {"app": f"a{number % 200}"}}}]
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy",
            "metadata": {"namespace": f"space{space}", "name": f"p{number}"},
            "spec": {"podSelector": {}, "ingress": [
                {"from": peers, "ports": [{"port": 1024 + number}]},
                {"from": [{"podSelector": {}}], "ports": [{"port": port}]}]}}


def resident_mib(pid):
    pages = int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1])
    return round(pages * 4096 / 2**20, 1)


def rates(report):
    """(seconds since the start, Mbit/s) of every interval."""
    return [(one["sum"]["end"], one["sum"]["bits_per_second"] / 1e6) for one in report["intervals"]]


def run(options, directory):
    with contextlib.ExitStack() as stack:
        fabric = Fabric()
        stack.callback(fabric.delete)
        node = Node(fabric, "policies", 1, directory / "n1")
        node.config["domains"][0]["stateful"] = True
        stack.callback(node.close)
        node.start()
        args = f"K8S_POD_NAMESPACE={_HERE_TOO};K8S_POD_NAME="
        client, server = (node.pod(name, attach=False) for name in ("client", "server"))
        for pod in (client, server):
            pod.add(args=args + pod.name)
        rpc = stack.enter_context(Rpc(node.control_socket))
        objects = list(cluster(options.pods, ("client", "server")))
        began = time.monotonic()
        for i in range(0, len(objects), _PODS_A_MESSAGE):
            rpc.call("policy_apply", {"manifests": _manifests(objects[i:i + _PODS_A_MESSAGE])})
        known = time.monotonic() - began
        before = {"podwired": resident_mib(node.daemon.pid), "engine": resident_mib(node.engine_pid)}
        stack.enter_context(iperf_server(server.ns))
        seconds = 2 * options.quiet + options.policies * 0.25
        iperf = client.ns.popen("iperf3", "-J", "-i", _INTERVAL, "-c", server.ipv4, "-t", round(seconds), "-b", options.rate)
        stack.callback(iperf.kill)
        started = time.monotonic()
        time.sleep(options.quiet)
        first = time.monotonic() - started
        replies = []
        for number in range(options.policies):
            text = _manifests([policy(number, 5201)])
            asked = time.monotonic()
            rpc.call("policy_apply", {"manifests": text})
            replies.append((time.monotonic() - asked) * 1000)
        last = time.monotonic() - started
        time.sleep(options.quiet)
        node.ns.run("kill", "-INT", iperf.pid)
        report = json.loads(iperf.communicate()[0])
        after = {"podwired": resident_mib(node.daemon.pid), "engine": resident_mib(node.engine_pid)}
    shown = rates(report)
    # iperf3 needs a moment to start, and its last interval is cut short.
    quiet = [rate for end, rate in shown if 2 * _INTERVAL < end <= first]
    busy = [rate for end, rate in shown if first + _INTERVAL < end <= last]
    replies.sort()
    return {"pods": options.pods, "policies": options.policies, "pods_known_s": round(known, 2),
            "apply_ms": {"median": round(statistics.median(replies), 1), "p99": round(replies[int(len(replies) * 0.99)], 1),
                         "max": round(replies[-1], 1)},
            "quiet_mbit_s": round(statistics.mean(quiet), 2), "busy_mbit_s": round(statistics.mean(busy), 2),
            "worst_interval_mbit_s": round(min(busy), 2), "worst_quiet_interval_mbit_s": round(min(quiet), 2),
            "dip": round(1 - statistics.mean(busy) / statistics.mean(quiet), 4), "intervals": len(busy),
            "resident_mib_without_policies": before, "resident_mib_with_policies": after}


def main():
    parser = argparse.ArgumentParser(prog="policy-churn.sh")
    parser.add_argument("--policies", type=int, default=1000)
    parser.add_argument("--pods", type=int, default=5000)
    parser.add_argument("--rate", default="300M")
    parser.add_argument("--quiet", type=float, default=5)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.policies < 1 or options.pods < 2 or options.quiet < 3:
        parser.error("--policies must be at least 1, --pods 2 and --quiet 3")
    sweep()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="pwb", dir="/tmp"))
    try:
        found = run(options, directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    if options.json:
        print(json.dumps(found))
        return
    for name, value in found.items():
        print(f"{name:34} {value}")


if __name__ == "__main__":
    main()
