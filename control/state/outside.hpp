// Addresses outside that a person has given to namespaces and pods: egress and floating ones, as they are
// kept and as pods' endpoints get them. Values and functions; thread-safe as far as the store is.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "control/config.hpp"
#include "control/state/desired.hpp"
#include "control/state/store.hpp"

namespace podwire::control {

struct OutsideAssignments {
  using ByName = std::map<std::string, std::vector<IpAddr>>;  // at most one address a family
  ByName egress;    // by namespace: what connections of its pods to the world outside come from
  ByName floating;  // by pod (NAMESPACE/NAME) or port that a person added: its own address outside

  bool operator==(const OutsideAssignments&) const = default;
};

Result<OutsideAssignments> load_outside(Store& store);
// Changes what is kept from `before` to `after`, all or nothing.
Result<void> store_outside(Store& store, const OutsideAssignments& before, const OutsideAssignments& after);

// By which a floating address finds it; empty: by nothing.
std::string floating_name(const Attachment& attachment);

// Whether `address` may be given to `name` (of `kind`, "egress" or "floating"): it is a unicast address that
// is neither the node's nor a pod's, a peer's or a router's, nor given to somebody whom it cannot be shared
// with. Errors: kInvalid, kConflict.
Result<void> check_outside_address(const IpAddr& address, const std::string& kind, const std::string& name,
                                   const OutsideAssignments& all, const Config& config,
                                   const NodeUnderlay& node);
// What is to be known of an address that is on no network of the node; empty: it is on one.
std::string outside_warning(const IpAddr& address, const NodeUnderlay& node);

}  // namespace podwire::control
