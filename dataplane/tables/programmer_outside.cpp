// The programmer's part in address translation once a change is in force: connections whose ends outside are
// not right any more (the masquerade has gone or has other addresses or ports, an egress or floating address
// has gone) are forgotten. They are not kept as cut ones: what their pods send next begins connections with
// the ends that are right now, or with none, so UDP goes on at once and a TCP peer, who knows no such
// connection, ends it with a reset. From outside nobody can go on with them, for nothing leads back. Nothing
// is missed: see programmer_policies.cpp.
#include <algorithm>

#include "dataplane/headers/headers.hpp"
#include "dataplane/tables/flow_table.hpp"
#include "dataplane/tables/led.hpp"
#include "dataplane/tables/programmer_state.hpp"

namespace podwire::engine {
namespace {

bool masquerade_differs(const Change<api::Domain>& change) {
  if (!change.before || !change.before->masquerade) return false;
  return !change.after || change.after->masquerade != change.before->masquerade;
}

bool uses_ports(const FlowKey& key) {
  switch (key.protocol()) {
    case ip_proto::kTcp:
    case ip_proto::kUdp:
    case ip_proto::kSctp:
      return true;
    case ip_proto::kIcmp:
    case ip_proto::kIcmpv6:
      return key.ports() != 0;
    default:
      return false;
  }
}

// Whether the connection may still appear under the address that its answers go to. The masquerade's is right
// also for one that began before its endpoint got an address of its own.
bool source_is_right(const Snapshot& tables, const FlowKey& original, const FlowKey& reply) {
  const auto seen_as = reply.destination();
  if (seen_as == original.source() || original.domain() == kUnderlayDomain) return true;
  if (reply.domain() == original.domain()) return true;  // its domain's gateway
  const auto* from = tables.domain(original.domain());
  if (from == nullptr || !from->masquerade) return false;
  const auto* own = tables.outside != nullptr ? tables.outside->of(from->id, original.source()) : nullptr;
  if (own != nullptr && own->floating && own->address == seen_as) return true;
  const auto& masquerade = *from->masquerade;
  if (seen_as != masquerade.address(original.is_v4()) && (own == nullptr || seen_as != own->address))
    return false;
  const auto port = reply.destination_port();
  return !uses_ports(reply) || (port >= masquerade.ports.first && port <= masquerade.ports.last);
}

}  // namespace

void Programmer::State::sweep_translations(const Changes& changes) {
  if (environment_.flows == nullptr) return;
  const bool concerned = std::any_of(changes.domains.begin(), changes.domains.end(), masquerade_differs) ||
                         std::any_of(changes.endpoints.begin(), changes.endpoints.end(), changes_outside);
  if (!concerned) return;
  std::set<IpAddr> floated;  // addresses that were floating, or led elsewhere
  for (const auto& change : changes.endpoints) {
    if (change.before) floated.insert(change.before->floating.begin(), change.before->floating.end());
  }
  const auto& tables = *environment_.publisher->current_for_main();
  const auto leads_there = [&](const FlowKey& original, const FlowKey& reply) {
    const auto destination = original.destination();
    if (!floated.contains(destination) || destination == reply.source()) return true;
    const auto* inside = tables.outside != nullptr ? tables.outside->behind(destination) : nullptr;
    if (inside != nullptr && inside->domain == reply.domain() && inside->address == reply.source())
      return true;
    return is_served(tables.services, original, reply);
  };
  using Judgement = FlowTable::Judgement;
  const auto judge = [&](const FlowKey& original, const FlowKey& reply, FlowState, PortId) {
    if (reply == original.reversed()) return Judgement::kKeep;
    return source_is_right(tables, original, reply) && leads_there(original, reply) ? Judgement::kKeep
                                                                                    : Judgement::kRemove;
  };
  const auto found = environment_.flows->review(1, environment_.flows->capacity(), judge);
  environment_.counters->flows.removed.add(found.removed);
}

}  // namespace podwire::engine
