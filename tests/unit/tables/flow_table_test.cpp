// The connection table by itself: both directions, independent keys, replacement, refusal, ageing, reuse.
#include "dataplane/tables/flow_table.hpp"

#include <gtest/gtest.h>

namespace podwire::engine {
namespace {

using Outcome = FlowTable::Insertion::Outcome;
constexpr FlowPhase kUdp{FlowState::kUdpNew}, kHeld{FlowState::kEstablished};

const DomainId kDomain{7};

FlowKey key4(std::uint32_t n, std::uint16_t domain = 7) {
  return make_flow_key(DomainId(domain), ip_proto::kUdp, IpAddr(Ipv4::from_u32(0x0a000000 + n)),
                       IpAddr(Ipv4::from_u32(0x0b000001)), 1000, 53);
}
FlowKey key6(std::uint8_t n) {
  Ipv6 a{{0xfd, 1}}, b{{0xfd, 2}};
  a.bytes[15] = n;
  return make_flow_key(kDomain, ip_proto::kTcp, IpAddr(a), IpAddr(b), 40000, 443);
}

FlowRef add(FlowTable& table, const FlowKey& key, FlowPhase phase = kUdp, std::uint32_t now = 100) {
  const auto result = table.insert(key, key.reversed(), phase, 1, now);
  EXPECT_EQ(result.outcome, Outcome::kNew);
  return result.ref;
}

TEST(FlowKeyTest, ReadsBackAndReverses) {
  const auto key = make_flow_key(kDomain, ip_proto::kTcp, IpAddr(Ipv4{{10, 1, 2, 3}}),
                                 IpAddr(Ipv4{{10, 4, 5, 6}}), 1, 65535);
  EXPECT_EQ(key.domain(), kDomain);
  EXPECT_EQ(key.protocol(), ip_proto::kTcp);
  EXPECT_EQ(to_string(key.source()), "10.1.2.3");
  EXPECT_EQ(to_string(key.destination()), "10.4.5.6");
  EXPECT_EQ(key.source_port(), 1);
  EXPECT_EQ(key.destination_port(), 65535);
  const auto back = key.reversed();
  EXPECT_EQ(to_string(back.source()), "10.4.5.6");
  EXPECT_EQ(back.source_port(), 65535);
  EXPECT_EQ(back.domain(), kDomain);
  EXPECT_EQ(back.reversed(), key);
  const auto six = key6(9);
  EXPECT_EQ(to_string(six.source()), "fd01::9");
  EXPECT_EQ(to_string(six.reversed().source()), "fd02::");
  EXPECT_EQ(six.reversed().reversed(), six);
}

TEST(FlowTableTest, FindsBothDirectionsOfBothFamilies) {
  FlowTable table(64, 1);
  for (const auto& key : {key4(1), key6(1)}) {
    EXPECT_FALSE(table.find(key));
    add(table, key);
    const auto there = table.find(key), back = table.find(key.reversed());
    ASSERT_TRUE(there && back);
    EXPECT_EQ(there.direction(), Direction::kOriginal);
    EXPECT_EQ(back.direction(), Direction::kReply);
    FlowView view;
    ASSERT_TRUE(table.read(back, view));
    EXPECT_EQ(view.phase, kUdp);
    EXPECT_EQ(view.rules_generation, 1u);
    EXPECT_EQ(view.decision.adjacency, 0u);
    FlowKey original;
    ASSERT_TRUE(table.read_key(back, Direction::kOriginal, original));
    EXPECT_EQ(original, key);
  }
}

TEST(FlowTableTest, KeepsDomainsAndFieldsApart) {
  FlowTable table(64, 1);
  add(table, key4(1));
  EXPECT_FALSE(table.find(key4(1, 8)));
  EXPECT_FALSE(table.find(key4(2)));
  auto other_ports = key4(1);
  other_ports.set_ports(0);
  EXPECT_FALSE(table.find(other_ports));
}

TEST(FlowTableTest, TakesAReplyKeyThatIsNotTheRequestTurnedRound) {
  FlowTable table(64, 1);
  const auto request = key4(1, 7), reply = key4(900, 9);
  EXPECT_EQ(table.insert(request, reply, kHeld, 1, 1).outcome, Outcome::kNew);
  EXPECT_EQ(table.find(reply).direction(), Direction::kReply);
  EXPECT_FALSE(table.find(request.reversed()));
  EXPECT_EQ(table.insert(key4(2), reply, kHeld, 1, 1).outcome, Outcome::kTaken);  // another's
  EXPECT_TRUE(table.remove(table.find(reply)));
  EXPECT_FALSE(table.find(request));
  EXPECT_FALSE(table.find(reply));
}

TEST(FlowTableTest, TakesAConnectionWithItself) {
  FlowTable table(64, 1);
  const IpAddr self(Ipv4{{10, 0, 0, 1}});
  const auto key = make_flow_key(kDomain, ip_proto::kUdp, self, self, 5, 5);
  const auto ref = add(table, key);
  EXPECT_EQ(table.insert(key, key, kUdp, 1, 1).outcome, Outcome::kThere);
  EXPECT_TRUE(table.remove(ref));
  EXPECT_FALSE(table.find(key));
}

TEST(FlowTableTest, SaysWhatIsThereAlready) {
  FlowTable table(64, 1);
  const auto ref = add(table, key4(1));
  const auto again = table.insert(key4(1), key4(1).reversed(), kUdp, 2, 101);
  EXPECT_EQ(again.outcome, Outcome::kThere);
  EXPECT_EQ(again.ref.line, ref.line);
  // From the other side at the same time: the same connection.
  const auto crossed = table.insert(key4(1).reversed(), key4(1), kUdp, 2, 101);
  EXPECT_EQ(crossed.outcome, Outcome::kThere);
  EXPECT_EQ(crossed.ref.direction(), Direction::kReply);
}

TEST(FlowTableTest, ChangesStateForBothDirectionsAndDecisionsForOne) {
  FlowTable table(64, 1);
  const auto ref = add(table, key4(1));
  const auto back = table.find(key4(1).reversed());
  const auto step = table.update(back, [](FlowPhase phase) {
    return FlowStep{FlowStep::Outcome::kPass, answer_step(phase, Direction::kReply)};
  });
  EXPECT_EQ(step.phase.state, FlowState::kUdpReplied);
  table.set_decision(back, {42, 7, true});
  table.set_rules_generation(ref, 9);
  FlowView view;
  ASSERT_TRUE(table.read(ref, view));
  EXPECT_EQ(view.phase.state, FlowState::kUdpReplied);
  EXPECT_EQ(view.decision.adjacency, 0u);
  EXPECT_EQ(view.rules_generation, 9u);
  ASSERT_TRUE(table.read(back, view));
  EXPECT_EQ(view.decision.adjacency, 42u);
  EXPECT_EQ(view.decision.generation, 7u);
  EXPECT_TRUE(view.decision.routed);
  EXPECT_EQ(view.rules_generation, 9u);
}

TEST(FlowTableTest, AReferenceEndsWithItsConnection) {
  FlowTable table(1, 1);
  const auto old = add(table, key4(1));
  EXPECT_TRUE(table.remove(old));
  EXPECT_FALSE(table.remove(old));
  add(table, key4(2));  // in the same entry
  FlowView view;
  EXPECT_FALSE(table.read(old, view));
  table.set_decision(old, {5, 5, false});
  EXPECT_EQ(table.update(old, [](FlowPhase) { return FlowStep{}; }).outcome, FlowStep::Outcome::kBegin);
  ASSERT_TRUE(table.read(table.find(key4(2)), view));
  EXPECT_EQ(view.decision.adjacency, 0u);
}

TEST(FlowTableTest, FindsABurstInOrder) {
  FlowTable table(1024, 3);
  std::vector<FlowKey> keys;
  for (std::uint32_t i = 0; i < 64; ++i) {
    keys.push_back(i % 5 == 0 ? key6(static_cast<std::uint8_t>(i)) : key4(i));
    if (i % 3 != 0) add(table, keys.back());
  }
  std::vector<FlowRef> found(64);
  table.find_burst(keys, found);
  for (std::uint32_t i = 0; i < 64; ++i) {
    EXPECT_EQ(static_cast<bool>(found[i]), i % 3 != 0) << i;
    EXPECT_EQ(found[i].line, table.find(keys[i]).line) << i;
  }
}

TEST(FlowTableTest, FindsAnIpv4KeyInSteps) {
  FlowTable table(64, 3);  // so small that candidates are often another key's
  std::size_t others = 0;
  for (std::uint32_t i = 0; i < 64; ++i) add(table, key4(i));
  for (std::uint32_t i = 0; i < 128; ++i) {
    const auto key = key4(i);
    const auto hash = table.hash_v4(key.words[0], key.words[1]);
    ASSERT_EQ(hash, table.hash(key));
    const auto candidate = table.candidate(hash, table.pairs());
    FlowView view;
    const auto ref = table.find_candidate(candidate, hash, key.words[0], key.words[1], view);
    ASSERT_EQ(ref.line, table.find(key).line) << i;
    if (ref) {
      EXPECT_EQ(view.phase.state, FlowState::kUdpNew);
    }
    others += candidate != ref.line;
    // A candidate that was another key's all along.
    const auto wrong = table.find_candidate(i % 2 == 0 ? 2 : 0, hash, key.words[0], key.words[1], view);
    ASSERT_EQ(wrong.line, ref.line) << i;
  }
  EXPECT_LT(others, 20u);
}

TEST(FlowTableTest, ForgetsWhatIsIdleInSlices) {
  FlowTable table(1000, 7);
  for (std::uint32_t i = 0; i < 300; ++i) add(table, key4(i), i % 2 == 0 ? kUdp : kHeld, 100);
  const auto none = [](const FlowKey&, PortId) { return false; };
  EXPECT_EQ(table.age(129, 1000, none), 0u);
  EXPECT_EQ(table.by_state()[static_cast<std::size_t>(FlowState::kUdpNew)], 150u);
  EXPECT_EQ(table.by_state()[static_cast<std::size_t>(FlowState::kEstablished)], 150u);
  table.touch(table.find(key4(0)), 120);
  EXPECT_EQ(table.age(130, 100, none), 49u);  // a third of them was looked at; one had been seen
  EXPECT_EQ(table.age(130, 1000, none), 100u);
  EXPECT_TRUE(table.find(key4(0)));
  EXPECT_FALSE(table.find(key4(2)));
  EXPECT_TRUE(table.find(key4(1)));
  EXPECT_EQ(table.age(100 + timeout_of(FlowState::kEstablished), 1000, none), 151u);
}

TEST(FlowTableTest, WhatIsCutStaysWithoutAWay) {
  FlowTable table(100, 7);
  const auto ref = add(table, key4(1), kHeld);
  table.set_decision(ref, {5, 6, true});
  EXPECT_TRUE(table.cut(ref));
  table.set_decision(table.find(key4(1).reversed()), {5, 6, true});
  for (const auto& key : {key4(1), key4(1).reversed()}) {
    FlowView view;
    ASSERT_TRUE(table.read(table.find(key), view));
    EXPECT_EQ(view.phase.state, FlowState::kCut);
    EXPECT_EQ(view.decision.adjacency, 0u);
  }
  EXPECT_TRUE(table.remove(ref));
  EXPECT_FALSE(table.cut(ref));
}

TEST(FlowTableTest, WhatIsCutIsNoPartOfALimit) {
  FlowTable table(100, 7);
  const FlowOwner owner{PortId(3), 2};
  const auto begin = [&](std::uint32_t n) {
    return table.insert(key4(n), key4(n).reversed(), kHeld, 1, 100, owner).outcome;
  };
  EXPECT_EQ(begin(1), Outcome::kNew);
  EXPECT_EQ(begin(2), Outcome::kNew);
  EXPECT_EQ(begin(3), Outcome::kLimit);
  const auto first = table.find(key4(1)), second = table.find(key4(2));
  EXPECT_TRUE(table.cut(first));
  EXPECT_TRUE(table.cut(first));
  EXPECT_TRUE(table.cut(second));
  EXPECT_EQ(table.begun_by(PortId(3)), 0u);
  EXPECT_EQ(table.owner_of(first), PortId(3));
  EXPECT_TRUE(table.restore(first));
  EXPECT_FALSE(table.restore(first));
  EXPECT_EQ(table.begun_by(PortId(3)), 1u);
  EXPECT_TRUE(table.remove(first));
  EXPECT_TRUE(table.remove(second));
  EXPECT_EQ(table.begun_by(PortId(3)), 0u);
}

TEST(FlowTableTest, ReviewsInSlicesAndDoesWhatItIsTold) {
  using Judgement = FlowTable::Judgement;
  FlowTable table(1000, 7);
  for (std::uint32_t i = 0; i < 300; ++i) add(table, key4(i), kHeld);
  const auto other = table.insert(key6(1), key6(1).reversed(), kHeld, 1, 100, {PortId(9)});
  EXPECT_EQ(other.outcome, Outcome::kNew);
  std::size_t asked = 0, owned = 0;
  const auto judge = [&](const FlowKey& original, const FlowKey& reply, FlowState state, PortId owner) {
    ++asked;
    EXPECT_EQ(reply, original.reversed());
    EXPECT_EQ(state, FlowState::kEstablished);
    owned += owner == PortId(9) ? 1 : 0;
    if (original == key4(7)) return Judgement::kCut;
    return Judgement::kKeep;
  };
  auto found = table.review(1, 100, judge);
  EXPECT_EQ(found.next, 101u);
  EXPECT_EQ(found.cut, 1u);
  EXPECT_EQ(found.restored, 0u);
  EXPECT_EQ(asked, 100u);
  found = table.review(found.next, 1000, judge);
  EXPECT_EQ(found.next, 0u);
  EXPECT_EQ(asked, 301u);
  EXPECT_EQ(owned, 1u);
  found = table.review(1, 1000, [](const FlowKey&, const FlowKey&, FlowState state, PortId) {
    return state == FlowState::kCut ? Judgement::kRestore : Judgement::kKeep;
  });
  EXPECT_EQ(found.restored, 1u);
  FlowView view;
  ASSERT_TRUE(table.read(table.find(key4(7)), view));
  EXPECT_EQ(view.phase.state, FlowState::kUdpReplied);
}

TEST(FlowTableTest, ReviewsConnectionsOfOneDirectionAndOfIndependentKeys) {
  FlowTable table(100, 7);
  auto same = key4(1);
  same.words[1] = 0;  // both ends are one
  same.set_ports(0);
  add(table, same);
  EXPECT_EQ(table.insert(key4(2), key4(3, 9), kUdp, 1, 100).outcome, Outcome::kNew);
  table.review(1, 100, [&](const FlowKey& original, const FlowKey& reply, FlowState, PortId) {
    if (original == same) {
      EXPECT_EQ(reply, same);
    } else {
      EXPECT_EQ(reply, key4(3, 9));
    }
    return FlowTable::Judgement::kKeep;
  });
}

TEST(FlowTableTest, ForgetsWhatIsUnwanted) {
  FlowTable table(100, 7);
  add(table, key4(1, 7));
  add(table, key4(1, 8));
  EXPECT_EQ(table.age(100, 1000, [](const FlowKey& key, PortId) { return key.domain() == DomainId(8); }), 1u);
  EXPECT_TRUE(table.find(key4(1, 7)));
  EXPECT_FALSE(table.find(key4(1, 8)));
}

TEST(FlowTableTest, ListsFromAnIndexOn) {
  FlowTable table(100, 7);
  for (std::uint32_t i = 0; i < 5; ++i) add(table, key4(i));
  table.remove(table.find(key4(1)));
  std::vector<std::string> seen;
  table.for_each(1, [&](std::uint32_t index, const FlowView& original, const FlowView& reply) {
    EXPECT_GT(index, 1u);
    EXPECT_EQ(original.key.reversed(), reply.key);
    seen.push_back(to_string(original.key.source()));
    return seen.size() < 2;
  });
  EXPECT_EQ(seen, (std::vector<std::string>{"10.0.0.2", "10.0.0.3"}));
}

TEST(FlowTableTest, TheOtherKeyIsReadFromEitherEnd) {
  FlowTable table(4, 1);
  for (const auto& [key, other] : {std::pair{key4(1), key4(9, 1)}, std::pair{key6(1), key6(9)}}) {
    const auto made = table.insert(key, other, kUdp, 1, 100);
    ASSERT_EQ(made.outcome, Outcome::kNew);
    FlowKey read;
    ASSERT_TRUE(table.read_other_key(table.find(key), read));
    EXPECT_EQ(read, other);
    ASSERT_TRUE(table.read_other_key(table.find(other), read));
    EXPECT_EQ(read, key);
    EXPECT_TRUE(table.remove(made.ref));
    EXPECT_FALSE(table.read_other_key(made.ref, read)) << "the connection has gone";
  }
}

}  // namespace
}  // namespace podwire::engine
