#include "control/api/addresses.hpp"

#include <spdlog/spdlog.h>

#include <algorithm>
#include <set>

#include "control/api/paging.hpp"
#include "control/api/texts.hpp"
#include "control/policy/labels.hpp"

namespace podwire::control {
namespace {

Result<void> check_holder_name(const std::string& kind, const std::string& name) {
  if (kind == "egress") return check_dns_name("params.name", name, true);
  const auto slash = name.find('/');
  if (slash == name.npos) return {};  // of a port
  PODWIRE_CHECK(check_dns_name("params.name", name.substr(0, slash), true));
  return check_dns_name("params.name", name.substr(slash + 1), false);
}

HostAddresses host_addresses(const OutsideAssignments& all) {
  HostAddresses out;
  std::set<IpAddr> egress;  // namespaces may share one
  for (const auto& [name, addresses] : all.egress) egress.insert(addresses.begin(), addresses.end());
  out.egress.assign(egress.begin(), egress.end());
  for (const auto& [name, addresses] : all.floating)
    out.floating.insert(out.floating.end(), addresses.begin(), addresses.end());
  return out;
}

bool lacks_family(const Attachment& attachment, const IpAddr& address) {
  const auto& own = attachment.addresses;
  return std::none_of(own.begin(), own.end(),
                      [&](const IpPrefix& one) { return one.address.is_v4() == address.is_v4(); });
}

}  // namespace

Result<void> Addresses::load(Store& store, EngineReconciler& reconciler) {
  PODWIRE_TRY(auto all, load_outside(store));
  return reconciler.set_outside(std::make_shared<OutsideAssignments>(std::move(all)));
}

Result<void> Addresses::put_on_host(const OutsideAssignments& all) const {
  const auto& name = config_.underlay.host_interface;
  if (!name) return {};
  return set_host_addresses(*name, host_addresses(all), underlay_.node().addresses);
}

Result<void> Addresses::settle() {
  const std::lock_guard lock(mutex_);
  PODWIRE_TRY(const auto all, load_outside(store_));
  return put_on_host(all);
}

Result<std::vector<std::string>> Addresses::differences() {
  const std::lock_guard lock(mutex_);
  PODWIRE_TRY(const auto all, load_outside(store_));
  auto out = shared_with_nodes(all);
  const auto& name = config_.underlay.host_interface;
  if (!name) return out;
  PODWIRE_TRY(const auto missing, missing_host_addresses(*name, host_addresses(all)));
  out.insert(out.end(), missing.begin(), missing.end());
  return out;
}

// When they were given, no node of the cluster had them.
std::vector<std::string> Addresses::shared_with_nodes(const OutsideAssignments& all) const {
  std::vector<std::string> out;
  if (others_ == nullptr) return out;
  for (const auto* kind : {&all.egress, &all.floating}) {
    for (const auto& [name, addresses] : *kind) {
      for (const auto& address : addresses) {
        const auto node = others_->node_with(address);
        if (node.empty()) continue;
        out.push_back("address " + to_string(address) + " of " + name + " is that of node \"" + node +
                      "\" too, which came later; give " + name + " another: podwirectl address " +
                      (kind == &all.egress ? "egress " : "floating ") + name + " --address ADDRESS");
      }
    }
  }
  return out;
}

Result<void> Addresses::check(const std::string& kind, const std::string& name,
                              const std::vector<IpAddr>& addresses, const OutsideAssignments& all) const {
  PODWIRE_CHECK(check_holder_name(kind, name));
  const bool taken = (kind == "egress" ? all.floating : all.egress).contains(name);
  if (taken) {
    return conflict((kind == "egress" ? "port \"" + name + "\" has a floating address"
                                      : "namespace \"" + name + "\" has an egress address") +
                    ", and the two go by one name; type: podwirectl address delete " + name);
  }
  if (addresses.empty()) return invalid("params.addresses is empty; give an address");
  int families[2] = {};
  for (const auto& address : addresses) {
    if (++families[address.is_v4() ? 0 : 1] > 1)
      return invalid("address " + to_string(address) + " is the second of its family; one is possible");
    PODWIRE_CHECK(check_outside_address(address, kind, name, all, config_, underlay_.node()));
    if (const auto node = others_ == nullptr ? std::string() : others_->node_with(address); !node.empty())
      return conflict("address " + to_string(address) + " is that of node \"" + node +
                      "\" of the cluster; choose another");
    PODWIRE_TRY(const auto interface, interface_with(address));
    if (!interface.empty())
      return conflict("address " + to_string(address) + " is on this node's interface " + interface +
                      " already; choose another, or take it from there first");
  }
  const auto& domains = config_.domains;
  if (std::any_of(domains.begin(), domains.end(), [](const auto& d) { return d.masquerade.has_value(); }))
    return {};
  return invalid(
      "no domain of this node has a masquerade, so nothing leaves it translated; set \"masquerade\": true "
      "for "
      "one in podwired.json and restart podwired");
}

// The engine first: what it refuses is not kept. A crash in between is mended by the next start, which goes
// by what was kept.
Result<void> Addresses::commit(const OutsideAssignments& before, const OutsideAssignments& after) {
  PODWIRE_CHECK(reconciler_.set_outside(std::make_shared<OutsideAssignments>(after)));
  auto done = put_on_host(after);
  if (done) done = store_outside(store_, before, after);
  if (done) return {};
  auto undone = reconciler_.set_outside(std::make_shared<OutsideAssignments>(before));
  if (auto host = put_on_host(before); !host && undone) undone = host;
  if (undone) return done.error();
  return Error{done.error().code, done.error().message + "; undoing it: " + undone.error().message};
}

Result<Json> Addresses::set(const std::string& kind, const Json& params) {
  std::string name;
  std::vector<IpAddr> addresses;
  ObjectReader r(params, "params");
  r.required("name", name);
  r.required("addresses", addresses);
  PODWIRE_CHECK(r.finish());
  const std::lock_guard lock(mutex_);
  PODWIRE_TRY(const auto before, load_outside(store_));
  PODWIRE_CHECK(check(kind, name, addresses, before));
  auto after = before;
  (kind == "egress" ? after.egress : after.floating)[name] = addresses;
  PODWIRE_CHECK(commit(before, after));
  PODWIRE_TRY(auto reply, described(kind, name, addresses));
  reply["warnings"] = Json::array();
  for (const auto& address : addresses) {
    if (const auto warning = outside_warning(address, underlay_.node()); !warning.empty())
      reply["warnings"].push_back(warning);
  }
  return reply;
}

Result<Json> Addresses::remove(const Json& params) {
  std::string name;
  ObjectReader r(params, "params");
  r.required("name", name);
  PODWIRE_CHECK(r.finish());
  const std::lock_guard lock(mutex_);
  PODWIRE_TRY(const auto before, load_outside(store_));
  auto after = before;
  if (after.egress.erase(name) + after.floating.erase(name) == 0) return Json{{"deleted", Json::array()}};
  PODWIRE_CHECK(commit(before, after));
  return Json{{"deleted", Json::array({name})}};
}

// With the pods of this node that it is for, and why it is in force for none of them.
Result<Json> Addresses::described(const std::string& kind, const std::string& name,
                                  const std::vector<IpAddr>& addresses) {
  PODWIRE_TRY(const auto attachments, store_.list());
  std::set<std::string> pods;
  std::string problem;
  for (const auto& a : attachments) {
    const bool egress = kind == "egress" && !a.pod_name.empty() && a.pod_namespace == name;
    if (a.state != AttachmentState::kReady || !(egress || (kind == "floating" && floating_name(a) == name)))
      continue;
    const auto domain = config_.find_domain(a.domain);
    if (domain != nullptr && domain->masquerade) {
      pods.insert(floating_name(a));
      for (const auto& address : addresses) {
        if (kind == "floating" && lacks_family(a, address))
          problem =
              name + " has no IPv" + (address.is_v4() ? "4" : "6") + " address for " + to_string(address);
      }
    } else {
      problem = floating_name(a) + ": its domain \"" + a.domain + "\" has no masquerade";
    }
  }
  Json out{{"name", name}, {"kind", kind}, {"addresses", texts(addresses)}, {"pods", pods}};
  if (!problem.empty()) out["problem"] = problem;
  return out;
}

Result<Json> Addresses::list(const Json& params) {
  PODWIRE_TRY(const auto page, read_page(params));
  const std::lock_guard lock(mutex_);
  PODWIRE_TRY(const auto all, load_outside(store_));
  Json out = Json::array();
  for (const auto& [name, addresses] : all.egress) {
    PODWIRE_TRY(auto one, described("egress", name, addresses));
    out.push_back(std::move(one));
  }
  for (const auto& [name, addresses] : all.floating) {
    PODWIRE_TRY(auto one, described("floating", name, addresses));
    out.push_back(std::move(one));
  }
  return make_page("addresses", std::move(out), page);
}

}  // namespace podwire::control
