// The ready-made outer headers, byte for byte.
#include "dataplane/tables/vtep_header.hpp"

#include <gtest/gtest.h>

namespace podwire::engine {
namespace {

using Bytes = std::vector<std::uint8_t>;

const OuterPath kPath{MacAddr{{2, 0, 0, 0, 0, 1}}, MacAddr{{2, 0, 0, 0, 0, 2}}, 0,
                      IpAddr(Ipv4{{192, 168, 100, 1}})};

VtepEntry entry_for(const IpAddr& address, std::uint16_t udp_port) {
  VtepEntry entry;
  entry.address = address;
  entry.udp_port = udp_port;
  return entry;
}

Bytes header_of(const VtepEntry& entry) {
  return Bytes(entry.header.begin(), entry.header.begin() + entry.header_bytes);
}

TEST(VtepHeader, Ipv4HasDfAndNoIdentification) {
  auto entry = entry_for(IpAddr(Ipv4{{192, 168, 100, 2}}), 4789);
  build_header(entry, kPath);
  EXPECT_EQ(header_of(entry),
            (Bytes{2,    0,   0,    0,    0,   2,                           // destination
                   2,    0,   0,    0,    0,   1,                           // source
                   0x08, 0,                                                 // IPv4
                   0x45, 0,   0,    0,    0,   0,   0x40, 0, 64, 17, 0, 0,  // DF, TTL 64, UDP
                   192,  168, 100,  1,    192, 168, 100,  2,                // addresses
                   0,    0,   0x12, 0xb5, 0,   0,   0,    0,                // UDP port 4789
                   8,    0,   0,    0,    0,   0,   0,    0}));             // VNI flag
  EXPECT_EQ(entry.l3_offset, 14);
  EXPECT_FALSE(entry.v6);
}

TEST(VtepHeader, ChecksumBaseCompletesToARightIpv4Header) {
  auto entry = entry_for(IpAddr(Ipv4{{10, 255, 0, 77}}), 8472);
  build_header(entry, kPath);
  // As vxlan::prepend does it.
  const std::uint16_t length = __builtin_bswap16(1234);
  std::uint32_t sum = entry.checksum_base + length;
  while (sum >> 16) sum = (sum & 0xffff) + (sum >> 16);
  const auto checksum = static_cast<std::uint16_t>(~sum);
  std::memcpy(&entry.header[16], &length, 2);
  std::memcpy(&entry.header[24], &checksum, 2);
  std::uint32_t verify = 0;
  for (std::size_t i = 14; i < 34; i += 2)
    verify += static_cast<std::uint32_t>(entry.header[i] << 8 | entry.header[i + 1]);
  while (verify >> 16) verify = (verify & 0xffff) + (verify >> 16);
  EXPECT_EQ(verify, 0xffffu);
}

TEST(VtepHeader, VlanTagStandsBeforeTheType) {
  auto path = kPath;
  path.vlan = 100;
  auto entry = entry_for(IpAddr(Ipv4{{192, 168, 100, 2}}), 8472);
  build_header(entry, path);
  const auto bytes = header_of(entry);
  EXPECT_EQ(bytes.size(), 54u);
  EXPECT_EQ(Bytes(bytes.begin() + 12, bytes.begin() + 19), (Bytes{0x81, 0, 0, 100, 0x08, 0, 0x45}));
  EXPECT_EQ(entry.l3_offset, 18);
  EXPECT_EQ(bytes[40] << 8 | bytes[41], 8472);
}

TEST(VtepHeader, Ipv6HasHopLimit64) {
  auto path = kPath;
  path.source = IpAddr(*parse_ipv6("fd00:100::1"));
  auto entry = entry_for(IpAddr(*parse_ipv6("fd00:100::2")), 4789);
  build_header(entry, path);
  const auto bytes = header_of(entry);
  EXPECT_EQ(bytes.size(), 70u);
  EXPECT_EQ(Bytes(bytes.begin() + 12, bytes.begin() + 22), (Bytes{0x86, 0xdd, 0x60, 0, 0, 0, 0, 0, 17, 64}));
  EXPECT_EQ(Bytes(bytes.begin() + 22, bytes.begin() + 26), (Bytes{0xfd, 0, 1, 0}));
  EXPECT_EQ(bytes[37], 1);
  EXPECT_EQ(bytes[53], 2);
  EXPECT_EQ(Bytes(bytes.begin() + 54, bytes.end()),
            (Bytes{0, 0, 0x12, 0xb5, 0, 0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0}));
  EXPECT_TRUE(entry.v6);
  EXPECT_EQ(entry.checksum_base, 0u);
}

TEST(VtepHeader, BuildingAgainLeavesNothingOfTheFormer) {
  auto path = kPath;
  path.vlan = 7;
  auto entry = entry_for(IpAddr(Ipv4{{192, 168, 100, 2}}), 4789);
  build_header(entry, path);
  build_header(entry, kPath);
  auto fresh = entry_for(IpAddr(Ipv4{{192, 168, 100, 2}}), 4789);
  build_header(fresh, kPath);
  EXPECT_EQ(entry, fresh);
}

}  // namespace
}  // namespace podwire::engine
