// Router advertisements: what they say, in any room; and which solicitations are good ones.
#include "dataplane/packet/router_advert.hpp"

#include <gtest/gtest.h>

#include "tests/support/packet_builder.hpp"

namespace podwire::engine::tests {
namespace {

Lease lease_of_a() {
  Lease lease;
  lease.gateway_mac = {{0x02, 0x70, 0x77, 0, 0, 1}};
  lease.mtu = 1450;
  lease.addresses6 = {kIp6A};
  lease.on_link6 = {{kIp6B, 64}};
  lease.dns6 = {kIp6A, kIp6B};
  lease.search = {3, 'l', 'a', 'b', 0};
  return lease;
}

Bytes advert(const Lease& lease, std::size_t room = 1410) {
  Bytes out(room, 0xaa);
  out.resize(write_router_advert(lease, out));
  return out;
}

Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}
Bytes bytes_of(const Ipv6& ip) {
  return {ip.bytes.begin(), ip.bytes.end()};
}

const Bytes kLifetime{0, 0, 0x23, 0x28};  // 9000
const Bytes kHeader{134, 0, 0, 0, 64, 0xc0, 0x23, 0x28, 0, 0, 0, 0, 0, 0, 0, 0};
const Bytes kLinkLayer{1, 1, 0x02, 0x70, 0x77, 0, 0, 1};

TEST(RouterAdvert, SaysAllByteForByte) {
  EXPECT_EQ(difference(advert(lease_of_a()),
                       kHeader + kLinkLayer + Bytes{5, 1, 0, 0, 0, 0, 1450 >> 8, 1450 & 255} +
                           Bytes{3, 4, 64, 0x80} + kLifetime + kLifetime + Bytes(4, 0) + bytes_of(kIp6B) +
                           Bytes{25, 5, 0, 0} + kLifetime + bytes_of(kIp6A) + bytes_of(kIp6B) +
                           Bytes{31, 2, 0, 0} + kLifetime + Bytes{3, 'l', 'a', 'b', 0, 0, 0, 0}),
            "");
}

TEST(RouterAdvert, LeavesOutWhatThereIsNot) {
  Lease lease;
  lease.gateway_mac = lease_of_a().gateway_mac;
  lease.mtu = 1279;  // less than IPv6 needs
  EXPECT_EQ(difference(advert(lease), kHeader + kLinkLayer), "");
}

TEST(RouterAdvert, FitsAnyRoom) {
  const auto whole = advert(lease_of_a());
  for (std::size_t room = 0; room <= whole.size(); ++room) {
    const auto part = advert(lease_of_a(), room);
    EXPECT_LE(part.size(), room);
    EXPECT_EQ(part.size() % 8, 0u);
    EXPECT_EQ(part.size() >= 16, room >= 16);
  }
  Lease lease = lease_of_a();
  lease.search.assign(2048, 1);  // more units than the length can say
  EXPECT_LT(advert(lease, 9000).size(), whole.size());
}

TEST(RouterAdvert, KnowsAGoodSolicitation) {  // RFC 4861 section 6.1.1
  const Bytes bare{133, 0, 0, 0, 0, 0, 0, 0};
  const Bytes with_mac = bare + Bytes{1, 1, 2, 0, 0, 0, 0, 10};
  const Ipv6 nobody{};
  EXPECT_TRUE(valid_router_solicitation(bare, nobody, 255));
  EXPECT_TRUE(valid_router_solicitation(bare, kIp6A, 255));
  EXPECT_TRUE(valid_router_solicitation(with_mac, kIp6A, 255));
  EXPECT_TRUE(valid_router_solicitation(bare + Bytes{14, 1, 0, 0, 0, 0, 0, 0}, nobody, 255)) << "a nonce";
  EXPECT_FALSE(valid_router_solicitation(with_mac, nobody, 255));
  EXPECT_FALSE(valid_router_solicitation(bare, kIp6A, 254));
  EXPECT_FALSE(valid_router_solicitation({Bytes{133, 1, 0, 0, 0, 0, 0, 0}}, kIp6A, 255));
  EXPECT_FALSE(valid_router_solicitation({Bytes{134, 0, 0, 0, 0, 0, 0, 0}}, kIp6A, 255));
  EXPECT_FALSE(valid_router_solicitation(bare + Bytes{1, 0, 0, 0, 0, 0, 0, 0}, kIp6A, 255)) << "length zero";
  EXPECT_FALSE(valid_router_solicitation(bare + Bytes{1, 2, 0, 0, 0, 0, 0, 0}, kIp6A, 255)) << "leaves it";
  EXPECT_FALSE(valid_router_solicitation(bare, Ipv6{{0xff, 2}}, 255));
  for (std::size_t length = 0; length < with_mac.size(); ++length) {
    EXPECT_EQ(valid_router_solicitation({with_mac.data(), length}, kIp6A, 255), length == 8) << length;
  }
}

}  // namespace
}  // namespace podwire::engine::tests
