#include "control/doctor/diagnosis.hpp"

#include <algorithm>

namespace podwire::control {
namespace {

constexpr unsigned kOverhead4 = 50, kOverhead6 = 70;  // of the tunnel over an underlay of either family

std::string port_text(const ExaminedPeer& peer) {
  return "UDP port " + std::to_string(peer.udp_port);
}

std::string vni_text(Vni vni) {
  return std::to_string(vni.value());
}

std::string path_text(const ExaminedPath& path) {
  return "domain " + path.domain + " over IPv" + (path.v4 ? "4" : "6");
}

const char* ping_of(const IpAddr& address) {
  return address.is_v4() ? "ping " : "ping -6 ";
}

Finding checksum_finding(const std::string& what) {
  return {
      "checksum", what,
      "on the other node, and on whatever carries its packets (a veth, a bridge, a VM's NIC), type: ethtool "
      "-K DEVICE tx off tso off gso off"};
}

Finding vni_finding(const ExaminedPeer& peer, const DomainVnis& here) {
  std::string theirs, ours;
  for (const auto vni : peer.unknown_vnis) theirs += (theirs.empty() ? "" : ", ") + vni_text(vni);
  for (const auto& [name, vni] : here) ours += (ours.empty() ? "" : ", ") + name + " (" + vni_text(vni) + ")";
  return {
      "vni_mismatch",
      "it sends VXLAN with VNI " + theirs + ", which no domain here has; the domains here are " + ours,
      "give the domain the same \"vni\" in podwired.json (or in Flannel's network configuration) on every "
      "node, and restart podwired where it was changed"};
}

// Why nothing could even be sent.
std::optional<Finding> way_finding(const ExaminedPeer& peer, const std::string& next_hop) {
  const auto address = to_string(peer.address);
  if (next_hop == "no_source") {
    return Finding{"no_source",
                   "this node has no tunnel end of its own for " + address + ", " + port_text(peer),
                   "give the underlay device an address of that family, and see: podwirectl status"};
  }
  if (next_hop == "no_route") {
    return Finding{"no_route", "no route on the underlay leads to " + address,
                   "add one, as by: ip route add " + to_string(IpPrefix{peer.address, peer.address.bits()}) +
                       " via ROUTER; what there is: podwirectl route"};
  }
  if (next_hop == "unresolved") {
    return Finding{
        "neighbor_unresolved",
        std::string("nobody answers ") + (peer.address.is_v4() ? "ARP" : "neighbour discovery") + " for " +
            address + ", or for the router to it, on the uplink",
        "check that the node is up and on the same network and VLAN; see: podwirectl peer show " + peer.name};
  }
  return std::nullopt;
}

// Nothing at all came back.
Finding silence_finding(const ExaminedPeer& peer, const DomainVnis& here) {
  const auto address = to_string(peer.address);
  const auto& heard = peer.underlay;
  for (const auto& path : peer.paths) {
    if (auto way = way_finding(peer, path.next_hop)) return std::move(*way);
  }
  if (heard.port_unreachable) {
    return {"port_closed",
            to_string(*heard.port_unreachable) + " says that nothing listens on " + port_text(peer) +
                " there, or a firewall says so (ICMP port unreachable)",
            "see on that node that podwired and its engine run (podwirectl status), and that \"vxlan\": "
            "{\"port\"} "
            "there and \"udp_port\" of the peer here are the same"};
  }
  if (heard.prohibited) {
    return {
        "udp_prohibited",
        to_string(*heard.prohibited) + " refuses " + port_text(peer) + " (ICMP administratively prohibited)",
        "allow it there, as by: nft insert rule inet filter input udp dport " +
            std::to_string(peer.udp_port) + " accept"};
  }
  if (!peer.unknown_vnis.empty()) return vni_finding(peer, here);
  if (heard.answers == false) {
    return {"unreachable",
            address + " does not answer on the underlay at all, neither pings nor in the tunnel" +
                (heard.unreachable ? "; " + to_string(*heard.unreachable) + " says that it cannot be reached"
                                   : ""),
            std::string("check that the node is up and how it is reached: ") + ping_of(peer.address) +
                address + ", podwirectl route, and the firewalls between"};
  }
  const bool damaged = std::any_of(peer.paths.begin(), peer.paths.end(),
                                   [](const ExaminedPath& path) { return path.damaged != 0; });
  if (damaged || peer.bad_outer_checksums != 0 || peer.bad_checksums != 0) {
    return checksum_finding(
        "packets come back with wrong checksums: " + std::to_string(peer.bad_outer_checksums) + " outer, " +
        std::to_string(peer.bad_checksums) + " inner ones were dropped here during the examination" +
        (damaged ? ", and answers to probes were damaged" : ""));
  }
  return {
      "udp_filtered",
      address +
          (heard.answers == true
               ? " answers on the underlay, but nothing comes back through the tunnel: "
               : " does not answer through the tunnel (the underlay could not be asked): ") +
          port_text(peer) + " is filtered at either node or between, or that node does not know this one",
      "allow it both ways, as by: nft insert rule inet filter input udp dport " +
          std::to_string(peer.udp_port) +
          " accept (what there is: nft list ruleset), in cloud security groups too; then compare podwirectl "
          "peer and podwirectl domain on both nodes"};
}

void add_mtu(const ExaminedPeer& peer, const ExaminedPath& path, std::vector<Finding>& out) {
  const auto overhead = peer.address.is_v4() ? kOverhead4 : kOverhead6;
  const auto need = std::to_string(path.mtu + overhead);
  const auto lower = [&](unsigned bytes) {
    return ", or set \"mtu\": " + std::to_string(bytes) + " for the domain in podwired.json on every node";
  };
  if (path.largest == 0) return;
  if (path.room != 0 && path.largest >= path.room) {
    out.push_back({"mtu",
                   path_text(path) + ": its MTU is " + std::to_string(path.mtu) +
                       ", but the uplink's leaves " + std::to_string(path.room) + " bytes in the tunnel",
                   "raise the uplink's MTU to " + need + lower(path.room)});
  } else if (path.largest < path.mtu) {
    out.push_back(
        {"mtu",
         path_text(path) + ": its MTU is " + std::to_string(path.mtu) +
             ", but the largest packet that passes has " + std::to_string(path.largest) + " bytes",
         "raise the MTU to " + need + " on every link and router between the nodes" + lower(path.largest)});
  }
}

void add_path(const ExaminedPeer& peer, const ExaminedPath& path, std::vector<Finding>& out) {
  if (!path.not_probed.empty() || path.sent == 0) return;
  if (path.damaged != 0) {
    out.push_back(checksum_finding(path_text(path) + ": " + std::to_string(path.damaged) + " of " +
                                   std::to_string(path.sent) + " answers came with a wrong checksum"));
  } else if (path.answered == 0 && peer.unknown_vnis.empty()) {
    out.push_back({"domain_silent",
                   path_text(path) + ": no gateway answers, although the tunnel works for other domains or "
                                     "the other family",
                   "compare VNI (" + vni_text(path.vni) +
                       " here) and prefixes of the domain on both nodes: podwirectl domain show " +
                       path.domain});
  } else if (path.answered != 0 && path.answered < path.sent) {
    out.push_back({"loss",
                   path_text(path) + ": " + std::to_string(path.sent - path.answered) + " of " +
                       std::to_string(path.sent) + " probes were lost",
                   "see what is dropped on either node (podwirectl stats drops) and the counters of the NICs "
                   "between (ethtool -S)"});
  }
  add_mtu(peer, path, out);
}

}  // namespace

bool ExaminedPeer::was_probed() const {
  return std::any_of(paths.begin(), paths.end(),
                     [](const ExaminedPath& path) { return path.not_probed.empty() && path.sent != 0; });
}

bool ExaminedPeer::answers() const {
  return std::any_of(paths.begin(), paths.end(), [](const ExaminedPath& path) { return path.answered != 0; });
}

std::vector<Finding> diagnose(const ExaminedPeer& peer, const DomainVnis& here) {
  std::vector<Finding> out;
  if (!peer.was_probed()) return out;
  if (!peer.answers()) {
    out.push_back(silence_finding(peer, here));
    return out;
  }
  if (!peer.unknown_vnis.empty()) out.push_back(vni_finding(peer, here));
  for (const auto& path : peer.paths) add_path(peer, path, out);
  return out;
}

}  // namespace podwire::control
