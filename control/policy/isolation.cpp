// PolicySnapshot: the policies of domains that let nobody in whom no policy allows.
#include "control/policy/snapshot.hpp"

namespace podwire::control {

void PolicySnapshot::add_isolation() {
  constexpr std::size_t kLongestName = 255;
  auto alone = std::make_shared<api::Policy>();
  alone->id = PolicyId(kFirstIsolating);
  alone->name = "policy_default deny";
  alone->ingress.emplace();
  std::map<PolicyId, std::shared_ptr<const api::Policy>> more;
  for (const auto& [id, policy] : policies) {
    if (policy->ingress) continue;
    auto closed = std::make_shared<api::Policy>(*policy);
    closed->id = PolicyId(kFirstIsolating | id.value());
    closed->name = (policy->name + " and policy_default deny").substr(0, kLongestName);
    closed->ingress.emplace();
    more.emplace(closed->id, std::move(closed));
  }
  policies.merge(more);
  policies.emplace(alone->id, std::move(alone));
}

}  // namespace podwire::control
