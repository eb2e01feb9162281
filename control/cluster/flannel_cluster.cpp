#include "control/cluster/flannel_cluster.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <filesystem>
#include <fstream>

#include "control/state/desired.hpp"

namespace podwire::control {
namespace {

constexpr const char* kFlannelFact = "flannel_lease";

std::optional<IpAddr> first_of(const std::vector<IpAddr>& addresses, bool v4) {
  const auto at =
      std::find_if(addresses.begin(), addresses.end(), [v4](const IpAddr& a) { return a.is_v4() == v4; });
  return at == addresses.end() ? std::nullopt : std::optional<IpAddr>(*at);
}

std::string differs(const std::string& what, const std::string& ours, const std::string& theirs) {
  return "Flannel's configuration has " + what + " " + theirs + ", podwired.json " + ours;
}

}  // namespace

FlannelCluster::FlannelCluster(const Config& config, Store& store, EtcdOptions options,
                               const std::vector<IpAddr>& underlay, FlannelTimes times)
    : config_(config),
      store_(store),
      times_(times),
      client_(options),
      beat_client_(std::move(options)),
      public_v4_(first_of(underlay, true)),
      public_v6_(first_of(underlay, false)),
      mac_(config.vxlan.mac.value_or(underlay.empty() ? kGatewayMac
                                                      : derived_mac(config.node, underlay.front()))) {}

std::string FlannelCluster::root() const {
  return config_.cluster.prefix + "/subnets/";
}

Result<void> FlannelCluster::load_network() {
  const auto key = config_.cluster.prefix + "/config";
  PODWIRE_TRY(const auto item, client_.get(key));
  if (!item)
    return unavailable("etcd has no " + key + ", which is Flannel's configuration; see cluster.prefix");
  PODWIRE_TRY(network_, parse_flannel_network(item->value, key));
  return check_network();
}

// What a person said twice must be said alike.
Result<void> FlannelCluster::check_network() const {
  const auto& domain = config_.domains.front();
  std::vector<IpPrefix> theirs{network_.v4.network};
  if (network_.v6) theirs.push_back(network_.v6->network);
  auto ours = domain.prefixes;
  std::sort(ours.begin(), ours.end());
  std::sort(theirs.begin(), theirs.end());
  if (ours != theirs) {
    std::string wanted, given;
    for (const auto& prefix : theirs) wanted += (wanted.empty() ? "\"" : ", \"") + to_string(prefix) + "\"";
    for (const auto& prefix : ours) given += (given.empty() ? "\"" : ", \"") + to_string(prefix) + "\"";
    return invalid(differs("Network", "prefixes [" + given + "]", wanted) + "; set domains[0].prefixes to [" +
                   wanted + "]");
  }
  if (domain.vni != network_.vni) {
    const auto vni = std::to_string(network_.vni.value());
    return invalid(differs("VNI", "vni " + std::to_string(domain.vni.value()), vni) +
                   "; set domains[0].vni to " + vni);
  }
  if (config_.vxlan.port != network_.port) {
    const auto port = std::to_string(network_.port);
    return invalid(differs("port", "vxlan.port " + std::to_string(config_.vxlan.port), port) +
                   "; set vxlan.port to " + port);
  }
  if (!public_v4_) return invalid("this node has no IPv4 address on the underlay, which a lease must name");
  if (network_.v6 && !public_v6_)
    return invalid(
        "Flannel's configuration has EnableIPv6, and this node has no IPv6 address on the underlay");
  return {};
}

Result<void> FlannelCluster::save() const {
  return store_.set_fact(kFlannelFact, Json{{"subnet", to_key(*own_)},
                                            {"port", network_.port},
                                            {"network", to_string(network_.v4.network)},
                                            {"network6", network_.v6 ? to_string(network_.v6->network) : ""},
                                            {"direct_routing", network_.direct_routing}}
                                           .dump());
}

// False: nothing was saved, or it is of another network than podwired.json now has.
Result<bool> FlannelCluster::load_saved() {
  PODWIRE_TRY(const auto text, store_.get_fact(kFlannelFact));
  if (!text) return false;
  PODWIRE_TRY(const Json json, parse_json(*text, kFlannelFact));
  std::string subnet, network, network6;
  ObjectReader r(json, kFlannelFact);
  r.required("subnet", subnet);
  r.required("network", network);
  r.required("network6", network6);
  r.required("port", network_.port);
  r.optional("direct_routing", network_.direct_routing);
  PODWIRE_CHECK(r.finish());
  PODWIRE_TRY(network_.v4.network, parse_prefix(network));
  network_.v6.reset();
  if (!network6.empty()) {
    PODWIRE_TRY(network_.v6.emplace().network, parse_prefix(network6));
  }
  const auto& configured = config_.domains.front().prefixes;
  const auto is_configured = [&](const IpPrefix& p) {
    return std::find(configured.begin(), configured.end(), p) != configured.end();
  };
  own_ = parse_flannel_key(subnet);
  return own_.has_value() && is_configured(network_.v4.network) && network_.port == config_.vxlan.port &&
         configured.size() == (network_.v6 ? 2u : 1u) &&
         (!network_.v6 || is_configured(network_.v6->network));
}

Result<std::int64_t> FlannelCluster::list() {
  PODWIRE_TRY(const auto all, client_.list(root()));
  const std::lock_guard lock(mutex_);
  held_.clear();
  for (const auto& item : all.items) take(item, false);
  return all.revision;
}

// Under the mutex.
void FlannelCluster::take(const EtcdItem& item, bool erased) {
  const auto key = item.key.substr(root().size());
  const auto known = held_.find(key);
  if (known != held_.end() && known->second.item.mod_revision >= item.mod_revision) return;
  const auto subnet = parse_flannel_key(key);
  if (erased || !subnet) {
    if (known != held_.end()) held_.erase(known);
    return;
  }
  auto lease = parse_flannel_lease(*subnet, item.value);
  if (!lease) spdlog::warn("cluster: {} is left out: {}", item.key, lease.error().message);
  held_[key] = {*subnet, lease ? std::optional<FlannelLease>(*lease) : std::nullopt, item};
}

FlannelLease FlannelCluster::own_lease() const {
  FlannelLease lease{*own_, *public_v4_, std::nullopt, network_.vni, mac_, std::nullopt};
  if (own_->v6) {
    lease.public_v6 = public_v6_;
    lease.mac_v6 = mac_;
  }
  return lease;
}

// As Flannel knows a node again: by its address. A reservation has no more than that.
bool FlannelCluster::is_ours(const Held& held) const {
  if (held.lease) return held.lease->public_v4 == *public_v4_;
  const auto json = parse_json(held.item.value, "lease");
  if (!json || !json->is_object()) return false;
  const auto at = json->find("PublicIP");
  return at != json->end() && at->is_string() && at->get_ref<const std::string&>() == to_string(*public_v4_);
}

bool FlannelCluster::suits(const FlannelSubnet& subnet) const {
  return is_of(network_.v4, subnet.v4) && subnet.v6.has_value() == network_.v6.has_value() &&
         (!subnet.v6 || is_of(*network_.v6, *subnet.v6));
}

// Puts own_'s key. False: somebody was faster. Who reserved a subnet for good keeps it so.
Result<bool> FlannelCluster::claim(const Held* former) {
  const bool reserved = former != nullptr && former->item.lease == 0;
  std::int64_t lease = 0;
  if (!reserved) {
    PODWIRE_TRY(lease, client_.grant(times_.lease_s));
  }
  const auto key = root() + to_key(*own_);
  PODWIRE_TRY(const bool done, client_.commit({{{key, former == nullptr ? 0 : former->item.mod_revision}},
                                               {{key, to_value(own_lease()), lease}},
                                               {}}));
  if (done) lease_ = lease;
  return done;
}

// Flannel's order: the subnet that is this node's already, the one that it had, any.
Result<void> FlannelCluster::choose() {
  constexpr int kTries = 1000;
  const auto had = own_;
  for (int i = 0; i < kTries; ++i) {
    std::vector<IpPrefix> taken;
    const Held* former = nullptr;
    for (const auto& [key, held] : held_) {
      taken.push_back(held.subnet.v4);
      if (held.subnet.v6) taken.push_back(*held.subnet.v6);
      if (former == nullptr && is_ours(held) && suits(held.subnet)) former = &held;
    }
    if (former != nullptr) {
      own_ = former->subnet;
    } else if (had && i == 0 && suits(*had) && !held_.contains(to_key(*had))) {
      own_ = had;
    } else {
      const auto v4 = free_subnet(network_.v4, taken);
      const auto v6 = network_.v6 ? free_subnet(*network_.v6, taken) : std::nullopt;
      if (!v4 || (network_.v6 && !v6)) {
        return Error{
            ErrorCode::kExhausted,
            "no /" + std::to_string(network_.v4.length) + " of " + to_string(network_.v4.network) +
                " is left, " + std::to_string(held_.size()) + " are leased; see SubnetMin, SubnetMax " +
                "and SubnetLen of Flannel's configuration, or take away the lease of a node that is " +
                "gone: etcdctl del " + root() + "SUBNET"};
      }
      own_ = FlannelSubnet{*v4, v6};
    }
    PODWIRE_TRY(const bool done, claim(former));
    if (done) return save();
    PODWIRE_CHECK(list());
  }
  return unavailable("every free subnet was taken by another node while this one asked for it");
}

Result<void> FlannelCluster::lease_one() {
  PODWIRE_CHECK(list());
  return choose();
}

Result<DomainPrefixes> FlannelCluster::lease_prefixes() {
  PODWIRE_TRY(const bool saved, load_saved());
  if (!saved) own_.reset();
  const auto held = own_;
  const auto saved_network = network_;
  auto done = load_network();
  if (!done && done.error().code == ErrorCode::kInvalid) return done.error();  // they disagree
  if (done) done = lease_one();
  if (done) {
    spdlog::info("cluster: this node has Flannel's lease {}", to_key(*own_));
  } else if (saved) {
    // Whatever is wrong with the store, the pods here go on with what they have.
    own_ = held;
    network_ = saved_network;
    note_failure(done.error());
  } else {
    return done.error();
  }
  std::vector<IpPrefix> prefixes{own_->v4};
  if (own_->v6) prefixes.push_back(*own_->v6);
  return DomainPrefixes{{config_.domains.front().name, prefixes}};
}

Result<void> FlannelCluster::write_subnet_file(std::uint16_t mtu) const {
  const std::filesystem::path path = config_.cluster.subnet_file;
  std::error_code failure;
  std::filesystem::create_directories(path.parent_path(), failure);
  const auto unfinished = path.string() + ".podwire";
  std::ofstream out(unfinished, std::ios::trunc);
  out << subnet_env(network_, *own_, mtu, config_.domains.front().masquerade.has_value());
  out.close();
  if (out) {
    std::filesystem::permissions(unfinished, std::filesystem::perms(0644), failure);
    std::filesystem::rename(unfinished, path, failure);
  }
  if (!out || failure) return io_error("cannot write cluster.subnet_file " + path.string());
  return {};
}

void FlannelCluster::start(const NodeRecord&, Changed changed) {
  changed_ = std::move(changed);
  threads_.start(
      {times_.first_retry, times_.longest_retry, config_.node}, [this] { return session(); },
      [this](const Error& error) {
        note_failure(error);
        client_.change_server();
      },
      times_.beat, [this] { beat(); });
}

void FlannelCluster::stop() {
  threads_.stop([this] {
    client_.cancel();
    beat_client_.cancel();
  });
}

void FlannelCluster::note_failure(const Error& error) {
  const std::lock_guard lock(mutex_);
  if (last_failure_ != error.message && !threads_.stopping()) spdlog::warn("cluster: {}", error.message);
  last_failure_ = error.message;
}

std::vector<NodeView> FlannelCluster::nodes() const {
  const std::lock_guard lock(mutex_);
  std::vector<NodeView> out;
  for (const auto& [key, held] : held_) {
    if (!held.lease) continue;
    for (auto& node : flannel_nodes(config_.domains.front().name, network_, *held.lease))
      out.push_back({std::move(node), true, std::nullopt});
  }
  return out;
}

Result<void> FlannelCluster::forget(const std::string& name) {
  return conflict("\"" + name +
                  "\": Flannel's leases run out by themselves, 24 h after their node was last " +
                  "heard of; to free one at once: etcdctl del " + root() + "SUBNET");
}

std::vector<std::string> FlannelCluster::problems() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> out;
  if (!lost_.empty()) out.push_back(lost_);
  if (!last_failure_.empty())
    out.push_back("the cluster's store does not answer (" + last_failure_ +
                  "); forwarding goes on as it last was: check etcd and the way to it");
  return out;
}

}  // namespace podwire::control
