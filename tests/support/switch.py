"""An engine alone on a bench: one uplink on a cable whose other end the test holds, and silent pods.

Nobody on the bench has a kernel address, so every frame seen was sent by the engine or by the test.
"""
import contextlib
import itertools
import os
import threading
import time

from support.engine import GATEWAY_MAC, Engine
from support.ledger import LedgerCheck, drops
from support.netns import Netns, link_mac, veth
from support.process import wait_until
from support.tap import create_tap
from support.wire import Wire

from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import ICMPv6ND_NA, ICMPv6ND_NS, ICMPv6NDOptDstLLAddr, IPv6
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.layers.vxlan import VXLAN

# Domains. blue and red use the same addresses; lan is one broadcast segment.
BLUE, LAN, RED = 2, 3, 4
VNI = {BLUE: 0xABCDEF, LAN: 7, RED: 0}

UPLINK = 1  # port id
LOCAL, PEER, OTHER = 1, 2, 3  # VTEP ids
ADDRESS = {4: {LOCAL: "192.168.100.1", PEER: "192.168.100.2", OTHER: "192.168.100.3"},
           6: {LOCAL: "fd00:100::1", PEER: "fd00:100::2", OTHER: "fd00:100::3"}}
LOCAL_VTEP_MAC = "02:00:00:00:ee:01"
VTEP_MAC = {PEER: "02:00:00:00:ee:02", OTHER: "02:00:00:00:ee:03"}  # inner destination
NEXT_HOP_MAC = {PEER: "02:00:00:00:aa:02", OTHER: "02:00:00:00:aa:03"}  # on the cable

VXLAN_PORT = 4789


class Responder(threading.Thread):
    """Answers ARP and neighbour solicitations on the cable for `answers` {address: mac}."""

    def __init__(self, wire, vlan=0):
        super().__init__(daemon=True)
        self.wire = wire
        self.vlan = vlan
        self.answers = {}
        self.asked = []  # every address somebody asked for
        self._stop_asked = threading.Event()

    def run(self):
        while not self._stop_asked.is_set():
            data = self.wire.receive_bytes(0.1)
            if data is None:
                continue
            offset = 18 if data[12:14] == b"\x81\x00" else 14
            kind = data[offset - 2:offset]
            if kind == b"\x08\x06" or (kind == b"\x86\xdd" and data[offset + 6] == 58 and data[offset + 40] == 135):
                self.answer(Ether(data))

    def answer(self, request):
        tag = Dot1Q(vlan=self.vlan) if self.vlan else None
        if ARP in request and request[ARP].op == 1:
            wanted, asker = request[ARP].pdst, request[ARP]
            reply = lambda mac: ARP(op=2, hwsrc=mac, psrc=wanted, hwdst=asker.hwsrc, pdst=asker.psrc)
        elif ICMPv6ND_NS in request:
            wanted, asker = request[ICMPv6ND_NS].tgt, request[IPv6]
            reply = lambda mac: (IPv6(src=wanted, dst=asker.src, hlim=255) / ICMPv6ND_NA(tgt=wanted, R=0, S=1, O=1)
                                 / ICMPv6NDOptDstLLAddr(lladdr=mac))
        else:
            return
        self.asked.append(wanted)
        mac = self.answers.get(wanted)
        if mac:
            ether = Ether(src=mac, dst=request.src)
            self.wire.send(ether / tag / reply(mac) if tag else ether / reply(mac))

    def stop(self):
        self._stop_asked.set()
        self.join()
        self.wire.close()


class Station:
    """A pod on the bench: a tap with a raw socket on its far side."""

    def __init__(self, switch, name, number, domain, queues=1, mtu=None, vnet_header=False, addresses=None):
        self.switch, self.name, self.domain, self.queues = switch, name, domain, queues
        self.mac = f"02:00:00:00:00:{number:02x}"
        self.ip4 = f"10.244.1.{number}" if domain != LAN else f"10.245.0.{number}"
        self.ip6 = f"fd00:10:244:1::{number:x}" if domain != LAN else f"fd00:10:245::{number:x}"
        self.addresses = [self.ip4, self.ip6] if addresses is None else addresses
        self.mtu = mtu or switch.mtu
        self.port = next(switch.port_ids)
        self.endpoint = next(switch.endpoint_ids)
        self.ns = Netns(name, ipv6=False)
        _, self.fds = create_tap(self.ns, "eth0", mac=self.mac, mtu=self.mtu, queues=queues)
        self.wire = Wire(self.ns, "eth0", vnet_header)
        switch.engine.put(fds=self.fds, ports=[self.port_object(queues)], endpoints=[self.endpoint_object()])

    def port_object(self, descriptors=0):
        return {"id": self.port, "name": self.name, "kind": "tap", "role": "pod", "domain": self.domain,
                "mac": self.mac, "mtu": self.mtu, "queues": self.queues, "descriptors": descriptors}

    def endpoint_object(self):
        return {"id": self.endpoint, "name": self.name, "domain": self.domain, "port": self.port, "mac": self.mac,
                "addresses": self.addresses}

    def address(self, family):
        return self.ip6 if family == 6 else self.ip4

    def detach(self):
        """Out of the engine; the interface stays."""
        self.switch.engine.delete(endpoints=[self.endpoint], ports=[self.port])

    def close(self):
        self.wire.close()
        for fd in self.fds:
            os.close(fd)
        self.ns.delete()


class Switch:
    def __init__(self, directory, driver="af_packet", family=4, vlan=0, host=False, mtu=1500, answer=True, **engine_options):
        self.family = family
        self.vlan = vlan
        self.driver = driver
        self.underlay_mtu = mtu
        self.mtu = mtu - (50 if family == 4 else 70)
        self.port_ids = itertools.count(10)
        self.endpoint_ids = itertools.count(1)
        self.route_ids = itertools.count(100)
        self.stations = []
        self.machine, self.world = Netns("engine", ipv6=False), Netns("world", ipv6=False)
        # Room for the tag: it does not count against the underlay's MTU.
        veth(self.machine, "ul0", self.world, "wire0", mtu=mtu + (4 if vlan else 0))
        self.mac = link_mac(self.machine, "ul0")
        self.wire = Wire(self.world, "wire0")
        self.responder = Responder(Wire(self.world, "wire0"), vlan)
        if answer:
            self.responder.answers = {ADDRESS[f][v]: NEXT_HOP_MAC[v] for f in (4, 6) for v in (PEER, OTHER)}
        self.responder.start()
        self.engine = Engine(self.machine, directory, **engine_options).start()
        self.host = None
        self._program(driver, host)

    def devargs(self, driver):
        if driver == "af_xdp":
            return "net_af_xdp0,iface=ul0"
        return "net_af_packet0,iface=ul0"

    def _program(self, driver, host):
        address = ADDRESS[self.family]
        ports = [{"id": UPLINK, "name": "uplink", "kind": "physical", "role": "uplink", "devargs": self.devargs(driver),
                  "mtu": self.underlay_mtu, "vlan": self.vlan}]
        fds = []
        if host:
            self.host_ns = Netns("host", ipv6=False)
            _, fds = create_tap(self.host_ns, "podwire0", mac=self.mac, mtu=self.underlay_mtu)
            self.host_fds = fds
            self.host = Wire(self.host_ns, "podwire0")
            ports.append({"id": 2, "name": "podwire0", "kind": "tap", "role": "host", "mac": self.mac,
                          "mtu": self.underlay_mtu, "descriptors": 1})
        subnet = "192.168.100.0/24" if self.family == 4 else "fd00:100::/64"
        domain = lambda id, name, mode, gateways, **more: {
            "id": id, "name": name, "vni": VNI[id], "mode": mode, "gateway_mac": GATEWAY_MAC, "gateways": gateways,
            "mtu": self.mtu, **more}
        gateways = ["10.244.1.1/24", "fd00:10:244:1::1/64"]
        self.engine.put(
            fds=fds, ports=ports,
            vteps=[{"id": LOCAL, "name": "local", "local": True, "address": address[LOCAL], "mac": LOCAL_VTEP_MAC}] +
                  [{"id": v, "name": f"vtep{v}", "address": address[v], "mac": VTEP_MAC[v]} for v in (PEER, OTHER)],
            domains=[domain(BLUE, "blue", "l3", gateways, host_access=host),
                     domain(LAN, "lan", "l2", ["10.245.0.1/24", "fd00:10:245::1/64"], learning=True, flood=[PEER, OTHER]),
                     domain(RED, "red", "l3", gateways)],
            routes=[{"id": 1, "domain": 1, "prefix": subnet, "next_hops": [{"port": UPLINK}]},
                    {"id": 2, "domain": BLUE, "prefix": "10.244.2.0/24", "next_hops": [{"vtep": PEER}]},
                    {"id": 3, "domain": BLUE, "prefix": "fd00:10:244:2::/64", "next_hops": [{"vtep": PEER}]}])
        if self.responder.answers:
            self.warm()

    def warm(self):
        """Resolves the peers by sending to them once, so that tests see their own packets only."""
        pod = self.add("warm", 250, LAN)
        pod.wire.send(Ether(src=pod.mac, dst="ff:ff:ff:ff:ff:ff", type=0x88B5) / b"warm")

        def resolved():
            state = {n["address"]: n["mac"] for n in self.engine.call("neighbors")["neighbors"]}
            return all(state.get(ADDRESS[self.family][v]) for v in (PEER, OTHER))
        wait_until(resolved, 3, "the peers' next hops resolved")
        pod.detach()
        self.stations.remove(pod)
        pod.close()
        time.sleep(0.05)
        self.wire.drain()

    def restart_engine(self):
        """After its death: the same engine anew, with what it had but routes that tests made and a host port."""
        self.engine.start()
        self._program(self.driver, False)
        for station in self.stations:
            self.engine.put(fds=station.fds, ports=[station.port_object(station.queues)],
                            endpoints=[station.endpoint_object()])

    def add(self, name, number, domain, **options):
        station = Station(self, name, number, domain, **options)
        self.stations.append(station)
        return station

    def remove(self, station):
        station.detach()
        self.stations.remove(station)
        station.close()

    def outer(self, source=PEER, dport=VXLAN_PORT, sport=50000, checksum=None, destination_mac=None):
        """Outer headers as `source` (VTEP id or address) sends them to us."""
        addresses = ADDRESS[self.family]
        ether = Ether(src=NEXT_HOP_MAC.get(source, "02:00:00:00:aa:99"), dst=destination_mac or self.mac)
        if self.vlan:
            ether = ether / Dot1Q(vlan=self.vlan)
        ip = (IP if self.family == 4 else IPv6)(src=addresses.get(source, source), dst=addresses[LOCAL])
        udp = UDP(sport=sport, dport=dport)
        if checksum is None and self.family == 4:
            checksum = 0
        if checksum is not None:
            udp.chksum = checksum
        return ether / ip / udp

    def encap(self, inner, domain=BLUE, source=PEER, vni=None, **outer):
        return self.outer(source, **outer) / VXLAN(flags=8, vni=VNI[domain] if vni is None else vni) / inner

    def is_vxlan(self, packet):
        return VXLAN in packet and packet[Ether].src == self.mac

    def expect_vxlan(self, matches=lambda packet: True, **options):
        return self.wire.expect(lambda p: self.is_vxlan(p) and matches(p), what="a VXLAN packet", **options)

    def expect_no_vxlan(self):
        self.wire.expect_nothing(self.is_vxlan, what="a VXLAN packet")

    def ledger(self):
        # Drivers and taps may have filled their rings and spare buffers since.
        return LedgerCheck(self.engine.call, slack=128 if self.driver == "af_xdp" else 0)

    @contextlib.contextmanager
    def drops(self, **expected):
        """These reasons and no other grew by exactly this much."""
        before = drops(self.engine.call("stats"))
        yield
        grown = {}

        def as_expected():
            nonlocal grown
            after = drops(self.engine.call("stats"))
            grown = {reason: count - before.get(reason, 0) for reason, count in after.items()
                     if count != before.get(reason, 0)}
            return grown == expected
        try:
            wait_until(as_expected, 1, "")
        except AssertionError:
            raise AssertionError(f"drops: expected {expected}, counted {grown}") from None

    def quiet(self):
        """Nothing pending on any wire."""
        self.wire.drain()
        for station in self.stations:
            station.wire.drain()
        if self.host:
            self.host.drain()

    def close(self):
        self.responder.stop()
        try:
            self.engine.close()
        finally:
            for station in self.stations:
                station.close()
            self.wire.close()
            if self.host:
                self.host.close()
                for fd in self.host_fds:
                    os.close(fd)
                self.host_ns.delete()
            self.machine.delete()
            self.world.delete()
