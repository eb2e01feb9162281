#include "control/cli/verbs.hpp"

#include "control/cli/verbs_connections.hpp"

#include <algorithm>

namespace podwire::control::cli {
namespace {

Verb status_verb() {
  return {
      .name = "status",
      .summary = "is this node healthy: daemon, engine, underlay, domains, and what differs",
      .about =
          "Shows the daemon, the engine and its memory and workers, the underlay, every domain's addresses, "
          "and the\n"
          "differences between what should be, what the engine has and what the kernel has, each with what "
          "to type.\n"
          "Below them what the last check of the other nodes found (see doctor), of which the exit status "
          "says "
          "nothing.\n"
          "Exits 0 when all agrees, 4 when there are differences or the engine is down.",
      .method = "status",
      .columns = {{"VNI", "the VXLAN network identifier on the wire"},
                  {"MODE", "l3: routed, nothing is flooded; l2: one broadcast segment"},
                  {"MTU", "largest IP packet of the domain's pods, in bytes"},
                  {"PREFIXES", "addresses of this node's pods come from these"},
                  {"REACHES", "the domains that it is joined with; all: it is global"},
                  {"USED, FREE", "pod addresses handed out, and left to hand out"}},
      .examples = {{"podwirectl status", "a page for people"},
                   {"podwirectl status >/dev/null || echo unhealthy", "a health check for scripts"}},
  };
}

// Of `port add` and `endpoint add` alike.
std::vector<OptionSpec> endpoint_options() {
  const std::vector<std::string> add{"add"};
  return {
      {"mac", "MAC", "add: its MAC address (default: from its first address)", add},
      {"address", "ADDRESS", "add: an address of the domain; may be repeated (default: one of every prefix)",
       add, true},
      {"hostname", "NAME", "add: what DHCP tells as host name (default: its name)", add},
      {"dhcp", "", "add: answer its DHCP questions and router solicitations (default of vhost ports)", add},
      {"no-dhcp", "", "add: leave those to somebody else (default of memif ports)", add},
      {"allowed-pair", "PREFIX[,MAC]", "add: also let these sources pass the guard; may be repeated", add,
       true}};
}

std::vector<OptionSpec> port_options() {
  const std::vector<std::string> add{"add"};
  std::vector<OptionSpec> options{
      names_option(),
      {"kind", "KIND", "add: vhost (vhost-user: QEMU, virtio-user) or memif", add},
      {"socket", "PATH", "podwired's control socket, as everywhere; after add: the port's own socket"},
      {"socket-mode", "MODE",
       "add: server: the engine makes the socket; client: the peer does (default of vhost)", add},
      {"domain", "NAME", "add: the domain that it joins (default: the node's first)", add},
      {"mtu", "BYTES", "add: largest IP packet (default: the domain's)", add},
      {"queues", "N", "add: queue pairs or rings each way at most, 1 to 16 (default 1)", add},
      {"ring-size", "N", "add, memif: descriptors a ring, a power of two (default 1024)", add},
      {"buffer-size", "BYTES", "add, memif: bytes a buffer as a client (default 2048)", add},
      {"secret", "TEXT", "add, memif: what both sides must know, at most 24 characters", add},
      {"memif-id", "N", "add, memif: interface id, the same on both sides (default 0)", add},
      {"iommu", "", "add, vhost: offer VIRTIO_F_IOMMU_PLATFORM", add},
      {"pod", "NAME", "add: the pod that policies take it for (default: none, and no policy is for it)", add},
      {"namespace", "NAME", "add, with --pod: the pod's namespace (default: default)", add},
      {"from-pod-rate", "RATE", "add: bits a second that it may send, such as 100M (default: no limit)", add},
      {"to-pod-rate", "RATE", "add: bits a second that it may receive, such as 1G (default: no limit)", add}};
  const auto more = endpoint_options();
  options.insert(options.end(), more.begin(), more.end());
  return options;
}

Verb port_verb() {
  return {
      .name = "port",
      .summary = "the engine's ports: pods' interfaces, the underlay, the host's own interface",
      .about =
          "Lists every port of the engine with the pod behind it, or shows one in full: link, peer, rings, "
          "counters.\n"
          "Attaches VMs and programs that no container runtime attaches, and detaches them. What was added "
          "stays until\n"
          "it is deleted, over restarts of daemon, engine and machine.",
      .method = "ports",
      .list_key = "ports",
      .subs = {{"list", "", "every port"},
               {"show", "NAME", "one port in full, by name, id, container id or pod"},
               {"add", "NAME", "a vhost-user or memif port of this name, with an endpoint", "port_add"},
               {"del", "NAME", "remove a port that was added; no error when there is none", "port_del"}},
      .options = port_options(),
      .columns = {{"ID", "the engine's number for the port, as in `explain` and captures"},
                  {"KIND",
                   "tap: eth0 of an ordinary pod or of the host; physical: a NIC or any DPDK device; "
                   "memif, vhost: shared memory with a pod or VM"},
                  {"ROLE",
                   "pod: guarded, in one domain; uplink: carries VXLAN; host: the node's own traffic"},
                  {"LINK", "up or down as the engine sees the device"},
                  {"POD", "namespace/name, or the container id when the runtime gave no pod"}},
      .examples =
          {{"podwirectl port", "every port"},
           {"podwirectl port show eth0", "one port in full"},
           {"podwirectl port add vm1 --kind vhost --socket /run/vms/vm1.sock",
            "a VM whose QEMU makes the socket (server=on)"},
           {"podwirectl port add vpp --kind memif --socket /run/vpp/podwire.sock --address 10.244.1.50",
            "a memif that the engine makes, with this address"}},
  };
}

std::vector<OptionSpec> further_endpoint_options() {
  std::vector<OptionSpec> options{names_option(),
                                  {"port", "PORT", "add: the port that it is behind", {"add"}}};
  const auto more = endpoint_options();
  options.insert(options.end(), more.begin(), more.end());
  return options;
}

Verb endpoint_verb() {
  return {
      .name = "endpoint",
      .summary = "who has which address, and behind which port or node",
      .about =
          "Lists the endpoints (one a pod interface), local ones behind a port and remote ones behind a "
          "peer.\n"
          "Adds further ones to a port, such as the second address of a VM, and deletes them.",
      .method = "endpoints",
      .list_key = "endpoints",
      .subs = {{"list", "", "every endpoint"},
               {"show", "NAME", "one endpoint in full, by name, id, address, MAC, container id or pod"},
               {"add", "NAME", "one more endpoint of this name on a port", "endpoint_add"},
               {"del", "NAME", "remove an endpoint that was added; no error when there is none",
                "endpoint_del"}},
      .options = further_endpoint_options(),
      .columns = {{"WHERE", "port NAME: here, behind this port; peer NAME: on that node"},
                  {"MAC", "of the pod's interface; other sources are dropped by the guard"},
                  {"ADDRESSES", "of the pod's interface; other sources are dropped by the guard"},
                  {"CONTAINER", "first twelve digits of the container id, and the interface's name in it"}},
      .examples = {{"podwirectl endpoint show 10.244.1.10", "who has this address"},
                   {"podwirectl endpoint add vm1-vip --port vm1 --address 10.244.1.60",
                    "one more address for a VM, with a MAC of its own"}},
  };
}

Verb route_verb() {
  return {
      .name = "route",
      .summary = "prefixes behind other nodes or ports",
      .about =
          "Lists the routes of every domain, or shows those of one prefix. The longest matching prefix "
          "wins;\n"
          "`podwirectl explain` tells which one a packet takes.",
      .method = "routes",
      .list_key = "routes",
      .subs = {{"list", "", "every route"},
               {"show", "PREFIX", "the routes of this prefix in full; an address shows what it would match"}},
      .options = {{"domain", "NAME", "only routes of this domain"}, names_option()},
      .columns =
          {{"NEXT HOPS",
            "peer NAME: by VXLAN to that node; port NAME: out of that port; domain NAME: as that domain has "
            "it; xN: its weight among several"},
           {"SOURCE",
            "config: from podwired.json; peer: a node's prefixes; kernel: mirrored; join: a joined domain's; "
            "builtin: ours"}},
      .examples = {{"podwirectl route show 10.244.2.0/24", "one prefix"},
                   {"podwirectl route show 10.244.2.17",
                    "every route that covers an address, longest first"}},
  };
}

Verb peer_verb() {
  return {
      .name = "peer",
      .summary = "the other nodes: tunnel address, prefixes, whether they can be reached",
      .about = "Lists the nodes that this one tunnels to, or shows one in full.",
      .method = "peers",
      .list_key = "peers",
      .subs = {{"list", "", "every peer"}, {"show", "NAME", "one peer in full, by name or address"}},
      .options = {names_option()},
      .columns = {{"ADDRESS", "its tunnel endpoint (VTEP) on the underlay"},
                  {"UDP PORT", "where its VXLAN is sent to"},
                  {"NEIGHBOR",
                   "reachable or stale: its MAC is known; incomplete: being asked for; failed: no answer"},
                  {"NEIGHBOR MAC", "outer destination MAC: the peer's, or of the router on the way to it"}},
      .examples = {{"podwirectl peer show node-b", "one node in full"}},
  };
}

Verb node_verb() {
  return {
      .name = "node",
      .summary = "the cluster's nodes: which are alive, and which prefixes they have",
      .about =
          "Lists the nodes of the cluster as its store (etcd) has them, this one included, or shows one in "
          "full.\n"
          "A node that falls silent keeps its prefixes, and its pods their routes, until it is forgotten: by "
          "this\n"
          "command, or by itself after 24 hours.",
      .method = "nodes",
      .list_key = "nodes",
      .subs = {{"list", "", "every node"},
               {"show", "NAME", "one node in full"},
               {"forget", "NAME", "free the prefixes of a node that is gone for good", "node_forget"}},
      .options = {names_option()},
      .columns = {{"STATE", "alive: its podwired answers the store; silent: it does not, since about when"},
                  {"ADDRESSES", "its tunnel endpoints (VTEPs) on the underlay"},
                  {"PREFIXES", "what it has leased, by domain"}},
      .examples = {{"podwirectl node", "every node"},
                   {"podwirectl node forget node-c", "it will not come back"}},
  };
}

Verb stats_verb() {
  return {
      .name = "stats",
      .summary = "packets per port, cycles per stage, drops by reason, and the ledger that accounts for all",
      .about =
          "Counters since the engine started. With --watch: rates per second, counted from one look to the "
          "next.",
      .method = "stats",
      .list_key = "ports",
      .subs =
          {{"all", "", "every section below"},
           {"ports", "", "packets and bytes of every port"},
           {"stages", "", "what every stage of the pipeline costs"},
           {"drops", "", "lost packets by reason, with its meaning"},
           {"domains", "", "packets of every domain"},
           {"ledger", "",
            "received + generated + clones + segments against sent + dropped + consumed + parked + merged"}},
      .options = {{"all", "", "also the drop reasons that never happened"},
                  {"watch", "SECONDS", "repeat every SECONDS (0.1 to 3600) with rates; stop with Ctrl-C"},
                  {"count", "N", "with --watch: stop after N times"}},
      .columns = {{"RECEIVED, SENT", "as the switch sees them: received from the pod or wire, sent to it"},
                  {"DROPPED", "received here and lost; `stats drops` says why"},
                  {"PER BURST", "packets handled at once: near 1 when idle, up to 64 under load"},
                  {"CYCLES/PACKET", "processor cycles that the stage spends on a packet"},
                  {"BALANCE", "what the ledger cannot account for: 0 when no packet is in flight"}},
      .examples = {{"podwirectl stats drops", "why packets were lost"},
                   {"podwirectl stats ports --watch 1", "packets/s and Mbit/s of every port, each second"}},
  };
}

Verb explain_verb() {
  return {
      .name = "explain",
      .summary = "where would this packet go, and which object decides",
      .about =
          "Runs the engine's own stages on a made-up packet and tells what each did. Changes nothing, sends "
          "nothing.\n"
          "Exits 0 whatever becomes of the packet.",
      .method = "explain",
      .options = {{"from", "WHO",
                   "the sender: endpoint or port name, pod address, container id, or uplink or host"},
                  {"to", "ADDRESS", "destination IPv4 or IPv6 address"},
                  {"proto", "PROTOCOL", "icmp (default), tcp or udp"},
                  {"sport", "PORT", "source port, 0 to 65535 (tcp, udp)"},
                  {"dport", "PORT", "destination port, 0 to 65535 (tcp, udp)"},
                  {"ttl", "N", "TTL or hop limit, 1 to 255 (default 64)"},
                  {"size", "BYTES", "length of the IP packet, 28 to 65535"}},
      .columns = {{"sent", "leaves by the ports listed, with what was done to it on the way"},
                  {"answered",
                   "Podwire replies itself (ARP, neighbour discovery, ping to a gateway, ICMP errors)"},
                  {"parked", "waits until the underlay neighbour is resolved"},
                  {"consumed", "was for Podwire itself"},
                  {"dropped", "lost, with the reason that `stats drops` counts"}},
      .examples =
          {{"podwirectl explain --from web-0 --to 10.244.2.11", "would a ping arrive?"},
           {"podwirectl explain --from 10.244.1.10 --to 10.244.2.11 --proto tcp --dport 443 --size 9000",
            "what becomes of a large TCP packet?"}},
  };
}

Verb doctor_verb() {
  return {
      .name = "doctor",
      .summary = "probe the other nodes through the tunnel: what is wrong, and what to do",
      .about =
          "Asks every peer's gateway, in every l3 domain and family, through the tunnel, and the peer itself "
          "on "
          "the\n"
          "underlay; finds the largest packet that passes. Prints a line a peer and a paragraph a fault. "
          "Probes are\n"
          "no pod's packets: policies do not stop them. Takes a few seconds; thousands of peers take "
          "minutes.\n"
          "Exits 0 when all is well, 1 when something is wrong.",
      .method = "doctor",
      .list_key = "peers",
      .argument = "[PEER]",
      .columns = {{"UNDERLAY",
                   "whether its address answers an ordinary ping of this node: answers or silent"},
                  {"TUNNEL", "probes of all domains that were answered, of how many"},
                  {"RTT", "least, mean and longest time until an answer came"},
                  {"LARGEST",
                   "the largest IP packet that passed in the tunnel, in bytes; for every path that "
                   "differs"}},
      .examples = {{"podwirectl doctor", "every peer"},
                   {"podwirectl doctor node2 --json", "one peer, for programs"}},
  };
}

Verb reconcile_verb() {
  return {
      .name = "reconcile",
      .summary = "compare the engine with the desired state now and repair what differs",
      .about =
          "Sends the engine the whole desired state; what did not change keeps its counters. podwired does "
          "this by\n"
          "itself whenever it connects, so it is only needed when `status` shows differences.",
      .method = "reconcile",
      .examples = {{"podwirectl reconcile && podwirectl status", "repair, then look"}},
  };
}

Verb leave_verb() {
  return {
      .name = "leave",
      .summary = "give the NIC back to the kernel and stop the engine",
      .about =
          "Moves the underlay's addresses and routes back to the NIC, removes the host interface and stops "
          "the engine.\n"
          "Pods of this node have no network until podwired and the engine are started again.",
      .method = "leave",
      .options = {{"yes", "", "really do it"}},
      .examples = {{"podwirectl leave --yes", "before the package is removed"}},
  };
}

Verb version_verb() {
  return {
      .name = "version",
      .summary = "versions of podwirectl, podwired and the engine",
      .about =
          "Prints the three versions; those of a daemon that does not answer are left out. Exits 0 in any "
          "case.",
      .method = "status",
      .examples = {{"podwirectl version --json", "for programs"}},
  };
}

}  // namespace

const std::vector<Verb>& verbs() {
  static const std::vector<Verb> all{
      status_verb(), port_verb(),   domain_verb(),    endpoint_verb(), route_verb(),  peer_verb(),
      node_verb(),   policy_verb(), service_verb(),   address_verb(),  stats_verb(),  explain_verb(),
      flows_verb(),  doctor_verb(), reconcile_verb(), leave_verb(),    version_verb()};
  return all;
}

const std::vector<OptionSpec>& global_options() {
  static const std::vector<OptionSpec> all{
      {"socket", "PATH",
       std::string("podwired's control socket (default: $") + kSocketVariable + ", else " + kDefaultSocket +
           ")"},
      {"timeout", "SECONDS", "how long to wait for an answer, 0.1 to 3600 (default 30)"},
      {"json", "", "print the daemon's reply as JSON; `show` keeps only what matches"},
      {"no-colour", "", "no colour, also on a terminal (as NO_COLOR does)"},
      {"help", "", "explain podwirectl, or the verb it stands with"},
  };
  return all;
}

const Verb* find_verb(std::string_view name) {
  const auto it = std::find_if(verbs().begin(), verbs().end(), [&](const Verb& v) { return v.name == name; });
  return it == verbs().end() ? nullptr : &*it;
}

bool OptionSpec::fits(const std::string& sub) const {
  return subs.empty() || std::find(subs.begin(), subs.end(), sub) != subs.end();
}

const SubVerb* find_sub(const Verb& verb, std::string_view name) {
  const auto it =
      std::find_if(verb.subs.begin(), verb.subs.end(), [&](const SubVerb& s) { return s.name == name; });
  return it == verb.subs.end() ? nullptr : &*it;
}

}  // namespace podwire::control::cli
