#include "control/routing/announced_pods.hpp"

namespace podwire::control {

Result<void> AnnouncedPods::start(std::vector<IpPrefix> node_addresses, const std::vector<Attachment>& pods) {
  if (!config_.underlay.host_interface) return {};
  const std::lock_guard lock(mutex_);
  node_addresses_ = std::move(node_addresses);
  for (const auto& attachment : pods) {
    auto pod = announced_pod(config_, attachment);
    if (!pod.addresses.empty()) pods_[attachment.port] = std::move(pod);
  }
  PODWIRE_TRY(auto netlink, netlink::Netlink::open());
  PODWIRE_TRY(link_, netlink.link(*config_.underlay.host_interface));
  PODWIRE_CHECK(announce_pods(netlink, link_.name, config_, node_addresses_, pods_));
  started_ = true;
  return {};
}

netlink::Batch AnnouncedPods::batch(const AnnouncedPod& before, const AnnouncedPod& after) const {
  netlink::Batch batch;
  const auto routes = [this](const AnnouncedPod& pod, const IpAddr& address) {
    const auto domain = config_.find_domain(pod.domain);
    return domain == nullptr
               ? std::vector<netlink::Route>()
               : routes_to_pods(config_, *domain, {address, address.bits()}, link_, node_addresses_);
  };
  for (const auto& address : after.addresses) {
    if (before.addresses.contains(address)) continue;
    for (const auto& route : routes(after, address)) batch.replace_route(route);
  }
  for (const auto& address : before.addresses) {
    if (after.addresses.contains(address)) continue;
    for (const auto& route : routes(before, address)) batch.remove_route(route);
  }
  return batch;
}

Result<void> AnnouncedPods::apply(const AnnouncedPod& before, const AnnouncedPod& after) {
  PODWIRE_TRY(auto netlink, netlink::Netlink::open());
  auto done = netlink.apply(batch(before, after));
  if (!done && done.error().code == ErrorCode::kNotFound) {
    // Somebody removed a route, or the interface was made anew and all routes went with it.
    PODWIRE_TRY(const auto link, netlink.find_link(link_.name));
    if (link) link_ = *link;
    if (link || after.addresses.empty()) done = netlink.apply(batch({}, after));
  }
  if (done) return done;
  // The kernel tries every one, so some may be there. What cannot be undone stands among differences(), or
  // goes with the next start.
  [[maybe_unused]] const auto undone = netlink.apply(batch(after, before));
  return done;
}

Result<void> AnnouncedPods::change(const Attachment& attachment, bool there) {
  const std::lock_guard lock(mutex_);
  if (!started_) return {};
  auto after = there ? announced_pod(config_, attachment) : AnnouncedPod{attachment.domain, {}};
  const auto known = pods_.find(attachment.port);
  const auto before = known == pods_.end() ? AnnouncedPod{attachment.domain, {}} : known->second;
  if (before.addresses == after.addresses) return {};
  PODWIRE_CHECK(apply(before, after));
  if (after.addresses.empty()) {
    pods_.erase(attachment.port);
  } else {
    pods_[attachment.port] = std::move(after);
  }
  return {};
}

Result<void> AnnouncedPods::restore() {
  const std::lock_guard lock(mutex_);
  if (!started_) return {};
  PODWIRE_TRY(auto netlink, netlink::Netlink::open());
  PODWIRE_TRY(link_, netlink.link(link_.name));
  return announce_pods(netlink, link_.name, config_, node_addresses_, pods_);
}

Result<std::vector<std::string>> AnnouncedPods::differences() {
  std::vector<std::string> out;
  std::string link;
  std::vector<IpPrefix> node_addresses;
  decltype(pods_) pods;
  {
    // The kernel may have a hundred thousand routes to list: no pod waits for that.
    const std::lock_guard lock(mutex_);
    if (!started_) return out;
    link = link_.name;
    node_addresses = node_addresses_;
    pods = pods_;
  }
  PODWIRE_TRY(auto netlink, netlink::Netlink::open());
  PODWIRE_TRY(const auto missing, unannounced(netlink, link, config_, node_addresses, pods));
  for (const auto& prefix : missing) {
    out.push_back("the route to pods at " + to_string(prefix) + " through " + link +
                  " is gone, so nobody announces them; type: podwirectl reconcile");
  }
  return out;
}

}  // namespace podwire::control
