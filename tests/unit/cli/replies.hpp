// Replies as podwired gives them, for the tests of podwirectl.
#pragma once

#include "dataplane/base/json.hpp"

namespace podwire::control::cli {

inline Json parsed(const char* text) {
  return *parse_json(text, "recorded reply");
}

inline Json status_reply() {
  return parsed(R"({"node":"node-a","version":"0.1.0","pid":1234,"uptime_s":7512,
    "engine":{"connected":true,"socket":"/run/podwire/engine.sock","pid":1200,"version":"0.1.0","instance":"9f",
      "generation":42,"uptime_s":7300.5,"restarts":1,"idle":"adaptive",
      "memory":{"mode":"4 KiB pages","bytes":268435456,
                "mbufs":{"size":16384,"in_use":812,"jumbo_size":256,"jumbo_in_use":0}},
      "workers":[{"index":0,"cpus":[1],"ports":5,"busy_ratio":0.0312}],"last_error":null},
    "underlay":{"device":"eth0","driver":"af_xdp","devargs":null,"mtu":1500,"vlan":0,
      "addresses":["192.168.100.1/24","fd00:100::1/64"],"host_interface":"podwire0","link":"up"},
    "domains":[{"id":2,"name":"default","vni":1,"mode":"l3","mtu":1450,"prefixes":["10.244.1.0/24"],
      "gateways":["10.244.1.1"],"addresses_used":6,"addresses_free":18446744073709551000}],
    "counts":{"ports":5,"peers":1},"differences":[]})");
}

inline Json ports_reply() {
  return parsed(R"({"ports":[
    {"id":1,"name":"uplink","kind":"physical","role":"uplink","domain":"underlay","mac":"02:00:00:00:00:01","mtu":1500,
     "queues":1,"link":"up","last_error":"","device":{"driver":"net_af_xdp","free_bytes":2048,"age_s":61,
     "rings":[{"size":512}]},"attachment":null},
    {"id":4,"name":"web-0","kind":"tap","role":"pod","domain":"default","mac":"02:00:00:00:00:0a","mtu":1450,"queues":2,
     "link":"down","last_error":"read: Bad file descriptor","device":{},
     "attachment":{"container_id":"4be3f0a1b2c3d4e5f60718293a4b5c6d","ifname":"eth0","pod_namespace":"prod",
                   "pod_name":"web-0","netns":"/run/netns/x"}}]})");
}

inline Json domains_reply() {
  return parsed(R"({"domains":[
    {"id":2,"name":"default","vni":1,"mode":"l3","mtu":1450,"prefixes":["10.244.1.0/24"],"gateways":["10.244.1.1"],
     "reaches":["shop","stock"],"global":false,"addresses_used":6,"addresses_free":0},
    {"id":3,"name":"blue","vni":77,"mode":"l2","mtu":1450,"prefixes":[],"gateways":[],"addresses_used":0,
     "addresses_free":0}]})");
}

inline Json endpoints_reply() {
  return parsed(R"({"endpoints":[
    {"id":1,"name":"web-0","domain":"default","where":"port web-0","mac":"02:00:00:00:00:0a",
     "addresses":["10.244.1.10","fd00:10:244:1::a"],"container_id":"4be3f0a1b2c3d4e5f60718293a4b5c6d","ifname":"eth0",
     "pod":"prod/web-0"},
    {"id":2,"name":"db-0","domain":"default","where":"peer node-b","mac":"02:00:00:00:00:0b",
     "addresses":["10.244.2.11"],"container_id":null,"ifname":null,"pod":null}]})");
}

inline Json routes_reply() {
  return parsed(R"({"routes":[
    {"id":1,"domain":"default","prefix":"10.244.0.0/16","next_hops":[],"blackhole":true,"source":"builtin"},
    {"id":2,"domain":"default","prefix":"10.244.2.0/24",
     "next_hops":[{"peer":"node-b","mac":"02:70:77:00:00:01","address":null,"weight":3},
                  {"port":"web-0","mac":null,"address":"10.244.1.10","weight":1}],
     "blackhole":false,"source":"config"},
    {"id":3,"domain":"blue","prefix":"10.244.2.0/24","next_hops":[{"peer":"node-c","weight":1}],"blackhole":false,
     "source":"peer"},
    {"id":4,"domain":"blue","prefix":"10.50.0.0/16","next_hops":[{"into":"shop","weight":1}],"source":"join"}]})");
}

inline Json peers_reply() {
  return parsed(R"({"peers":[{"name":"node-b","address":"192.168.100.2","udp_port":4789,"mac":null,
    "domains":{"default":{"prefixes":["10.244.2.0/24","fd00:10:244:2::/64"]}},
    "neighbor_state":"reachable","neighbor_mac":"02:00:00:00:00:02"}]})");
}

inline Json stats_reply() {
  return parsed(R"({"generation":42,"tsc_hz":2000000000,
    "ports":[{"id":1,"name":"uplink","kind":"physical","role":"uplink","domain":"underlay","received_packets":1000,
              "received_bytes":1536,"sent_packets":90,"sent_bytes":9000,"dropped_packets":7,"queues":[]}],
    "stages":[{"name":"parse","packets":190,"bursts":100,"dropped":2,"cycles":19000,"cycles_per_packet":100.0},
              {"name":"flood","packets":0,"bursts":0,"dropped":0,"cycles":0,"cycles_per_packet":null}],
    "drops":[{"reason":"no_route","packets":2,"help":"no route covers the destination"}],
    "ledger":{"received":1234567,"generated":2,"clones":0,"segments":0,"sent":188,"dropped":2,"consumed":2,"parked":0,
              "merged":0,"balance":0},
    "domains":[{"id":2,"name":"default","vni":1,"ledger":{"received":190,"generated":2,"clones":0,"segments":0,
              "sent":188,"dropped":2,"consumed":2,"parked":0,"merged":0,"balance":0}}],
    "worker":{"polls":400,"empty_polls":100,"sleeps":3}})");
}

inline Json explain_reply() {
  return parsed(R"({"verdict":"sent","reason":null,"reason_help":null,
    "steps":[{"stage":"parse","note":"IPv4 ICMP echo request, 84 bytes"},{"stage":"forward","note":"route 10.244.2.0/24"}],
    "outputs":[{"port":1,"port_name":"uplink","frame":"0200000000020200","note":"VXLAN to 192.168.100.2, VNI 1"}],
    "decided_by":[{"noun":"route","id":2,"name":"default 10.244.2.0/24"}]})");
}

}  // namespace podwire::control::cli
