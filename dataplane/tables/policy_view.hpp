// PolicyView: what workers read to decide whether policies allow a connection: the compiled policies, and who
// is behind an address. Part of a Snapshot (null there while no policy exists). The policies are immutable;
// the tables from addresses to members, and the members themselves, change in place
// (tables/policy_tables.hpp).
//
// Both ends are asked: the source's policy about egress, the destination's about ingress. Ends are found by
// domain and address: an endpoint's own addresses, the IPv6 link-local one of its MAC, and its allowed pairs;
// in the domain that the address is of, where domains are joined (tables/joined.hpp).
// Who is nobody's has no policy and no identity; only rules for anybody and blocks match it, and so does to
// the destination's policy who comes from another domain by an address outside: it has the address there that
// the world knows it by, while its own policy is asked about the endpoint that it reaches. Always allowed:
// what an endpoint sends to itself, and what the node sends to its endpoints (through the host port, or with
// the gateway's address).
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>
#include <vector>

#include "dataplane/headers/headers.hpp"
#include "dataplane/tables/flow_key.hpp"
#include "dataplane/tables/joined.hpp"
#include "dataplane/tables/policy_set.hpp"
#include "dataplane/tables/snapshot.hpp"

namespace podwire::engine {

// Who an address belongs to, in one word, so that it changes at once.
struct PolicyMember {
  IdentityId identity;
  std::uint32_t policy = 0;  // slot; 0: none

  std::uint64_t packed() const noexcept { return std::uint64_t{policy} << 32 | identity.value(); }
  static PolicyMember unpack(std::uint64_t word) noexcept {
    return {IdentityId(static_cast<std::uint32_t>(word)), static_cast<std::uint32_t>(word >> 32)};
  }
};

struct PolicyView {
  std::vector<const PolicySet*> sets;                   // by slot
  const LookupTable<Key64>* members4 = nullptr;         // fib4_key -> index of a member
  const LookupTable<Key192>* members6 = nullptr;        // fib6_key
  const std::atomic<std::uint64_t>* members = nullptr;  // packed; index 0 is nobody
  std::uint64_t lengths4 = 0;                           // bit L: some allowed pair has that length, below 32
  std::vector<std::uint8_t> lengths6;                   // the same below 128, descending

  // 0: nobody's.
  std::uint32_t find(DomainId domain, const IpAddr& address) const noexcept;
  PolicyMember member(std::uint32_t index) const noexcept {
    return PolicyMember::unpack(members[index].load(std::memory_order_acquire));
  }
};

// What the policies say of a connection.
struct PolicyAnswer {
  bool allowed = true;
  // Who refused. No policy at all: the source is the unspecified address, which is nobody's.
  PolicyDirection side = PolicyDirection::kIngress;
  std::uint32_t slot = 0;
  PolicyId policy;
  // Whose policies were asked; 0: no policy there.
  PolicyId egress, ingress;
};

inline std::uint32_t PolicyView::find(DomainId domain, const IpAddr& address) const noexcept {
  if (address.is_v4()) {
    const auto ip = address.v4().to_u32();
    if (const auto found = members4->find(fib4_key(domain, ip, 32))) return found;
    for (auto lengths = lengths4; lengths != 0;) {
      const int length = 63 - __builtin_clzll(lengths);
      lengths &= ~(std::uint64_t{1} << length);
      const std::uint32_t mask = length == 0 ? 0 : ~std::uint32_t{0} << (32 - length);
      if (const auto found = members4->find(fib4_key(domain, ip & mask, length))) return found;
    }
    return 0;
  }
  const auto ip = address.v6();
  if (const auto found = members6->find(fib6_key(domain, ip, 128))) return found;
  for (const auto length : lengths6) {
    if (const auto found = members6->find(fib6_key(domain, mask_address(ip, length), length))) return found;
  }
  return 0;
}

inline bool is_gateway_of(const DomainEntry& domain, const IpAddr& address) noexcept {
  const auto among = [](const auto& gateways, const auto& wanted) {
    return std::find(gateways.begin(), gateways.end(), wanted) != gateways.end();
  };
  return address.is_v4() ? among(domain.gateways4, address.v4()) : among(domain.gateways6, address.v6());
}

// Whether it is between domains that are not joined, by an address that one of its ends has outside: then the
// source has another address at the destination.
inline bool is_foreign(const FlowKey& original, const FlowKey& reply) noexcept {
  return original.domain() != reply.domain() && original.domain() != kUnderlayDomain &&
         reply.domain() != kUnderlayDomain && reply.destination() != original.source();
}

// `tables` has policies. Who connects is the source of `original`, to whom is the source of `reply`, whatever
// is translated in between. `from_node`: the first packet came from the host port.
inline PolicyAnswer ask_policies(const Snapshot& tables, const FlowKey& original, const FlowKey& reply,
                                 bool from_node) noexcept {
  const auto& view = *tables.policies;
  PolicyAnswer answer;
  const auto source = original.source(), destination = reply.source();
  if (source.is_v6() && source.is_zero()) {
    answer.allowed = false;
    return answer;
  }
  const auto find = [&](DomainId domain, const IpAddr& address) {
    return view.find(home_of(tables, domain, address), address);
  };
  const auto from = find(original.domain(), source);
  const auto to = find(reply.domain(), destination);
  if (from == to) return answer;  // to itself, or between strangers
  const auto source_member = view.member(from), destination_member = view.member(to);
  const auto protocol = original.protocol();
  const bool has_ports =
      protocol == ip_proto::kTcp || protocol == ip_proto::kUdp || protocol == ip_proto::kSctp;
  const std::uint16_t port = has_ports ? reply.source_port() : std::uint16_t{0};
  const auto ask = [&](std::uint32_t slot, PolicyDirection side, const PolicyQuestion& question) {
    const auto& set = *view.sets[slot];
    (side == PolicyDirection::kEgress ? answer.egress : answer.ingress) = set.id();
    if (set.allows(side, question)) return true;
    answer.allowed = false;
    answer.side = side;
    answer.slot = slot;
    answer.policy = set.id();
    return false;
  };
  if (source_member.policy != 0 && !ask(source_member.policy, PolicyDirection::kEgress,
                                        {destination_member.identity, destination, protocol, port}))
    return answer;
  if (destination_member.policy == 0 || from_node) return answer;
  if (is_foreign(original, reply)) {
    ask(destination_member.policy, PolicyDirection::kIngress, {{}, reply.destination(), protocol, port});
    return answer;
  }
  if (!ask(destination_member.policy, PolicyDirection::kIngress,
           {source_member.identity, source, protocol, port})) {
    const auto* home = tables.domain(reply.domain());
    answer.allowed =
        home != nullptr && from == 0 && original.domain() == reply.domain() && is_gateway_of(*home, source);
  }
  return answer;
}

}  // namespace podwire::engine
