// Which domains of the node reach each other's pods: those of one group, and global ones everybody. Groups
// are given by podwirectl and kept in the store, global ones in podwired.json too. Functions only.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "control/config.hpp"
#include "control/state/store.hpp"

namespace podwire::control {

// A domain's group by the domain's name. Those that are alone are in none.
using DomainGroups = std::map<std::string, std::uint32_t>;
inline constexpr std::uint32_t kGlobalGroup = 0;  // of domains that reach everybody

// Without the domains that are not configured any more.
Result<DomainGroups> load_groups(Store& store, const Config& config);
Result<void> save_groups(Store& store, const DomainGroups& groups);

bool is_global(const DomainConfig& domain, const DomainGroups& groups);

// Of the node and its peers; with a store, where all nodes that lease from it have pods: nobody is told of
// every node that comes or goes, and all decide alike.
std::vector<IpPrefix> prefixes_of(const Config& config, const DomainConfig& domain);

// As few prefixes as have the same addresses as `prefixes`.
std::vector<IpPrefix> covering(std::vector<IpPrefix> prefixes);
// What has the pods of every domain, on whatever node.
std::vector<IpPrefix> all_pods(const Config& config);

struct JoinPlan {
  // By name: the others that a domain reaches and is reached by, sorted; those that are alone are left out.
  std::map<std::string, std::vector<std::string>> reaches;
  // Why domains that ought to reach each other do not, a sentence each: they are not of the same kind, or an
  // address would mean two pods to one of them.
  std::vector<std::string> problems;
};
// Global domains leave l2 domains out, which cannot be joined.
JoinPlan plan_joins(const Config& config, const DomainGroups& groups);

}  // namespace podwire::control
