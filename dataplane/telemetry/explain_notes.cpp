#include "dataplane/telemetry/explain_notes.hpp"

#include "dataplane/headers/headers.hpp"
#include "dataplane/packet/access.hpp"
#include "dataplane/pipeline/routing.hpp"

namespace podwire::engine {
namespace {

// What a stage says about a packet that it leaves as it is.
struct Quiet {
  std::string_view stage;
  const char* note;
};
constexpr Quiet kQuiet[] = {
    {"decap", "not addressed to a tunnel end of ours"},
    {"host", "neither from nor for the node itself"},
    {"dhcp", "no question that DHCP or router discovery of the engine answers"},
    {"gateway", "no question to the gateway"},
    {"flow", "no connection that is tracked, or one that the rules allow"},
    {"forward", "decided already"},
    {"track", "nothing to remember"},
    {"flood", "one destination: no copies"},
    {"rewrite", "headers stay as they are"},
    {"merge", "nothing to join"},
    {"finalize", "complete for the way ahead"},
    {"encap", "no tunnel: leaves as it is"},
};

std::string quiet_note(std::string_view stage) {
  for (const auto& quiet : kQuiet) {
    if (quiet.stage == stage) return quiet.note;
  }
  return "nothing to do";
}

std::string quoted(const std::string& name) {
  return "\"" + name + "\"";
}

std::string protocol_text(rte_mbuf* mbuf, const PacketMeta& meta) {
  const auto ports = [&](const char* name) {
    const auto* udp = meta.l4_offset != 0 ? header_at<UdpHeader>(mbuf, meta.l4_offset) : nullptr;
    if (udp == nullptr) return std::string(name);
    return std::string(name) + " port " + std::to_string(udp->source_port.host()) + " to " +
           std::to_string(udp->destination_port.host());
  };
  switch (meta.ip_proto) {
    case ip_proto::kTcp:
      return ports("TCP");
    case ip_proto::kUdp:
      return ports("UDP");
    case ip_proto::kIcmp:
      return "ICMP";
    case ip_proto::kIcmpv6:
      return "ICMPv6";
    default:
      return "protocol " + std::to_string(meta.ip_proto);
  }
}

unsigned ttl_of(rte_mbuf* mbuf, const PacketMeta& meta) {
  if (meta.ether_type == ether_type::kIpv4) {
    const auto* ip = header_at<Ipv4Header>(mbuf, meta.l3_offset);
    return ip != nullptr ? ip->ttl : 0;
  }
  const auto* ip = header_at<Ipv6Header>(mbuf, meta.l3_offset);
  return ip != nullptr ? ip->hop_limit : 0;
}

std::string rewritten_text(const PacketView& p) {
  const auto* ether = header_at<EtherHeader>(p.mbuf, 0);
  if (ether == nullptr) return quiet_note("rewrite");
  return "MAC " + to_string(ether->source) + " to " + to_string(ether->destination) + ", TTL now " +
         std::to_string(ttl_of(p.mbuf, p.after));
}

std::string leaving_text(const PacketMeta& meta, const ObjectNames& names) {
  switch (meta.verdict) {
    case Verdict::kDrop:
      return "dropped: " + std::string(name_of(meta.reason)) + " (" + std::string(help_of(meta.reason)) + ")";
    case Verdict::kConsumed:
      return "taken in by the engine itself";
    default:
      return "would wait until the next hop of " + names.vtep(meta.vtep) + " is resolved";
  }
}

// Whose lease was told: the answer is for its MAC; one for everybody is taken for the port's first.
const api::Endpoint* asker_of(const PacketView& p, const ObjectNames& names) {
  const auto* port = names.tables.port(p.after.ingress);
  if (port == nullptr || port->leases.empty()) return nullptr;
  const auto* ether = p.mbuf != nullptr ? header_at<EtherHeader>(p.mbuf, 0) : nullptr;
  const auto* lease = ether != nullptr ? port->lease(ether->destination) : nullptr;
  return names.intent.endpoint((lease != nullptr ? *lease : port->leases.front()).endpoint);
}

std::string dhcp_text(const PacketView& p, const ObjectNames& names) {
  const auto* endpoint = asker_of(p, names);
  return "answered by the engine's own " +
         std::string(p.after.ip_proto == ip_proto::kIcmpv6 ? "router advertisement" : "DHCP server") +
         " from the data of " +
         (endpoint != nullptr ? "endpoint " + quoted(endpoint->name) : "the endpoint") + ": " +
         headers_text(p.mbuf, p.after);
}

// A packet that the engine made out of the one it got.
std::string generated_text(const PacketView& p) {
  if (p.after.reason == DropReason{}) return "answered: the reply goes back";
  return "dropped: " + std::string(name_of(p.after.reason)) + " (" + std::string(help_of(p.after.reason)) +
         "); an ICMP error goes back to the sender";
}

bool is_direct(const PacketMeta& meta, const ObjectNames& names) {
  return meta.vtep < names.tables.vteps.size() && names.tables.vteps[meta.vtep].direct;
}

std::string destination_text(const PacketMeta& meta, const ObjectNames& names) {
  switch (meta.verdict) {
    case Verdict::kForward:
      return "to port " + quoted(names.port(meta.egress));
    case Verdict::kTunnel:
      if (is_direct(meta, names)) return "without a tunnel to " + names.vtep(meta.vtep);
      return "through " + names.vtep(meta.vtep) + ", VNI " + std::to_string(meta.vni.value());
    case Verdict::kFlood:
      return "to every member of domain " + quoted(names.domain(meta.domain));
    default:
      return "";
  }
}

std::string guard_text(const PacketView& p) {
  const bool pod = p.after.ingress_role == static_cast<std::uint8_t>(api::PortRole::kPod);
  return pod ? "the source addresses are the pod's own" : "from no pod: nothing to guard";
}

std::string encapsulated_text(const PacketView& p, const ObjectNames& names) {
  if (is_direct(p.after, names)) {
    return "MAC of " + names.vtep(p.after.vtep) + " on, out of port " + quoted(names.port(p.after.egress));
  }
  return "outer headers of " + names.vtep(p.after.vtep) + " on, out of port " +
         quoted(names.port(p.after.egress));
}

std::string decided_text(const PacketView& p, const ObjectNames& names) {
  std::string text = destination_text(p.after, names);
  const auto by = p.after.adjacency != 0 ? names.adjacency(p.after.adjacency) : "";
  if (!by.empty()) text = by + ": " + text;
  return (p.after.routed ? "routed by " : by.empty() ? "" : "switched by ") + text;
}

std::string entered_text(std::uint32_t slot, const PacketView& p, const ObjectNames& names) {
  const auto text = names.adjacency(slot) + " leads into domain " + quoted(names.domain(p.after.domain));
  if (p.after.verdict != p.before.verdict) return text + ", there " + decided_text(p, names);
  return text + ": " + headers_text(p.mbuf, p.after);
}

}  // namespace

std::uint32_t entered_by(const PacketView& p, const ObjectNames& names) {
  const auto* before = names.tables.domain(p.before.domain);
  const bool ip = p.after.ether_type == ether_type::kIpv4 || p.after.ether_type == ether_type::kIpv6;
  if (before == nullptr || !before->joined || p.after.domain == p.before.domain || !ip || p.after.generated)
    return 0;
  const auto slot = find_route_for(names.tables, *before, destination_of(p.mbuf, p.after));
  const auto& adjacency = names.tables.adjacencies[slot];
  return adjacency.kind == Adjacency::Kind::kInto && adjacency.into() == p.after.domain ? slot : 0;
}

std::string ObjectNames::port(PortId id) const {
  const auto* object = intent.port(id);
  return object != nullptr ? object->name : std::to_string(id.value());
}

std::string ObjectNames::domain(DomainId id) const {
  if (id == kUnderlayDomain) return "underlay";
  const auto* object = intent.domain(id);
  return object != nullptr ? object->name : std::to_string(id.value());
}

std::string ObjectNames::vtep(std::uint32_t slot) const {
  if (slot == 0 || slot >= tables.vteps.size()) return "an unknown VTEP";
  const auto& entry = tables.vteps[slot];
  if (entry.direct) {
    return entry.address.is_zero() ? "the destination itself, on link in the underlay"
                                   : "next hop " + to_string(entry.address) + " of the underlay";
  }
  const auto* object = intent.vtep(entry.id);
  return "VTEP " + (object != nullptr ? quoted(object->name) + " (" : std::string("(")) +
         to_string(entry.address) + ")";
}

std::string ObjectNames::adjacency(std::uint32_t slot) const {
  const auto& entry = tables.adjacencies[slot];
  if (const auto* endpoint = intent.endpoint(entry.endpoint)) return "endpoint " + quoted(endpoint->name);
  if (const auto* route = intent.route(entry.route)) return "route " + to_string(route->prefix);
  if (entry.learned) return "the learned MAC " + to_string(entry.mac);
  if (entry.kind == Adjacency::Kind::kGateway) return "the gateway";
  return "";
}

std::string headers_text(rte_mbuf* mbuf, const PacketMeta& meta) {
  const auto bytes = std::to_string(mbuf->pkt_len) + " bytes";
  if (meta.ether_type == ether_type::kIpv4) {
    if (const auto* ip = header_at<Ipv4Header>(mbuf, meta.l3_offset)) {
      return to_string(ip->source) + " to " + to_string(ip->destination) + ", " + protocol_text(mbuf, meta) +
             ", TTL " + std::to_string(ip->ttl) + ", " + bytes;
    }
  }
  if (meta.ether_type == ether_type::kIpv6) {
    if (const auto* ip = header_at<Ipv6Header>(mbuf, meta.l3_offset)) {
      return to_string(ip->source) + " to " + to_string(ip->destination) + ", " + protocol_text(mbuf, meta) +
             ", hop limit " + std::to_string(ip->hop_limit) + ", " + bytes;
    }
  }
  if (meta.ether_type == ether_type::kArp) {
    if (const auto* arp = header_at<ArpHeader>(mbuf, meta.l3_offset)) {
      const bool request = arp->operation.host() == ArpHeader::kRequest;
      return request ? "ARP: who has " + to_string(arp->target_ip) + ", asks " + to_string(arp->sender_ip)
                     : "ARP: " + to_string(arp->sender_ip) + " is at " + to_string(arp->sender_mac);
    }
  }
  char type[8];
  std::snprintf(type, sizeof type, "0x%04x", meta.ether_type);
  return std::string("Ethernet type ") + type + ", " + bytes;
}

std::string policy_text(const PolicyAnswer& answer, const ObjectNames& names) {
  const auto named = [&](PolicyId id, const char* side) {
    const auto* policy = names.intent.policy(id);
    return "policy " + quoted(policy != nullptr ? policy->name : std::to_string(id.value())) + " (" + side +
           ")";
  };
  if (!answer.allowed && !answer.policy) return "; its source is the unspecified address";
  if (!answer.allowed) {
    const bool ingress = answer.side == PolicyDirection::kIngress;
    return "; not allowed by " + named(answer.policy, ingress ? "ingress" : "egress");
  }
  std::string text;
  if (answer.egress) text = "; allowed by " + named(answer.egress, "egress");
  if (answer.ingress) text += (text.empty() ? "; allowed by " : " and ") + named(answer.ingress, "ingress");
  return text;
}

std::string describe(std::string_view stage, const PacketView& p, const ObjectNames& names) {
  if (p.after.verdict >= Verdict::kDrop) return leaving_text(p.after, names);
  if (p.after.generated && !p.before.generated)
    return stage == "dhcp" ? dhcp_text(p, names) : generated_text(p);
  if (stage == "parse") return headers_text(p.mbuf, p.after);
  if (stage == "guard") return guard_text(p);
  if (p.after.from_tunnel && !p.before.from_tunnel) {
    const auto sender = p.after.vtep != 0 ? names.vtep(p.after.vtep) : std::string("a VTEP that is no peer");
    return "out of the tunnel from " + sender + " into domain " + quoted(names.domain(p.after.domain)) +
           ": " + headers_text(p.mbuf, p.after);
  }
  if (const auto slot = entered_by(p, names)) return entered_text(slot, p, names);
  if (p.after.translated && !p.before.translated) {
    return "translated, in domain " + quoted(names.domain(p.after.domain)) +
           " now: " + headers_text(p.mbuf, p.after);
  }
  if (p.after.domain != p.before.domain) return "for domain " + quoted(names.domain(p.after.domain));
  if (stage == "encap" && p.before.verdict == Verdict::kTunnel) return encapsulated_text(p, names);
  if (p.after.verdict != p.before.verdict) return decided_text(p, names);
  if (stage == "rewrite" && p.after.routed) return rewritten_text(p);
  if (stage == "finalize" && p.after.is_fragment && !p.before.is_fragment) {
    return "cut: a fragment of " + std::to_string(p.mbuf->pkt_len) + " bytes";
  }
  return quiet_note(stage);
}

}  // namespace podwire::engine
