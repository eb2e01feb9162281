// The programmer's part in services once a change is in force: connections of clients that a service is not
// for any more are cut, until it is again, and stay so when it goes or their backend does; UDP connections to
// backends that are none any more are forgotten, so that what their clients send next begins new ones. From a
// fixed port a client would otherwise go on talking to a pod that has been replaced. TCP's clients notice by
// themselves, and a connection that is being wound up shall end as it began. Nothing is missed: see
// programmer_policies.cpp.
#include <algorithm>
#include <iterator>

#include "dataplane/headers/headers.hpp"
#include "dataplane/tables/flow_table.hpp"
#include "dataplane/tables/led.hpp"
#include "dataplane/tables/programmer_state.hpp"

namespace podwire::engine {

namespace {

std::vector<api::ServiceFrontend> frontends_for_some(const std::optional<api::Service>& service) {
  std::vector<api::ServiceFrontend> some;
  if (!service) return some;
  std::ranges::copy_if(service->frontends, std::back_inserter(some),
                       [](const api::ServiceFrontend& frontend) { return !frontend.sources.empty(); });
  return some;
}

// Whether others may connect than before. Most changes are of backends, and are not about that.
bool sources_differ(const Change<api::Service>& change) {
  const auto before = frontends_for_some(change.before), after = frontends_for_some(change.after);
  if (before != after) return true;
  return !after.empty() && change.before->domain != change.after->domain;  // who is a stranger there
}

}  // namespace

void Programmer::State::sweep_services(const Changes& changes) {
  if (environment_.flows == nullptr || changes.services.empty()) return;
  const auto* services = services_.table();
  const auto& tables = *environment_.publisher->current_for_main();
  const bool ask_sources = services != nullptr && std::ranges::any_of(changes.services, sources_differ);
  using Judgement = FlowTable::Judgement;
  const auto leads_nowhere = [&](const FlowKey& original, const FlowKey& reply) {
    return original.protocol() == ip_proto::kUdp && !is_led_to_backend(tables, original, reply);
  };
  const auto judge = [&](const FlowKey& original, const FlowKey& reply, FlowState state, PortId owner) {
    if (leads_nowhere(original, reply)) return Judgement::kRemove;
    if (state == FlowState::kCut)
      return may_go_on(original, reply, owner) ? Judgement::kRestore : Judgement::kKeep;
    const bool admitted = !ask_sources || services->admits(original, reply);
    return admitted ? Judgement::kKeep : Judgement::kCut;
  };
  const auto found = environment_.flows->review(1, environment_.flows->capacity(), judge);
  environment_.counters->flows.removed.add(found.removed);
  environment_.counters->flows.cut.add(found.cut);
}

}  // namespace podwire::engine
