"""Bad input to both daemons' sockets: malformed messages, unknown verbs, wrong types, over-long lines, half-closed and
silent clients, too many of them, strangers' uids, a second writer. The daemon answers by JSON-RPC and goes on serving.
Also the engine's and podwired's refusal of bad configuration, and that SIGTERM leaves nothing."""
import contextlib
import json
import os
import pathlib
import socket
import struct
import subprocess

import pytest

from support.engine import Engine, engine_config
from support.netns import Netns
from support.node import Node
from support.process import binary, wait_until
from support.rpc import Rpc, RpcError

PARSE_ERROR, INVALID_REQUEST, NO_METHOD, INVALID_PARAMS = -32700, -32600, -32601, -32602


@pytest.fixture(scope="module")
def engine(directory):
    ns = Netns("engine", ipv6=False)
    program = Engine(ns, directory / "engine").start()
    yield program
    program.close()
    ns.delete()


@pytest.fixture(scope="module")
def node(directory, fabric):
    machine = Node(fabric, "node1", 1, directory / "node").start()
    yield machine
    machine.close()


@pytest.fixture(params=["engine", "podwired"])
def server(request):
    """(socket path, still alive?)"""
    if request.param == "engine":
        program = request.getfixturevalue("engine")
        return program.socket, lambda: program.daemon.running() and program.call("status")
    machine = request.getfixturevalue("node")
    return machine.control_socket, lambda: machine.daemon.running() and machine.status()


def exchange(path, line):
    with Rpc(path, timeout=5) as rpc:
        rpc.send_raw(line)
        return rpc.receive()


MALFORMED = [
    (b"", None), (b"nonsense", PARSE_ERROR), (b"{", PARSE_ERROR), (b"\xff\xfe\x00", PARSE_ERROR), (b"[]", INVALID_REQUEST),
    (b"[" * 10000, PARSE_ERROR), (b'{"a":' * 5000, PARSE_ERROR),
    (b"null", INVALID_REQUEST), (b"42", INVALID_REQUEST), (b"{}", INVALID_REQUEST),
    (b'{"jsonrpc":"1.0","id":1,"method":"status"}', INVALID_REQUEST),
    (b'{"jsonrpc":"2.0","id":{},"method":"status"}', INVALID_REQUEST),
    (b'{"jsonrpc":"2.0","id":1,"method":7}', INVALID_REQUEST),
    (b'{"jsonrpc":"2.0","id":1}', INVALID_REQUEST),
    (b'{"jsonrpc":"2.0","id":1,"method":"status","params":[1]}', (INVALID_PARAMS, INVALID_REQUEST)),
    (b'{"jsonrpc":"2.0","id":1,"method":"nonsense"}', NO_METHOD),
    (b'{"jsonrpc":"2.0","id":1,"method":"sta\\u0000tus"}', NO_METHOD),
]


@pytest.mark.parametrize("line, code", MALFORMED, ids=[repr(line[:40]) for line, _ in MALFORMED])
def test_malformed_messages_get_an_error_with_the_right_code(server, line, code):
    path, alive = server
    if code is None:  # an empty line is an empty message
        with Rpc(path, timeout=5) as rpc:
            rpc.send_raw(line)
            rpc.send_raw(b'{"jsonrpc":"2.0","id":5,"method":"status"}')
            replies = [rpc.receive()]
            while replies[-1].get("id") != 5:
                replies.append(rpc.receive())
    else:
        reply = exchange(path, line)
        assert reply["jsonrpc"] == "2.0"
        assert reply["error"]["code"] in (code if isinstance(code, tuple) else (code,)), reply
        assert reply["error"]["message"]
    assert alive()


def test_an_unknown_verb_is_named(server):
    path, _ = server
    assert "frobnicate" in exchange(path, '{"jsonrpc":"2.0","id":1,"method":"frobnicate"}')["error"]["message"]


def test_unknown_parameters_are_refused_by_name(server):
    path, alive = server
    with Rpc(path) as rpc, pytest.raises(RpcError) as refused:
        rpc.call("stats", {"al": True})
    assert "al" in refused.value.message
    assert alive()


@pytest.mark.parametrize("value", [None, 1, -1, 1.5, 1e300, "x", [], {}, True, "A" * 100_000])
def test_wrong_types_everywhere(server, value):
    """Every verb's every parameter: an answer or an error, never a crash."""
    path, alive = server
    if path.endswith("engine.sock"):
        verbs = {"patch": ["put", "delete"], "replace_chunk": ["put"], "port_descriptors": ["id"], "stats": ["all"],
                 "dump": ["noun", "after_id", "limit"], "fdb": ["domain"], "hello": ["epoch"],
                 "explain": ["port", "source", "destination", "protocol", "source_port", "ttl", "size", "frame"]}
    else:
        verbs = {"cni": ["env", "stdin"], "stats": ["all"], "explain": ["from", "to", "protocol", "dport", "ttl", "size"],
                 "status": [], "ports": ["x"], "peers": ["x"]}
    with Rpc(path) as rpc:
        for verb, parameters in verbs.items():
            if verb == "hello" and isinstance(value, (int, float)) and value is not True:
                continue  # a large epoch would lock the fixture's writer out
            for parameter in parameters:
                for wrapped in (value, [value], {"ports": [{"id": value}]}, {"ports": value}):
                    try:
                        rpc.call(verb, {parameter: wrapped})
                    except RpcError as refused:
                        assert refused.message
    assert alive()


def test_an_over_long_line_ends_only_its_connection(server):
    path, alive = server
    with Rpc(path, timeout=10) as bystander:
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(10)
        client.connect(path)
        try:
            client.sendall(b"x" * (1 << 20) + b"yyyy")
            data = client.recv(65536)
        except (BrokenPipeError, ConnectionResetError):
            data = b""
        if data:
            assert json.loads(data.split(b"\n")[0])["error"]
        client.close()
        assert bystander.call("status")
    assert alive()


def test_a_line_just_short_enough_is_served(server):
    path, _ = server
    line = '{"jsonrpc":"2.0","id":1,"method":"status","params":{' + " " * ((1 << 20) - 100) + "}}"
    assert "result" in exchange(path, line)


def test_a_half_closed_client_still_gets_its_answers(server):
    path, alive = server
    with Rpc(path, timeout=5) as rpc:
        for _ in range(3):
            rpc.send_raw('{"jsonrpc":"2.0","id":1,"method":"status"}')
        rpc.socket.shutdown(socket.SHUT_WR)
        assert all("result" in rpc.receive() for _ in range(3))
        with pytest.raises(ConnectionError):
            rpc.receive()
    assert alive()


def test_half_a_line_and_gone(server):
    path, alive = server
    for piece in (b"", b"{", b'{"jsonrpc":"2.0","id":1,"method":"status"}'):
        client = socket.socket(socket.AF_UNIX)
        client.connect(path)
        client.sendall(piece)
        client.close()
    assert alive()


def test_a_request_byte_by_byte(server):
    path, _ = server
    with Rpc(path, timeout=10) as rpc:
        for byte in b'{"jsonrpc":"2.0","id":1,"method":"status"}\n':
            rpc.socket.sendall(bytes([byte]))
        assert "result" in rpc.receive()


def test_a_client_that_never_reads_is_cut_off_alone(server):
    path, alive = server
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    client.settimeout(1)
    try:
        for _ in range(20_000):
            client.sendall(b'{"jsonrpc":"2.0","id":1,"method":"stats","params":{"all":true}}\n')
    except OSError:
        pass  # it stopped reading us: that is the bound
    assert alive()
    client.close()
    assert alive()


def test_many_connections_are_bounded(server):
    path, alive = server
    clients = []
    for _ in range(300):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(5)
        try:
            client.connect(path)
        except OSError:
            break
        clients.append(client)
    for client in clients:
        client.close()

    def serving():
        try:
            return "result" in exchange(path, '{"jsonrpc":"2.0","id":1,"method":"status"}')
        except OSError:
            return False
    wait_until(serving, 5, "serving again")
    assert alive()


def test_descriptors_nobody_asked_for_are_closed(server):
    path, alive = server
    pid = struct.unpack("3i", _peer(path))[0]
    count = lambda: len(os.listdir(f"/proc/{pid}/fd"))
    alive()
    before = count()
    with open("/dev/null") as null, Rpc(path) as rpc:
        for _ in range(50):
            with contextlib.suppress(RpcError):  # refusing them is as good as ignoring them
                rpc.call("status", fds=[null.fileno()] * 20)
    wait_until(lambda: count() <= before + 1, 2, f"{before} descriptors open again")


def _peer(path):
    client = socket.socket(socket.AF_UNIX)
    client.connect(path)
    try:
        return client.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    finally:
        client.close()


def test_a_strangers_uid_is_refused(server):
    """The file's mode keeps others out; where somebody opens it up, SO_PEERCRED still does."""
    path, alive = server
    assert os.stat(path).st_mode & 0o777 == 0o600
    parents = [p for p in pathlib.Path(path).parents if str(p).startswith("/tmp/pwt")]
    modes = {p: os.stat(p).st_mode & 0o777 for p in parents}
    request = b'{"jsonrpc":"2.0","id":1,"method":"status"}\n'
    script = (f"import os, socket; os.setgroups([]); os.setresgid(*[65534]*3); os.setresuid(*[65534]*3)\n"
              f"s = socket.socket(socket.AF_UNIX); s.settimeout(5)\n"
              f"try:\n s.connect({path!r})\nexcept PermissionError:\n print('not permitted'); raise SystemExit\n"
              f"try:\n s.sendall({request!r})\nexcept OSError:\n pass\n"
              f"print(s.recv(65536).decode())")
    run = lambda: subprocess.run(["/usr/bin/python3", "-c", script], capture_output=True, text=True, timeout=20).stdout
    for parent in parents:
        os.chmod(parent, 0o755)
    try:
        assert "not permitted" in run()
        os.chmod(path, 0o666)
        answer = run()
        assert "result" not in answer and "65534" in answer
    finally:
        os.chmod(path, 0o600)
        for parent, mode in modes.items():
            os.chmod(parent, mode)
    assert alive()


def test_only_the_writer_writes_and_a_lower_epoch_is_refused(engine):
    with Rpc(engine.socket) as other:
        with pytest.raises(RpcError):
            other.call("patch", {"put": {}})
        with pytest.raises(RpcError) as refused:
            other.call("hello", {"epoch": 0})
        assert "epoch" in refused.value.message
        assert other.call("status") and other.call("stats")
    engine.call("patch", {"put": {}})


def test_a_newer_writer_takes_over(directory):
    ns = Netns("epochs", ipv6=False)
    program = Engine(ns, directory / "epochs").start()
    try:
        with Rpc(program.socket) as newer:
            first = newer.call("hello", {"epoch": 1000})
            assert first["instance"]
            newer.call("patch", {"put": {}})
            with pytest.raises((RpcError, ConnectionError)):
                program.call("patch", {"put": {}})
    finally:
        program.close()
        ns.delete()


@pytest.mark.parametrize("key, value, says", [
    ("memory_mib", -1, "memory_mib"), ("mbufs", "many", "mbufs"), ("workers", 0, "workers"), ("workers", 10_000, "workers"),
    ("cpus", [100_000], "100000"), ("idle", "lazy", "adaptive"), ("hugepages", "maybe", "never"),
    ("socket", "/tmp/" + "x" * 200, "107"), ("log_level", "loud", "log_level"), ("worker", 1, "workers"),
])
def test_the_engines_configuration_is_checked(tmp_path, key, value, says):
    file = tmp_path / "engine.json"
    file.write_text(json.dumps({**engine_config(tmp_path), key: value}))
    done = subprocess.run([binary("podwire-engine"), "--config", file, "--check-config"], capture_output=True, text=True)
    assert done.returncode == 2 and says in done.stderr + done.stdout


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"socket": 1}'])
def test_the_engines_configuration_file_must_be_an_object(tmp_path, text):
    file = tmp_path / "engine.json"
    file.write_text(text)
    done = subprocess.run([binary("podwire-engine"), "--config", file, "--check-config"], capture_output=True, text=True)
    assert done.returncode == 2 and "engine.json" in done.stderr + done.stdout


@pytest.mark.parametrize("key, value, status, says", [
    ("cpus", [1000], 2, "1000"), ("idel", "busy", 2, "idle"), ("socket", "/dev/null/engine.sock", 1, "/dev/null")])
def test_a_bad_configuration_ends_with_2_and_a_failed_start_with_1(engine, tmp_path, key, value, status, says):
    """systemd must not start the former again and again (RestartPreventExitStatus in config/)."""
    file = tmp_path / "engine.json"
    file.write_text(json.dumps({**engine_config(tmp_path), key: value}))
    done = engine.ns.run(binary("podwire-engine"), "--config", file, check=False, timeout=30)
    assert done.returncode == status and says in done.stderr + done.stdout, done


def test_a_good_engine_configuration_checks(tmp_path):
    file = tmp_path / "engine.json"
    file.write_text(json.dumps(engine_config(tmp_path)))
    done = subprocess.run([binary("podwire-engine"), "--config", file, "--check-config"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("change, says", [
    ({"nod": "x"}, "node"), ({"underlay": {"device": "eth0", "driver": "dpdk"}}, "af_xdp"),
    ({"underlay": {"device": "eth0", "drivr": "af_xdp"}}, "driver"), ({"cluster": "etcd2"}, "local"),
    ({"domains": [{"name": "a", "vni": 1 << 24, "prefixes": ["10.1.0.0/24"]}]}, "vni"),
    ({"domains": [{"name": "a", "vni": 1, "prefixes": ["10.1.0.1/24"]}]}, "10.1.0"),
    ({"peers": [{"name": "p", "address": "nowhere"}]}, "nowhere"),
    ({"control_socket": "relative.sock"}, "control_socket"),
])
def test_podwireds_configuration_is_checked(node, tmp_path, change, says):
    file = tmp_path / "podwired.json"
    file.write_text(json.dumps({**node.config, **change}))
    done = node.ns.run(binary("podwired"), "--config", file, check=False, timeout=10)
    assert done.returncode == 2 and says in done.stderr + done.stdout


def test_sigterm_exits_0_and_leaves_nothing(directory):
    ns = Netns("leaving", ipv6=False)
    program = Engine(ns, directory / "leaving").start()
    prefix = program.config["file_prefix"]
    assert program.stop() == 0
    assert not os.path.exists(program.socket)
    leftovers = [str(p) for root in ("/dev/hugepages", "/run/dpdk", "/var/run/dpdk", "/tmp/dpdk", "/mnt/huge")
                 for p in pathlib.Path(root).glob(f"*{prefix}*")]
    assert leftovers == []
    program.daemon.forget()
    ns.delete()


def test_a_killed_engine_starts_again_on_its_socket(directory):
    ns = Netns("again", ipv6=False)
    program = Engine(ns, directory / "again").start()
    program.rpc.close()
    program.daemon.kill9()
    program.start()
    assert program.call("status")["generation"] == 0
    program.close()
    ns.delete()


def test_a_second_engine_on_the_same_socket_is_refused(engine, tmp_path):
    file = tmp_path / "engine.json"
    file.write_text(json.dumps({**engine_config(tmp_path), "socket": engine.socket}))
    done = engine.ns.run(binary("podwire-engine"), "--config", file, check=False, timeout=15)
    assert done.returncode == 1 and engine.socket in done.stderr + done.stdout
    assert engine.call("status")


def test_shutdown_is_the_writers_and_leaves_like_sigterm(directory):
    ns = Netns("shutdown", ipv6=False)
    program = Engine(ns, directory / "shutdown").start()
    program.call("shutdown")
    assert program.daemon.wait() == 0
    assert not os.path.exists(program.socket)
    program.daemon.forget()
    ns.delete()
