"""kill -9 of either daemon in the midst of ADDs, and of podwired at each step of one ADD: afterwards addresses,
interfaces and engine ports agree, and DEL leaves nothing."""
import concurrent.futures
import json
import re
import subprocess
import threading
import time
import uuid

import pytest

from support.netns import Netns
from support.process import kill9, wait_until

PODS = 50


@pytest.fixture(scope="module")
def spaces():
    made = [Netns(f"crash{i}") for i in range(PODS)]
    yield made
    for ns in made:
        ns.delete()


def agree(node, spaces, ids, outcomes):
    """Who was told success has everything; nobody has half of anything once DEL has been called as a runtime does."""
    wait_until(lambda: node.status()["differences"] == [], 10, f"{node.status()['differences']} mended")
    succeeded = {}
    for i, (status, output, _) in enumerate(outcomes):
        if status == 0:
            succeeded[i] = json.loads(output)
        else:
            # What a runtime does after a failed ADD.
            status, output, _ = node.plugin("DEL", container_id=ids[i], netns=spaces[i].path)
            assert (status, output) == (0, "")
            assert "eth0" not in spaces[i].ip("-br link").stdout
    for i, result in succeeded.items():
        status, output, _ = node.plugin("CHECK", {**node.config_of(), "prevResult": result}, container_id=ids[i],
                                        netns=spaces[i].path)
        assert (status, output) == (0, "")
    addresses = [ip["address"] for result in succeeded.values() for ip in result["ips"]]
    assert len(set(addresses)) == len(addresses)
    assert node.attachments() == len(node.pod_ports()) == len(succeeded)
    assert node.status()["differences"] == []
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        deleted = pool.map(lambda i: node.plugin("DEL", container_id=ids[i], netns=spaces[i].path)[:2], range(len(spaces)))
        assert set(deleted) == {(0, "")}
    for ns in spaces:
        assert "eth0" not in ns.ip("-br link").stdout
    node.assert_empty()
    return len(succeeded)


def add_all(node, spaces, ids):
    with concurrent.futures.ThreadPoolExecutor(PODS) as pool:
        return list(pool.map(lambda i: node.plugin("ADD", container_id=ids[i], netns=spaces[i].path), range(PODS)))


@pytest.fixture(scope="module")
def undisturbed(node, spaces):
    """Seconds that the ADDs take when nobody is killed: what the moments of the kills are fractions of."""
    ids = [uuid.uuid4().hex for _ in range(PODS)]
    begin = time.monotonic()
    outcomes = add_all(node, spaces, ids)
    seconds = time.monotonic() - begin
    assert agree(node, spaces, ids, outcomes) == PODS
    return seconds


@pytest.mark.parametrize("fraction", [0.15, 0.35, 0.55, 0.75])
@pytest.mark.parametrize("victim", ["podwired", "engine"])
def test_killed_in_the_midst_of_50_adds(node, spaces, undisturbed, victim, fraction):
    ids = [uuid.uuid4().hex for _ in range(PODS)]
    engine = node.engine_pid
    delay = undisturbed * fraction

    def kill():
        time.sleep(delay)
        if victim == "engine":
            kill9(engine)
        else:
            node.daemon.kill9()
    killer = threading.Thread(target=kill)
    killer.start()
    outcomes = add_all(node, spaces, ids)
    killer.join()
    if victim == "podwired":
        node.start()
    else:
        wait_until(node.engine_ready, 20, "a new engine")
        wait_until(lambda: node.engine_pid != engine, 20, "a new engine")
    codes = [json.loads(output)["code"] for status, output, _ in outcomes if status != 0]
    assert set(codes) <= {11}, codes
    print(f"{victim} killed after {delay * 1000:.0f} ms: {agree(node, spaces, ids, outcomes)} of {PODS} ADDs had succeeded")


def tracer(pid, syscall, count, every_thread=True):
    """strace on podwired, ready to kill it as it enters the count-th such call of a thread (strace counts by thread)."""
    process = subprocess.Popen(["strace", *["-f"] * every_thread, "-p", str(pid), "-e", f"trace={syscall}", "-e", "signal=none",
                                "-e", f"inject={syscall}:signal=KILL:when={count}"],
                               stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    attached = threading.Event()

    def read():
        for line in process.stderr:
            if "attached" in line:
                attached.set()
    threading.Thread(target=read, daemon=True).start()
    assert attached.wait(10), "strace does not attach"
    time.sleep(0.1)  # to the other threads too
    return process


def killed_at(node, ns, command, syscall, count, every_thread):
    """One ADD or DEL with podwired killed on its way; then everything is as a runtime may expect. False: not killed."""
    step = f"{command} {syscall} {count}"
    container = uuid.uuid4().hex
    result = None
    if command == "DEL":
        status, output, _ = node.plugin("ADD", container_id=container, netns=ns.path)
        assert status == 0, f"{step}: {output}"
    strace = tracer(node.daemon.pid, syscall, count, every_thread)
    status, output, _ = node.plugin(command, container_id=container, netns=ns.path)
    killed = not node.running_after_a_while()
    strace.terminate()
    strace.wait(10)
    assert status == 0 or (killed and json.loads(output)["code"] == 11), f"{step}: {output}"
    if killed:
        node.daemon.wait()
        node.start()
        wait_until(lambda: node.status()["differences"] == [], 10, f"{step}: {node.status()['differences']} mended")
    if command == "ADD" and status == 0:
        result = json.loads(output)
        checked = node.plugin("CHECK", {**node.config_of(), "prevResult": result}, container_id=container, netns=ns.path)
        assert checked == (0, "", ""), step
    assert node.plugin("DEL", container_id=container, netns=ns.path) == (0, "", ""), step
    assert "eth0" not in ns.ip("-br link").stdout, step
    node.assert_empty()
    return killed


# Every kind of call that a command changes something with: commits, tap and netlink, the engine, the files themselves;
# and the answer to the plugin, which is the main thread's.
@pytest.mark.parametrize("command,syscall,every_thread", [
    *[("ADD", syscall, True) for syscall in ("fsync", "fdatasync", "ioctl", "sendto", "sendmsg", "pwrite64", "write", "setns")],
    *[("DEL", syscall, True) for syscall in ("fdatasync", "sendto", "sendmsg", "setns")],
    ("ADD", "sendmsg", False), ("DEL", "sendmsg", False),
])
def test_podwired_killed_at_each_step(node, spaces, command, syscall, every_thread):
    for count in range(1, 100):
        if not killed_at(node, spaces[0], command, syscall, count, every_thread):
            print(f"killed at each of {count - 1} {syscall} of one {command}, then untouched")
            return
    raise AssertionError(f"more than 100 {syscall} in one {command}?")


def test_a_restarted_daemon_frees_what_was_half_done_without_a_del(node, spaces):
    """The runtime died too: nobody calls DEL. Killed at the engine's answer, so that everything but it is done."""
    ns = spaces[0]
    container = uuid.uuid4().hex
    strace = tracer(node.daemon.pid, "setns", 2)  # on the way back from the pod's namespace
    status, output, _ = node.plugin("ADD", container_id=container, netns=ns.path)
    node.daemon.wait()
    strace.wait(10)
    assert status != 0
    assert re.search(r"eth0", ns.ip("-br link").stdout), "the interface was made"
    node.start()
    assert "eth0" not in ns.ip("-br link").stdout
    node.assert_empty()
