"""Podwire under test: one engine with one worker, programmed over its socket."""
import time

from lab import build, machine, traffic
from lab.system import LEAST_FORWARDED, System, Unmeasurable, Window
from support.process import wait_until
from support.rpc import RpcError

DOMAIN = 2
SOURCE, SINK, UPLINK, ANSWERS = 1, 2, 3, 4  # port ids
LOCAL_VTEP, FIRST_PEER = 1, 2
SPARE_MBUFS = 16384
_MBUF_BYTES = 2432
# The source never runs dry, so the cycles that are counted are all there are.
_CROSS_CHECK = 0.05
# Connections that nobody may push out take up to this part of the table.
_FULL = 0.7
_DEFAULT_FLOWS = 1 << 20
# An underlay neighbour that does not answer for 30 s is asked again, and nobody is there to answer.
_RESOLVED_FOR = 20


def max_flows(flows):
    """The engine's option, for a source of so many connections."""
    return max(_DEFAULT_FLOWS, 1 << int(flows / _FULL).bit_length())


def memory_mib(packets, spare=SPARE_MBUFS):
    return (packets + spare) * _MBUF_BYTES // 2**20 + 96


def _domain(mode, **more):
    return {"id": DOMAIN, "name": "bench", "vni": traffic.VNI, "mode": mode, "mtu": 1500,
            "gateway_mac": traffic.GATEWAY_MAC if mode == "l3" else "02:70:77:00:00:01",
            "gateways": ["10.244.0.1/16"], **more}


def port(id, name, devargs, role="pod", **more):
    domain = {"domain": DOMAIN} if role == "pod" else {}
    return {"id": id, "name": name, "kind": "physical", "role": role, "devargs": devargs, **domain, **more}


def _source(pcap, role="pod"):
    return port(SOURCE, "source", f"net_pcap0,rx_pcap={pcap},infinite_rx=1", role)


def _sink():
    return port(SINK, "sink", "net_null0,no-rx=1")


def _pod(port):
    return {"id": 1, "name": "pod", "domain": DOMAIN, "port": port, "mac": traffic.POD_MAC,
            "addresses": [traffic.POD_IP]}


def endpoint(index, address, **where):
    return {"id": 2 + index, "name": f"e{index}", "domain": DOMAIN, "mac": f"02:00:01:{index >> 16:02x}:"
            f"{index >> 8 & 255:02x}:{index & 255:02x}", "addresses": [address], **where}


def vteps(peers):
    local = {"id": LOCAL_VTEP, "name": "local", "local": True, "address": traffic.VTEP_IP, "mac": "02:00:00:00:ee:01"}
    return [local] + [{"id": FIRST_PEER + i, "name": f"peer{i}", "address": traffic.peer_ip(i),
                       "mac": f"02:00:00:00:ee:{2 + i:02x}"} for i in range(peers)]


def _underlay(port):
    return {"id": 1, "domain": 1, "prefix": "192.168.100.0/24", "next_hops": [{"port": port}]}


def _remote():
    return {"id": 2, "domain": DOMAIN, "prefix": "10.244.2.0/24", "next_hops": [{"vtep": FIRST_PEER}]}


def p2p(cell, directory):
    receiver = {"id": 2, "name": "receiver", "domain": DOMAIN, "port": SINK, "mac": traffic.GATEWAY_MAC,
                "addresses": ["10.244.1.3"]}
    return {"ports": [_source(cell.pcap), _sink()], "domains": [_domain("l2")], "endpoints": [_pod(SOURCE), receiver]}


def route(cell, directory):
    return {"ports": [_source(cell.pcap), _sink()], "domains": [_domain("l3")],
            "endpoints": [_pod(SOURCE)] + [endpoint(i, traffic.remote_pod(i), port=SINK)
                                           for i in range(traffic.REMOTE_PODS)]}


def _tunnel(cell, directory, peers, endpoints=(), routes=(), **domain):
    played = traffic.underlay_answers(directory / "underlay.pcap", traffic.VTEP_MAC, peers)
    uplink = port(UPLINK, "uplink", f"net_pcap1,rx_pcap={played}", "uplink", mtu=1600)
    return {"ports": [_source(cell.pcap), uplink], "domains": [_domain("l3", **domain)], "vteps": vteps(peers),
            "endpoints": [_pod(SOURCE), *endpoints], "routes": [_underlay(UPLINK), *routes]}


def encap(cell, directory, peers=1, endpoints=(), **more):
    return _tunnel(cell, directory, peers, endpoints, [_remote()], **more)


def encap_many(cell, directory):
    return _tunnel(cell, directory, 16, [endpoint(i, traffic.remote_pod(i), vtep=FIRST_PEER + i % 16)
                                         for i in range(traffic.REMOTE_PODS)])


def encap_100k(cell, directory):
    return _tunnel(cell, directory, 16, [endpoint(i, traffic.wide_pod(i), vtep=FIRST_PEER + i % 16)
                                         for i in range(traffic.WIDE_PODS)])


def decap(cell, directory, sink=None, **domain):
    return {"ports": [_source(cell.pcap, "uplink"), sink or _sink()], "domains": [_domain("l3", **domain)],
            "vteps": vteps(1), "endpoints": [_pod(SINK)], "routes": [_underlay(SOURCE), _remote()]}


SERVED = {"destination": "10.244.2.0/24", "destination_ports": [5201, 5201]}


def stateful(rules, allowed):
    """Of `rules` rules the last is the one that matches."""
    others = [{"action": "deny", "protocol": "udp", "destination": "10.244.0.0/16", "destination_ports": [port, port]}
              for port in traffic.denied_ports(rules - 1)]
    return {"stateful": True, "rules": others + [{"action": "allow", "protocol": "udp", **allowed}]}


def unlimited(objects):
    """One pod stands for all of a node's: what one may begin is no bound here."""
    source = next(port for port in objects["ports"] if port["id"] == SOURCE)
    source["flow_limit"] = 1 << 24
    return objects


def encap_stateful(rules):
    def program(cell, directory):
        # The peer's answers come in by an uplink of their own, so that every connection is established.
        answers = traffic.pcap("vxlan", cell.size, cell.flows)
        return unlimited(encap(cell, directory, **stateful(rules, SERVED))) | {
            "answers": port(ANSWERS, "answers", f"net_pcap2,rx_pcap={answers}", "uplink")}
    return program


def encap_new(cell, directory):
    return unlimited(encap(cell, directory, **stateful(1, SERVED)))


def decap_stateful(rules):
    def program(cell, directory):
        # The pod answers; twice, because the first may come before there is anybody to take them.
        played = traffic.join(directory / "pod.pcap", [traffic.pcap("plain", cell.size, cell.flows)] * 2)
        sink = port(SINK, "sink", f"net_pcap1,rx_pcap={played}")
        return decap(cell, directory, sink,
                     **stateful(rules, {"source": "10.244.2.0/24", "source_ports": [5201, 5201]}))
    return program


# Scenario -> what is programmed for it, and how many peers must have been resolved.
PROGRAMS = {"p2p": (p2p, 0), "route": (route, 0), "encap": (encap, 1), "encap-many": (encap_many, 16),
            "encap-100k": (encap_100k, 16), "decap": (decap, 0),
            "small-bursts-16": (encap, 1), "small-bursts-4": (encap, 1),
            "encap-stateful": (encap_stateful(traffic.RULES), 1), "encap-stateful-1-rule": (encap_stateful(1), 1),
            "encap-stateful-1m": (encap_stateful(1), 1),
            "decap-stateful": (decap_stateful(traffic.RULES), 0), "decap-stateful-1-rule": (decap_stateful(1), 0)}
_OBJECTS_A_MESSAGE = 5000


def stage_counters(before, after):
    """What the stages did between two answers to `stats`, by name."""
    return {new["name"]: {key: new[key] - old[key] for key in ("packets", "bursts", "dropped", "cycles")}
            for old, new in zip(before["stages"], after["stages"])}


def stage_facts(before, after):
    """The same for a window: cycles of each stage a received packet, and packets a burst."""
    stages = stage_counters(before, after)
    received = stages["receive"]["packets"]
    return {"stages": {name: round(stage["cycles"] / received, 1) for name, stage in stages.items() if stage["packets"]},
            "burst": round(received / stages["receive"]["bursts"], 1)}


class Podwire(System):
    """`name`: which build."""

    programs = PROGRAMS
    spare_mbufs = SPARE_MBUFS

    def __init__(self, name, ns, directory, cell, march):
        self.name, self.march = name, march
        self.directory = directory
        packets = traffic.packets_of(cell.size, cell.flows)
        self.engine = build.engine(name, ns, directory, mbufs=packets + self.spare_mbufs, jumbo_mbufs=64,
                                   memory_mib=memory_mib(packets, self.spare_mbufs),
                                   **({"burst": cell.burst} if cell.burst else {}), **self.options(cell),
                                   hugepages="require" if cell.hugepages else "never")
        try:
            program, self.peers = self.programs[cell.scenario]
            self.objects = program(cell, directory)
            self.answers = self.objects.pop("answers", None)
            if "flows" not in self.engine.call("status"):  # an engine of before there were limits
                for port in self.objects["ports"]:
                    port.pop("flow_limit", None)
            self.pids = [self.engine.pid]
            self.threads = machine.worker_threads(self.engine.pid)
            self.put()
        except RpcError as error:
            self.engine.close()
            raise Unmeasurable(f"this engine refuses it: {error}") from error
        except BaseException:
            self.engine.close()
            raise

    def options(self, cell):
        """Further options of the engine."""
        return {"max_flows": max_flows(cell.flows)}

    def put(self):
        """Everything; what needs the underlay begins to flow when its peers are resolved, or the events of packets that
        wait for them would drown the answers."""
        ports, endpoints = self.objects["ports"], self.objects["endpoints"]
        late = {"ports": [], "endpoints": []}
        if self.peers:
            late = {"ports": [port for port in ports if port["id"] == SOURCE],
                    "endpoints": [endpoint for endpoint in endpoints if endpoint.get("port") == SOURCE]}
        endpoints = [endpoint for endpoint in endpoints if endpoint not in late["endpoints"]]
        first = dict(self.objects, ports=[port for port in ports if port not in late["ports"]],
                     endpoints=endpoints[:_OBJECTS_A_MESSAGE])
        self.engine.replace(first, *({"endpoints": endpoints[i:i + _OBJECTS_A_MESSAGE]}
                                     for i in range(_OBJECTS_A_MESSAGE, len(endpoints), _OBJECTS_A_MESSAGE)))
        self.resolved = time.monotonic()
        if self.peers:
            wait_until(lambda: sum(bool(n["mac"]) for n in self.engine.call("neighbors")["neighbors"]) == self.peers,
                       10, "the underlay's peers resolved")
            self.engine.put(**late)
        self.establish()

    def ready(self):
        if self.peers and time.monotonic() - self.resolved > _RESOLVED_FOR:
            # The uplink plays its answers once more.
            self.engine.replace({})
            self.put()

    def establish(self):
        """Where connections are tracked: until the answers have come in that establish them."""
        if "stateful" not in self.objects["domains"][0]:
            return
        answers = self.answers or next(port for port in self.objects["ports"] if port["id"] == SINK)

        def played():
            before = self.engine.port_stats(answers["name"])["received_packets"]
            time.sleep(0.1)
            return before > 0 and self.engine.port_stats(answers["name"])["received_packets"] == before

        if self.answers:
            self.engine.put(ports=[self.answers])
        wait_until(played, 30, "the answers came in")
        if self.answers:
            self.engine.delete(ports=[self.answers["id"]])

    def sample(self):
        stats = self.engine.call("stats")
        return time.monotonic(), stats

    def observe(self, seconds):
        before = self.sample()
        time.sleep(seconds)
        return self.window(before, self.sample())

    def window(self, first, last):
        """What was done between two samples."""
        (began, before), (ended, after) = first, last
        stages = stage_counters(before, after)
        of = lambda section, key: after[section][key] - before[section][key]
        received, sent = stages["receive"]["packets"], of("ledger", "sent")
        if received == 0 or sent < LEAST_FORWARDED * received:
            raise Unmeasurable(f"podwire received {received} packets and sent {sent}; drops: "
                               f"{ {drop['reason']: drop['packets'] for drop in after['drops']} }")
        facts = stage_facts(before, after)
        busy, elapsed = of("worker", "busy_cycles") / received, after["tsc_hz"] * (ended - began) / received
        elapsed *= len(self.threads)
        if abs(elapsed / busy - 1) > _CROSS_CHECK:
            machine.say(f"  podwire counts {busy:.1f} busy cycles a packet, and the clock {elapsed:.1f}")
        return Window(ended - began, sent, busy, {**facts, "clock_cycles": round(elapsed, 1)})

    def close(self):
        super().close()
        self.engine.close()
