"""A node boot: 100 ADDs at once. Figures are printed; what is asserted is that all agree afterwards."""
import concurrent.futures
import json
import os
import resource
import statistics
import subprocess
import time
import uuid

import pytest

from support.cni import CNI_BIN_DIR, cni
from support.process import binary

PODS = 100


def timed_plugin(command, config, container_id, netns):
    """(exit status, stdout, seconds of wall time) with as little of our own as can be."""
    env = {"PATH": os.environ["PATH"], "CNI_COMMAND": command, "CNI_PATH": CNI_BIN_DIR, "CNI_CONTAINERID": container_id,
           "CNI_NETNS": netns, "CNI_IFNAME": "eth0"}
    begin = time.perf_counter()
    done = subprocess.run([binary("podwire")], input=config, env=env, capture_output=True, text=True)
    return done.returncode, done.stdout, time.perf_counter() - begin


def percentile(values, share):
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]


@pytest.fixture(scope="module")
def spaces():
    from support.netns import Netns
    made = [Netns(f"many{i}") for i in range(PODS)]
    yield made
    for ns in made:
        ns.delete()


def test_100_adds_at_once(node, spaces):
    config = json.dumps(node.config_of())
    ids = [uuid.uuid4().hex for _ in range(PODS)]
    with concurrent.futures.ThreadPoolExecutor(PODS) as pool:
        begin = time.perf_counter()
        added = list(pool.map(lambda i: timed_plugin("ADD", config, ids[i], spaces[i].path), range(PODS)))
        burst = time.perf_counter() - begin
    assert [output for status, output, _ in added if status != 0] == []
    results = [json.loads(output) for _, output, _ in added]
    addresses = [ip["address"] for result in results for ip in result["ips"]]
    assert len(set(addresses)) == len(addresses) == 2 * PODS
    assert len({result["interfaces"][1]["mac"] for result in results}) == PODS
    latencies = [seconds * 1000 for _, _, seconds in added]
    print(f"{PODS} ADDs at once: p50 {percentile(latencies, 0.5):.0f} ms, p99 {percentile(latencies, 0.99):.0f} ms, "
          f"all in {burst * 1000:.0f} ms (goal: p99 <= 500 ms)")
    assert node.attachments() == PODS and len(node.pod_ports()) == PODS
    assert node.status()["differences"] == []
    for i in (0, 1, PODS - 1):
        cni("CHECK", {**node.config_of(), "prevResult": results[i]}, container_id=ids[i], netns=spaces[i].path)
    assert spaces[0].ping(results[PODS - 1]["ips"][0]["address"].split("/")[0])
    with concurrent.futures.ThreadPoolExecutor(PODS) as pool:
        deleted = list(pool.map(lambda i: timed_plugin("DEL", config, ids[i], spaces[i].path), range(PODS)))
    assert {(status, output) for status, output, _ in deleted} == {(0, "")}
    latencies = [seconds * 1000 for _, _, seconds in deleted]
    print(f"{PODS} DELs at once: p50 {percentile(latencies, 0.5):.0f} ms, p99 {percentile(latencies, 0.99):.0f} ms")
    assert all("eth0" not in ns.ip("-br link").stdout for ns in spaces)


def test_one_add_alone_and_its_own_cpu(node, spaces):
    config = json.dumps(node.config_of())
    alone = []
    for ns in spaces[:20]:
        container = uuid.uuid4().hex
        status, output, seconds = timed_plugin("ADD", config, container, ns.path)
        assert status == 0, output
        alone.append(seconds * 1000)
        assert timed_plugin("DEL", config, container, ns.path)[0] == 0
    print(f"one ADD alone: median {statistics.median(alone):.1f} ms, p99 {percentile(alone, 0.99):.1f} ms (goal: <= 30 ms)")

    # The processor time of the plugin processes and nothing else: waited-for children since the last look.
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    calls = 50
    for _ in range(calls):
        timed_plugin("DEL", config, "nobody", spaces[0].path)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime) / calls * 1000
    print(f"the plugin's own processor time: {cpu:.2f} ms a call, with fork and exec (goal: <= 3 ms)")


def test_one_container_called_many_times_at_once(node, spaces):
    """ADDs and DELs of one container in a heap: each ADD succeeds or says why, and the last DEL leaves nothing."""
    config = json.dumps(node.config_of())
    container = uuid.uuid4().hex
    with concurrent.futures.ThreadPoolExecutor(20) as pool:
        outcomes = list(pool.map(lambda i: timed_plugin("DEL" if i % 3 == 2 else "ADD", config, container, spaces[0].path),
                                 range(30)))
    for i, (status, output, _) in enumerate(outcomes):
        if i % 3 == 2:
            assert (status, output) == (0, "")
        elif status != 0:
            assert json.loads(output)["code"] in (100, 105), output
    assert timed_plugin("DEL", config, container, spaces[0].path)[:2] == (0, "")
    assert "eth0" not in spaces[0].ip("-br link").stdout
