"""DHCPv4, DHCPv6 and router advertisements of endpoints with `dhcp`: real clients (busybox udhcpc, ISC dhclient, the
kernel's router discovery) configure themselves and talk; what goes over the wire; what pods may not say; explain."""
import contextlib
import stat

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.dhcp6 import (DHCP6_Advertise, DHCP6_InfoRequest, DHCP6_Reply, DHCP6_Solicit, DHCP6OptClientId,
                                DHCP6OptDNSDomains, DHCP6OptDNSServers, DHCP6OptIA_NA, DHCP6OptIAAddress, DHCP6OptOptReq,
                                DHCP6OptRapidCommit, DHCP6OptServerId, DUID_LL)
from scapy.layers.inet import IP, UDP
from scapy.layers.inet6 import (ICMPv6ND_RA, ICMPv6ND_RS, ICMPv6NDOptDNSSL, ICMPv6NDOptMTU, ICMPv6NDOptPrefixInfo,
                                ICMPv6NDOptRDNSS, ICMPv6NDOptSrcLLAddr, IPv6)
from scapy.layers.l2 import Ether

from support.engine import GATEWAY_MAC
from support.process import wait_until
from support.switch import Station, Switch

CLOUD = 5  # domain
GATEWAY4, GATEWAY6 = "10.246.0.1", "fd00:10:246::1"
ROUTER = "fe80::70:77ff:fe00:1"
DNS4, DNS6 = "10.96.0.10", "fd00:10:96::a"
SEARCH = ["ns.svc.cluster.local", "lab"]
BROADCAST = "ff:ff:ff:ff:ff:ff"
MTU = 1400


class Guest(Station):
    """A pod whose kernel has IPv6 and no address, and whose endpoint may have DHCP."""

    def __init__(self, switch, name, number, dhcp=True, families=(4, 6)):
        self.dhcp = dhcp
        addresses = {4: f"10.246.0.{number}", 6: f"fd00:10:246::{number:x}"}
        super().__init__(switch, name, number, CLOUD, addresses=[addresses[f] for f in families])
        self.ip4, self.ip6 = addresses[4], addresses[6]

    def endpoint_object(self):
        more = {"dhcp": True, "hostname": f"host-{self.name}"} if self.dhcp else {}
        return {**super().endpoint_object(), **more}

    def start_ipv6(self):
        """Link-local address and router solicitation, as when the interface comes up."""
        self.ns.sysctl("net/ipv6/conf/eth0/accept_dad", 0)
        self.ns.sysctl("net/ipv6/conf/eth0/disable_ipv6", 0)

    def stop_ipv6(self):
        self.ns.sysctl("net/ipv6/conf/eth0/disable_ipv6", 1)


def cloud(**more):
    return {"id": CLOUD, "name": "cloud", "vni": 500, "gateway_mac": GATEWAY_MAC, "mtu": MTU,
            "gateways": [f"{GATEWAY4}/24", f"{GATEWAY6}/64"], "dns_servers": [DNS4, DNS6], "search_domains": SEARCH, **more}


@pytest.fixture(scope="module")
def switch(directory):
    bench = Switch(directory)
    bench.engine.put(domains=[cloud()])
    for number, (name, options) in enumerate([("a", {}), ("b", {}), ("plain", {"dhcp": False})], 0x11):
        station = Guest(bench, name, number, **options)
        bench.stations.append(station)
        setattr(bench, name, station)
    yield bench
    bench.close()


def script(directory, text):
    path = directory / "client.sh"
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def facts(path):
    return dict(line.split("=", 1) for line in path.read_text().splitlines() if "=" in line)


# Real clients


def test_udhcpc_configures_itself_and_talks(switch, tmp_path):
    told = tmp_path / "told"
    program = script(tmp_path, f"""
env > {told}.$1
[ "$1" = bound ] && ip addr add $ip/$mask dev $interface && ip route add default via $router
exit 0
""")
    asked = [word for name in ("subnet", "router", "dns", "hostname", "mtu", "search") for word in ("-O", name)]
    pod = switch.a
    try:
        done = pod.ns.run("busybox", "udhcpc", "-i", "eth0", "-f", "-q", "-n", "-t", "5", "-T", "2", "-s", program, *asked)
        assert f"lease of {pod.ip4} obtained from {GATEWAY4}" in done.stderr + done.stdout
        got = facts(tmp_path / "told.bound")
        assert (got["ip"], got["mask"], got["subnet"], got["router"]) == (pod.ip4, "24", "255.255.255.0", GATEWAY4)
        assert (got["dns"], got["mtu"], got["hostname"], got["serverid"]) == (DNS4, str(MTU), "host-a", GATEWAY4)
        assert got["search"].split() == SEARCH and int(got["lease"]) == 12 * 3600
        assert pod.ns.ping(GATEWAY4)
    finally:
        pod.ns.ip("addr flush dev eth0")


@contextlib.contextmanager
def dhclient(pod, directory, family):
    """A dhclient that has its lease; afterwards it has given it back. Yields what it was told."""
    told = directory / "told"
    address = "ip addr add $new_ip_address/24 dev eth0; ip route add default via $new_routers" if family == 4 else \
        "ip addr add $new_ip6_address/128 dev eth0 nodad"
    program = script(directory, f'env > {told}.$reason\ncase $reason in BOUND*) {address} ;; esac\nexit 0\n')
    config = directory / "dhclient.conf"
    config.write_text("request subnet-mask, routers, domain-name-servers, host-name, interface-mtu, domain-search;\n"
                      "also request dhcp6.name-servers, dhcp6.domain-search;\n" if family == 4 else
                      "request dhcp6.name-servers, dhcp6.domain-search;\n")
    common = ["-sf", program, "-lf", directory / "leases", "-pf", directory / "pid", "-cf", config]
    started = pod.ns.run("dhclient", f"-{family}", "-1", "-v", *common, "eth0", timeout=60)
    try:
        yield facts(directory / ("told.BOUND" if family == 4 else "told.BOUND6")), started
    finally:
        pod.ns.run("dhclient", f"-{family}", "-r", "-v", *common, "eth0", timeout=60)
        pod.ns.ip(f"-{family} addr flush dev eth0 scope global")


def test_dhclient_4(switch, tmp_path):
    with dhclient(switch.b, tmp_path, 4) as (got, _):
        assert got["new_ip_address"] == switch.b.ip4 and got["new_subnet_mask"] == "255.255.255.0"
        assert got["new_routers"] == GATEWAY4 and got["new_dhcp_server_identifier"] == GATEWAY4
        assert got["new_interface_mtu"] == str(MTU) and got["new_host_name"] == "host-b"
        assert got["new_domain_name_servers"] == DNS4
        assert [name.rstrip(".") for name in got["new_domain_search"].split()] == SEARCH
        assert got["new_dhcp_lease_time"] == str(12 * 3600)
        assert switch.b.ns.ping(GATEWAY4)


def test_dhclient_6_and_the_kernels_router_discovery(switch, tmp_path):
    pod = switch.b
    pod.start_ipv6()
    try:
        route = wait_until(lambda: pod.ns.ip("-6 route show default").stdout, 10, "a default route")
        assert f"via {ROUTER} dev eth0 proto ra" in route
        assert "fd00:10:246::/64" in pod.ns.ip("-6 route show").stdout
        assert "scope global" not in pod.ns.ip("-6 addr show dev eth0").stdout, "no address may be made up"
        with pod.ns, open("/proc/sys/net/ipv6/conf/eth0/mtu") as file:
            assert int(file.read()) == MTU
        with dhclient(pod, tmp_path, 6) as (got, started):
            assert got["new_ip6_address"] == pod.ip6
            assert got["new_dhcp6_name_servers"] == DNS6
            assert [name.rstrip(".") for name in got["new_dhcp6_domain_search"].split()] == SEARCH
            assert got["new_max_life"] == str(12 * 3600)
            assert pod.ns.ping(GATEWAY6)
            assert pod.ns.ping(ROUTER + "%eth0")
    finally:
        pod.stop_ipv6()


def test_a_default_route_is_renewed_when_the_lease_changes(switch):
    """Hosts that have their router do not ask again: what changes is advertised unasked."""
    pod = switch.a
    pod.start_ipv6()
    try:
        wait_until(lambda: pod.ns.ip("-6 route show default").stdout, 10, "a default route")
        switch.quiet()
        switch.engine.put(domains=[cloud(mtu=1350)])
        advert = pod.wire.expect(lambda p: ICMPv6ND_RA in p, timeout=5)
        assert advert[ICMPv6NDOptMTU].mtu == 1350 and advert[IPv6].dst == "ff02::1"
    finally:
        pod.stop_ipv6()
        switch.engine.put(domains=[cloud()])


# On the wire


def discover(pod, kind="discover", xid=0x1234, more=(), destination=BROADCAST, ip=None, **bootp):
    mac = bytes.fromhex(pod.mac.replace(":", ""))
    return (Ether(src=pod.mac, dst=destination) / (ip or IP(src="0.0.0.0", dst="255.255.255.255")) / UDP(sport=68, dport=67) /
            BOOTP(**{"chaddr": mac, "xid": xid, **bootp}) / DHCP(options=[("message-type", kind), *more, "end"]))


def dhcp_options(packet):
    return {o[0]: o[1] if len(o) == 2 else o[1:] for o in packet[DHCP].options if isinstance(o, tuple)}


def is_reply(packet):
    return BOOTP in packet and packet[BOOTP].op == 2


def checksums_right(packet):
    rebuilt = packet.copy()
    for layer, field in ((IP, "chksum"), (UDP, "chksum"), (ICMPv6ND_RA, "cksum")):
        if layer in rebuilt:
            delattr(rebuilt[layer], field)
    return bytes(Ether(bytes(rebuilt))) == bytes(packet)


def test_offer_ack_and_nak(switch):
    pod = switch.a
    pod.wire.send(discover(pod, more=[("client_id", b"\xff1234567"), ("param_req_list", [1, 3, 6])]))
    offer = pod.wire.expect(is_reply)
    assert (offer.src, offer.dst) == (GATEWAY_MAC, pod.mac) and (offer[IP].src, offer[IP].dst) == (GATEWAY4, pod.ip4)
    assert (offer[BOOTP].yiaddr, offer[BOOTP].xid, offer[BOOTP].siaddr) == (pod.ip4, 0x1234, "0.0.0.0")
    got = dhcp_options(offer)
    assert got["message-type"] == 2 and got["server_id"] == GATEWAY4 and got["subnet_mask"] == "255.255.255.0"
    assert got["router"] == GATEWAY4 and got["name_server"] == DNS4 and bytes(got["client_id"]) == b"\xff1234567"
    assert "hostname" not in got and checksums_right(offer)

    pod.wire.send(discover(pod, "request", more=[("server_id", GATEWAY4), ("requested_addr", pod.ip4)], flags=0x8000))
    ack = pod.wire.expect(is_reply)
    assert dhcp_options(ack)["message-type"] == 5 and ack.dst == BROADCAST and ack[IP].dst == "255.255.255.255"

    pod.wire.send(discover(pod, "request", more=[("requested_addr", switch.b.ip4)]))
    nak = pod.wire.expect(is_reply)
    assert dhcp_options(nak)["message-type"] == 6 and nak[BOOTP].yiaddr == "0.0.0.0" and nak.dst == BROADCAST


def test_renewal_inform_and_release(switch):
    pod = switch.a
    own = dict(destination=GATEWAY_MAC, ip=IP(src=pod.ip4, dst=GATEWAY4), ciaddr=pod.ip4)
    pod.wire.send(discover(pod, "request", **own))
    ack = pod.wire.expect(is_reply)
    assert dhcp_options(ack)["message-type"] == 5 and ack[BOOTP].ciaddr == pod.ip4
    pod.wire.send(discover(pod, "inform", ciaddr=pod.ip4, ip=IP(src=pod.ip4, dst="255.255.255.255")))
    ack = pod.wire.expect(is_reply)
    assert dhcp_options(ack)["message-type"] == 5 and ack[BOOTP].yiaddr == "0.0.0.0"
    assert "lease_time" not in dhcp_options(ack)
    with switch.drops():
        pod.wire.send(discover(pod, "release", **own))
    pod.wire.expect_nothing(is_reply)


def solicit(pod, message, source=None):
    return (Ether(src=pod.mac, dst="33:33:00:01:00:02") / IPv6(src=source or "fe80::1234", dst="ff02::1:2") /
            UDP(sport=546, dport=547) / message / DHCP6OptClientId(duid=DUID_LL(lladdr=pod.mac)))


def test_advertise_reply_and_information(switch):
    pod = switch.a
    wanted = DHCP6OptIA_NA(iaid=7) / DHCP6OptOptReq(reqopts=[23, 24])
    pod.wire.send(solicit(pod, DHCP6_Solicit(trid=0x4321)) / wanted)
    got = pod.wire.expect(lambda p: DHCP6_Advertise in p)
    assert (got[IPv6].src, got[IPv6].dst, got.dst) == (ROUTER, "fe80::1234", pod.mac) and checksums_right(got)
    assert got[DHCP6_Advertise].trid == 0x4321 and got[DHCP6OptServerId].duid.lladdr == GATEWAY_MAC
    assert got[DHCP6OptIA_NA].iaid == 7 and got[DHCP6OptIAAddress].addr == pod.ip6
    assert got[DHCP6OptDNSServers].dnsservers == [DNS6]
    assert [name.rstrip(".") for name in got[DHCP6OptDNSDomains].dnsdomains] == SEARCH
    pod.wire.send(solicit(pod, DHCP6_Solicit(trid=1)) / DHCP6OptRapidCommit() / wanted)
    assert DHCP6OptRapidCommit in pod.wire.expect(lambda p: DHCP6_Reply in p)
    pod.wire.send(solicit(pod, DHCP6_InfoRequest(trid=2)) / DHCP6OptOptReq(reqopts=[23]))
    got = pod.wire.expect(lambda p: DHCP6_Reply in p)
    assert DHCP6OptDNSServers in got and DHCP6OptIA_NA not in got


@pytest.mark.parametrize("source", ["::", "fe80::1234"])
def test_router_advertisement(switch, source):
    pod = switch.a
    pod.wire.send(Ether(src=pod.mac, dst="33:33:00:00:00:02") / IPv6(src=source, dst="ff02::2", hlim=255) / ICMPv6ND_RS())
    got = pod.wire.expect(lambda p: ICMPv6ND_RA in p)
    assert got[IPv6].src == ROUTER and got[IPv6].hlim == 255 and checksums_right(got)
    assert (got[IPv6].dst, got.dst) == (("ff02::1", "33:33:00:00:00:01") if source == "::" else (source, pod.mac))
    advert = got[ICMPv6ND_RA]
    assert (advert.M, advert.O, advert.routerlifetime) == (1, 1, 9000)
    prefix = got[ICMPv6NDOptPrefixInfo]
    assert (prefix.prefix, prefix.prefixlen, prefix.L, prefix.A) == ("fd00:10:246::", 64, 1, 0)
    assert got[ICMPv6NDOptMTU].mtu == MTU and got[ICMPv6NDOptSrcLLAddr].lladdr == GATEWAY_MAC
    assert got[ICMPv6NDOptRDNSS].dns == [DNS6]
    assert [name.rstrip(".") for name in got[ICMPv6NDOptDNSSL].searchlist] == SEARCH


def test_what_is_not_answered(switch):
    pod, plain = switch.a, switch.plain
    with switch.drops(bad_dhcp=2):
        pod.wire.send(discover(pod, giaddr="10.246.0.99"))
        pod.wire.send(Ether(src=pod.mac, dst="33:33:00:00:00:02") / IPv6(src="fe80::1", dst="ff02::2", hlim=64) / ICMPv6ND_RS())
    with switch.drops(spoofed_ip=2):
        pod.wire.send(discover(pod, chaddr=b"\2\0\0\0\0\x99"))
        plain.wire.send(discover(plain))
    for wire in (pod.wire, plain.wire):
        wire.expect_nothing(is_reply)


def test_pods_speak_neither_as_servers_nor_as_routers(switch):
    pod = switch.plain
    with switch.drops(rogue_dhcp=1, rogue_ra=1):
        pod.wire.send(Ether(src=pod.mac, dst=switch.a.mac) / IP(src=pod.ip4, dst=switch.a.ip4) / UDP(sport=67, dport=68) /
                      BOOTP(op=2, yiaddr="10.246.0.66") / DHCP(options=[("message-type", "offer"), "end"]))
        pod.wire.send(Ether(src=pod.mac, dst="33:33:00:00:00:01") / IPv6(src=pod.ip6, dst="ff02::1", hlim=255) / ICMPv6ND_RA())
    switch.a.wire.expect_nothing(lambda p: BOOTP in p or ICMPv6ND_RA in p)


def test_explain_tells_who_answers(switch):
    pod = switch.a
    reply = switch.engine.call("explain", {"port": pod.port, "frame": bytes(discover(pod)).hex()})
    assert reply["verdict"] == "answered"
    step = next(s["note"] for s in reply["steps"] if s["stage"] == "dhcp")
    assert "DHCP server" in step and '"a"' in step
    assert {"noun": "port", "id": pod.port, "name": "a"} in reply["decided_by"]
    assert BOOTP in Ether(bytes.fromhex(reply["outputs"][0]["frame"]))
