"""Real traffic between namespaces: iperf3 and hashed files."""
import contextlib
import json
import pathlib
import sys
import time

TRANSFER = str(pathlib.Path(__file__).with_name("transfer.py"))
_SEED = 20240229


def wait_for_line(process, text):
    seen = ""
    for line in process.stdout:
        seen += line
        if text in line:
            return
    raise AssertionError(f"the server ended before \"{text}\": {seen}")


@contextlib.contextmanager
def file_server(ns, port=5300, address="::"):
    server = ns.popen(sys.executable, TRANSFER, "serve", port, address)
    wait_for_line(server, "ready")
    try:
        yield
    finally:
        server.kill()
        server.wait()


def send_file(client, address, direction="put", mib=100, port=5300, timeout=90):
    """A file of `mib` MiB to (put) or from (get) a file_server; both ends compare hashes. Returns Mbit/s."""
    done = client.run(sys.executable, TRANSFER, direction, address, port, mib, _SEED, timeout=timeout)
    return json.loads(done.stdout)["mbit_s"]


@contextlib.contextmanager
def iperf_server(ns, port=5201):
    server = ns.popen("iperf3", "-s", "--forceflush", "-p", port)
    wait_for_line(server, "listening")
    try:
        yield
    finally:
        server.kill()
        server.wait()


def iperf(client, address, seconds=2, port=5201, udp_rate=None, reverse=False, parallel=1):
    """TCP: {"mbit_s", "retransmits"}; UDP (udp_rate such as "20M"): {"mbit_s", "lost_percent"}."""
    argv = ["iperf3", "-J", "-c", address, "-p", port, "-t", seconds, "-P", parallel]
    if udp_rate:
        argv += ["-u", "-b", udp_rate, "-l", "1200"]
    if reverse:
        argv += ["-R"]
    for _ in range(30):
        report = json.loads(client.run(*argv, timeout=seconds + 30, check=False).stdout)
        if not any(word in report.get("error", "") for word in ("busy", "unable to connect to server: Connection reset")):
            break
        time.sleep(0.1)  # the server has not closed the run before
    if "error" in report:
        raise AssertionError(f"iperf3: {report['error']}")
    end = report["end"]
    if udp_rate:
        return {"mbit_s": round(end["sum"]["bits_per_second"] / 1e6), "lost_percent": end["sum"]["lost_percent"]}
    return {"mbit_s": round(end["sum_received"]["bits_per_second"] / 1e6),
            "retransmits": end["sum_sent"].get("retransmits", 0)}


@contextlib.contextmanager
def loss(ns, device, percent=1, table="podwire_test"):
    """Drops `percent` of what leaves `device`, after the socket has let it go."""
    ns.nft(f"""table netdev {table} {{
        chain loss {{
            type filter hook egress device "{device}" priority 0; policy accept;
            numgen random mod 100 < {percent} drop
        }}
    }}
    """)
    try:
        yield
    finally:
        ns.nft(f"delete table netdev {table}\n")
