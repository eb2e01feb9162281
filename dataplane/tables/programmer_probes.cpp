// The programmer's part of the verbs `probe`, `probe_results` and `unknown_vnis`.
#include "dataplane/tables/programmer_state.hpp"

namespace podwire::engine {

Result<Json> Programmer::State::probe(const Json& params, std::uint64_t now_ms) {
  return probes_.send(params, *environment_.publisher->current_for_main(), now_ms);
}

Result<Json> Programmer::State::probe_results(const Json& params, std::uint64_t now_ms) const {
  return probes_.results(
      params, [this](std::uint32_t slot) { return underlay_.reach(slot); }, now_ms);
}

Result<Json> Programmer::probe(const Json& params, std::uint64_t now_ms) {
  return state_->probe(params, now_ms);
}

Result<Json> Programmer::probe_results(const Json& params, std::uint64_t now_ms) const {
  return state_->probe_results(params, now_ms);
}

Json Programmer::unknown_vnis(std::uint64_t now_ms) const {
  return state_->unknown_vnis(now_ms);
}

}  // namespace podwire::engine
