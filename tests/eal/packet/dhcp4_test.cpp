// DHCPv4 messages: every kind of question, what the answer carries, and everything a hostile client may
// write.
#include "dataplane/packet/dhcp4.hpp"

#include <gtest/gtest.h>

#include <map>
#include <random>

#include "tests/support/packet_builder.hpp"

namespace podwire::engine::tests::dhcp4_cases {
namespace {

constexpr MacAddr kGatewayMac{{0x02, 0x70, 0x77, 0, 0, 1}};
constexpr Ipv4 kGateway{{10, 244, 1, 1}};
constexpr Ipv4 kAll{{255, 255, 255, 255}};
constexpr Ipv4 kStranger{{10, 244, 1, 77}};

enum : std::uint8_t { kDiscover = 1, kOffer, kRequest, kDecline, kAck, kNak, kRelease, kInform };

Lease lease_of_a() {
  Lease lease;
  lease.mac = kMacA;
  lease.gateway_mac = kGatewayMac;
  lease.mtu = 1450;
  lease.address4 = kIpA;
  lease.server4 = lease.router4 = kGateway;
  lease.length4 = 24;
  lease.dns4 = {{{10, 96, 0, 10}}, {{10, 96, 0, 11}}};
  lease.hostname = "web-1";
  lease.search = {3, 'l', 'a', 'b', 0};
  return lease;
}

Bytes option(std::uint8_t code, const Bytes& data) {
  Bytes out{code, static_cast<std::uint8_t>(data.size())};
  out.insert(out.end(), data.begin(), data.end());
  return out;
}
Bytes bytes_of(const Ipv4& ip) {
  return {ip.bytes.begin(), ip.bytes.end()};
}
Bytes operator+(Bytes a, const Bytes& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

struct Fields {
  Ipv4 client{};
  std::uint16_t flags = 0;
  Bytes file{}, server_name{};
};

Bytes question(const Bytes& options, const Fields& fields = {}, bool with_end = true) {
  Dhcp4Header header{};
  header.op = header.hardware = 1;
  header.hardware_length = 6;
  header.transaction = Be32(0xdeadbeef);
  header.seconds = Be16(3);
  header.flags = Be16(fields.flags);
  header.client = fields.client;
  header.mac = kMacA;
  header.magic = Be32(dhcp4::kMagic);
  std::copy(fields.file.begin(), fields.file.end(), header.file);
  std::copy(fields.server_name.begin(), fields.server_name.end(), header.server_name);
  const auto* raw = reinterpret_cast<const std::uint8_t*>(&header);
  Bytes out(raw, raw + sizeof header);
  out = out + options;
  if (with_end) out.push_back(255);
  return out;
}
Bytes typed(std::uint8_t type, const Bytes& more = {}, const Fields& fields = {}) {
  return question(option(53, {type}) + more, fields);
}

struct Reply {
  Dhcp4Answer answer;
  Dhcp4Header header;
  std::map<int, Bytes> options;  // concatenated, RFC 3396
  std::vector<int> order;
  Bytes get(int code) const { return options.contains(code) ? options.at(code) : Bytes{}; }
  std::uint8_t type() const { return get(53).empty() ? std::uint8_t{0} : get(53)[0]; }
};

// Asks, and reads the answer with a reader of its own that forgives nothing.
Reply ask(const Bytes& message, const Lease& lease = lease_of_a(), std::size_t room = 1422) {
  Reply reply;
  Bytes out(room, 0xaa);
  reply.answer = answer_dhcp4(message, lease, out);
  if (reply.answer.outcome != DhcpOutcome::kAnswer) return reply;
  EXPECT_LE(reply.answer.bytes, room);
  EXPECT_GE(reply.answer.bytes, 300u);
  std::memcpy(&reply.header, out.data(), sizeof reply.header);
  EXPECT_EQ(reply.header.op, 2);
  EXPECT_EQ(reply.header.transaction, Be32(0xdeadbeef));
  EXPECT_EQ(reply.header.magic, Be32(dhcp4::kMagic));
  EXPECT_EQ(reply.header.mac, lease.mac);
  std::size_t at = sizeof(Dhcp4Header);
  while (at < reply.answer.bytes && out[at] != 255) {
    const std::size_t length = out.at(at + 1);
    EXPECT_LE(at + 2 + length, reply.answer.bytes);
    auto& value = reply.options[out[at]];
    value.insert(value.end(), &out[at + 2], &out[at + 2] + length);
    reply.order.push_back(out[at]);
    at += 2 + length;
  }
  EXPECT_LT(at, reply.answer.bytes) << "no end option";
  for (++at; at < reply.answer.bytes; ++at) EXPECT_EQ(out[at], 0) << "padding";
  return reply;
}

DhcpOutcome outcome_of(const Bytes& message, const Lease& lease = lease_of_a()) {
  return ask(message, lease).answer.outcome;
}

TEST(Dhcp4, OffersTheEndpointsAddressWithEverythingWhenNothingIsAskedFor) {
  const auto reply = ask(typed(kDiscover));
  ASSERT_EQ(reply.type(), kOffer);
  EXPECT_EQ(reply.header.yours, kIpA);
  EXPECT_TRUE(reply.header.client.is_zero() && reply.header.relay.is_zero());
  EXPECT_EQ(reply.get(54), bytes_of(kGateway));
  EXPECT_EQ(reply.get(1), (Bytes{255, 255, 255, 0}));
  EXPECT_EQ(reply.get(3), bytes_of(kGateway));
  EXPECT_EQ(reply.get(6), (Bytes{10, 96, 0, 10, 10, 96, 0, 11}));
  EXPECT_EQ(reply.get(12), (Bytes{'w', 'e', 'b', '-', '1'}));
  EXPECT_EQ(reply.get(26), (Bytes{1450 >> 8, 1450 & 255}));
  EXPECT_EQ(reply.get(51), (Bytes{0, 0, 0xa8, 0xc0}));  // 43200
  EXPECT_EQ(reply.get(58), (Bytes{0, 0, 0x54, 0x60}));
  EXPECT_EQ(reply.get(59), (Bytes{0, 0, 0x93, 0xa8}));
  EXPECT_EQ(reply.get(119), (Bytes{3, 'l', 'a', 'b', 0}));
  EXPECT_FALSE(reply.options.contains(121));
  EXPECT_FALSE(reply.options.contains(61));
}

TEST(Dhcp4, SendsWhatIsAskedForAndWhatIsMandatory) {
  const auto reply = ask(typed(kDiscover, option(55, {6, 200})));
  EXPECT_EQ(reply.order, (std::vector<int>{53, 54, 51, 58, 59, 1, 6}));
}

TEST(Dhcp4, EchoesTheClientIdentifier) {  // RFC 6842
  const Bytes id{255, 1, 2, 3, 4, 5, 6, 7, 8};
  EXPECT_EQ(ask(typed(kDiscover, option(61, id))).get(61), id);
  EXPECT_EQ(ask(typed(kRequest, option(61, id) + option(50, bytes_of(kStranger)))).get(61), id);
  EXPECT_EQ(ask(typed(kDiscover, option(61, Bytes(255, 7)))).get(61), Bytes(255, 7));
}

TEST(Dhcp4, AcknowledgesInEveryStateOfTheClient) {
  const auto selecting = typed(kRequest, option(54, bytes_of(kGateway)) + option(50, bytes_of(kIpA)));
  const auto rebooting = typed(kRequest, option(50, bytes_of(kIpA)));
  const auto renewing = typed(kRequest, {}, {.client = kIpA});
  for (const auto& message : {selecting, rebooting, renewing}) {
    const auto reply = ask(message);
    EXPECT_EQ(reply.type(), kAck);
    EXPECT_EQ(reply.header.yours, kIpA);
    EXPECT_EQ(reply.answer.destination, kIpA);
    EXPECT_FALSE(reply.answer.to_all);
  }
  EXPECT_EQ(ask(renewing).header.client, kIpA);
}

TEST(Dhcp4, RefusesAnyOtherAddress) {
  for (const auto& message :
       {typed(kRequest, option(54, bytes_of(kGateway)) + option(50, bytes_of(kStranger))),
        typed(kRequest, option(50, bytes_of(kStranger))), typed(kRequest, {}, {.client = kStranger}),
        typed(kRequest)}) {
    const auto reply = ask(message);
    EXPECT_EQ(reply.type(), kNak);
    EXPECT_TRUE(reply.header.yours.is_zero() && reply.header.client.is_zero());
    EXPECT_EQ(reply.answer.destination, kAll);
    EXPECT_TRUE(reply.answer.to_all);
    EXPECT_EQ(reply.order, (std::vector<int>{53, 54}));
  }
}

TEST(Dhcp4, InformsWithoutALease) {
  const auto reply = ask(typed(kInform, {}, {.client = kIpA}));
  EXPECT_EQ(reply.type(), kAck);
  EXPECT_TRUE(reply.header.yours.is_zero());
  EXPECT_EQ(reply.header.client, kIpA);
  EXPECT_EQ(reply.answer.destination, kIpA);
  for (const int lease_option : {51, 58, 59}) EXPECT_FALSE(reply.options.contains(lease_option));
  EXPECT_EQ(reply.get(3), bytes_of(kGateway));
  EXPECT_EQ(outcome_of(typed(kInform)), DhcpOutcome::kBad);
}

TEST(Dhcp4, HonoursTheBroadcastFlag) {
  auto reply = ask(typed(kDiscover, {}, {.flags = dhcp4::kBroadcastFlag}));
  EXPECT_EQ(reply.answer.destination, kAll);
  EXPECT_TRUE(reply.answer.to_all);
  EXPECT_EQ(reply.header.flags, Be16(dhcp4::kBroadcastFlag));
  // A client that has its address can be reached there.
  reply = ask(typed(kRequest, {}, {.client = kIpA, .flags = dhcp4::kBroadcastFlag}));
  EXPECT_EQ(reply.answer.destination, kIpA);
}

TEST(Dhcp4, IsSilentWhereNothingIsToBeSaid) {
  for (const auto& message :
       {typed(kRelease, {}, {.client = kIpA}), typed(kDecline, option(50, bytes_of(kIpA))), question({}),
        typed(kRequest, option(54, bytes_of(kStranger)) + option(50, bytes_of(kIpA)))}) {
    EXPECT_EQ(outcome_of(message), DhcpOutcome::kSilence);
  }
  Lease none = lease_of_a();
  none.address4 = {};
  EXPECT_EQ(outcome_of(typed(kDiscover), none), DhcpOutcome::kSilence);
}

TEST(Dhcp4, RoutesToARouterThatIsNotOnLink) {  // RFC 3442
  Lease lease = lease_of_a();
  lease.length4 = 32;
  lease.server4 = lease.router4 = {{169, 254, 1, 1}};
  const auto reply = ask(typed(kDiscover, option(55, {1, 3})), lease);
  EXPECT_EQ(reply.get(1), (Bytes{255, 255, 255, 255}));
  EXPECT_EQ(reply.get(121), (Bytes{32, 169, 254, 1, 1, 0, 0, 0, 0, 0, 169, 254, 1, 1}));
  lease.router4 = {};
  EXPECT_FALSE(ask(typed(kDiscover), lease).options.contains(3));
  EXPECT_FALSE(ask(typed(kDiscover), lease).options.contains(121));
}

TEST(Dhcp4, FitsWhatTheClientTakes) {
  Lease lease = lease_of_a();
  lease.search.assign(600, 0);
  for (std::size_t i = 0; i < 600; i += 60) lease.search[i] = 59;
  // 576 bytes of IP packet unless the client says more; never less.
  for (const Bytes& size : {Bytes{}, option(57, {0, 1}), option(57, {0x02, 0x40})}) {
    const auto reply = ask(typed(kDiscover, size), lease);
    EXPECT_LE(reply.answer.bytes, 548u);
    EXPECT_EQ(reply.type(), kOffer);
    EXPECT_FALSE(reply.options.contains(119));
  }
  const auto reply = ask(typed(kDiscover, option(57, {0x05, 0xdc})), lease);
  EXPECT_EQ(reply.get(119), lease.search) << "cut into pieces of 255";
  for (std::size_t room = 0; room < 600; ++room) {
    const auto small = ask(typed(kDiscover, option(57, {0x05, 0xdc})), lease, room);
    EXPECT_EQ(small.answer.outcome, room < 300 ? DhcpOutcome::kBad : DhcpOutcome::kAnswer);
  }
}

TEST(Dhcp4, ReadsOverloadedFields) {
  const Fields both{.file = option(50, bytes_of(kStranger)) + Bytes{255},
                    .server_name = option(54, bytes_of(kGateway)) + Bytes{255}};
  EXPECT_EQ(ask(question(option(53, {kRequest}) + option(52, {3}), both)).type(), kNak);
  // Not lent: not read.
  EXPECT_EQ(ask(question(option(53, {kRequest}) + option(50, bytes_of(kIpA)), both)).type(), kAck);
  // Overload inside an overloaded field lends nothing more.
  const Fields nested{.file = option(52, {3}) + Bytes{255}, .server_name = option(50, Bytes(9, 1))};
  EXPECT_EQ(ask(question(option(53, {kDiscover}) + option(52, {1}), nested)).type(), kOffer);
  const Fields leaving{.file = Bytes(126, 0) + Bytes{50, 4}};
  EXPECT_EQ(outcome_of(question(option(53, {kDiscover}) + option(52, {1}), leaving)), DhcpOutcome::kBad);
}

TEST(Dhcp4, RefusesWhatNoClientOfOursSends) {
  const auto good = typed(kDiscover);
  const auto with = [&](std::size_t at, std::uint8_t value) {
    auto bad = good;
    bad[at] = value;
    return bad;
  };
  EXPECT_EQ(outcome_of(good), DhcpOutcome::kAnswer);
  EXPECT_EQ(outcome_of(with(0, 2)), DhcpOutcome::kBad) << "from a server";
  EXPECT_EQ(outcome_of(with(1, 6)), DhcpOutcome::kBad) << "hardware type";
  EXPECT_EQ(outcome_of(with(2, 16)), DhcpOutcome::kBad) << "hardware length";
  EXPECT_EQ(outcome_of(with(24, 10)), DhcpOutcome::kBad) << "relayed";
  EXPECT_EQ(outcome_of(with(33, 99)), DhcpOutcome::kBad) << "another's MAC";
  EXPECT_EQ(outcome_of(with(236, 0)), DhcpOutcome::kBad) << "magic";
  for (const std::uint8_t type : Bytes{0, 2, 5, 6, 9, 13, 255}) {
    EXPECT_EQ(outcome_of(typed(type)), type == 0 ? DhcpOutcome::kSilence : DhcpOutcome::kBad) << int{type};
  }
}

TEST(Dhcp4, RefusesOptionsOfWrongLength) {
  for (const Bytes& bad :
       {option(53, {}), option(53, {1, 1}), option(50, {}), option(50, {1, 2, 3}), option(50, Bytes(5, 1)),
        option(54, {1}), option(57, {1}), option(57, {1, 2, 3}), option(61, {}), option(55, {}),
        option(52, {}), option(52, {0}), option(52, {4}), option(52, {1, 1})}) {
    EXPECT_EQ(outcome_of(typed(kDiscover, bad)), DhcpOutcome::kBad) << int{bad[0]} << " " << bad.size();
  }
  EXPECT_EQ(outcome_of(question(option(53, {1}) + Bytes{12, 200, 1}, {}, false)), DhcpOutcome::kBad)
      << "leaves the message";
  EXPECT_EQ(outcome_of(question(option(53, {1}) + Bytes{12}, {}, false)), DhcpOutcome::kBad) << "no length";
  EXPECT_EQ(outcome_of(question(option(53, {1}), {}, false)), DhcpOutcome::kAnswer) << "no end is forgiven";
  EXPECT_EQ(ask(typed(kDiscover, option(53, {kRelease}) + option(50, bytes_of(kStranger)))).type(), kOffer)
      << "the first of two counts";
}

TEST(Dhcp4, ReadsNothingBehindTheMessageAtAnyLength) {
  const auto whole = question(option(53, {kRequest}) + option(50, bytes_of(kIpA)) + option(61, {1, 2, 3, 4}) +
                                  option(55, {1, 3, 6}) + option(52, {3}),
                              {.file = option(12, {1, 2}), .server_name = option(12, {1})});
  for (std::size_t length = 0; length <= whole.size(); ++length) {
    const Bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));  // for the sanitizer
    const auto outcome = outcome_of(cut);
    EXPECT_TRUE(length >= sizeof(Dhcp4Header) || outcome == DhcpOutcome::kBad);
  }
}

TEST(Dhcp4, SurvivesNoise) {
  std::mt19937 random(7);
  const auto base =
      typed(kRequest, option(50, bytes_of(kIpA)) + option(61, Bytes(20, 3)) + option(55, Bytes(30, 6)));
  for (int round = 0; round < 20000; ++round) {
    auto noisy = base;
    for (int change = 0; change < 4; ++change)
      noisy[236 + random() % (noisy.size() - 236)] = static_cast<std::uint8_t>(random());
    ask(noisy);
  }
  EXPECT_EQ(outcome_of(typed(kDiscover, Bytes(65000, 0))), DhcpOutcome::kAnswer) << "64 KiB of padding";
}

}  // namespace
}  // namespace podwire::engine::tests::dhcp4_cases
