// Programmer: a full replace is applied as a difference; patches that change nothing; dump.
#include "dataplane/base/framing.hpp"
#include "tests/unit/tables/programmer_fixture.hpp"

namespace podwire::engine {
namespace {

using namespace testing_objects;

class ProgrammerReplace : public ProgrammerTest {
 protected:
  void SetUp() override {
    all.ports = {tap(3), tap(4)};
    all.vteps = {vtep(1, "192.168.100.1", true), vtep(2, "192.168.100.2")};
    all.domains = {learning_domain()};
    all.endpoints = {pod(1, 3, {"10.244.1.10"}), remote(2, 2, {"10.244.2.10"})};
    all.routes = {route(1, "10.244.2.0/24", {via_vtep(2)})};
    patch(all);
    for (auto& port : all.ports) port.descriptors = 0;
  }
  Result<std::uint64_t> replace(const api::ObjectSet& objects) {
    programmer->replace_begin();
    // One noun a chunk, as a large replace would come.
    PODWIRE_CHECK(programmer->replace_chunk({.ports = objects.ports}, descriptors(wanted(objects))));
    PODWIRE_CHECK(programmer->replace_chunk({.vteps = objects.vteps, .domains = objects.domains}, {}));
    PODWIRE_CHECK(programmer->replace_chunk({.endpoints = objects.endpoints}, {}));
    PODWIRE_CHECK(programmer->replace_chunk({.routes = objects.routes}, {}));
    return programmer->replace_commit(now);
  }

  api::ObjectSet all;
};

TEST_F(ProgrammerReplace, SameObjectsChangeNothingButTheGeneration) {
  Event event;
  event.port = PortId(4);
  event.domain = DomainId(2);
  event.mac = mac(0x999);
  programmer->on_event(event, now);
  const auto* snapshot = publisher.current_for_main();
  const auto* adjacency = to("10.244.1.10");
  const auto generation = programmer->generation();
  const auto result = replace(all);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(*result, generation + 1);
  EXPECT_EQ(publisher.current_for_main(), snapshot);
  EXPECT_EQ(to("10.244.1.10"), adjacency);
  EXPECT_NE(to(mac(0x999)), nullptr);  // learned entries stay
  EXPECT_EQ(opened, 2);
}

TEST_F(ProgrammerReplace, DifferenceIsAppliedAndTheRestKept) {
  const auto* kept = to("10.244.1.10");
  const auto* device = programmer->device(PortId(3));
  all.ports = {tap(3, 2, 0), tap(5)};
  all.endpoints[1] = pod(7, 5, {"10.244.1.70"});
  all.routes.clear();
  const auto result = replace(all);
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(to("10.244.1.10"), kept);
  EXPECT_EQ(programmer->device(PortId(3)), device);
  EXPECT_EQ(open_ports, (std::multiset<PortId>{PortId(3), PortId(5)}));
  EXPECT_EQ(to("10.244.2.10"), nullptr);
  EXPECT_EQ(to("10.244.1.70")->port, PortId(5));
}

TEST_F(ProgrammerReplace, RefusedReplaceLeavesEverything) {
  all.endpoints.push_back(pod(9, 44, {}));
  const auto result = replace(all);
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().message.find("endpoint 9 \"ns/pod9\": port 44 does not exist"), std::string::npos);
  EXPECT_NE(to("10.244.2.10"), nullptr);
  EXPECT_EQ(programmer->counts().endpoints, 2u);
  EXPECT_FALSE(programmer->replace_commit(now));  // it is over
}

TEST_F(ProgrammerReplace, EmptyReplaceRemovesEverything) {
  const auto result = replace({});
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_TRUE(open_ports.empty());
  EXPECT_EQ(tables().fib4->size(), 0u);
  EXPECT_EQ(tables().fdb->size(), 0u);
  EXPECT_EQ(tables().vteps.at(1).known, false);
}

TEST_F(ProgrammerReplace, ChunksNeedABegin) {
  EXPECT_EQ(programmer->replace_chunk({}, {}).error().message,
            "replace_chunk without replace_begin; begin first");
  EXPECT_EQ(programmer->replace_commit(now).error().message,
            "replace_commit without replace_begin; begin first");
  programmer->replace_begin();
  programmer->replace_abort();
  EXPECT_FALSE(programmer->replace_commit(now));
  EXPECT_NE(to("10.244.2.10"), nullptr);
}

TEST_F(ProgrammerReplace, OneObjectInTwoChunksIsRefused) {
  programmer->replace_begin();
  ASSERT_TRUE(programmer->replace_chunk(all, {}));
  ASSERT_TRUE(programmer->replace_chunk({.endpoints = {all.endpoints[0]}}, {}));
  const auto result = programmer->replace_commit(now);
  ASSERT_FALSE(result);
  EXPECT_NE(result.error().message.find("endpoint 1 \"ns/pod1\": id 1 appears twice"), std::string::npos);
}

TEST_F(ProgrammerReplace, PatchThatChangesNothingKeepsTheGeneration) {
  const auto generation = programmer->generation();
  patch({.endpoints = all.endpoints, .routes = all.routes}, {.endpoints = {EndpointId(99)}});
  EXPECT_EQ(programmer->generation(), generation);
}

TEST_F(ProgrammerReplace, DumpPagesById) {
  auto page = programmer->dump({{"noun", "endpoints"}, {"limit", 1}});
  ASSERT_TRUE(page);
  EXPECT_EQ((*page)["objects"].size(), 1u);
  EXPECT_EQ((*page)["objects"][0], api::to_json(all.endpoints[0]));
  EXPECT_EQ((*page)["next_after_id"], 1);
  page = programmer->dump({{"noun", "endpoints"}, {"limit", 1}, {"after_id", 1}});
  EXPECT_EQ((*page)["objects"][0]["id"], 2);
  EXPECT_TRUE((*page)["next_after_id"].is_null());
  for (const auto* noun : {"ports", "vteps", "domains", "routes"}) {
    EXPECT_FALSE((*programmer->dump({{"noun", noun}}))["objects"].empty()) << noun;
  }
  EXPECT_TRUE((*programmer->dump({{"noun", "ports"}, {"after_id", 4000000000}}))["objects"].empty());
}

TEST_F(ProgrammerReplace, DumpRefusesBadParameters) {
  EXPECT_NE(programmer->dump(Json::object()).error().message.find("params.noun is missing"),
            std::string::npos);
  EXPECT_FALSE(programmer->dump({{"noun", "port"}}));
  EXPECT_FALSE(programmer->dump({{"noun", "ports"}, {"limit", 1001}}));
  EXPECT_FALSE(programmer->dump({{"noun", "ports"}, {"limit", 0}}));
  EXPECT_FALSE(programmer->dump({{"noun", "ports"}, {"frm", 0}}));
}

TEST_F(ProgrammerReplace, LongDumpsFitALine) {
  api::ObjectSet many;
  for (std::uint32_t i = 0; i < 600; ++i) {
    std::vector<api::NextHop> hops;
    for (int n = 0; n < 64; ++n) {
      hops.push_back(via_vtep(2, static_cast<std::uint16_t>(n + 1)));
      hops.back().mac = mac(static_cast<std::uint64_t>(n));
    }
    many.routes.push_back(route(100 + i, to_string(Ipv4::from_u32(0x0c000000 + (i << 8))) + "/24", hops));
  }
  patch(many);
  std::size_t seen = 0;
  Json after = 0;
  while (!after.is_null()) {
    const auto page = programmer->dump({{"noun", "routes"}, {"limit", 1000}, {"after_id", after}});
    ASSERT_TRUE(page);
    EXPECT_LT(page->dump().size(), kMaxLineBytes);
    ASSERT_FALSE((*page)["objects"].empty());
    seen += (*page)["objects"].size();
    after = (*page)["next_after_id"];
  }
  EXPECT_EQ(seen, 601u);
}

}  // namespace
}  // namespace podwire::engine
