#include "control/cli/complete.hpp"

#include <gtest/gtest.h>

#include "tests/unit/cli/fake_daemon.hpp"
#include "tests/unit/cli/replies.hpp"

namespace podwire::control::cli {
namespace {

using Words = std::vector<std::string>;

Words completed(const Words& words, const std::string& socket = "/nonexistent/control.sock") {
  return complete(words, socket);
}

TEST(Complete, VerbsByPrefix) {
  EXPECT_EQ(completed({"por"}), Words{"port"});
  EXPECT_EQ(completed({""}).size(), 17u);
  EXPECT_EQ(completed({"help", "st"}), (Words{"status", "stats"}));
  EXPECT_EQ(completed({"--json", "dom"}), Words{"domain"});
  EXPECT_EQ(completed({"nonsense", ""}), Words{});
}

TEST(Complete, SubVerbsAndOptions) {
  EXPECT_EQ(completed({"port", ""}), (Words{"list", "show", "add", "del"}));
  EXPECT_EQ(completed({"stats", "--w"}), Words{"--watch"});
  EXPECT_EQ(completed({"--so"}), Words{"--socket"});
  EXPECT_EQ(completed({"explain", "--proto", ""}), (Words{"icmp", "tcp", "udp"}));
}

TEST(Complete, OptionsOfTheSubVerb) {
  EXPECT_EQ(completed({"port", "add", "vm1", "--ki"}), Words{"--kind"});
  EXPECT_EQ(completed({"port", "list", "--ki"}), Words{});
  EXPECT_EQ(completed({"port", "add", "vm1", "--socket"}), (Words{"--socket", "--socket-mode"}));
  EXPECT_EQ(completed({"port", "add", "vm1", "--kind", ""}), (Words{"vhost", "memif"}));
  EXPECT_EQ(completed({"port", "add", "vm1", "--socket-mode", "c"}), Words{"client"});
}

TEST(Complete, LiveNamesFromTheSocketThatWasTyped) {
  FakeDaemon daemon([](const RpcRequest& request) -> Result<Json> {
    return request.method == "ports" ? ports_reply() : endpoints_reply();
  });
  EXPECT_EQ(completed({"port", "show", ""}, daemon.socket()), (Words{"uplink", "web-0"}));
  EXPECT_EQ(completed({"--socket", daemon.socket(), "port", "show", "u"}), Words{"uplink"});
  EXPECT_EQ(completed({"--socket=" + daemon.socket(), "explain", "--from", "d"}), Words{"db-0"});
  EXPECT_EQ(completed({"explain", "--from", "u"}, daemon.socket()), Words{"uplink"});
  EXPECT_EQ(completed({"port", "show", "uplink", ""}, daemon.socket()), Words{});
  EXPECT_EQ(completed({"port", "del", "w"}, daemon.socket()), Words{"web-0"});
  EXPECT_EQ(completed({"port", "add", ""}, daemon.socket()), Words{}) << "a new name";
  EXPECT_EQ(completed({"endpoint", "add", "x", "--port", "u"}, daemon.socket()), Words{"uplink"});
  FakeDaemon with_domains([](const RpcRequest&) -> Result<Json> { return domains_reply(); });
  EXPECT_EQ(completed({"domain", "join", "b"}, with_domains.socket()), Words{"blue"});
  EXPECT_EQ(completed({"domain", "join", "blue", "d"}, with_domains.socket()), Words{"default"});
  EXPECT_EQ(completed({"domain", "isolate", "blue", ""}, with_domains.socket()), Words{});
}

TEST(Complete, NamesThatAShellWouldExpandAreLeftOut) {
  FakeDaemon daemon([](const RpcRequest&) -> Result<Json> {
    return parsed(
        R"json({"ports":[{"name":"$(true)"},{"name":"a b"},{"name":"a\nb"},{"name":"*"},{"name":"ok"}]})json");
  });
  EXPECT_EQ(completed({"port", "show", ""}, daemon.socket()), Words{"ok"});
}

TEST(Complete, SilentWithoutADaemon) {
  EXPECT_EQ(completed({"port", "show", ""}), Words{});
}

}  // namespace
}  // namespace podwire::control::cli
