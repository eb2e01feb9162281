// Ports: the object with the most kinds, so with the most rules about which field goes with which.
#include "dataplane/api/checks.hpp"
#include "dataplane/api/objects.hpp"

namespace podwire::api {

const std::vector<std::string> kPortKindNames{"physical", "tap", "memif", "vhost"};
const std::vector<std::string> kSocketModeNames{"server", "client"};
const std::vector<std::string> kPortRoleNames{"pod", "uplink", "host"};

namespace {

// What only ports on a socket have. Returns a key that was given, or null.
const char* read_socket_fields(ObjectReader& r, Port& out) {
  const char* given = nullptr;
  const auto note = [&given](bool there, const char* key) {
    if (there && given == nullptr) given = key;
  };
  note(r.optional("socket", out.socket), "socket");
  note(r.choice("socket_mode", out.socket_mode, kSocketModeNames), "socket_mode");
  note(r.optional("socket_group", out.socket_group), "socket_group");
  note(r.optional_in("socket_permissions", out.socket_permissions, 0, 0777), "socket_permissions");
  note(r.optional("memif_id", out.memif_id), "memif_id");
  note(r.optional("secret", out.secret), "secret");
  note(r.optional_in("ring_size", out.ring_size, 2, 16384), "ring_size");
  note(r.optional_in("buffer_size", out.buffer_size, 128, 65536), "buffer_size");
  note(r.optional("iommu", out.iommu), "iommu");
  return given;
}

Result<void> check_socket_fields(const std::string& path, const Port& port, const char* given) {
  const auto& kind = kPortKindNames[static_cast<std::size_t>(port.kind)];
  const bool memif = port.kind == PortKind::kMemif;
  if (!memif && port.kind != PortKind::kVhost) {
    if (given == nullptr) return {};
    return invalid(path + "." + given + " is for memif and vhost ports; this one is a " + kind);
  }
  if (port.role != PortRole::kPod) return invalid(path + ".role must be pod for a " + kind + " port");
  // sun_path of unix(7) has 108 bytes with its end.
  if (port.socket.empty() || port.socket.front() != '/' || port.socket.size() > 107 ||
      port.socket.find('\0') != std::string::npos) {
    return invalid(path + ".socket is \"" + port.socket.substr(0, 120) +
                   "\", must be an absolute path of at most 107 characters: a " + kind +
                   " port has a UNIX socket");
  }
  const Port defaults;
  if (!memif && (port.memif_id != defaults.memif_id || !port.secret.empty() ||
                 port.ring_size != defaults.ring_size || port.buffer_size != defaults.buffer_size)) {
    return invalid(path +
                   ": memif_id, secret, ring_size and buffer_size are for memif ports; this one is a " +
                   kind + ", where the peer decides");
  }
  if (memif && port.iommu) return invalid(path + ".iommu is for vhost ports");
  if (port.secret.size() > 24) {
    return invalid(path + ".secret has " + std::to_string(port.secret.size()) +
                   " characters; memif has room for 24");
  }
  if ((port.ring_size & (port.ring_size - 1)) != 0) {
    return invalid(path + ".ring_size is " + std::to_string(port.ring_size) +
                   ", must be a power of two from 2 to 16384");
  }
  return {};
}

void put_socket_fields(Json& j, const Port& p) {
  const Port defaults;
  j["socket"] = p.socket;
  j["socket_mode"] = kSocketModeNames[static_cast<std::size_t>(p.socket_mode)];
  if (p.socket_group != defaults.socket_group) j["socket_group"] = p.socket_group;
  if (p.socket_permissions != defaults.socket_permissions) j["socket_permissions"] = p.socket_permissions;
  if (p.memif_id != defaults.memif_id) j["memif_id"] = p.memif_id;
  if (!p.secret.empty()) j["secret"] = p.secret;
  if (p.ring_size != defaults.ring_size) j["ring_size"] = p.ring_size;
  if (p.buffer_size != defaults.buffer_size) j["buffer_size"] = p.buffer_size;
  if (p.iommu) j["iommu"] = true;
}

}  // namespace

Result<void> read_value(const Json& value, const std::string& path, RateLimit& out) {
  ObjectReader r(value, path);
  const bool has_rate = r.optional_in("rate_bps", out.rate_bps, 1'000, 1'000'000'000'000);
  r.optional_in("burst_bytes", out.burst_bytes, 0, 1'000'000'000'000);
  PODWIRE_CHECK(r.finish());
  if (!has_rate) return invalid(path + ".rate_bps is missing");
  return {};
}

Json to_json(const RateLimit& limit) {
  Json j{{"rate_bps", limit.rate_bps}};
  if (limit.burst_bytes != 0) j["burst_bytes"] = limit.burst_bytes;
  return j;
}

Result<void> read_value(const Json& value, const std::string& path, Port& out) {
  ObjectReader r(value, path);
  r.required("id", out.id);
  r.required("name", out.name);
  r.choice("kind", out.kind, kPortKindNames);
  r.choice("role", out.role, kPortRoleNames);
  const bool has_domain = r.optional("domain", out.domain);
  r.optional("mac", out.mac);
  const bool has_mtu = r.optional_in("mtu", out.mtu, 68, 65535);
  r.optional_in("queues", out.queues, 1, 16);
  r.optional("devargs", out.devargs);
  r.optional_in("vlan", out.vlan, 0, 4094);
  r.optional_in("flow_limit", out.flow_limit, 0, 16777216);
  r.optional_in("descriptors", out.descriptors, 0, 16);
  r.optional("from_pod", out.from_pod);
  r.optional("to_pod", out.to_pod);
  const auto socket_key = read_socket_fields(r, out);
  PODWIRE_CHECK(r.finish());
  PODWIRE_CHECK(check_name(path, out.name));
  PODWIRE_CHECK(check_host_mac(path, "mac", out.mac, out.kind == PortKind::kPhysical));
  const bool physical = out.kind == PortKind::kPhysical;
  if (physical && out.devargs.empty())
    return invalid(path +
                   ".devargs is missing: a physical port needs a device, such as net_af_xdp0,iface=eth0");
  if (!physical && !out.devargs.empty())
    return invalid(path + ".devargs is for physical ports; this one is a " +
                   kPortKindNames[static_cast<std::size_t>(out.kind)]);
  if (!physical && !has_mtu) return invalid(path + ".mtu is missing");
  if (!physical && out.descriptors != 0 && out.descriptors != out.queues) {
    return invalid(path + ".descriptors is " + std::to_string(out.descriptors) +
                   ", must be 0 or equal queues (" + std::to_string(out.queues) + ")");
  }
  if (out.kind != PortKind::kTap && out.descriptors != 0)
    return invalid(path + ".descriptors is for tap ports");
  PODWIRE_CHECK(check_socket_fields(path, out, socket_key));
  if ((out.from_pod || out.to_pod) && out.role != PortRole::kPod)
    return invalid(path + ": from_pod and to_pod are for pod ports");
  if (out.vlan != 0 && out.role != PortRole::kUplink) return invalid(path + ".vlan is for uplinks");
  if (out.role == PortRole::kPod) {
    if (!has_domain) return invalid(path + ".domain is missing: a pod port belongs to a domain");
    if (out.domain == kUnderlayDomain)
      return invalid(path + ".domain is 1, the underlay; a pod port belongs to another");
  } else {
    if (has_domain && out.domain != kUnderlayDomain)
      return invalid(path + ".domain must be 1, the underlay, or absent for an uplink or host port");
    out.domain = kUnderlayDomain;
  }
  return {};
}

Json to_json(const Port& p) {
  Json j{{"id", p.id.value()},
         {"name", p.name},
         {"kind", kPortKindNames[static_cast<std::size_t>(p.kind)]},
         {"role", kPortRoleNames[static_cast<std::size_t>(p.role)]},
         {"domain", p.domain.value()}};
  if (!p.mac.is_zero()) j["mac"] = to_string(p.mac);
  if (p.mtu != 0) j["mtu"] = p.mtu;
  j["queues"] = p.queues;
  if (!p.devargs.empty()) j["devargs"] = p.devargs;
  if (p.vlan != 0) j["vlan"] = p.vlan;
  if (p.from_pod) j["from_pod"] = to_json(*p.from_pod);
  if (p.to_pod) j["to_pod"] = to_json(*p.to_pod);
  if (p.flow_limit != 0) j["flow_limit"] = p.flow_limit;
  if (p.descriptors != 0) j["descriptors"] = p.descriptors;
  if (p.kind == PortKind::kMemif || p.kind == PortKind::kVhost) put_socket_fields(j, p);
  return j;
}

}  // namespace podwire::api
