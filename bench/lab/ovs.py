"""OVS-DPDK of Debian, the peer: database, switch and sockets in a directory of its own, one PMD thread."""
import contextlib
import json
import os
import pathlib
import re
import socket
import subprocess
import time

from lab import machine, traffic
from lab.system import LEAST_FORWARDED, System, Unmeasurable, Window

VSWITCHD = "/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk"
SCHEMA = "/usr/share/openvswitch/vswitch.ovsschema"
# Its buffers are shared by all ports, and there are never more.
MOST_MBUFS = 262_144
MEMORY_MIB = 800
_SPARE_MBUFS = 16384
_MOST_CONNECTIONS = 1_000_000
_ANSWERS = 100  # OpenFlow port


class Ovs:
    """`ns`: the namespace it runs in. Bridges are made by bridge()."""

    def __init__(self, ns, directory, cpu, other_cpu):
        self.ns = ns
        self.directory = pathlib.Path(directory)
        self.directory.mkdir(parents=True, exist_ok=True)
        self.environment = dict(os.environ, **{name: str(self.directory) for name in
                                               ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR")})
        self.processes = []
        try:
            self._start(cpu, other_cpu)
        except BaseException:
            self.close()
            raise

    def _start(self, cpu, other_cpu):
        database = self.directory / "conf.db"
        self.run("ovsdb-tool", "create", database, SCHEMA)
        self.spawn("ovsdb-server", database, f"--remote=punix:{self.directory}/db.sock", "-vconsole:off",
                   "-vsyslog:off", f"--log-file={self.directory}/ovsdb.log")
        self.wait(lambda: (self.directory / "db.sock").exists(), "ovsdb-server's socket")
        self.vsctl("--no-wait", "init")
        # max-idle: between two windows it is stopped for long, and should forget nothing meanwhile.
        self.vsctl("--no-wait", "set", "Open_vSwitch", ".", "other_config:dpdk-init=true",
                   f"other_config:dpdk-lcore-mask={1 << other_cpu:#x}", f"other_config:pmd-cpu-mask={1 << cpu:#x}",
                   'other_config:dpdk-extra="--no-pci --in-memory --no-telemetry"', "other_config:vhost-sock-dir=.",
                   "other_config:max-idle=600000")
        self.vswitchd = self.spawn(VSWITCHD, f"unix:{self.directory}/db.sock",
                                   f"--pidfile={self.directory}/vswitchd.pid",
                                   f"--log-file={self.directory}/vswitchd.log",
                                   f"--unixctl={self.directory}/vswitchd.ctl", "-vconsole:off", "-vsyslog:off")
        self.wait(lambda: (self.directory / "vswitchd.ctl").exists(), "ovs-vswitchd's socket")

    def run(self, *argv, timeout=60):
        done = subprocess.run(list(map(str, argv)), env=self.environment, text=True, capture_output=True,
                              timeout=timeout)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(map(str, argv))}: exit {done.returncode}: {done.stderr or done.stdout}")
        return done.stdout

    def spawn(self, *argv):
        self.processes.append(subprocess.Popen(
            ["ip", "netns", "exec", self.ns.name, *machine.DIES_WITH_US, *map(str, argv)], env=self.environment,
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        return self.processes[-1]

    def wait(self, condition, what, timeout=60):
        deadline = time.monotonic() + timeout
        while not condition():
            if any(p.poll() is not None for p in self.processes):
                raise RuntimeError(f"waiting for {what}: a daemon of OVS ended; see {self.directory}/vswitchd.log")
            if time.monotonic() > deadline:
                raise RuntimeError(f"waiting for {what}: not within {timeout} s")
            time.sleep(0.02)

    def vsctl(self, *argv):
        return self.run("ovs-vsctl", f"--db=unix:{self.directory}/db.sock", "--timeout=30", *argv)

    def appctl(self, method, *params):
        """As ovs-appctl does it, without a process for each of the calls inside a window."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as control:
            control.settimeout(60)
            control.connect(f"{self.directory}/vswitchd.ctl")
            control.sendall(json.dumps({"id": 0, "method": method, "params": params}).encode())
            received = b""
            while True:
                data = control.recv(1 << 16)
                received += data
                with contextlib.suppress(json.JSONDecodeError):
                    reply = json.loads(received)
                    break
                if not data:
                    raise RuntimeError(f"ovs-vswitchd hung up at {method}")
        if reply["error"] is not None:
            raise RuntimeError(f"ovs-vswitchd: {method}: {reply['error']}")
        return reply["result"]

    def bridge(self, name, *settings):
        self.vsctl("add-br", name, "--", "set", "bridge", name, "datapath_type=netdev", "fail-mode=secure", *settings)

    def add_port(self, bridge, name, *settings):
        self.vsctl("add-port", bridge, name, "--", "set", "Interface", name, *settings)
        error = self.vsctl("get", "Interface", name, "error").strip()
        if error != "[]":
            raise RuntimeError(f"OVS port {name}: {error}")

    def flows(self, bridge, *flows):
        file = self.directory / f"{bridge}.flows"
        file.write_text("\n".join(flows) + "\n")
        self.run("ovs-ofctl", "add-flows", f"{self.directory}/{bridge}.mgmt", file)

    def counters(self):
        """Port -> (received, sent), from the datapath itself."""
        found, name = {}, None
        for line in self.appctl("dpctl/show", "-s", "netdev@ovs-netdev").splitlines():
            if match := re.match(r"\s+port \d+: (\S+)", line):
                name = match.group(1)
                found[name] = [0, 0]
            for index, way in enumerate(("RX", "TX")):
                if match := re.match(rf"\s+{way} packets:(\d+)", line):
                    found[name][index] = int(match.group(1))
        return found

    def clear_cycles(self):
        self.appctl("dpif-netdev/pmd-stats-clear")

    def cycles_per_packet(self, cpu):
        """Of the PMD thread on `cpu` since clear_cycles(), while it had packets; None when it had none."""
        text = self.appctl("dpif-netdev/pmd-stats-show")
        block = re.search(rf"pmd thread numa_id \d+ core_id {cpu}:(.*?)(?=\npmd thread|\nmain thread|\Z)", text, re.S)
        found = re.search(r"avg processing cycles per packet: ([\d.]+)", block.group(1))
        return float(found.group(1)) if found else None

    @property
    def pmd_thread(self):
        return machine.thread_of(self.vswitchd.pid, "pmd-")

    def close(self):
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _source(ovs, bridge, name, pcap):
    ovs.add_port(bridge, name, "type=dpdk", f"options:dpdk-devargs=net_pcap0,rx_pcap={pcap},infinite_rx=1")


def _sink(ovs, bridge, name):
    # Room for what a tunnel adds.
    ovs.add_port(bridge, name, "type=dpdk", "options:dpdk-devargs=net_null0,no-rx=1", "mtu_request=1600")


def _underlay(ovs, remote, peers):
    """br-phy with the VTEP's address and the peers' MACs; br-int with the tunnel."""
    ovs.bridge("br-phy", f"other-config:hwaddr={traffic.VTEP_MAC}")
    ovs.bridge("br-int")
    ovs.add_port("br-int", "vxlan0", "type=vxlan", f"options:remote_ip={remote}", f"options:key={traffic.VNI}")
    ovs.ns.ip(f"addr add {traffic.VTEP_IP}/24 dev br-phy")
    ovs.ns.ip("link set br-phy up")
    ovs.wait(lambda: "192.168.100" in ovs.appctl("ovs/route/show"), "the underlay's route")
    for i in range(peers):
        ovs.appctl("tnl/arp/set", "br-phy", traffic.peer_ip(i), traffic.peer_mac(i))


def _underlay_flows(ovs):
    ovs.flows("br-phy", "in_port=LOCAL,actions=output:phy0", "in_port=phy0,actions=LOCAL")


# Each returns the ports where packets come in and go out.

def p2p(ovs, cell):
    ovs.bridge("br0")
    _source(ovs, "br0", "source", cell.pcap)
    _sink(ovs, "br0", "sink")
    ovs.flows("br0", f"in_port=source,dl_dst={traffic.GATEWAY_MAC},actions=output:sink")
    return "source", "sink"


def route(ovs, cell):
    ovs.bridge("br0")
    _source(ovs, "br0", "source", cell.pcap)
    _sink(ovs, "br0", "sink")
    ovs.flows("br0", *(f"ip,in_port=source,dl_dst={traffic.GATEWAY_MAC},nw_dst={traffic.remote_pod(i)},"
                       f"actions=mod_dl_src:{traffic.GATEWAY_MAC},mod_dl_dst:02:00:01:00:00:{i:02x},dec_ttl,output:sink"
                       for i in range(traffic.REMOTE_PODS)))
    return "source", "sink"


def encap(ovs, cell):
    _underlay(ovs, traffic.PEER_IP, 1)
    return _encap(ovs, cell, f"in_port=source,dl_dst={traffic.GATEWAY_MAC},actions=output:vxlan0")


def _encap(ovs, cell, *flows):
    _sink(ovs, "br-phy", "phy0")
    _underlay_flows(ovs)
    _source(ovs, "br-int", "source", cell.pcap)
    ovs.flows("br-int", *flows)
    return "source", "phy0"


def encap_many(ovs, cell):
    _underlay(ovs, "flow", 16)
    return _encap(ovs, cell, *(f"ip,in_port=source,nw_dst={traffic.remote_pod(i)},"
                               f"actions=set_field:{traffic.peer_ip(i % 16)}->tun_dst,output:vxlan0"
                               for i in range(traffic.REMOTE_PODS)))


def decap(ovs, cell):
    _underlay(ovs, traffic.PEER_IP, 1)
    _sink(ovs, "br-int", "sink")
    ovs.flows("br-int", f"in_port=vxlan0,dl_dst={traffic.POD_MAC},actions=output:sink")
    _source(ovs, "br-phy", "phy0", cell.pcap)
    _underlay_flows(ovs)
    return "phy0", "sink"


def _tracked(ingress, egress, rules, new):
    """Connections that begin at `ingress`, are allowed by the last of `rules` rules and are tracked from then on."""
    return [f"table=0,in_port={ingress},ip,actions=ct(table=1,zone=1)",
            f"table=0,in_port={_ANSWERS},ip,actions=ct(zone=1)",
            f"table=1,priority=3,ct_state=+trk+est,ip,actions=output:{egress}",
            *(f"table=1,priority=2,ct_state=+trk+new,udp,nw_dst=10.244.0.0/16,tp_dst={port},actions=drop"
              for port in traffic.denied_ports(rules - 1)),
            f"table=1,priority=1,ct_state=+trk+new,udp,{new},actions=ct(commit,zone=1),output:{egress}",
            "table=1,priority=0,actions=drop"]


def _establish(ovs, cell, answers):
    """Every connection is there and has had an answer."""
    connections = min(cell.flows, _MOST_CONNECTIONS)
    ovs.wait(lambda: int(re.search(r"\d+", ovs.appctl("dpctl/ct-get-nconns", "netdev@ovs-netdev")).group()) >=
             connections, f"{connections} connections")
    ovs.add_port("br-int", "answers", "type=dpdk", f"options:dpdk-devargs=net_pcap1,rx_pcap={answers}",
                 f"ofport_request={_ANSWERS}")
    packets = traffic.packets_of(cell.size, cell.flows)
    ovs.wait(lambda: ovs.counters()["answers"][0] >= packets, "the answers")
    ovs.vsctl("del-port", "br-int", "answers")


def encap_stateful(rules):
    def setup(ovs, cell):
        _underlay(ovs, traffic.PEER_IP, 1)
        flows = _tracked("source", "vxlan0", rules, "nw_dst=10.244.2.0/24,tp_dst=5201")
        ports = _encap(ovs, cell, *flows)
        _establish(ovs, cell, traffic.pcap("answers", cell.size, cell.flows))
        return ports
    return setup


def decap_stateful(rules):
    def setup(ovs, cell):
        _underlay(ovs, traffic.PEER_IP, 1)
        _sink(ovs, "br-int", "sink")
        flows = _tracked("vxlan0", "sink", rules, "nw_src=10.244.2.0/24,tp_src=5201")
        ovs.flows("br-int", *flows)
        _source(ovs, "br-phy", "phy0", cell.pcap)
        _underlay_flows(ovs)
        _establish(ovs, cell, traffic.pcap("plain", cell.size, cell.flows))
        return "phy0", "sink"
    return setup


SETUPS = {"p2p": p2p, "route": route, "encap": encap, "encap-many": encap_many, "decap": decap,
          "encap-stateful": encap_stateful(traffic.RULES), "encap-stateful-1-rule": encap_stateful(1),
          "decap-stateful": decap_stateful(traffic.RULES), "decap-stateful-1-rule": decap_stateful(1)}


class OvsDpdk(System):
    def __init__(self, name, ns, directory, cell, march):
        self.name, self.march = name, march
        packets = traffic.packets_of(cell.size, cell.flows)
        if packets > MOST_MBUFS - _SPARE_MBUFS:
            raise Unmeasurable(f"the source holds a buffer for each of {packets} packets, and OVS has {MOST_MBUFS}")
        if not cell.hugepages:
            raise Unmeasurable("OVS-DPDK needs hugepages")
        self.ovs = Ovs(ns, directory, machine.SWITCH_CPU, machine.OTHER_CPU)
        try:
            self.ingress, self.egress = SETUPS[cell.scenario](self.ovs, cell)
            self.pids = [self.ovs.vswitchd.pid]
            self.threads = [self.ovs.pmd_thread]
            self.ovs.wait(lambda: self.ovs.counters()[self.egress][1] > 10 * packets, "traffic through OVS", 20)
        except BaseException:
            self.ovs.close()
            raise

    def observe(self, seconds):
        self.ovs.clear_cycles()
        before, began = self.ovs.counters(), time.monotonic()
        time.sleep(seconds)
        after, ended = self.ovs.counters(), time.monotonic()
        cycles = self.ovs.cycles_per_packet(machine.SWITCH_CPU)
        received = after[self.ingress][0] - before[self.ingress][0]
        sent = after[self.egress][1] - before[self.egress][1]
        if not cycles or sent < LEAST_FORWARDED * received:
            raise Unmeasurable(f"OVS received {received} packets and sent {sent}")
        return Window(ended - began, sent, cycles)

    def close(self):
        super().close()
        self.ovs.close()
