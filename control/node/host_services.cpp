#include "control/node/host_services.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>

#include "control/netlink/netlink.hpp"
#include "control/node/host_routes.hpp"
#include "control/node/nft.hpp"

namespace podwire::control {
namespace {

constexpr const char* kClusterOwner = "cluster";
constexpr const char* kPurpose = "leads the node's own programs to services";

std::string owner_of(const Attachment& attachment) {
  return "port " + std::to_string(attachment.port.value());
}

}  // namespace

void HostServices::set_node(NodeObjects node, const NodeUnderlay& underlay) {
  const std::scoped_lock lock(kernel_mutex_, mutex_);
  kernel_ = {};
  const bool any = std::any_of(config_.domains.begin(), config_.domains.end(),
                               [](const DomainConfig& domain) { return domain.stateful; });
  if (any && config_.host_services.enabled) {
    kernel_.interface = config_.underlay.host_interface.value_or("");
    kernel_.prefixes = config_.host_services.prefixes;
    kernel_.addresses = node.addresses;
    kernel_.services = node.host_services;
    kernel_.aliases = node.host_aliases;
    kernel_.mtu = underlay.mtu;
    for (const auto& domain : config_.domains) {
      if (domain.stateful) kernel_.mtu = std::min(kernel_.mtu, domain_mtu(domain, config_, underlay));
    }
  }
  node_ = std::move(node);
}

void HostServices::start() {
  {
    const std::scoped_lock lock(kernel_mutex_, mutex_);
    started_ = true;
    hold_all();
    if (!is_active()) {
      // Of an earlier configuration.
      if (auto removed = apply_nft(no_host_table(), kPurpose);
          !removed && removed.error().code != ErrorCode::kUnavailable)
        spdlog::warn("{}", removed.error().message);
      return;
    }
  }
  lead();
}

void HostServices::restore() {
  {
    const std::scoped_lock lock(kernel_mutex_, mutex_);
    if (!started_ || !is_active()) return;
    hold_all();
    whole_ = true;
  }
  lead();
}

Result<void> HostServices::remove() {
  const std::scoped_lock lock(kernel_mutex_, mutex_);
  claims_.clear();
  started_ = false;
  auto removed = apply_nft(no_host_table(), kPurpose);
  if (!removed && removed.error().code == ErrorCode::kUnavailable) return {};  // it cannot have made one
  return removed;
}

Result<void> HostServices::hold(const Attachment& attachment) {
  if (attachment.published_ports.empty()) return {};
  const std::lock_guard lock(mutex_);
  return claim(owner_of(attachment), host_plan(services_of(attachment, node_), node_, "pod"));
}

Result<void> HostServices::hold(const std::vector<api::Service>& services) {
  const std::lock_guard lock(mutex_);
  return claim(kClusterOwner, host_plan(services, node_, "service"));
}

void HostServices::let_go(const Attachment& attachment) {
  if (attachment.published_ports.empty()) return;
  {
    const std::lock_guard lock(mutex_);
    // An owner that claims nothing is never refused.
    [[maybe_unused]] const auto freed = claim(owner_of(attachment), {});
  }
  lead();
}

// Who else has a port that cannot be shared with `port`; null: nobody.
const std::string* HostServices::owner_among(const HostPort& port, const std::string& owner) const {
  // All that could be shared stand together, those without an address first.
  HostPort first = port;
  first.address.reset();
  for (auto at = claims_.lower_bound(first); at != claims_.end(); ++at) {
    const auto& other = at->first;
    if (other.v4 != port.v4 || other.protocol != port.protocol || other.port != port.port) break;
    if (is_shared(other, port) && at->second.owner != owner) return &at->second.who;
  }
  return nullptr;
}

Result<void> HostServices::claim(const std::string& owner, HostPlan plan) {
  std::map<HostPort, Claim> fresh;
  for (const auto& [port, who] : plan.ports) {
    if (const auto* other = owner_among(port, owner); other != nullptr && started_) {
      return conflict("host port " + to_text(port) + " is taken: " + *other +
                      " has it; publish another port, or delete that first");
    }
    const auto at = claims_.find(port);
    if (at != claims_.end()) continue;
    Claim claim{owner, who, {}};
    if (started_) {
      PODWIRE_TRY(claim.socket, hold_port(port));
    } else {
      claim.problem = "it is not held yet";
    }
    fresh.emplace(port, std::move(claim));
  }
  std::erase_if(
      claims_, [&](const auto& one) { return one.second.owner == owner && !plan.ports.contains(one.first); });
  claims_.merge(fresh);
  for (const auto& [port, who] : plan.ports) {
    auto& mine = claims_.at(port);
    if (mine.owner == owner) mine.who = who;
  }
  if (plan.addresses.empty()) {
    addresses_.erase(owner);
  } else {
    addresses_[owner] = std::move(plan.addresses);
  }
  return {};
}

// What another program has taken meanwhile stays a problem; both locks are held.
void HostServices::hold_all() {
  for (auto& [port, claim] : claims_) {
    if (claim.problem.empty()) continue;
    auto held = hold_port(port);
    claim.problem.clear();
    if (held) {
      claim.socket = std::move(*held);
      continue;
    }
    claim.problem = held.error().message;
    spdlog::warn("{} ({})", claim.problem, claim.who);
  }
}

HostServices::Wanted HostServices::wanted() const {
  const std::lock_guard lock(mutex_);
  Wanted out;
  for (const auto& [port, claim] : claims_) out.ports.insert(port);
  for (const auto& [owner, addresses] : addresses_) out.addresses.insert(addresses.begin(), addresses.end());
  return out;
}

void HostServices::lead() {
  const std::lock_guard lock(kernel_mutex_);
  if (!started_ || !is_active()) return;
  auto next = wanted();
  auto done = whole_ ? set_up(next) : change(there_, next);
  // Somebody else changed it meanwhile.
  if (!done && !whole_) done = set_up(next);
  whole_ = !done;
  there_ = std::move(next);
  const std::lock_guard state(mutex_);
  const auto problem = done ? std::string() : done.error().message;
  if (!problem.empty() && problem != problem_) spdlog::warn("{}", problem);
  problem_ = problem;
}

// The routes first: whom a rule leads to an address has to find a way there.
Result<void> HostServices::set_up(const Wanted& wanted) const {
  PODWIRE_TRY(auto netlink, netlink::Netlink::open());
  PODWIRE_CHECK(set_host_routes(netlink, kernel_, wanted.addresses));
  return apply_nft(host_table(kernel_, wanted.ports), kPurpose);
}

Result<void> HostServices::change(const Wanted& before, const Wanted& after) const {
  if (before.addresses != after.addresses) {
    PODWIRE_TRY(auto netlink, netlink::Netlink::open());
    PODWIRE_CHECK(change_host_routes(netlink, kernel_, before.addresses, after.addresses));
  }
  const auto script = host_table_change(kernel_, before.ports, after.ports);
  return script.empty() ? Result<void>() : apply_nft(script, kPurpose);
}

std::vector<std::string> HostServices::differences() {
  const std::lock_guard lock(kernel_mutex_);
  std::vector<std::string> out;
  if (!started_ || !is_active()) return out;
  {
    const std::lock_guard state(mutex_);
    if (!problem_.empty()) out.push_back(problem_ + "; put that right and type: podwirectl reconcile");
    for (const auto& [port, claim] : claims_) {
      if (!claim.problem.empty())
        out.push_back(claim.who + ": " + claim.problem + ", then: podwirectl reconcile");
    }
  }
  if (whole_) return out;  // told already
  auto printed = run_nft({"-t", "list", "table", "inet", kHostTable}, "", kPurpose);
  if (!printed || printed->find("hook output") == std::string::npos) {
    out.push_back(std::string("the nftables table inet ") + kHostTable + ", which " + kPurpose +
                  ", is gone or is not ours any more; type: podwirectl reconcile");
  }
  auto netlink = netlink::Netlink::open();
  auto missing = netlink ? missing_host_routes(*netlink, kernel_, there_.addresses)
                         : Result<std::vector<std::string>>(netlink.error());
  if (!missing) {
    out.push_back(missing.error().message);
    return out;
  }
  out.insert(out.end(), missing->begin(), missing->end());
  return out;
}

}  // namespace podwire::control
