"""What bench/tenants.sh runs. Root; Debian's python3."""
import argparse
import contextlib
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time

_HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(_HERE.parent / "tests")]

from support.cni import cni, network_config
from support.netns import Fabric, Netns, sweep
from support.node import Node
from support.process import alive, binary, kill9, wait_until

_PREFIXES = ["10.60.1.0/24", "fd00:60:1::/64"]
_PATIENCE_S = 300


def tenant(number, masquerade):
    one = {"name": f"tenant-{number}", "vni": 1000 + number, "prefixes": _PREFIXES}
    if masquerade:
        prefixes = [f"10.{64 + (number >> 8)}.{number & 255}.0/24", f"fd00:64:{number:x}::/64"]
        one.update(prefixes=prefixes, masquerade=True)
    return one


def resident_mib(pid):
    return int(pathlib.Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / 2**20


def seconds(work):
    begun = time.monotonic()
    work()
    return round(time.monotonic() - begun, 3)


def percentile(values, share):
    return round(sorted(values)[min(len(values) - 1, int(len(values) * share))] * 1000, 1)


def stop_all(node):
    """podwired and its engine, as a reboot would; the pods' interfaces stay."""
    engine = node.engine_pid
    node.daemon.stop(60)
    if alive(engine):
        kill9(engine)
        wait_until(lambda: not alive(engine), 10, "the engine's end")


def add_pods(node, ns, count, names):
    """Seconds of each ADD, one after another, all into one namespace."""
    taken = []
    for number in range(1, count + 1):
        config = network_config(node.control_socket, domain=f"tenant-{number}")
        name = f"e{number}"
        taken.append(seconds(lambda: cni("ADD", config, container_id=name, netns=ns.path, ifname=name)))
        names.append((config, name))
    return taken


def measure(options, directory):
    with contextlib.ExitStack() as stack:
        fabric = Fabric()
        stack.callback(fabric.delete)
        ns = Netns("pods")
        stack.callback(ns.delete)
        node = Node(fabric, "tenants", 1, directory / "node")
        stack.callback(node.close)
        own = node.config["domains"][:1]
        node.config["domains"] = own
        node.start(_PATIENCE_S)
        few = {"podwired": resident_mib(node.daemon.pid), "engine": resident_mib(node.engine_pid)}
        stop_all(node)
        node.config["domains"] = own + [tenant(n, options.masquerade) for n in range(1, options.domains + 1)]
        file = node.directory / "podwired.json"
        file.write_text(json.dumps(node.config))
        result = {"domains": options.domains, "pods": options.pods}
        check = [binary("podwired"), "--config", str(file), "--check-config"]
        result["check_s"] = seconds(lambda: subprocess.run(check, check=True, stdout=subprocess.DEVNULL))
        result["first_start_s"] = seconds(lambda: node.start(_PATIENCE_S))
        for what, pid in (("podwired", node.daemon.pid), ("engine", node.engine_pid)):
            result[f"{what}_kib_a_domain"] = round((resident_mib(pid) - few[what]) * 1024 / options.domains, 2)
        node.daemon.stop(60)
        result["daemon_restart_s"] = seconds(lambda: node.start(_PATIENCE_S))
        pods = []
        taken = add_pods(node, ns, options.pods, pods)
        result.update(add_p50_ms=percentile(taken, 0.5), add_p99_ms=percentile(taken, 0.99),
                      add_first_100_ms=round(statistics.mean(taken[:100]) * 1000, 1),
                      add_last_100_ms=round(statistics.mean(taken[-100:]) * 1000, 1))
        result["list_s"] = seconds(lambda: node.cli("domain", "--json"))
        result["status_s"] = seconds(lambda: node.cli("status", "--json"))
        result["one_more_s"] = seconds(lambda: node.cli("domain", "add", "late", "--vni", 7, "--prefix", _PREFIXES[0],
                                                            *["--masquerade"] * options.masquerade))
        result["one_less_s"] = seconds(lambda: node.cli("domain", "del", "late"))
        node.daemon.stop(60)
        result["daemon_restart_with_pods_s"] = seconds(lambda: node.start(_PATIENCE_S))
        stop_all(node)
        result["new_engine_with_pods_s"] = seconds(lambda: node.start(_PATIENCE_S))
        for config, name in pods:
            cni("DEL", config, container_id=name, netns=ns.path, ifname=name)
        return result


def main():
    parser = argparse.ArgumentParser(prog="tenants.sh")
    parser.add_argument("--domains", type=int, default=4000)
    parser.add_argument("--pods", type=int)
    parser.add_argument("--masquerade", action="store_true")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if options.pods is None:
        options.pods = options.domains
    if not 100 <= options.pods <= options.domains <= 8000:
        parser.error("100 to 8000 domains, and 100 pods at least, at most one each")
    sweep()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="pwt", dir="/tmp"))
    try:
        result = measure(options, directory)
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print(json.dumps(result) if options.json else "\n".join(f"{key:28} {value}" for key, value in result.items()))


if __name__ == "__main__":
    main()
