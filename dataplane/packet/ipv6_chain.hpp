// The chain of IPv6 extension headers (RFC 8200 section 4), walked with every length checked. Called by
// workers.
#pragma once

#include <rte_mbuf.h>

#include "dataplane/headers/headers.hpp"
#include "dataplane/packet/access.hpp"

namespace podwire::engine {

struct Ipv6Chain {
  bool complete = false;        // every header of the chain lies in the first segment
  bool is_fragment = false;     // a fragment header that says more than "atomic" (RFC 6946)
  bool later_fragment = false;  // offset is not 0: no L4 header follows
  std::uint8_t protocol = 0;    // last header's number
  std::uint16_t offset = 0;     // of that header, from the start of the frame
};

inline Ipv6Chain walk_ipv6_chain(rte_mbuf* mbuf, std::uint16_t l3_offset) noexcept {
  constexpr int kMaxExtensions = 8;  // more serve nobody but an attacker
  Ipv6Chain chain;
  const auto* ip = header_at<Ipv6Header>(mbuf, l3_offset);
  if (ip == nullptr) return chain;
  chain.protocol = ip->next_header;
  std::uint32_t at = l3_offset + std::uint32_t{sizeof(Ipv6Header)};
  for (int i = 0; i <= kMaxExtensions; ++i) {
    chain.offset = static_cast<std::uint16_t>(at);
    switch (chain.protocol) {
      case ip_proto::kHopByHop:
      case ip_proto::kRouting:
      case ip_proto::kDestinationOptions: {
        struct Extension {
          std::uint8_t next_header;
          std::uint8_t length;  // in units of 8 bytes, the first not counted
        };
        const auto* extension = header_at<Extension>(mbuf, at);
        if (extension == nullptr) return chain;
        chain.protocol = extension->next_header;
        at += (std::uint32_t{extension->length} + 1) * 8;
        if (at > mbuf->data_len) return chain;
        break;
      }
      case ip_proto::kFragment: {
        const auto* fragment = header_at<Ipv6FragmentHeader>(mbuf, at);
        if (fragment == nullptr) return chain;
        chain.protocol = fragment->next_header;
        const auto offset_flags = fragment->offset_flags.host();
        chain.is_fragment = chain.is_fragment || (offset_flags & 0xfff9) != 0;
        at += std::uint32_t{sizeof(Ipv6FragmentHeader)};
        if ((offset_flags & 0xfff8) != 0) {
          chain.later_fragment = true;
          chain.offset = static_cast<std::uint16_t>(at);
          chain.complete = true;
          return chain;
        }
        break;
      }
      default:
        chain.complete = true;
        return chain;
    }
  }
  return chain;
}

}  // namespace podwire::engine
