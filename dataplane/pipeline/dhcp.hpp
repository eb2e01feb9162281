// Dhcp: answers DHCPv4, DHCPv6 and router solicitations of endpoints with dhcp from their leases, and keeps
// pods from speaking as DHCP servers or routers themselves. Whatever comes from elsewhere, and the questions
// of endpoints without dhcp, pass: somebody else in the domain may serve them.
#pragma once

#include "dataplane/packet/host_answer.hpp"
#include "dataplane/pipeline/accounting.hpp"
#include "dataplane/pipeline/context.hpp"

namespace podwire::engine {

struct DhcpStage {
  static constexpr std::string_view kName = "dhcp";

  static void run(Context& ctx, Burst& burst) noexcept {
    for (std::uint16_t i = 0; i < burst.count; ++i) {
      const auto& meta = burst.meta[i];
      if (meta.ip_proto != ip_proto::kUdp && meta.ip_proto != ip_proto::kIcmpv6) continue;
      const auto kind = host_config_of(burst.mbufs[i], meta);
      if (kind != HostConfig::kNone) [[unlikely]]
        serve(ctx, burst, i, kind);
    }
  }

 private:
  [[gnu::cold, gnu::noinline]] static void serve(Context& ctx, Burst& burst, std::uint16_t i,
                                                 HostConfig kind) noexcept {
    auto* mbuf = burst.mbufs[i];
    const auto& meta = burst.meta[i];
    if (meta.from_tunnel || meta.ingress_role != static_cast<std::uint8_t>(api::PortRole::kPod)) return;
    const auto* port = ctx.tables->port(meta.ingress);
    if (port == nullptr) return;
    if (kind == HostConfig::kDhcpServer || kind == HostConfig::kRouterAdvertisement) {
      if (port->may_configure_hosts) return;
      const bool dhcp = kind == HostConfig::kDhcpServer;
      burst.drop(i, dhcp ? DropReason::rogue_dhcp : DropReason::rogue_ra);
      return;
    }
    const auto* lease = port->lease(header_unchecked<EtherHeader>(mbuf, 0)->source);
    if (lease == nullptr || !asks_engine(mbuf, meta, *lease, kind)) return;
    AnswerBuffer buffer;
    const auto answer = answer_host(mbuf, meta, *lease, kind, buffer);
    if (answer.outcome == DhcpOutcome::kAnswer) {
      send(ctx, burst, i, answer.frame);
    } else if (answer.outcome == DhcpOutcome::kSilence) {
      burst.consume(i);
    } else {
      burst.drop(i, DropReason::bad_dhcp);
    }
  }

  // In the question's own mbuf, or in a new one where that has no room (memory that is the peer's).
  static void send(Context& ctx, Burst& burst, std::uint16_t i,
                   std::span<const std::uint8_t> frame) noexcept {
    auto& meta = burst.meta[i];
    if (!put_frame(burst.mbufs[i], meta, frame)) {
      rte_mbuf* fresh = rte_pktmbuf_alloc(ctx.pool);
      if (fresh == nullptr || !put_frame(fresh, meta, frame)) {
        rte_pktmbuf_free(fresh);
        burst.drop(i, DropReason::no_mbufs);
        return;
      }
      rte_pktmbuf_free(burst.mbufs[i]);
      burst.mbufs[i] = fresh;
    }
    book(*ctx.counters, meta, &LedgerCounters::consumed);
    book(*ctx.counters, meta, &LedgerCounters::generated);
    meta.generated = true;
    meta.resolved = true;
    meta.verdict = Verdict::kForward;
    meta.egress = meta.ingress;
  }
};

}  // namespace podwire::engine
