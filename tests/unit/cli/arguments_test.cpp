#include "control/cli/arguments.hpp"

#include <gtest/gtest.h>

#include "control/cli/help.hpp"
#include "tests/support/text.hpp"

namespace podwire::control::cli {
namespace {

using test::contains;

Command accepted(const std::vector<std::string>& args, const std::string& variable = "") {
  auto command = parse_arguments(args, variable);
  EXPECT_TRUE(command) << (command ? "" : command.error().message);
  return command ? *command : Command{};
}

std::string refused(const std::vector<std::string>& args) {
  const auto command = parse_arguments(args, "");
  EXPECT_FALSE(command);
  if (command) return "";
  EXPECT_EQ(command.error().code, ErrorCode::kInvalid);
  return command.error().message;
}

TEST(Arguments, SocketComesFromOptionThenVariableThenDefault) {
  EXPECT_EQ(accepted({"status"}).socket, kDefaultSocket);
  EXPECT_EQ(accepted({"status"}, "/a").socket, "/a");
  EXPECT_EQ(accepted({"--socket", "/b", "status"}, "/a").socket, "/b");
  EXPECT_EQ(accepted({"status", "--socket=/c"}, "/a").socket, "/c");
  EXPECT_TRUE(contains(refused({"status", "--socket", ""}), "--socket"));
}

TEST(Arguments, VerbAloneMeansItsFirstSubVerb) {
  EXPECT_EQ(accepted({"port"}).sub->name, "list");
  EXPECT_EQ(accepted({"stats"}).sub->name, "all");
  EXPECT_EQ(accepted({"status"}).sub, nullptr);
}

TEST(Arguments, ShowTakesItsArgument) {
  const auto command = accepted({"--json", "route", "show", "10.0.0.0/8", "--domain", "blue"});
  EXPECT_EQ(command.verb->name, "route");
  EXPECT_EQ(command.sub->name, "show");
  EXPECT_EQ(command.argument, "10.0.0.0/8");
  EXPECT_EQ(command.domain, "blue");
  EXPECT_TRUE(command.json);
  EXPECT_EQ(accepted({"port", "show", "--", "--odd"}).argument, "--odd");
}

TEST(Arguments, ShowWithoutNameSaysWhatToType) {
  EXPECT_EQ(refused({"port", "show"}), "port show needs a NAME; type: podwirectl port show NAME");
  EXPECT_TRUE(contains(refused({"port", "show", ""}), "needs a NAME"));
  EXPECT_EQ(refused({"domain", "join", "a"}),
            "domain join needs a second NAME; type: podwirectl domain join NAME NAME [NAME...]");
  EXPECT_TRUE(contains(refused({"domain", "isolate", "a", "b"}), "\"b\" is one word too many"));
}

TEST(Arguments, AddCollectsItsParameters) {
  const auto command = accepted({"--socket",
                                 "/c",
                                 "port",
                                 "add",
                                 "vm1",
                                 "--kind",
                                 "memif",
                                 "--socket",
                                 "/p",
                                 "--socket-mode",
                                 "client",
                                 "--mac",
                                 "02:00:00:00:00:01",
                                 "--mtu",
                                 "1400",
                                 "--queues",
                                 "2",
                                 "--address",
                                 "10.0.0.1",
                                 "--address=fd00::1",
                                 "--hostname",
                                 "vm",
                                 "--no-dhcp",
                                 "--allowed-pair",
                                 "10.9.0.0/24,02:00:00:00:00:02",
                                 "--allowed-pair",
                                 "10.8.0.1",
                                 "--domain",
                                 "blue",
                                 "--ring-size",
                                 "512",
                                 "--from-pod-rate",
                                 "2500k",
                                 "--to-pod-rate",
                                 "1G",
                                 "--json"});
  EXPECT_EQ(command.socket, "/c");
  EXPECT_EQ(command.sub->method, "port_add");
  EXPECT_TRUE(command.json);
  EXPECT_EQ(command.question,
            Json::parse(R"({"name":"vm1","kind":"memif","socket":"/p","socket_mode":"client",
      "domain":"blue","mac":"02:00:00:00:00:01","mtu":1400,"queues":2,"addresses":["10.0.0.1","fd00::1"],
      "hostname":"vm","dhcp":false,"allowed_pairs":[{"address":"10.9.0.0/24","mac":"02:00:00:00:00:02"},
      {"address":"10.8.0.1/32"}],"ring_size":512,"from_pod":{"rate_bps":2500000},
      "to_pod":{"rate_bps":1000000000}})"));
  EXPECT_EQ(accepted({"port", "add", "vm1", "--kind", "vhost", "--socket", "/p"}, "/v").socket, "/v");
  EXPECT_EQ(accepted({"port", "del", "vm1", "--socket", "/c"}).socket, "/c") << "podwired's";
  EXPECT_EQ(accepted({"endpoint", "del", "vip"}).question, (Json{{"name", "vip"}}));
  EXPECT_EQ(accepted({"endpoint", "add", "vip", "--port", "vm1"}).question,
            (Json{{"name", "vip"}, {"port", "vm1"}}));
}

TEST(Arguments, DomainsAreAddedAndAssigned) {
  const auto command = accepted({"domain",
                                 "add",
                                 "red",
                                 "--vni",
                                 "11",
                                 "--prefix",
                                 "10.1.1.0/24",
                                 "--prefix=fd00:1:1::/64",
                                 "--peer",
                                 "node2=10.1.2.0/24",
                                 "--peer",
                                 "node2=fd00:1:2::/64",
                                 "--peer",
                                 "node3",
                                 "--mode",
                                 "l2",
                                 "--stateful",
                                 "--masquerade",
                                 "--policy-default",
                                 "deny",
                                 "--mtu",
                                 "1400"});
  EXPECT_EQ(command.sub->method, "domain_add");
  EXPECT_EQ(
      command.question,
      Json::parse(
          R"({"name": "red", "mtu": 1400, "vni": 11, "mode": "l2", "prefixes": ["10.1.1.0/24", "fd00:1:1::/64"],
      "peers": {"node2": ["10.1.2.0/24", "fd00:1:2::/64"], "node3": []}, "stateful": true,
      "masquerade": true, "policy_default": "deny"})"));
  EXPECT_EQ(accepted({"domain", "del", "red"}).question, (Json{{"name", "red"}}));
  EXPECT_EQ(accepted({"domain", "assign", "shop", "red"}).question,
            (Json{{"name", "shop"}, {"domain", "red"}}));
  EXPECT_TRUE(contains(refused({"domain", "add", "red", "--prefix", "10.1.1.0/24"}), "needs --vni"));
  EXPECT_TRUE(contains(refused({"domain", "add", "red", "--vni", "11"}), "needs --prefix"));
  EXPECT_TRUE(
      contains(refused({"domain", "add", "red", "--vni", "11", "--prefix", "10.1.1.0"}), "must be a prefix"));
  EXPECT_TRUE(
      contains(refused({"domain", "add", "red", "--vni", "11", "--prefix", "10.1.1.0/24", "--peer", "b=x"}),
               "must be NAME or NAME=PREFIX"));
  EXPECT_EQ(refused({"domain", "assign", "shop"}),
            "domain assign needs a DOMAIN; type: podwirectl domain assign NAMESPACE DOMAIN");
  EXPECT_TRUE(
      contains(refused({"domain", "assign", "shop", "red", "blue"}), "\"blue\" is one word too many"));
}

TEST(Arguments, AddSaysWhatIsMissingOrWrong) {
  EXPECT_TRUE(contains(refused({"port", "add", "vm1", "--socket", "/p"}), "needs --kind"));
  EXPECT_TRUE(contains(refused({"port", "add", "vm1", "--kind", "vhost"}), "needs --socket"));
  EXPECT_TRUE(contains(refused({"endpoint", "add", "vip"}), "needs --port"));
  for (const char* rate : {"fast", "1T", "-1", "1.5G", "2000000G", "100m"}) {
    EXPECT_TRUE(
        contains(refused({"port", "add", "vm1", "--kind", "vhost", "--socket", "/p", "--to-pod-rate", rate}),
                 std::string("--to-pod-rate ") + rate + ": must be bits a second, such as 100M"))
        << rate;
  }
  EXPECT_TRUE(contains(refused({"port", "add"}), "port add needs a NAME"));
  EXPECT_TRUE(contains(refused({"port", "list", "--kind", "vhost"}), "belongs to: podwirectl port add"));
  EXPECT_TRUE(contains(refused({"endpoint", "del", "vip", "--mac", "x"}), "podwirectl endpoint add"));
  const auto with = [](std::vector<std::string> more) {
    more.insert(more.begin(), {"port", "add", "vm1", "--kind", "vhost", "--socket", "/p"});
    return refused(more);
  };
  EXPECT_TRUE(contains(with({"--queues", "two"}), "--queues two: must be a whole number"));
  EXPECT_TRUE(contains(with({"--address", "10.0.0.1/24"}), "--address 10.0.0.1/24"));
  EXPECT_TRUE(contains(with({"--allowed-pair", "10.0.0.1,x"}), "PREFIX,MAC"));
  EXPECT_TRUE(contains(with({"--dhcp", "--no-dhcp"}), "exclude each other"));
  EXPECT_TRUE(contains(with({"--mca", "x"}), "did you mean"));
}

TEST(Arguments, SurplusWordsAreRefused) {
  EXPECT_TRUE(contains(refused({"status", "x"}), "takes no \"x\""));
  EXPECT_TRUE(contains(refused({"port", "list", "x"}), "\"x\" is one word too many"));
}

TEST(Arguments, MisspeltWordsGetASuggestion) {
  EXPECT_TRUE(contains(refused({"prot"}), "did you mean \"port\"?"));
  EXPECT_TRUE(contains(refused({"endpoints"}), "did you mean \"endpoint\"?"));
  EXPECT_TRUE(contains(refused({"stats", "drps"}), "did you mean \"drops\"?"));
  EXPECT_TRUE(contains(refused({"status", "--jsno"}), "did you mean \"--json\"?"));
  EXPECT_TRUE(contains(refused({"port", "web-server-0"}), "podwirectl port show web-server-0"));
  EXPECT_TRUE(contains(refused({"explain", "--from", "a", "--to", "1.1.1.1", "--proto", "tpc"}), "\"tcp\""));
}

TEST(Arguments, UnknownVerbListsAllWhenNothingIsNear) {
  EXPECT_TRUE(contains(refused({"frobnicate"}), "status, port, domain"));
}

TEST(Arguments, OptionsAreNotAbbreviated) {
  EXPECT_TRUE(contains(refused({"status", "--js"}), "--js"));
}

TEST(Arguments, OptionOfAVerbBeforeTheVerbIsExplained) {
  EXPECT_EQ(refused({"--from", "a", "explain"}),
            "--from belongs after its verb, as in: podwirectl explain --from");
}

TEST(Arguments, OptionOfAnotherVerbIsRefused) {
  EXPECT_TRUE(contains(refused({"status", "--watch", "1"}), "there is no option \"--watch\""));
}

TEST(Arguments, RepeatedAndIncompleteOptionsAreRefused) {
  EXPECT_TRUE(contains(refused({"status", "--timeout", "1", "--timeout", "2"}), "timeout"));
  EXPECT_TRUE(contains(refused({"status", "--timeout"}), "timeout"));
  EXPECT_TRUE(contains(refused({"status", "--json=1"}), "json"));
  EXPECT_TRUE(contains(refused({"-x", "status"}), "-x"));
}

TEST(Arguments, MissingVerbIsAUsageError) {
  EXPECT_TRUE(contains(refused({"--json"}), "verb is missing"));
  EXPECT_TRUE(contains(refused({"--socket"}), "verb is missing"));
  EXPECT_TRUE(contains(refused({""}), "there is no verb"));
}

TEST(Arguments, NumbersAreCheckedWithTheirLimits) {
  EXPECT_EQ(refused({"stats", "--watch", "0"}), "--watch 0: must be seconds from 0.1 to 3600");
  for (const char* bad : {"-1", "nan", "inf", "1e3", "1x", "", "3601", " 1"}) {
    EXPECT_TRUE(contains(refused({"stats", std::string("--watch=") + bad}), "watch")) << bad;
  }
  EXPECT_DOUBLE_EQ(accepted({"stats", "--watch", "0.5"}).watch_s, 0.5);
  EXPECT_EQ(accepted({"status", "--timeout", "1.5"}).timeout_ms, 1500);
  EXPECT_TRUE(contains(refused({"stats", "--watch", "1", "--count", "0"}), "from 1 to 1000000"));
  EXPECT_TRUE(contains(refused({"stats", "--count", "2"}), "--count needs --watch"));
}

TEST(Arguments, NamesAndJsonExcludeEachOther) {
  EXPECT_TRUE(contains(refused({"port", "--names", "--json"}), "exclude each other"));
}

TEST(Arguments, ControlCharactersAndBrokenUtf8AreRefused) {
  EXPECT_EQ(refused({"port", "show", "a\033[2J"}), "\"a\\x1b[2J\" holds a control character or is no UTF-8");
  EXPECT_TRUE(contains(refused({"port", "show", "\xff"}), "\\xff"));
}

TEST(Arguments, HelpWinsOverEverythingElse) {
  EXPECT_TRUE(accepted({"--help"}).help);
  EXPECT_EQ(accepted({"--help"}).verb, nullptr);
  EXPECT_EQ(accepted({"explain", "--help"}).verb->name, "explain");
  EXPECT_EQ(accepted({"help", "stats"}).verb->name, "stats");
  EXPECT_EQ(accepted({"port", "show", "-h"}).verb->name, "port");
  EXPECT_TRUE(contains(refused({"help", "stat"}), "did you mean"));
}

TEST(Arguments, VersionOptionIsTheVersionVerb) {
  EXPECT_EQ(accepted({"--version"}).verb->name, "version");
}

TEST(Arguments, ExplainCollectsTheQuestion) {
  const auto command = accepted({"explain", "--from", "web-0", "--to", "10.244.2.11", "--proto", "tcp",
                                 "--dport", "443", "--sport", "0", "--ttl", "1", "--size", "9000"});
  EXPECT_EQ(command.question,
            Json::parse(R"({"from":"web-0","to":"10.244.2.11","protocol":"tcp","sport":0,"dport":443,
                                              "ttl":1,"size":9000})"));
}

TEST(Arguments, ExplainDefaultsToAPingOfTheDestinationsFamily) {
  EXPECT_EQ(accepted({"explain", "--from", "a", "--to", "10.0.0.1"}).question["protocol"], "icmp");
  EXPECT_EQ(accepted({"explain", "--from", "a", "--to", "FD00::0:1"}).question["protocol"], "icmp6");
  EXPECT_EQ(accepted({"explain", "--from", "a", "--to", "fd00::1", "--proto", "icmp"}).question["protocol"],
            "icmp6");
  EXPECT_EQ(accepted({"explain", "--from", "a", "--to", "FD00::0:1"}).question["to"], "fd00::1");
}

TEST(Arguments, ExplainRefusesWhatCannotBeAsked) {
  EXPECT_TRUE(contains(refused({"explain", "--from", "a"}), "needs a sender and a destination"));
  EXPECT_TRUE(contains(refused({"explain", "--from", "", "--to", "1.1.1.1"}), "needs a sender"));
  EXPECT_TRUE(
      contains(refused({"explain", "--from", "a", "--to", "web-1"}), "must be an IPv4 or IPv6 address"));
  EXPECT_TRUE(
      contains(refused({"explain", "--from", "a", "--to", "1.1.1.1", "--dport", "80"}), "needs --proto tcp"));
  EXPECT_TRUE(contains(refused({"explain", "--from", "a", "--to", "1.1.1.1", "--proto", "icmp6"}), "IPv6"));
  for (const char* option : {"--ttl=0", "--ttl=256", "--size=27", "--size=65536", "--size=abc"}) {
    EXPECT_TRUE(
        contains(refused({"explain", "--from", "a", "--to", "1.1.1.1", option}), "must be a whole number"));
  }
}

TEST(Help, EveryVerbTeaches) {
  for (const auto& verb : verbs()) {
    const auto page = verb_help(verb, {});
    EXPECT_TRUE(contains(page, verb.about)) << verb.name;
    EXPECT_TRUE(contains(page, "Example")) << verb.name;
    for (const auto& option : verb.options) EXPECT_TRUE(contains(page, "--" + option.name)) << verb.name;
    EXPECT_TRUE(contains(general_help({}), verb.summary)) << verb.name;
  }
}

TEST(Help, EveryExampleIsACommandThatParses) {
  for (const auto& verb : verbs()) {
    for (const auto& example : verb.examples) {
      std::vector<std::string> words;
      std::istringstream text(example.what);
      for (std::string word; text >> word && word != "&&" && word[0] != '>';) words.push_back(word);
      words.erase(words.begin());
      EXPECT_TRUE(parse_arguments(words, "")) << example.what;
    }
  }
}

TEST(Arguments, AddressesOutside) {
  const auto egress =
      accepted({"address", "egress", "shop", "--address", "192.0.2.1", "--address", "2001:db8::1"});
  EXPECT_EQ(egress.sub->method, "address_egress");
  EXPECT_EQ(egress.question, Json::parse(R"({"name": "shop", "addresses": ["192.0.2.1", "2001:db8::1"]})"));
  EXPECT_EQ(accepted({"address", "floating", "shop/web", "--address", "192.0.2.1"}).sub->method,
            "address_floating");
  EXPECT_EQ(accepted({"address", "delete", "shop"}).question, (Json{{"name", "shop"}}));
  EXPECT_TRUE(contains(refused({"address", "egress", "shop"}), "podwirectl address egress shop --address"));
  EXPECT_TRUE(contains(refused({"address", "egress", "shop", "--address", "here"}),
                       "must be an IPv4 or IPv6 address"));
  EXPECT_TRUE(contains(refused({"address", "delete", "shop", "--address", "192.0.2.1"}),
                       "belongs to: podwirectl address"));
}

TEST(Arguments, PoliciesComeFromAFileOrByName) {
  const auto apply = accepted({"policy", "apply", "-f", "p.yaml"});
  EXPECT_EQ(apply.file, "p.yaml");
  EXPECT_EQ(apply.question, Json::object());
  EXPECT_EQ(accepted({"policy", "apply", "--file=p.yaml"}).file, "p.yaml");
  EXPECT_EQ(accepted({"policy", "delete", "shop/web"}).question, (Json{{"name", "shop/web"}}));
  EXPECT_EQ(accepted({"policy", "delete", "-f", "-"}).file, "-");
  EXPECT_EQ(accepted({"policy", "explain", "a/b", "--to", "c/d", "--port", "80", "--proto", "udp"}).question,
            (Json{{"from", "a/b"}, {"to", "c/d"}, {"protocol", "udp"}, {"port", 80}}));
  EXPECT_TRUE(contains(refused({"policy", "apply"}), "policy apply -f manifests.yaml"));
  EXPECT_TRUE(contains(refused({"policy", "delete"}), "needs either a name or a file"));
  EXPECT_TRUE(
      contains(refused({"policy", "delete", "shop/web", "-f", "p.yaml"}), "needs either a name or a file"));
  EXPECT_TRUE(contains(refused({"policy", "explain", "a/b"}), "needs --to"));
  EXPECT_TRUE(contains(refused({"policy", "list", "-f", "p.yaml"}), "belongs to: podwirectl policy apply"));
}

}  // namespace
}  // namespace podwire::control::cli
