// DHCPv6 messages: every kind of question, what the answer carries, and everything a hostile client may
// write.
#include "dataplane/packet/dhcp6.hpp"

#include <gtest/gtest.h>

#include <random>

#include "tests/support/packet_builder.hpp"

namespace podwire::engine::tests::dhcp6_cases {
namespace {

enum : std::uint8_t {
  kSolicit = 1,
  kAdvertise,
  kRequest,
  kConfirm,
  kRenew,
  kRebind,
  kReply,
  kRelease,
  kDecline,
  kReconfigure,
  kInformation,
  kRelayForward
};

const Bytes kClient{0, 1, 0, 1, 1, 2, 3, 4, 2, 0, 0, 0, 0, 0x0a};
const Bytes kServer{0, 3, 0, 1, 0x02, 0x70, 0x77, 0, 0, 1};
const Bytes kIaid{0, 0, 0, 9};
constexpr Ipv6 kSecond{{0xfd, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2}};
const Bytes kLifetime{0, 0, 0xa8, 0xc0};                // 43200
const Bytes kIaTimes{0, 0, 0x54, 0x60, 0, 0, 0x87, 0};  // half and eight tenths of it

Lease lease_of_a() {
  Lease lease;
  lease.mac = kMacA;
  lease.gateway_mac = {{0x02, 0x70, 0x77, 0, 0, 1}};
  lease.mtu = 1450;
  lease.addresses6 = {kIp6A, kSecond};
  lease.dns6 = {kIp6B};
  lease.hostname = "web-1";
  lease.search = {3, 'l', 'a', 'b', 0};
  return lease;
}

Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}
Bytes option(std::uint16_t code, const Bytes& data) {
  const auto size = data.size();
  return Bytes{static_cast<std::uint8_t>(code >> 8), static_cast<std::uint8_t>(code),
               static_cast<std::uint8_t>(size >> 8), static_cast<std::uint8_t>(size)} +
         data;
}
Bytes bytes_of(const Ipv6& ip) {
  return {ip.bytes.begin(), ip.bytes.end()};
}
Bytes ia_address(const Ipv6& ip, const Bytes& lifetime = Bytes(4, 0)) {
  return option(5, bytes_of(ip) + lifetime + lifetime);
}
Bytes ia_na(const Bytes& inside = {}, const Bytes& iaid = kIaid) {
  return option(3, iaid + Bytes(8, 0) + inside);
}
Bytes message(std::uint8_t type, const Bytes& options) {
  return Bytes{type, 1, 2, 3} + options;
}
Bytes from_client(std::uint8_t type, const Bytes& more = {}) {
  return message(type, option(1, kClient) + more);
}
Bytes to_server(std::uint8_t type, const Bytes& more = {}) {
  return from_client(type, option(2, kServer) + more);
}

struct Answered {
  DhcpOutcome outcome;
  std::uint8_t type = 0;
  std::vector<std::pair<int, Bytes>> options;
  Bytes get(int code) const {
    for (const auto& [have, data] : options) {
      if (have == code) return data;
    }
    return {};
  }
  bool has(int code) const {
    return std::any_of(options.begin(), options.end(), [&](const auto& o) { return o.first == code; });
  }
};

std::vector<std::pair<int, Bytes>> read_options(const Bytes& field, std::size_t at) {
  std::vector<std::pair<int, Bytes>> out;
  while (at < field.size()) {
    const int code = field.at(at) << 8 | field.at(at + 1);
    const std::size_t length = static_cast<std::size_t>(field.at(at + 2) << 8 | field.at(at + 3));
    EXPECT_LE(at + 4 + length, field.size());
    out.emplace_back(code, Bytes(&field[at + 4], &field[at + 4] + length));
    at += 4 + length;
  }
  return out;
}

Answered ask(const Bytes& question, const Lease& lease = lease_of_a(), std::size_t room = 1402) {
  Bytes out(room, 0xaa);
  const auto answer = answer_dhcp6(question, lease, out);
  Answered got{answer.outcome, 0, {}};
  if (answer.outcome != DhcpOutcome::kAnswer) return got;
  EXPECT_LE(answer.bytes, room);
  out.resize(answer.bytes);
  got.type = out.at(0);
  EXPECT_EQ(Bytes(out.begin() + 1, out.begin() + 4), (Bytes{1, 2, 3})) << "transaction";
  got.options = read_options(out, 4);
  EXPECT_EQ(got.get(2), kServer);
  return got;
}

TEST(Dhcp6, AdvertisesAllAddresses) {
  const auto got = ask(from_client(kSolicit, ia_na() + option(6, {0, 23, 0, 24, 0, 39})));
  ASSERT_EQ(got.type, kAdvertise);
  EXPECT_EQ(got.get(1), kClient);
  EXPECT_EQ(got.get(7), Bytes{255});
  const auto ia = got.get(3);
  EXPECT_EQ(ia, kIaid + kIaTimes + ia_address(kIp6A, kLifetime) + ia_address(kSecond, kLifetime));
  EXPECT_EQ(got.get(23), bytes_of(kIp6B));
  EXPECT_EQ(got.get(24), (Bytes{3, 'l', 'a', 'b', 0}));
  EXPECT_EQ(got.get(39), (Bytes{4, 5, 'w', 'e', 'b', '-', '1'}));
  EXPECT_FALSE(got.has(14));
}

TEST(Dhcp6, RepliesAtOnceWithRapidCommit) {
  const auto got = ask(from_client(kSolicit, option(14, {}) + ia_na()));
  EXPECT_EQ(got.type, kReply);
  EXPECT_TRUE(got.has(14));
  EXPECT_FALSE(got.has(7));
  EXPECT_FALSE(got.has(23)) << "not asked for";
}

TEST(Dhcp6, RepliesToRequestRenewAndRebind) {
  for (const auto& question : {to_server(kRequest, ia_na()), to_server(kRenew, ia_na(ia_address(kIp6A))),
                               from_client(kRebind, ia_na(ia_address(kIp6A)))}) {
    const auto got = ask(question);
    EXPECT_EQ(got.type, kReply);
    EXPECT_EQ(got.get(3).size(), 12u + 2 * 28);
  }
}

TEST(Dhcp6, TakesBackAddressesThatAreNotTheEndpoints) {
  const auto got = ask(to_server(kRenew, ia_na(ia_address(kIp6B, kLifetime) + ia_address(kIp6A))));
  EXPECT_EQ(got.get(3), kIaid + kIaTimes + ia_address(kIp6A, kLifetime) + ia_address(kSecond, kLifetime) +
                            ia_address(kIp6B));
  // A wish in a request is no more than that.
  EXPECT_EQ(ask(to_server(kRequest, ia_na(ia_address(kIp6B)))).get(3).size(), 12u + 2 * 28);
}

TEST(Dhcp6, GivesTheAddressesToOneAssociationOnly) {
  const Bytes other{0, 0, 0, 10};
  const auto got = ask(from_client(kSolicit, ia_na() + ia_na({}, other) + option(25, other + Bytes(8, 0))));
  ASSERT_EQ(got.options.size(), 6u);  // server, client, preference, three associations
  EXPECT_EQ(got.options[3].second.size(), 12u + 2 * 28);
  EXPECT_EQ(got.options[4].second, other + Bytes(8, 0) + option(13, {0, 2}));
  EXPECT_EQ(got.options[5].first, 25);
  EXPECT_EQ(got.options[5].second, other + Bytes(8, 0) + option(13, {0, 6}));
  Lease none = lease_of_a();
  none.addresses6.clear();
  EXPECT_EQ(ask(from_client(kSolicit, ia_na()), none).get(3), kIaid + Bytes(8, 0) + option(13, {0, 2}));
}

TEST(Dhcp6, Confirms) {
  EXPECT_EQ(ask(from_client(kConfirm, ia_na(ia_address(kSecond)))).get(13), (Bytes{0, 0}));
  EXPECT_EQ(ask(from_client(kConfirm, ia_na(ia_address(kIp6A) + ia_address(kIp6B)))).get(13), (Bytes{0, 4}));
  EXPECT_EQ(ask(from_client(kConfirm, ia_na())).outcome, DhcpOutcome::kSilence);
}

TEST(Dhcp6, ReleaseAndDeclineSucceed) {
  for (const std::uint8_t type : {kRelease, kDecline}) {
    const auto got = ask(to_server(type, ia_na(ia_address(kIp6A))));
    EXPECT_EQ(got.type, kReply);
    EXPECT_EQ(got.get(13), (Bytes{0, 0}));
    EXPECT_FALSE(got.has(3));
  }
}

TEST(Dhcp6, InformsWithoutAClientIdentifierToo) {
  const auto got = ask(message(kInformation, option(6, {0, 23})));
  EXPECT_EQ(got.type, kReply);
  EXPECT_FALSE(got.has(1));
  EXPECT_EQ(got.get(23), bytes_of(kIp6B));
  EXPECT_FALSE(got.has(24));
  EXPECT_EQ(ask(message(kInformation, ia_na())).outcome, DhcpOutcome::kBad);
}

TEST(Dhcp6, TellsTheNameToWhoSendsOne) {  // RFC 4704
  EXPECT_EQ(ask(from_client(kSolicit, option(39, {1, 1, 'x'}))).get(39),
            (Bytes{6, 5, 'w', 'e', 'b', '-', '1'}));
  Lease lease = lease_of_a();
  lease.hostname.assign(63, 'a');
  lease.hostname[31] = '.';
  EXPECT_EQ(ask(from_client(kSolicit, option(39, {0})), lease).get(39).size(), 65u);
  lease.hostname.clear();
  EXPECT_FALSE(ask(from_client(kSolicit, option(39, {0})), lease).has(39));
}

TEST(Dhcp6, LeavesOtherServersAlone) {
  const Bytes other = Bytes{0, 3, 0, 1, 2, 2, 2, 2, 2, 2};
  for (const std::uint8_t type : {kRequest, kRenew, kRelease, kDecline})
    EXPECT_EQ(ask(from_client(type, option(2, other) + ia_na())).outcome, DhcpOutcome::kSilence);
}

TEST(Dhcp6, DemandsTheRightIdentifiers) {  // RFC 8415 section 16
  for (const std::uint8_t type : {kSolicit, kConfirm, kRebind}) {
    EXPECT_EQ(ask(to_server(type, ia_na(ia_address(kIp6A)))).outcome, DhcpOutcome::kBad);
    EXPECT_EQ(ask(message(type, ia_na(ia_address(kIp6A)))).outcome, DhcpOutcome::kBad);
  }
  for (const std::uint8_t type : {kRequest, kRenew, kRelease, kDecline}) {
    EXPECT_EQ(ask(from_client(type, ia_na())).outcome, DhcpOutcome::kBad);
    EXPECT_EQ(ask(message(type, option(2, kServer) + ia_na())).outcome, DhcpOutcome::kBad);
  }
  for (const std::uint8_t type :
       {std::uint8_t{0}, std::uint8_t{kAdvertise}, std::uint8_t{kReply}, std::uint8_t{kReconfigure},
        std::uint8_t{kRelayForward}, std::uint8_t{255}}) {
    EXPECT_EQ(ask(to_server(type, ia_na())).outcome, DhcpOutcome::kBad);
  }
}

TEST(Dhcp6, RefusesOptionsOfWrongLength) {
  const Bytes short_address = option(5, Bytes(23, 1));
  for (const Bytes& bad : {option(3, Bytes(11, 0)), ia_na(short_address), ia_na(Bytes{0, 5, 0, 24, 1}),
                           option(25, {1}), option(6, {1}), option(14, {1}), option(39, {}), option(1, {}),
                           option(1, Bytes(131, 1)), Bytes{0, 3, 0xff, 0xff, 0}, Bytes{0}, Bytes{0, 3, 0}}) {
    EXPECT_EQ(ask(from_client(kSolicit, bad)).outcome, DhcpOutcome::kBad) << bad.size();
  }
}

TEST(Dhcp6, FitsAnyRoom) {
  const auto question = from_client(
      kRenew, option(2, kServer) + ia_na(ia_address(kIp6B)) + ia_na() + option(6, {0, 23, 0, 24, 0, 39}));
  std::size_t options = 0;
  for (std::size_t room = 0; room < 400; ++room) options = ask(question, lease_of_a(), room).options.size();
  EXPECT_EQ(options, 7u);
}

TEST(Dhcp6, ReadsNothingBehindTheMessageAtAnyLength) {
  const auto whole = to_server(kRenew, ia_na(ia_address(kIp6B) + ia_address(kIp6A)) + option(6, {0, 23}) +
                                           option(39, {0, 1, 'x'}) + option(25, kIaid + Bytes(8, 0)));
  for (std::size_t length = 0; length <= whole.size(); ++length)
    ask(Bytes(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length)));
}

TEST(Dhcp6, SurvivesNoiseAndSize) {
  std::mt19937 random(8);
  const auto base = to_server(kRenew, ia_na(ia_address(kIp6B)) + ia_na() + option(6, Bytes(20, 0)));
  for (int round = 0; round < 20000; ++round) {
    auto noisy = base;
    for (int change = 0; change < 3; ++change)
      noisy[4 + random() % (noisy.size() - 4)] = static_cast<std::uint8_t>(random());
    ask(noisy);
  }
  Bytes many;
  for (int i = 0; i < 4000; ++i)
    many = many + ia_na({}, {0, 0, static_cast<std::uint8_t>(i >> 8), static_cast<std::uint8_t>(i)});
  EXPECT_EQ(ask(from_client(kSolicit, many)).type, kAdvertise) << "64 KiB of associations";
  Bytes strangers;
  for (int i = 0; i < 2000; ++i) strangers = strangers + ia_address(kIp6B);
  EXPECT_EQ(ask(to_server(kRenew, ia_na(strangers))).get(3).size(), 12u + 2 * 28) << "those do not fit";
}

}  // namespace
}  // namespace podwire::engine::tests::dhcp6_cases
