// The chain of IPv6 extension headers (RFC 8200 section 4), walked with every length checked. Called by
// workers.
#pragma once

#include <rte_mbuf.h>

#include "dataplane/headers/headers.hpp"
#include "dataplane/packet/access.hpp"

namespace podwire::engine {

struct Ipv6Chain {
  bool complete = false;        // the last header is known, and all before it lie in the first segment
  bool malformed = false;       // a header ends behind the packet
  bool has_fragment = false;    // there is a fragment header
  bool is_fragment = false;     // one that says more than "atomic" (RFC 6946)
  bool later_fragment = false;  // offset is not 0: no L4 header follows
  bool authenticated = false;   // there is an authentication header: nothing may be changed
  std::uint8_t protocol = 0;    // last header's number; of an incomplete chain, the last one known
  std::uint32_t offset = 0;     // of that header, from the start of the frame
};

// `l3_offset` is where the IPv6 header is, which lies in the first segment.
inline Ipv6Chain walk_ipv6_chain(rte_mbuf* mbuf, std::uint16_t l3_offset, const Ipv6Header& ip) noexcept {
  constexpr int kMaxExtensions = 8;  // more serve nobody but an attacker
  struct Extension {
    std::uint8_t next_header;
    std::uint8_t length;  // in units of 8 bytes, the first not counted; AH: of 4 bytes, less two
  };
  Ipv6Chain chain;
  chain.protocol = ip.next_header;
  chain.offset = l3_offset + std::uint32_t{sizeof(Ipv6Header)};
  const std::uint32_t end = chain.offset + ip.payload_length.host();
  for (int i = 0; i <= kMaxExtensions; ++i) {
    switch (chain.protocol) {
      case ip_proto::kHopByHop:
      case ip_proto::kRouting:
      case ip_proto::kDestinationOptions:
      case ip_proto::kAh: {
        const auto* extension = header_at<Extension>(mbuf, chain.offset);
        if (extension == nullptr) return chain;
        const bool ah = chain.protocol == ip_proto::kAh;
        chain.authenticated = chain.authenticated || ah;
        chain.protocol = extension->next_header;
        chain.offset += ah ? (extension->length + 2u) * 4 : (extension->length + 1u) * 8;
        break;
      }
      case ip_proto::kFragment: {
        const auto* fragment = header_at<Ipv6FragmentHeader>(mbuf, chain.offset);
        if (fragment == nullptr) return chain;
        const auto offset_flags = fragment->offset_flags.host();
        chain.has_fragment = true;
        chain.is_fragment = chain.is_fragment || (offset_flags & 0xfff9) != 0;
        chain.later_fragment = (offset_flags & 0xfff8) != 0;
        chain.protocol = fragment->next_header;
        chain.offset += std::uint32_t{sizeof(Ipv6FragmentHeader)};
        break;
      }
      default:
        chain.complete = true;
        return chain;
    }
    chain.malformed = chain.offset > end;
    chain.complete = chain.later_fragment && !chain.malformed;
    if (chain.malformed || chain.complete || chain.offset > mbuf->data_len) return chain;
  }
  return chain;
}

// The same from the header on; incomplete where there is none.
inline Ipv6Chain walk_ipv6_chain(rte_mbuf* mbuf, std::uint16_t l3_offset) noexcept {
  const auto* ip = header_at<Ipv6Header>(mbuf, l3_offset);
  return ip == nullptr ? Ipv6Chain{} : walk_ipv6_chain(mbuf, l3_offset, *ip);
}

}  // namespace podwire::engine
