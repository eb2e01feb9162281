// PolicyTables: the compiled policies, who is behind which address, and the PolicyView of both that workers
// read. Follows the objects of Intent in the order that programmer.hpp describes:
//   prepare(changes)  compiles the policies that changed, writes new members, which nothing points to yet,
//   and
//                     makes room in the tables (the caller publishes)
//   apply()           changes members and tables in place
//   remove(changes)   leaves out policies that are gone (the caller publishes)
//   retire(publisher) after the last publication: members are used again once no worker can see them
// Main thread only.
#pragma once

#include <array>
#include <atomic>
#include <functional>
#include <memory>
#include <set>
#include <unordered_map>
#include <vector>

#include "dataplane/tables/growing_table.hpp"
#include "dataplane/tables/intent.hpp"
#include "dataplane/tables/policy_view.hpp"
#include "dataplane/tables/publisher.hpp"

namespace podwire::engine {

class PolicyTables {
 public:
  // `added` (may be empty) is called with the slot that a policy gets.
  PolicyTables(const Intent& intent, std::function<void(std::uint32_t)> added);

  // `changes` are in `intent` already.
  void prepare(const Changes& changes);
  void apply();
  void remove(const Changes& changes);
  void retire(Publisher& publisher);
  // Since the last call: whether a snapshot must be published.
  bool take_publish_needed() { return std::exchange(publish_needed_, false); }
  // The view as things stand, null when there are no policies. Lives until its successor's garbage is freed.
  const PolicyView* view();
  void take_garbage(Garbage& garbage);

  // 0: there is no such policy.
  std::uint32_t slot_of(PolicyId policy) const;
  // Whose `address` is; null: nobody's.
  const api::Endpoint* owner_of(DomainId domain, const IpAddr& address) const;
  // Addresses by which an endpoint is found.
  static std::vector<DomainPrefix> addresses_of(const api::Endpoint& endpoint);
  // Whether something differs that policies depend on.
  static bool same_to_policies(const api::Endpoint& a, const api::Endpoint& b);
  // Whether what it says of connections differs.
  static bool same_rules(const api::Policy& a, const api::Policy& b) {
    return a.ingress == b.ingress && a.egress == b.egress;
  }

 private:
  // Every endpoint's twice, as all may be replaced in one change.
  static constexpr std::size_t kCapacity = 2 * kMaxEndpoints + 1;
  // Outlives this object while the publisher still holds something to recycle.
  struct Pool {
    Pool();
    ~Pool();
    Pool(const Pool&) = delete;
    Pool& operator=(const Pool&) = delete;
    std::atomic<std::uint64_t>* words;
    std::uint32_t used = 1;  // index 0 is nobody
    std::vector<std::uint32_t> free;
  };
  struct Compiled {
    std::uint32_t slot = 0;
    std::shared_ptr<const PolicySet> set;
  };

  void compile(const api::Policy& policy);
  void prepare_endpoint(const Change<api::Endpoint>& change);
  PolicyMember member_of(const api::Endpoint& endpoint) const;
  std::uint32_t allocate(const PolicyMember& member);
  void claim(const DomainPrefix& key, EndpointId endpoint, bool claimed);
  void count_length(const DomainPrefix& key, bool added);
  const api::Endpoint* owner_of(const DomainPrefix& key) const;
  std::uint32_t index_of(EndpointId endpoint) const;
  void refresh(const DomainPrefix& key);

  const Intent& intent_;
  const std::function<void(std::uint32_t)> added_;
  std::unordered_map<PolicyId, Compiled> policies_;
  std::vector<std::uint32_t> free_slots_;
  std::uint32_t used_slots_ = 1;  // slot 0 is none

  std::shared_ptr<Pool> pool_ = std::make_shared<Pool>();
  std::unordered_map<EndpointId, std::uint32_t> members_;
  // Allowed pairs, by which several endpoints may be found.
  std::unordered_map<DomainPrefix, std::set<EndpointId>, DomainHash> claims_;
  std::array<std::uint32_t, 33> lengths4_{};  // claims of this length
  std::array<std::uint32_t, 129> lengths6_{};
  GrowingTable<Key64> table4_;
  GrowingTable<Key192> table6_;

  std::vector<DomainPrefix> dirty_;
  std::vector<std::pair<std::uint32_t, PolicyMember>> rewritten_;
  std::vector<std::uint32_t> released_;
  std::unique_ptr<const PolicyView> view_;
  bool view_outdated_ = false;
  Garbage garbage_;
  bool publish_needed_ = false;
};

}  // namespace podwire::engine
