// HostAnswer: the frame that answers a question about a host's configuration (packet/host_config.hpp), from
// the endpoint's lease: the question checked and read out of its packet, the message made by dhcp4.hpp,
// dhcp6.hpp or router_advert.hpp, headers put on. Called by workers; allocates nothing, changes nothing but
// the buffer.
#pragma once

#include "dataplane/packet/answer_frame.hpp"
#include "dataplane/packet/host_config.hpp"

namespace podwire::engine {

struct HostAnswer {
  DhcpOutcome outcome = DhcpOutcome::kBad;
  std::span<const std::uint8_t> frame;  // in the buffer; for the endpoint that asked
};

// Whether the question is for the engine. DHCPv4 by unicast for another server is none of its business;
// DHCPv6 comes by multicast only, because the engine never offers unicast.
[[nodiscard]] bool asks_engine(rte_mbuf* mbuf, const PacketMeta& meta, const Lease& lease,
                               HostConfig kind) noexcept;

// `kind` is one of the three questions. Bad are also fragments, wrong lengths or checksums, and questions
// longer than any client's.
[[nodiscard]] HostAnswer answer_host(rte_mbuf* mbuf, const PacketMeta& meta, const Lease& lease,
                                     HostConfig kind, AnswerBuffer& buffer) noexcept;

// The router advertisement to `asker`, or to all nodes when that is zero.
[[nodiscard]] std::span<const std::uint8_t> router_advert_frame(const Lease& lease, const Ipv6& asker,
                                                                AnswerBuffer& buffer) noexcept;

}  // namespace podwire::engine
