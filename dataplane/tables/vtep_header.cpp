#include "dataplane/tables/vtep_header.hpp"

#include <cstring>

#include "dataplane/headers/headers.hpp"

namespace podwire::engine {
namespace {

static_assert(sizeof(Ipv4Header) + sizeof(UdpHeader) + sizeof(VxlanHeader) + sizeof(EtherHeader) ==
              vxlan_overhead(false));
static_assert(sizeof(Ipv6Header) + sizeof(UdpHeader) + sizeof(VxlanHeader) + sizeof(EtherHeader) ==
              vxlan_overhead(true));

constexpr std::uint8_t kHopLimit = 64;

class HeaderWriter {
 public:
  explicit HeaderWriter(VtepEntry& entry) : entry_(entry) {
    entry_.header.fill(0);
    entry_.header_bytes = 0;
  }
  template <class T>
  void append(const T& part) {
    static_assert(alignof(T) == 1);
    std::memcpy(entry_.header.data() + entry_.header_bytes, &part, sizeof part);
    entry_.header_bytes = static_cast<std::uint8_t>(entry_.header_bytes + sizeof part);
  }

 private:
  VtepEntry& entry_;
};

// Sum of the 16-bit words as they are stored.
std::uint32_t sum_words(const std::uint8_t* bytes, std::size_t count) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i + 1 < count; i += 2) {
    std::uint16_t word;
    std::memcpy(&word, bytes + i, sizeof word);
    sum += word;
  }
  return sum;
}

void append_ethernet(HeaderWriter& out, const OuterPath& path) {
  out.append(path.destination_mac);
  out.append(path.source_mac);
  if (path.vlan != 0) out.append(VlanTag{Be16(ether_type::kVlan), Be16(path.vlan)});
}

}  // namespace

void build_direct_header(VtepEntry& entry, const OuterPath& path) {
  HeaderWriter out(entry);
  append_ethernet(out, path);
}

void build_header(VtepEntry& entry, const OuterPath& path) {
  entry.v6 = entry.address.is_v6();
  HeaderWriter out(entry);
  append_ethernet(out, path);
  out.append(Be16(entry.v6 ? ether_type::kIpv6 : ether_type::kIpv4));
  entry.l3_offset = entry.header_bytes;
  if (entry.v6) {
    Ipv6Header ip{};
    ip.version_class_flow = Be32(6u << 28);
    ip.next_header = ip_proto::kUdp;
    ip.hop_limit = kHopLimit;
    ip.source = path.source.v6();
    ip.destination = entry.address.v6();
    out.append(ip);
    entry.checksum_base = 0;
  } else {
    // DF: VTEPs must not fragment (RFC 7348 section 4.3); with it the identification may be 0 (RFC 6864
    // section 4).
    Ipv4Header ip{};
    ip.version_ihl = 0x45;
    ip.flags_fragment = Be16(Ipv4Header::kDontFragment);
    ip.ttl = kHopLimit;
    ip.protocol = ip_proto::kUdp;
    ip.source = path.source.v4();
    ip.destination = entry.address.v4();
    out.append(ip);
    entry.checksum_base = sum_words(entry.header.data() + entry.l3_offset, sizeof ip);
  }
  UdpHeader udp{};
  udp.destination_port = Be16(entry.udp_port);
  out.append(udp);
  VxlanHeader vxlan{};
  vxlan.flags = VxlanHeader::kVniValid;
  out.append(vxlan);
}

}  // namespace podwire::engine
