#include "control/state/allotment.hpp"

#include <sys/random.h>

#include <algorithm>

#include "control/config.hpp"
#include "control/state/attachment_rows.hpp"

namespace podwire::control {
namespace {

constexpr std::uint32_t kLastPort = 4095;
constexpr std::uint32_t kLastEndpoint = 0x7fffffff;

// Who has an address, or empty.
Result<std::string> holder(Database& database, const std::string& domain, const IpAddr& address) {
  Query query(database,
              "SELECT t.network, t.container_id, t.ifname FROM address a JOIN attachment t ON t.port = a.port"
              " WHERE a.domain = ? AND a.address = ?");
  query.bind(domain).bind(to_string(address));
  PODWIRE_TRY(const bool found, query.step());
  if (!found) return std::string();
  return describe({query.text(0), query.text(1), query.text(2)});
}

Result<void> check_unheld(Database& database, const std::string& domain, const IpAddr& address) {
  PODWIRE_TRY(const auto who, holder(database, domain, address));
  if (who.empty()) return {};
  return conflict(to_string(address) + " in domain \"" + domain + "\" is taken by " + who);
}

// The container's former address in this pool, when it is still free.
Result<std::optional<IpAddr>> former_address(Database& database, const std::string& domain,
                                             const AttachmentKey& key, const AddressPool& pool,
                                             const AddressPool::Taken& taken) {
  Query query(database,
              "SELECT address FROM former_address WHERE domain = ? AND network = ? AND container_id = ? AND "
              "ifname = ?"
              " ORDER BY sequence DESC");
  query.bind(domain).bind(key.network).bind(key.container_id).bind(key.ifname);
  for (;;) {
    PODWIRE_TRY(const bool more, query.step());
    if (!more) return std::optional<IpAddr>();
    auto address = parse_ip(query.text(0));
    if (address && pool.check_requested(*address) && !taken(*address)) return std::optional<IpAddr>(*address);
  }
}

Result<std::optional<IpAddr>> load_cursor(Database& database, const std::string& domain,
                                          const std::string& prefix) {
  Query query(database, "SELECT address FROM cursor WHERE domain = ? AND prefix = ?");
  PODWIRE_TRY(const bool found, query.bind(domain).bind(prefix).step());
  if (!found) return std::optional<IpAddr>();
  auto address = parse_ip(query.text(0));
  return address ? std::optional<IpAddr>(*address) : std::nullopt;
}

Error exhausted(const DomainPools& domain, const AddressPool& pool) {
  return {ErrorCode::kExhausted, "domain \"" + domain.name + "\" has no " +
                                     (pool.prefix().address.is_v4() ? "IPv4" : "IPv6") +
                                     " address left: all " + std::to_string(pool.capacity()) +
                                     " that its ranges and exclusions leave of " + to_string(pool.prefix()) +
                                     " are in use; delete pods, or widen ranges or prefix in podwired.json"};
}

Result<IpAddr> next_address(Database& database, const DomainPools& domain, const AddressPool& pool,
                            const AttachmentKey& key) {
  std::optional<Error> failed;  // the callback cannot return it
  const AddressPool::Taken taken = [&](const IpAddr& address) {
    Query query(database, "SELECT 1 FROM address WHERE domain = ? AND address = ?");
    auto found = query.bind(domain.name).bind(to_string(address)).step();
    if (!found) failed = found.error();
    // "Free" ends the search; the error is returned below.
    return found ? *found : false;
  };
  PODWIRE_TRY(auto address, former_address(database, domain.name, key, pool, taken));
  if (failed) return *failed;
  if (address) return *address;
  const auto prefix = to_string(pool.prefix());
  PODWIRE_TRY(const auto cursor, load_cursor(database, domain.name, prefix));
  address = pool.next_free(cursor, taken);
  if (failed) return *failed;
  if (!address) return exhausted(domain, pool);
  Query store(database, "INSERT OR REPLACE INTO cursor(domain, prefix, address) VALUES(?,?,?)");
  PODWIRE_CHECK(store.bind(domain.name).bind(prefix).bind(to_string(*address)).run());
  return *address;
}

Error outside(const DomainPools& domain, const IpAddr& address, const char* or_else) {
  std::string prefixes;
  for (const auto& pool : domain.pools) prefixes += (prefixes.empty() ? "" : ", ") + to_string(pool.prefix());
  return invalid("requested address " + to_string(address) + " is outside the prefixes of domain \"" +
                 domain.name + "\" (" + prefixes + ")" + or_else);
}

Result<void> take_fixed(Database& database, const DomainPools& domain, const AttachmentRequest& request,
                        Attachment& attachment) {
  for (const auto& fixed : request.fixed_addresses) {
    if (fixed.address.is_zero() || fixed.address.is_multicast())
      return invalid(to_string(fixed) + " from IPAM plugin " + request.ipam_type + " is no unicast address");
    for (const auto& pool : domain.pools) {
      if (pool.gateway() == fixed.address) {
        return conflict(to_string(fixed.address) + " from IPAM plugin " + request.ipam_type +
                        " is the gateway of domain \"" + domain.name + "\"");
      }
    }
    for (const auto& other : attachment.addresses) {
      if (other.address == fixed.address)
        return invalid("IPAM plugin " + request.ipam_type + " gave " + to_string(fixed.address) + " twice");
    }
    PODWIRE_CHECK(check_unheld(database, domain.name, fixed.address));
    attachment.addresses.push_back(fixed);
  }
  attachment.gateways = request.gateways;
  return {};
}

// Those and no others; several of one prefix may be asked for.
Result<void> take_exact(Database& database, const DomainPools& domain, const AttachmentRequest& request,
                        Attachment& attachment) {
  for (const auto& address : request.requested_ips) {
    const auto pool = std::find_if(domain.pools.begin(), domain.pools.end(),
                                   [&](const AddressPool& p) { return p.prefix().contains(address); });
    if (pool == domain.pools.end()) return outside(domain, address, "");
    auto checked = pool->check_requested(address);
    if (!checked)
      return invalid("requested address " + checked.error().message + " (domain \"" + domain.name + "\")");
    for (const auto& other : attachment.addresses) {
      if (other.address == address) return invalid("address " + to_string(address) + " is asked for twice");
    }
    PODWIRE_CHECK(check_unheld(database, domain.name, address));
    attachment.addresses.push_back({address, pool->prefix().length});
    auto& gateways = attachment.gateways;
    if (std::find(gateways.begin(), gateways.end(), pool->gateway()) == gateways.end())
      gateways.push_back(pool->gateway());
  }
  return {};
}

// What the directory of a container in `parent` may be called: the beginning of its id, as runtimes print it.
// Whoever looks for it finds it, and its sockets' paths stay short.
std::string directory_candidate(const std::string& parent, const std::string& container_id, int attempt) {
  constexpr std::size_t kShortId = 12;
  const auto name = parent + "/" + container_id.substr(0, kShortId);
  return attempt == 1 ? name : name + "-" + std::to_string(attempt);
}

Result<std::string> pod_directory_of(Database& database, const AttachmentRequest& request) {
  Query own(database, "SELECT pod_directory FROM attachment WHERE container_id = ? AND pod_directory <> ''");
  PODWIRE_TRY(const bool has_one, own.bind(request.key.container_id).step());
  if (has_one) return own.text(0);
  for (int attempt = 1;; ++attempt) {
    auto candidate = directory_candidate(request.pods_directory, request.key.container_id, attempt);
    Query taken(database, "SELECT 1 FROM attachment WHERE pod_directory = ?");
    PODWIRE_TRY(const bool found, taken.bind(candidate).step());
    if (!found) return candidate;
  }
}

}  // namespace

Result<void> allot_addresses(Database& database, const DomainPools& domain, const AttachmentRequest& request,
                             Attachment& attachment) {
  if (!request.fixed_addresses.empty()) return take_fixed(database, domain, request, attachment);
  if (request.exact && !request.requested_ips.empty())
    return take_exact(database, domain, request, attachment);
  auto wanted = request.requested_ips;
  for (const auto& pool : domain.pools) {
    const auto mine = std::find_if(wanted.begin(), wanted.end(),
                                   [&](const IpAddr& a) { return pool.prefix().contains(a); });
    IpAddr address;
    if (mine != wanted.end()) {
      address = *mine;
      wanted.erase(mine);
      auto checked = pool.check_requested(address);
      if (!checked)
        return invalid("requested address " + checked.error().message + " (domain \"" + domain.name + "\")");
      PODWIRE_CHECK(check_unheld(database, domain.name, address));
    } else {
      PODWIRE_TRY(address, next_address(database, domain, pool, request.key));
    }
    attachment.addresses.push_back({address, pool.prefix().length});
    attachment.gateways.push_back(pool.gateway());
  }
  if (wanted.empty()) return {};
  return outside(domain, wanted.front(),
                 ", or the second of one prefix; an interface gets one address a prefix");
}

// The same for the same address: neighbours remember an address's holder for a minute, and when it goes on to
// another pod (or to the same one after a restart) what they remember must still be right. 0a:58 and the IPv4
// address is what other CNI plugins use too; locally administered, unicast.
MacAddr mac_of(const IpAddr& address) {
  std::uint32_t tail = 2166136261u;  // FNV-1a
  for (const auto byte : address.bytes()) tail = (tail ^ byte) * 16777619u;
  if (address.is_v4()) tail = address.v4().to_u32();
  return MacAddr::from_u64(std::uint64_t{0x0a58} << 32 | tail);
}

Result<void> allot_mac(Database& database, const AttachmentRequest& request, Attachment& attachment) {
  const auto used = [&](const MacAddr& mac) -> Result<std::string> {
    const auto text = to_string(mac);
    Query query(database,
                "SELECT network, container_id, ifname FROM attachment WHERE domain = ? AND mac = ?");
    PODWIRE_TRY(const bool found, query.bind(attachment.domain).bind(text).step());
    if (found) return describe({query.text(0), query.text(1), query.text(2)});
    Query extra(database, "SELECT name FROM extra_endpoint WHERE domain = ? AND mac = ?");
    PODWIRE_TRY(const bool also, extra.bind(attachment.domain).bind(text).step());
    return also ? "endpoint " + extra.text(0) : std::string();
  };
  if (request.mac) {
    const auto& mac = *request.mac;
    if (mac.is_zero() || mac.is_multicast())
      return invalid("requested MAC address " + to_string(mac) + " is no unicast address");
    if (mac == kGatewayMac) return conflict("requested MAC address " + to_string(mac) + " is the gateway's");
    PODWIRE_TRY(const auto who, used(mac));
    if (!who.empty())
      return conflict("requested MAC address " + to_string(mac) + " in domain \"" + attachment.domain +
                      "\" is taken by " + who);
    attachment.mac = mac;
    return {};
  }
  if (!attachment.addresses.empty()) {
    const auto mac = mac_of(attachment.addresses.front().address);
    PODWIRE_TRY(const auto who, used(mac));
    if (who.empty()) {
      attachment.mac = mac;
      return {};
    }
  }
  for (;;) {
    MacAddr mac;
    if (::getrandom(mac.bytes.data(), mac.bytes.size(), 0) != static_cast<ssize_t>(mac.bytes.size()))
      return errno_error("getrandom");
    mac.bytes[0] = static_cast<std::uint8_t>((mac.bytes[0] & 0xfc) | 0x02);  // unicast, locally administered
    PODWIRE_TRY(const auto who, used(mac));
    if (!who.empty() || mac == kGatewayMac) continue;
    attachment.mac = mac;
    return {};
  }
}

Result<void> allot_ids(Database& database, Attachment& attachment) {
  const auto name = id_name(attachment.key);
  PODWIRE_TRY(const auto port, allot_id(database, "port", name, 1, kLastPort));
  PODWIRE_TRY(const auto endpoint, allot_id(database, "endpoint", name, 1, kLastEndpoint));
  attachment.port = PortId(static_cast<std::uint16_t>(port));
  attachment.endpoint = EndpointId(endpoint);
  return {};
}

Result<void> allot_socket(Database& database, const AttachmentRequest& request, Attachment& attachment) {
  const auto& key = request.key;
  Query twin(database, "SELECT network FROM attachment WHERE container_id = ? AND ifname = ?");
  PODWIRE_TRY(const bool found, twin.bind(key.container_id).bind(key.ifname).step());
  if (found) {
    return conflict("container " + key.container_id + " has " + key.ifname + " in network " + twin.text(0) +
                    " already; give this interface another name");
  }
  PODWIRE_TRY(attachment.pod_directory, pod_directory_of(database, request));
  attachment.socket.path = attachment.pod_directory + "/" + key.ifname + ".sock";
  constexpr std::size_t kLongestPath = 107;  // sun_path of unix(7) has 108 bytes with its end
  if (attachment.socket.path.size() <= kLongestPath) return {};
  return invalid("the socket's path " + attachment.socket.path + " has " +
                 std::to_string(attachment.socket.path.size()) + " characters, at most " +
                 std::to_string(kLongestPath) +
                 " are usable; shorten pod_sockets.directory in podwired.json");
}

Result<void> check_unnamed(Database& database, const std::string& name) {
  Query port(database, "SELECT 1 FROM attachment WHERE network = '' AND container_id = ?");
  PODWIRE_TRY(const bool is_port, port.bind(name).step());
  if (is_port)
    return conflict("there is already a port " + name + "; podwirectl port del " + name + " removes it");
  Query extra(database, "SELECT 1 FROM extra_endpoint WHERE name = ?");
  PODWIRE_TRY(const bool is_endpoint, extra.bind(name).step());
  if (!is_endpoint) return {};
  return conflict("there is already an endpoint " + name + "; podwirectl endpoint del " + name +
                  " removes it");
}

Result<std::vector<PoolUsage>> pool_usage(Database& database,
                                          const std::map<std::string, DomainPools>& domains) {
  std::vector<PoolUsage> usage;
  std::map<std::string, std::size_t> first;  // of a domain's in `usage`
  for (const auto& [name, domain] : domains) {
    first[name] = usage.size();
    for (const auto& pool : domain.pools) usage.push_back({name, pool.prefix(), 0, pool.capacity()});
  }
  Query query(database, "SELECT domain, address FROM address");
  for (;;) {
    PODWIRE_TRY(const bool more, query.step());
    if (!more) return usage;
    const auto domain = domains.find(query.text(0));
    const auto address = parse_ip(query.text(1));
    if (domain == domains.end() || !address) continue;
    const auto& pools = domain->second.pools;
    for (std::size_t i = 0; i < pools.size(); ++i) {
      auto& pool = usage[first.at(domain->first) + i];
      pool.used += pool.prefix.contains(*address);
      if (pools[i].offers(*address) && pool.free > 0) --pool.free;
    }
  }
}

}  // namespace podwire::control
