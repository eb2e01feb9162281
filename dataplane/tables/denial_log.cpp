#include "dataplane/tables/denial_log.hpp"

#include <spdlog/spdlog.h>

#include "dataplane/headers/headers.hpp"

namespace podwire::engine {
namespace {

std::string with_name(const IpAddr& address, const api::Endpoint* endpoint) {
  return to_string(address) + (endpoint != nullptr ? " (" + label(*endpoint) + ")" : "");
}

std::string connection_text(const Event& event) {
  const auto ports = [&](const char* name) {
    return std::string(name) + " port " + std::to_string(event.source_port) + " to " +
           std::to_string(event.destination_port);
  };
  switch (event.protocol) {
    case ip_proto::kTcp:
      return ports("TCP");
    case ip_proto::kUdp:
      return ports("UDP");
    case ip_proto::kSctp:
      return ports("SCTP");
    case ip_proto::kIcmp:
      return "ICMP";
    case ip_proto::kIcmpv6:
      return "ICMPv6";
    default:
      return "protocol " + std::to_string(event.protocol);
  }
}

std::string decider_text(const Event& event, const Intent& intent) {
  if (!event.policy) return "the unspecified source address, which says nothing of the sender";
  const auto* policy = intent.policy(event.policy);
  return (policy != nullptr ? label(*policy) : "policy " + std::to_string(event.policy.value())) +
         (event.ingress ? " (ingress)" : " (egress)");
}

}  // namespace

void DenialLog::note(const Event& event, const Intent& intent, const Ends& ends, std::uint64_t now_ms) {
  left_out_ += event.left_out;
  if (now_ms - second_ms_ >= 1000) {
    second_ms_ = now_ms;
    lines_ = 0;
  }
  if (lines_ == kLinesPerSecond) {
    ++left_out_;
    return;
  }
  ++lines_;
  const auto more =
      left_out_ == 0 ? std::string() : "; " + std::to_string(left_out_) + " before it were not logged";
  left_out_ = 0;
  spdlog::warn("denied by {}: {} from {} to {}{}", decider_text(event, intent), connection_text(event),
               with_name(event.address, ends.source), with_name(event.peer, ends.destination), more);
}

void DenialLog::tick(std::uint64_t now_ms) {
  if (left_out_ == 0 || now_ms - second_ms_ < 1000) return;
  spdlog::warn("policies denied {} more connection attempt(s) that were not logged", left_out_);
  second_ms_ = now_ms;
  lines_ = 0;
  left_out_ = 0;
}

}  // namespace podwire::engine
