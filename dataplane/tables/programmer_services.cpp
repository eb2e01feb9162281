// The programmer's part in services once a change is in force: UDP connections to backends that are none any
// more are forgotten, so that what their clients send next begins new ones. From a fixed port a client would
// otherwise go on talking to a pod that has been replaced. TCP's clients notice by themselves, and a
// connection that is being wound up shall end as it began. Nothing is missed: see programmer_policies.cpp.
#include "dataplane/headers/headers.hpp"
#include "dataplane/tables/flow_table.hpp"
#include "dataplane/tables/programmer_state.hpp"

namespace podwire::engine {

void Programmer::State::sweep_services(const Changes& changes) {
  if (environment_.flows == nullptr || changes.services.empty()) return;
  const auto* services = services_.table();
  using Judgement = FlowTable::Judgement;
  const auto judge = [&](const FlowKey& original, const FlowKey& reply, FlowState, PortId) {
    if (original.protocol() != ip_proto::kUdp) return Judgement::kKeep;
    const auto backend = reply.source();
    if (original.destination() == backend && original.destination_port() == reply.source_port())
      return Judgement::kKeep;  // of no service
    // By whichever port it began.
    const auto* service = services != nullptr ? services->find_for(original, true) : nullptr;
    const bool serves = service != nullptr && service->serves(backend, reply.source_port());
    return serves ? Judgement::kKeep : Judgement::kRemove;
  };
  const auto found = environment_.flows->review(1, environment_.flows->capacity(), judge);
  environment_.counters->flows.removed.add(found.removed);
}

}  // namespace podwire::engine
