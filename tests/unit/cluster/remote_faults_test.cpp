// Other nodes when the engine or the disk refuses something of them: it costs nobody else anything, and is
// tried again.
#include <sqlite3.h>

#include "tests/unit/cluster/remote_nodes_fixture.hpp"

namespace podwire::control {
namespace {

class RemoteFaultsTest : public RemoteNodesTest {
 protected:
  // Beside the store's own connection.
  void sql(const std::string& text) {
    sqlite3* raw = nullptr;
    ASSERT_EQ(sqlite3_open((directory_.path() + "/state/podwire.db").c_str(), &raw), SQLITE_OK);
    sqlite3_busy_timeout(raw, 5000);
    EXPECT_EQ(sqlite3_exec(raw, text.c_str(), nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(raw);
    sqlite3_close(raw);
  }
  void fill_disk(const std::string& table) {
    sql("CREATE TRIGGER full BEFORE INSERT ON " + table + " BEGIN SELECT RAISE(ABORT, 'disk full'); END");
  }
  void empty_disk() { sql("DROP TRIGGER full"); }
};

TEST_F(RemoteFaultsTest, APrefixThatMovesOutlivesAnotherNodesRefusal) {
  const std::pair<int, int> moves[] = {{2, 3}, {3, 2}};  // whoever comes first
  for (const auto& [from, to] : moves) {
    everything({node(from, "10.244.1.0/24"), node(to)});
    engine_.refused_vtep = "node9";
    others_->change({false, {node(from), node(to, "10.244.1.0/24"), node(9, "10.244.9.0/24")}, {}});
    const auto name = "node" + std::to_string(to);
    EXPECT_EQ(routes(), RouteTexts{"10.244.1.0/24 via " + name + " 192.168.100." + std::to_string(to)});
    EXPECT_NE(problem("node9").find("vtep node9 is refused"), std::string::npos);
    EXPECT_EQ(problem(name), "");
    EXPECT_TRUE(differences().empty());
    // Whoever has it now can lose it.
    engine_.refused_vtep.clear();
    everything({});
    EXPECT_TRUE(routes().empty());
    EXPECT_TRUE(differences().empty());
  }
}

TEST_F(RemoteFaultsTest, APrefixThatMovesToARefusedNodeIsNobodysUntilThatIsTaken) {
  const std::pair<int, int> moves[] = {{2, 3}, {3, 2}};
  for (const auto& [from, to] : moves) {
    everything({node(from, "10.244.1.0/24"), node(to)});
    auto changed = node(to, "10.244.1.0/24");
    changed.record.mac = MacAddr::from_u64(0x020000000077);
    const auto name = changed.name;
    engine_.refused_vtep = name;
    others_->change({false, {node(from), changed}, {}});
    EXPECT_TRUE(routes().empty());
    EXPECT_NE(problem(name).find("is refused"), std::string::npos);
    engine_.refused_vtep.clear();
    try_again();
    EXPECT_EQ(routes(), RouteTexts{"10.244.1.0/24 via " + name + " 192.168.100." + std::to_string(to)});
    EXPECT_EQ(problem(name), "");
    everything({});
    EXPECT_TRUE(routes().empty());
    EXPECT_TRUE(differences().empty());
  }
}

TEST_F(RemoteFaultsTest, WhatTheEngineRefusesIsTriedAgainByItself) {
  engine_.refused_vtep = "node3";
  everything({node(2, "10.244.1.0/24"), node(3, "10.244.2.0/24")});
  // A change of somebody else's is not held up by it.
  const int before = engine_.patches;
  put(node(4, "10.244.3.0/24"));
  EXPECT_EQ(engine_.patches, before + 1);
  try_again();
  EXPECT_NE(problem("node3"), "");
  engine_.refused_vtep.clear();
  try_again();
  EXPECT_EQ(problem("node3"), "");
  EXPECT_EQ(routes().size(), 3u);
  const int settled = engine_.patches;
  try_again();
  EXPECT_EQ(engine_.patches, settled) << "nothing is left to try";
}

TEST_F(RemoteFaultsTest, OneOfTooManyForAPatchIsToldAsOfFew) {
  std::vector<ClusterNode> all;
  for (int i = 4; i < 1004; ++i) {
    auto one = node(2, "10.244." + std::to_string(i / 4) + "." + std::to_string(i % 4 * 64) + "/26");
    one.name = "node" + std::to_string(i);
    const auto host = std::to_string(101 + i / 250) + "." + std::to_string(1 + i % 250);
    one.record.addresses = {*parse_ip("192.168." + host)};
    all.push_back(std::move(one));
  }
  engine_.refused_vtep = "node7";
  const int replaces = engine_.replaces;
  everything(all);
  EXPECT_EQ(engine_.replaces, replaces + 1) << "once as a whole, and then each for itself";
  EXPECT_NE(problem("node7").find("vtep node7 is refused"), std::string::npos) << problem("node7");
  EXPECT_EQ(others_->problems().size(), 1u);
  EXPECT_EQ(routes().size(), all.size() - 1);
  EXPECT_TRUE(differences().empty());
  engine_.refused_vtep.clear();
  try_again();
  EXPECT_EQ(routes().size(), all.size());
  EXPECT_TRUE(others_->problems().empty());
}

TEST_F(RemoteFaultsTest, ThousandsThatAreRefusedTakeTurns) {
  // All of them are left out for the same reason, so a round takes some, and the next goes on.
  fill_disk("ids");
  std::vector<ClusterNode> all;
  for (int i = 2; i < 202; ++i) all.push_back(node(i % 250, "10.244." + std::to_string(i) + ".0/24"));
  std::erase_if(all, [](const ClusterNode& one) { return one.name == "node99"; });
  everything(all);
  EXPECT_TRUE(routes().empty());
  EXPECT_EQ(others_->problems().size(), all.size());
  empty_disk();
  std::size_t rounds = 0;
  while (!others_->problems().empty() && rounds < 10) {
    try_again();
    ++rounds;
  }
  EXPECT_EQ(rounds, 4u);
  EXPECT_EQ(routes().size(), all.size());
}

TEST_F(RemoteFaultsTest, WhatTheDiskRefusesIsTriedAgain) {
  everything({node(2, "10.244.1.0/24")});
  fill_disk("ids");
  put(node(3, "10.244.2.0/24"));
  EXPECT_NE(problem("node3").find("disk full"), std::string::npos) << problem("node3");
  EXPECT_EQ(routes(), RouteTexts{"10.244.1.0/24 via node2 192.168.100.2"});
  // Who needs no new id is served meanwhile.
  gone("node2");
  EXPECT_TRUE(routes().empty());
  empty_disk();
  try_again();
  EXPECT_EQ(problem("node3"), "");
  EXPECT_EQ(routes(), RouteTexts{"10.244.2.0/24 via node3 192.168.100.3"});
}

TEST_F(RemoteFaultsTest, WhatCouldNotBeKeptIsKeptLater) {
  everything({node(2, "10.244.1.0/24")});
  fill_disk("manifest");
  put(node(3, "10.244.2.0/24"));
  EXPECT_EQ(routes().size(), 2u) << "the engine comes first";
  empty_disk();
  try_again();
  const auto before = routes();
  restart();
  EXPECT_EQ(routes(), before);
}

TEST_F(RemoteFaultsTest, AnAddressStaysWithWhoHasIt) {
  auto early = node(2, "10.244.9.0/24");
  early.name = "a-rival";
  everything({node(2, "10.244.1.0/24")});
  put(early);
  EXPECT_NE(problem("a-rival").find("as node \"node2\" does"), std::string::npos);
  // Though the rival's name comes first, a change of the holder's does not hand it over.
  auto changed = node(2, "10.244.1.0/24");
  changed.record.mac = MacAddr::from_u64(0x020000000077);
  put(changed);
  EXPECT_EQ(routes(), RouteTexts{"10.244.1.0/24 via node2 192.168.100.2"});
  // One that goes where it cannot be leaves its address to the other.
  changed.record.udp_port = 8472;
  put(changed);
  EXPECT_EQ(routes(), RouteTexts{"10.244.9.0/24 via a-rival 192.168.100.2"});
  EXPECT_EQ(others_->node_with(*parse_ip("192.168.100.2")), "a-rival");
  gone("a-rival");
  EXPECT_EQ(others_->node_with(*parse_ip("192.168.100.2")), "node2");
  gone("node2");
  EXPECT_EQ(others_->node_with(*parse_ip("192.168.100.2")), "");
}

TEST_F(RemoteFaultsTest, ANodeThatComesBackAtOnceIsThere) {
  everything({node(2, "10.244.1.0/24")});
  others_->change({false, {node(2, "10.244.1.0/24")}, {"node2"}});
  EXPECT_EQ(routes(), RouteTexts{"10.244.1.0/24 via node2 192.168.100.2"});
  gone("node2");
  put(node(2, "10.244.1.0/24"));
  EXPECT_EQ(routes(), RouteTexts{"10.244.1.0/24 via node2 192.168.100.2"});
}

}  // namespace
}  // namespace podwire::control
