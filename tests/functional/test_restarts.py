"""Operations: the engine killed under iperf3 (the connection survives), podwired killed (no packet lost), graceful stop,
leaving the node, idle cost, and the latency of a first packet after idle. Outages and figures are printed."""
import json
import os
import re
import statistics
import time

import pytest

from support.cluster import Cluster
from support.process import alive, cpu_seconds, kill9, wait_until
from support.traffic import file_server, iperf_server, send_file


@pytest.fixture(scope="module")
def cluster(short_directory):
    pair = Cluster(short_directory / "restarts", kernel_machines=False, pods=2)
    yield pair
    pair.close()


def settled(cluster):
    """Ledgers balance and podwired sees no difference."""
    for node in cluster.podwire:
        node.ledger(slack=256).check()
        wait_until(lambda: node.status()["differences"] == [], 3, f"{node.name} without differences")


def ping_stream(pod, address, seconds, interval=0.01):
    return pod.ns.popen("ping", "-n", "-D", "-i", interval, "-c", round(seconds / interval), "-W", "1", address)


def replies(process, timeout=30):
    """(times of replies in seconds, packets lost)"""
    output, _ = process.communicate(timeout=timeout)
    times = [float(t) for t in re.findall(r"\[(\d+\.\d+)\] \d+ bytes from", output)]
    sent, received = map(int, re.search(r"(\d+) packets transmitted, (\d+) received", output).groups())
    return times, sent - received


def longest_gap_ms(times):
    return max(round((b - a) * 1000) for a, b in zip(times, times[1:]))


@pytest.mark.parametrize("which", ["node1", "node2"])
def test_engine_killed_under_iperf3(cluster, which):
    node = getattr(cluster, which)
    before = node.engine_pid
    with iperf_server(cluster.b.ns):
        client = cluster.a.ns.popen("iperf3", "-J", "-c", cluster.b.ipv4, "-t", "8", "-i", "0.1")
        pings = ping_stream(cluster.pods["node1-b"], cluster.b.ipv4, 6)
        time.sleep(2)
        kill9(before)
        report = json.loads(client.communicate(timeout=60)[0])
        times, lost = replies(pings)
    assert "error" not in report, report.get("error")
    rates = [round(i["sum"]["bits_per_second"] / 1e6) for i in report["intervals"]]
    stalled = sum(i["sum"]["bytes"] == 0 for i in report["intervals"]) * 100
    print(f"engine of {which} killed: no packet for {longest_gap_ms(times)} ms, {lost} of 600 pings lost, "
          f"TCP stood still for {stalled} ms; Mbit/s before {rates[10]}, at the end {rates[-2]}")
    assert rates[-1] + rates[-2] + rates[-3] > 0, "the connection did not recover"
    assert node.engine_pid != before
    assert node.status()["engine"]["restarts"] >= 1
    for pod in cluster.pods.values():
        pod.check()
    settled(cluster)


def test_podwired_killed_loses_no_packet(cluster):
    node = cluster.node1
    engine = node.engine_pid
    pings = ping_stream(cluster.a, cluster.b.ipv4, 4)
    time.sleep(0.5)
    node.daemon.kill9()
    time.sleep(1)
    node.start()
    times, lost = replies(pings)
    assert lost == 0, f"{lost} of 400 lost"
    print(f"podwired killed and restarted: longest gap {longest_gap_ms(times)} ms")
    assert node.engine_pid == engine, "the running engine is adopted"
    for pod in node.pods:
        pod.check()
    settled(cluster)


def test_both_killed_at_once(cluster):
    node = cluster.node2
    engine = node.engine_pid
    node.daemon.kill9()
    kill9(engine)
    wait_until(lambda: not alive(engine), 2, "engine dead")
    node.start()
    wait_until(lambda: cluster.a.ns.ping(cluster.b.ipv4), 5, "pods reach each other again")
    for pod in node.pods:
        pod.check()
    settled(cluster)


def test_podwired_stopped_and_started_keeps_pods_connected(cluster):
    node = cluster.node1
    assert node.daemon.stop() == 0
    assert not os.path.exists(node.control_socket)
    node.start()
    wait_until(lambda: cluster.a.ns.ping(cluster.b.ipv4), 5, "pods reach each other")
    settled(cluster)


def test_a_pod_comes_and_goes(cluster):
    node = cluster.node1
    counts = node.status()["counts"]
    pod = node.pod("guest")
    assert cluster.b.ns.ping(pod.ipv4) and cluster.b.ns.ping(pod.ipv6)
    pod.delete()
    node.pods.remove(pod)
    assert node.status()["counts"] == counts
    assert not cluster.b.ns.ping(pod.ipv4, timeout=1)
    settled(cluster)


def test_idle_engine_cost(cluster):
    """Goal: below 5 % of a core."""
    time.sleep(1)
    for node in cluster.podwire:
        pid = node.engine_pid
        before, started = cpu_seconds(pid), time.monotonic()
        time.sleep(3)
        percent = 100 * (cpu_seconds(pid) - before) / (time.monotonic() - started)
        print(f"idle engine of {node.name}: {percent:.1f} % of a core")
        assert percent < 20


@pytest.mark.parametrize("target", ["same-node", "across-nodes"])
def test_first_packet_after_idle(cluster, target):
    """Goal: median wait of at most 1 ms."""
    address = (cluster.pods["node1-b"] if target == "same-node" else cluster.b).ipv4
    rtt = lambda interval, count: [float(t) for t in re.findall(
        r"time=([\d.]+) ms", cluster.a.ns.run("ping", "-n", "-i", interval, "-c", count, address, timeout=30).stdout)]
    busy, idle = statistics.median(rtt(0.002, 200)), statistics.median(rtt(0.3, 12))
    print(f"{target}: round trip {idle:.2f} ms after idle, {busy:.2f} ms in a stream")
    assert idle < 20


def test_leaving_gives_the_interface_back(cluster):
    """Last: the node is no Podwire node any more."""
    node = cluster.node2
    engine = node.engine_pid
    for pod in list(node.pods):
        pod.delete()
        node.pods.remove(pod)
    assert node.cli("leave", check=False).returncode != 0  # asks for --yes
    node.cli("leave", "--yes")
    wait_until(lambda: not alive(engine), 5, "the engine stopped")
    links = node.ns.ip("-br link").stdout
    assert "podwire0" not in links
    addresses = node.ns.ip("-br addr show eth0").stdout
    assert f"{node.underlay4}/24" in addresses and f"{node.underlay6}/64" in addresses
    assert node.ns.ping("192.168.100.1")
    with file_server(node.ns, port=2222):
        send_file(cluster.node1.ns, node.underlay4, mib=5, port=2222)
    assert node.daemon.running() is False or node.daemon.stop() == 0
    assert not os.path.exists(node.engine_socket)
