#include "dataplane/api/objects.hpp"
#include "tests/unit/api/object_checks.hpp"

namespace podwire::api {
namespace {

constexpr const char* kPolicy = R"({"id":7,"name":"shop/db",
  "ingress":{"rules":[{"identities":[3,4],"blocks":[{"prefix":"10.0.0.0/8","except":["10.1.0.0/16"]}],
                       "protocol":"tcp","ports":[5432,5433]},{"any_peer":true,"protocol":"icmp"}]},
  "egress":{"rules":[]}})";

TEST(PolicyObject, RoundTripsAndNamesWhatIsWrong) {
  expect_round_trip<Policy>(kPolicy);
  expect_round_trip<Policy>(R"({"id":8,"name":"open"})");
  expect_refusals<Policy>(
      kPolicy, "policy",
      {{R"({"id":0})", "policy.id"},
       {R"({"name":""})", "policy.name must have"},
       {R"({"ingress":{"rules":[{"any_peer":true,"identities":[1]}]}})", "policy.ingress.rules[0]: any_peer"},
       {R"({"ingress":{"rules":[{"ports":[80,80]}]}})", "policy.ingress.rules[0]: ports are for"},
       {R"({"ingress":{"rules":[{"protocol":"tcp","ports":[80]}]}})",
        "policy.ingress.rules[0].ports must be"},
       {R"({"egress":{"rules":[{"blocks":[{"prefix":"10.0.0.1/8"}]}]}})",
        "policy.egress.rules[0].blocks[0].prefix is 10.0.0.1/8, has host bits set"},
       {R"({"egress":{"rules":[{"blocks":[{"prefix":"10.0.0.0/8","except":["11.0.0.0/16"]}]}]}})",
        "policy.egress.rules[0].blocks[0].except: 11.0.0.0/16 does not lie in 10.0.0.0/8"},
       {R"({"egress":{"rules":[{"blocks":[{"prefix":"10.0.0.0/8","except":["0.0.0.0/0"]}]}]}})",
        "policy.egress.rules[0].blocks[0].except: 0.0.0.0/0 does not lie in"}});
}

constexpr const char* kService = R"({"id":9,"name":"shop/web:http","domain":2,
  "frontends":[{"domain":2,"address":"10.96.0.10","protocol":"tcp","port":80},
               {"domain":1,"protocol":"tcp","port":30080}],
  "backends":[{"address":"10.244.0.5","port":8080,"weight":3},
              {"address":"10.244.0.6","port":8080,"draining":true}],
  "affinity_s":10800,"hide_clients":true})";

TEST(ServiceObject, RoundTripsAndNamesWhatIsWrong) {
  expect_round_trip<Service>(kService);
  expect_refusals<Service>(
      kService, "service",
      {{R"({"domain":1})", "service.domain is 1, the underlay"},
       {R"({"frontends":[]})", "service.frontends has 0 entries"},
       {R"({"frontends":[{"domain":3,"address":"10.96.0.10","port":80}]})",
        "service.frontends: domain is 3, must be the service's own, 2, or 1"},
       {R"({"frontends":[{"domain":2,"port":80}]})", "service.frontends[0].address is missing"},
       {R"({"frontends":[{"domain":1}]})", "service.frontends[0].port is missing"},
       {R"({"frontends":[{"domain":1,"port":0}]})", "service.frontends[0].port is 0"},
       {R"({"backends":[{"address":"0.0.0.0","port":1}]})", "service.backends[0].address is 0.0.0.0"},
       {R"({"backends":[{"address":"10.0.0.1","port":1,"weight":0}]})", "service.backends[0].weight is 0"},
       {R"({"affinity_s":86401})", "service.affinity_s is 86401"}});
}

TEST(MasqueradeObject, RoundTripsAndNamesWhatIsWrong) {
  constexpr const char* kMasquerade =
      R"({"addresses":["192.0.2.1","2001:db8::1"],"ports":[20000,29999],"except":["10.0.0.0/8"]})";
  expect_round_trip<Masquerade>(kMasquerade);
  expect_refusals<Masquerade>(
      kMasquerade, "masquerade",
      {{R"({"addresses":[]})", "masquerade.addresses must have one"},
       {R"({"addresses":["192.0.2.1","192.0.2.2"]})", "masquerade.addresses must have one"},
       {R"({"ports":[80,90]})", "masquerade.ports begins at 80"},
       {R"({"except":["10.0.0.1/8"]})", "masquerade.except is 10.0.0.1/8, has host bits set"}});
}

}  // namespace
}  // namespace podwire::api
