// PolicySet: one policy as workers ask it, immutable. Compiled by the main thread when the policy changes; a
// PolicyView keeps it alive. What a question costs does not grow with the number of rules, but for binary
// searches: identities lead to sorted port ranges; blocks are kept by the port prefixes that their rules'
// port ranges consist of (at most 30 of a range), each with the sorted, disjoint address ranges that are
// allowed there, so that a question looks into one list for every prefix length that some rule uses. Needs no
// EAL.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "dataplane/api/policy.hpp"

namespace podwire::engine {

enum class PolicyDirection : std::uint8_t { kIngress, kEgress };

// The other end of a connection, and what is asked of it.
struct PolicyQuestion {
  IdentityId identity;  // 0: nobody known
  IpAddr address;
  std::uint8_t protocol = 0;  // of IP
  std::uint16_t port = 0;     // destination of the connection; 0 for protocols without ports
};

class PolicySet {
 public:
  explicit PolicySet(const api::Policy& policy);
  ~PolicySet();
  PolicySet(const PolicySet&) = delete;
  PolicySet& operator=(const PolicySet&) = delete;

  PolicyId id() const noexcept { return id_; }
  bool allows(PolicyDirection side, const PolicyQuestion& question) const noexcept;
  std::size_t bytes() const;  // of memory, about

 private:
  class Side;
  const PolicyId id_;
  std::unique_ptr<const Side> sides_[2];  // null: everything is allowed
};

}  // namespace podwire::engine
