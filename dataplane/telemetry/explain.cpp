#include "dataplane/telemetry/explain.hpp"

#include <map>
#include <memory>

#include "dataplane/packet/copy_frame.hpp"
#include "dataplane/pipeline/pipeline.hpp"
#include "dataplane/telemetry/explain_notes.hpp"

namespace podwire::engine {
namespace {

// A reply is one line of at most 1 MiB.
constexpr std::size_t kMaxOutputs = 256;
constexpr std::size_t kMaxHexBytes = 256u << 10;
constexpr std::size_t kMaxSteps = 1000;

// Takes what would have gone to the main thread and lets it be.
class SwallowingEvents final : public EventSink {
 public:
  bool push(const Event& event) noexcept override {
    if (event.kind == Event::Kind::kPark) parked_.push_back(event.mbuf);
    if (event.kind == Event::Kind::kLearn) ++learned_;
    if (event.kind == Event::Kind::kNeighbor) ++neighbors_;
    return true;
  }
  // A stage has said that these leave the burst; until then the driver still looks at them.
  void free_parked() {
    rte_pktmbuf_free_bulk(parked_.data(), static_cast<unsigned>(parked_.size()));
    parked_.clear();
  }
  // What was pushed since the last call, in words.
  std::string take_note() {
    std::string note;
    if (learned_ != 0) note += "; its source MAC would be learned";
    if (neighbors_ != 0) note += "; the engine would note the sender as a neighbour";
    learned_ = neighbors_ = 0;
    return note;
  }

 private:
  std::vector<rte_mbuf*> parked_;
  unsigned learned_ = 0, neighbors_ = 0;
};

std::string hex_of(rte_mbuf* mbuf) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string hex;
  for (const rte_mbuf* segment = mbuf; segment != nullptr; segment = segment->next) {
    const auto* data = rte_pktmbuf_mtod(segment, const std::uint8_t*);
    for (std::uint16_t i = 0; i < segment->data_len; ++i) {
      hex += kDigits[data[i] >> 4];
      hex += kDigits[data[i] & 15];
    }
  }
  return hex;
}

// Records finished packets instead of sending them.
class RecordingEgress final : public EgressSink {
 public:
  explicit RecordingEgress(const ObjectNames& names) : names_(names) {}

  void take(Burst& burst) noexcept override {
    for (std::uint16_t i = 0; i < burst.count; ++i) record(burst.mbufs[i], burst.meta[i]);
    rte_pktmbuf_free_bulk(burst.mbufs.data(), burst.count);
    burst.count = 0;
  }
  Json take_outputs() { return std::move(outputs_); }
  bool sent_the_packet() const { return sent_the_packet_; }

 private:
  void record(rte_mbuf* mbuf, const PacketMeta& meta) {
    if (!meta.generated) sent_the_packet_ = true;
    if (outputs_.size() == kMaxOutputs) return;
    Json output{{"port", meta.egress.value()}, {"port_name", names_.port(meta.egress)}};
    if (hex_bytes_ + 2u * mbuf->pkt_len <= kMaxHexBytes) {
      output["frame"] = hex_of(mbuf);
      hex_bytes_ += 2u * mbuf->pkt_len;
    }
    output["note"] = note(meta);
    outputs_.push_back(std::move(output));
  }
  std::string note(const PacketMeta& meta) const {
    const bool tunneled = meta.vtep != 0 && !(meta.from_tunnel && !meta.generated);
    const bool direct =
        tunneled && meta.vtep < names_.tables.vteps.size() && names_.tables.vteps[meta.vtep].direct;
    std::string text =
        tunneled ? (direct ? "through the " : "encapsulated for ") + names_.vtep(meta.vtep) : "";
    if (meta.generated)
      text =
          "made by the engine: " + std::string(meta.reason == DropReason{} ? "the answer" : "an ICMP error") +
          (tunneled ? ", " + text : "");
    return text;
  }

  const ObjectNames& names_;
  Json outputs_ = Json::array();
  std::size_t hex_bytes_ = 0;
  bool sent_the_packet_ = false;
};

// Follows the packet, and what becomes of it, from stage to stage.
class StepObserver {
 public:
  // What the policies say comes in `policies`, which is left empty for the next stage.
  StepObserver(const ObjectNames& names, SwallowingEvents& events, PolicyAnswer& policies,
               const PacketMeta& start)
      : names_(names), events_(events), policies_(policies), start_(start) {}

  void after_stage(std::string_view stage, const Burst& burst) noexcept {
    for (std::uint16_t i = 0; i < burst.count; ++i) {
      const auto& meta = burst.meta[i];
      if (meta.verdict == Verdict::kTaken) continue;
      const auto at = seen_.find(burst.mbufs[i]);
      const PacketMeta before = at != seen_.end() ? at->second : start_;
      note(stage, {before, meta, burst.mbufs[i]});
      seen_[burst.mbufs[i]] = start_ = meta;
    }
    events_.free_parked();
  }

  Json take_steps() { return std::move(steps_); }
  Json take_deciders() { return std::move(deciders_); }
  std::optional<DropReason> reason() const { return reason_; }
  bool parked() const { return parked_; }

 private:
  void note(std::string_view stage, const PacketView& packet) {
    if (steps_.size() < kMaxSteps) {
      steps_.push_back(
          {{"stage", stage},
           {"note", describe(stage, packet, names_) + events_.take_note() + policy_text(policies_, names_)}});
    }
    decided_by_policies(std::exchange(policies_, {}));
    const auto& meta = packet.after;
    const bool rejected = meta.generated && !packet.before.generated && meta.reason != DropReason{};
    if (!reason_ && (meta.verdict == Verdict::kDrop || rejected)) reason_ = meta.reason;
    if (meta.verdict == Verdict::kParked) parked_ = true;
    if (packet.mbuf != nullptr && meta.verdict < Verdict::kDrop) {
      if (const auto slot = entered_by(packet, names_)) decided_by_adjacency(slot);
    }
    if (meta.adjacency != 0 && meta.adjacency != packet.before.adjacency)
      decided_by_adjacency(meta.adjacency);
    if (meta.verdict == Verdict::kTunnel && packet.before.verdict != Verdict::kTunnel)
      decided_by_vtep(meta.vtep);
    if (meta.verdict == Verdict::kFlood || (stage == "gateway" && meta.generated))
      decided_by_domain(meta.domain);
    const bool answered = meta.generated && !packet.before.generated;
    if ((stage == "guard" && meta.verdict == Verdict::kDrop) ||
        (stage == "dhcp" && (meta.verdict >= Verdict::kDrop || answered))) {
      decided("port", meta.ingress.value(), names_.port(meta.ingress));
    }
  }
  void decided_by_adjacency(std::uint32_t slot) {
    const auto& entry = names_.tables.adjacencies[slot];
    if (const auto* route = names_.intent.route(entry.route))
      decided("route", route->id.value(), to_string(route->prefix));
    if (const auto* endpoint = names_.intent.endpoint(entry.endpoint))
      decided("endpoint", endpoint->id.value(), endpoint->name);
  }
  void decided_by_policies(const PolicyAnswer& answer) {
    for (const auto id : {answer.egress, answer.ingress}) {
      if (const auto* policy = names_.intent.policy(id)) decided("policy", id.value(), policy->name);
    }
  }
  void decided_by_vtep(std::uint32_t slot) {
    if (slot >= names_.tables.vteps.size()) return;
    const auto* vtep = names_.intent.vtep(names_.tables.vteps[slot].id);
    if (vtep != nullptr) decided("vtep", vtep->id.value(), vtep->name);
  }
  void decided_by_domain(DomainId id) { decided("domain", id.value(), names_.domain(id)); }
  void decided(const char* noun, std::uint64_t id, const std::string& name) {
    const Json decider{{"noun", noun}, {"id", id}, {"name", name}};
    for (const auto& known : deciders_) {
      if (known == decider) return;
    }
    if (deciders_.size() < kMaxOutputs) deciders_.push_back(decider);
  }

  const ObjectNames& names_;
  SwallowingEvents& events_;
  PolicyAnswer& policies_;
  PacketMeta start_;  // of the packet that an unknown mbuf was made from: the last one seen
  std::map<const rte_mbuf*, PacketMeta> seen_;
  Json steps_ = Json::array();
  Json deciders_ = Json::array();
  std::optional<DropReason> reason_;
  bool parked_ = false;
};

const char* verdict_name(const RecordingEgress& egress, const StepObserver& steps,
                         const WorkerCounters& counters) {
  if (egress.sent_the_packet()) return "sent";
  if (steps.parked()) return "parked";
  if (steps.reason()) return "dropped";
  return counters.engine.generated.get() != 0 ? "answered" : "consumed";
}

}  // namespace

Result<Json> explain(const Json& params, const ExplainSources& sources) {
  PODWIRE_TRY(const auto request, read_explain(params));
  const auto* port = sources.tables.port(request.port);
  if (port == nullptr) {
    return not_found("params.port is " + std::to_string(request.port.value()) +
                     ", which does not exist; see dump of ports");
  }
  PODWIRE_TRY(const auto frame, build_explain_frame(request, sources.intent, port->device->mac()));
  rte_mbuf* mbuf = copy_frame(sources.pool, frame);
  if (mbuf == nullptr)
    return Error{ErrorCode::kExhausted,
                 "no packet buffer is free; raise mbufs in the engine's configuration"};

  const ObjectNames names{sources.intent, sources.tables};
  const auto counters = std::make_unique<WorkerCounters>();
  const auto ctx = std::make_unique<Context>();
  SwallowingEvents events;
  RecordingEgress egress(names);
  ctx->tables = &sources.tables;
  ctx->counters = counters.get();
  ctx->pool = sources.pool;
  ctx->events = &events;
  ctx->egress = &egress;
  ctx->now_tsc = rte_rdtsc();
  ctx->tsc_hz = rte_get_tsc_hz();

  PacketMeta meta;
  meta.ingress = port->id;
  meta.domain = port->domain;
  meta.ingress_role = static_cast<std::uint8_t>(port->role);
  PolicyAnswer policies;
  ctx->policy_answer = &policies;
  StepObserver observer(names, events, policies, meta);
  const auto burst = std::make_unique<Burst>();
  burst->push(mbuf, meta);
  Pipeline::run(*ctx, *burst, observer);

  Json reply{{"verdict", verdict_name(egress, observer, *counters)}};
  if (const auto reason = observer.reason()) {
    reply["reason"] = name_of(*reason);
    reply["reason_help"] = help_of(*reason);
  }
  reply["steps"] = observer.take_steps();
  reply["outputs"] = egress.take_outputs();
  reply["decided_by"] = observer.take_deciders();
  return reply;
}

}  // namespace podwire::engine
