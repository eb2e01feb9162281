#include "control/state/joins.hpp"

#include <algorithm>
#include <set>

namespace podwire::control {
namespace {

constexpr const char* kFact = "domain_groups";

// Empty: nothing speaks against it.
std::string mismatch(const DomainConfig& a, const DomainConfig& b) {
  for (const auto* one : {&a, &b}) {
    if (one->mode != api::DomainMode::kL3)
      return "domain \"" + one->name + "\" is of mode l2; only l3 domains can be joined";
  }
  if (a.stateful == b.stateful) return {};
  const auto& tracking = a.stateful ? a : b;
  const auto& other = a.stateful ? b : a;
  return "domain \"" + tracking.name + "\" tracks connections and domain \"" + other.name +
         "\" does not, so what comes from there would pass unchecked; set \"stateful\" in both or in neither";
}

class JoinPlanner {
 public:
  JoinPlanner(const Config& config, const DomainGroups& groups)
      : all_(config.domains.items()), domains_(*all_) {
    for (const auto& domain : domains_) prefixes_.push_back(prefixes_of(config, domain));
    peers_.resize(domains_.size());
    join_groups(groups);
    join_global(groups);
  }

  JoinPlan plan() {
    for (std::size_t i = 0; i < peers_.size(); ++i) {
      while (part_overlapping(i)) {
      }
    }
    for (std::size_t i = 0; i < peers_.size(); ++i) {
      if (peers_[i].empty()) continue;
      auto& names = out_.reaches[domains_[i].name];
      for (const auto j : peers_[i]) names.push_back(domains_[j].name);
      std::sort(names.begin(), names.end());
    }
    return std::move(out_);
  }

 private:
  void join_groups(const DomainGroups& groups) {
    std::map<std::uint32_t, std::vector<std::size_t>> members;
    for (std::size_t i = 0; i < domains_.size(); ++i) {
      const auto at = groups.find(domains_[i].name);
      const bool global = is_global(domains_[i], groups);
      if (at != groups.end() && !global) members[at->second].push_back(i);
    }
    for (const auto& [group, all] : members) {
      for (std::size_t i = 0; i < all.size(); ++i) {
        for (std::size_t j = i + 1; j < all.size(); ++j) join(all[i], all[j]);
      }
    }
  }
  void join_global(const DomainGroups& groups) {
    for (std::size_t i = 0; i < domains_.size(); ++i) {
      if (!is_global(domains_[i], groups)) continue;
      for (std::size_t j = 0; j < domains_.size(); ++j) {
        if (i != j && domains_[j].mode == api::DomainMode::kL3) join(i, j);
      }
    }
  }
  void join(std::size_t i, std::size_t j) {
    if (peers_[i].contains(j)) return;
    const auto problem = mismatch(domains_[i], domains_[j]);
    if (problem.empty()) {
      peers_[i].insert(j);
      peers_[j].insert(i);
    } else if (std::find(out_.problems.begin(), out_.problems.end(), problem) == out_.problems.end()) {
      out_.problems.push_back(problem);
    }
  }

  // Takes domain `i` apart from one whose prefix overlaps with another that it reaches, or with its own.
  // False: there is none.
  bool part_overlapping(std::size_t i) {
    if (peers_[i].empty()) return false;
    struct Place {
      bool v6;
      IpPrefix prefix;
      std::size_t domain;
      auto operator<=>(const Place&) const = default;
    };
    std::vector<Place> places;
    const auto add = [&](std::size_t domain) {
      for (const auto& prefix : prefixes_[domain]) places.push_back({prefix.address.is_v6(), prefix, domain});
    };
    add(i);
    for (const auto j : peers_[i]) add(j);
    std::sort(places.begin(), places.end());
    // What a prefix contains follows it at once.
    const auto clash = std::adjacent_find(places.begin(), places.end(), [](const Place& a, const Place& b) {
      return a.domain != b.domain && a.v6 == b.v6 && a.prefix.overlaps(b.prefix);
    });
    if (clash == places.end()) return false;
    const auto& other = *(clash + 1);
    out_.problems.push_back("domain \"" + domains_[clash->domain].name + "\" has " +
                            to_string(clash->prefix) + " and domain \"" + domains_[other.domain].name +
                            "\" " + to_string(other.prefix) + ", which overlap; domain \"" +
                            domains_[i].name + "\" cannot reach both");
    const auto gone = other.domain == i ? clash->domain : other.domain;
    peers_[i].erase(gone);
    peers_[gone].erase(i);
    return true;
  }

  const std::shared_ptr<const std::vector<DomainConfig>> all_;
  const std::vector<DomainConfig>& domains_;
  std::vector<std::vector<IpPrefix>> prefixes_;  // by index of the domain, as peers_
  std::vector<std::set<std::size_t>> peers_;
  JoinPlan out_;
};

}  // namespace

Result<DomainGroups> load_groups(Store& store, const Config& config) {
  PODWIRE_TRY(const auto text, store.get_fact(kFact));
  DomainGroups groups;
  if (!text) return groups;
  PODWIRE_TRY(const Json kept, parse_json(*text, "the stored groups of domains"));
  if (!kept.is_object()) return invalid("the stored groups of domains are no object");
  for (const auto& [name, group] : kept.items()) {
    std::uint32_t number = 0;
    PODWIRE_CHECK(podwire::read_value(group, "the stored group of domain " + name, number));
    groups[name] = number;
  }
  std::set<std::string> known;
  for (const auto& domain : config.domains) known.insert(domain.name);
  std::erase_if(groups, [&](const auto& one) { return !known.contains(one.first); });
  return groups;
}

Result<void> save_groups(Store& store, const DomainGroups& groups) {
  if (groups.empty()) return store.set_fact(kFact, std::nullopt);
  return store.set_fact(kFact, Json(groups).dump());
}

bool is_global(const DomainConfig& domain, const DomainGroups& groups) {
  const auto at = groups.find(domain.name);
  return domain.global || (at != groups.end() && at->second == kGlobalGroup);
}

std::vector<IpPrefix> prefixes_of(const Config& config, const DomainConfig& domain) {
  auto all = domain.cluster_prefixes.empty() ? domain.prefixes : domain.cluster_prefixes;
  for (const auto& peer : config.peers) {
    const auto at = peer.domains.find(domain.name);
    if (at != peer.domains.end()) all.insert(all.end(), at->second.begin(), at->second.end());
  }
  return all;
}

std::vector<IpPrefix> covering(std::vector<IpPrefix> prefixes) {
  for (auto& prefix : prefixes) prefix = prefix.network();
  const auto place = [](const IpPrefix& prefix) { return std::pair(prefix.address.is_v6(), prefix); };
  std::sort(prefixes.begin(), prefixes.end(),
            [&](const IpPrefix& a, const IpPrefix& b) { return place(a) < place(b); });
  const auto half_of = [](const IpPrefix& prefix) {
    return IpPrefix{prefix.address, prefix.length - 1}.network();
  };
  std::vector<IpPrefix> out;
  for (const auto& prefix : prefixes) {
    // What contains a prefix comes before it.
    if (!out.empty() && out.back().overlaps(prefix)) continue;
    out.push_back(prefix);
    while (out.size() > 1) {
      const auto& last = out.back();
      const auto& other = out[out.size() - 2];
      const bool halves = other.address.is_v4() == last.address.is_v4() && other.length == last.length &&
                          half_of(other) == half_of(last);
      if (!halves) break;
      const auto whole = half_of(last);
      out.pop_back();
      out.back() = whole;
    }
  }
  return out;
}

std::vector<IpPrefix> all_pods(const Config& config) {
  std::vector<IpPrefix> all;
  const auto add = [&all](const std::vector<IpPrefix>& some) {
    all.insert(all.end(), some.begin(), some.end());
  };
  for (const auto& domain : config.domains) {
    add(domain.prefixes);
    add(domain.cluster_prefixes);
  }
  for (const auto& peer : config.peers) {
    for (const auto& [name, prefixes] : peer.domains) add(prefixes);
  }
  return covering(std::move(all));
}

JoinPlan plan_joins(const Config& config, const DomainGroups& groups) {
  return JoinPlanner(config, groups).plan();
}

}  // namespace podwire::control
