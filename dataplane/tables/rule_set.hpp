// RuleSet: a domain's rules as workers ask them, immutable. Compiled by the main thread (rte_acl, so the cost
// of asking does not grow with the number of rules); part of a DomainEntry, whose snapshot keeps it alive.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "dataplane/api/objects.hpp"
#include "dataplane/tables/flow_key.hpp"

struct rte_acl_ctx;

namespace podwire::engine {

class RuleSet {
 public:
  // Main thread; `generation` is another one for every rule set there is. Takes milliseconds for thousands of
  // rules. Fails when there is no memory. Needs EAL unless `rules` is empty.
  static Result<std::shared_ptr<const RuleSet>> compile(const std::vector<api::Rule>& rules,
                                                        std::uint32_t generation);
  ~RuleSet();
  RuleSet(const RuleSet&) = delete;
  RuleSet& operator=(const RuleSet&) = delete;

  std::uint32_t generation() const noexcept { return generation_; }
  // Nothing can be denied.
  bool allows_all() const noexcept { return v4_ == nullptr && v6_ == nullptr; }

  static constexpr std::size_t kBurst = 64;
  // Workers. What the rules say of connections whose first packets have these keys, at most kBurst.
  void classify(std::span<const FlowKey* const> keys, std::span<bool> allowed) const noexcept;
  bool allows(const FlowKey& key) const noexcept;

 private:
  explicit RuleSet(std::uint32_t generation) : generation_(generation) {}
  void classify_family(rte_acl_ctx* context, bool v4, std::span<const FlowKey* const> keys,
                       std::span<bool> allowed) const noexcept;

  const std::uint32_t generation_;
  rte_acl_ctx* v4_ = nullptr;  // null: no rule is about this family
  rte_acl_ctx* v6_ = nullptr;
};

}  // namespace podwire::engine
