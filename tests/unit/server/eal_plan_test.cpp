#include "dataplane/server/eal_plan.hpp"

#include <gtest/gtest.h>

#include <algorithm>

namespace podwire::engine {
namespace {

Machine good_machine() {
  Machine m;
  m.has_huge_size = true;
  m.huge_total = 1024;
  m.huge_free = 200;
  m.available_mib = 8000;
  m.cpus = {0, 1, 2, 5};
  m.has_pci = true;
  return m;
}

EalPlan plan(const Options& options, const Machine& machine = good_machine()) {
  auto result = plan_eal(options, machine, 4711);
  EXPECT_TRUE(result) << result.error().message;
  return result ? *result : EalPlan{};
}

std::string refusal(const Options& options, const Machine& machine = good_machine()) {
  const auto result = plan_eal(options, machine, 4711);
  return result ? "accepted" : result.error().message;
}

bool has(const EalPlan& plan, const std::string& word) {
  return std::find(plan.arguments.begin(), plan.arguments.end(), word) != plan.arguments.end();
}

std::string after(const EalPlan& plan, const std::string& word) {
  const auto at = std::find(plan.arguments.begin(), plan.arguments.end(), word);
  return at == plan.arguments.end() ? "" : at[1];
}

TEST(EalPlan, TakesFreeHugepagesWithoutLeavingFiles) {
  const auto p = plan({});
  EXPECT_TRUE(p.hugepages);
  EXPECT_EQ(p.memory_mode, "2 MiB hugepages");
  EXPECT_TRUE(has(p, "--in-memory"));
  EXPECT_FALSE(has(p, "--no-huge"));
  EXPECT_EQ(after(p, "-m"), "256");
  EXPECT_EQ(after(p, "--file-prefix"), "podwire-4711");
  EXPECT_TRUE(has(p, "--no-telemetry"));
  EXPECT_TRUE(p.warnings.empty());
}

TEST(EalPlan, AutoFallsBackToSmallPagesAndSaysWhy) {
  auto machine = good_machine();
  machine.huge_free = 127;
  const auto p = plan({}, machine);
  EXPECT_FALSE(p.hugepages);
  EXPECT_EQ(p.memory_mode, "4 KiB pages");
  EXPECT_TRUE(has(p, "--no-huge"));
  EXPECT_TRUE(has(p, "--no-shconf"));
  EXPECT_FALSE(has(p, "--in-memory")) << "EAL 22.11 refuses both";
  ASSERT_EQ(p.warnings.size(), 1u);
  EXPECT_NE(p.warnings[0].find("sysctl -w vm.nr_hugepages=1025"), std::string::npos) << p.warnings[0];
}

TEST(EalPlan, RequireSaysWhatIsMissingAndTheCommandThatMendsIt) {
  Options options;
  options.hugepages = HugepageMode::kRequire;
  auto machine = good_machine();
  machine.huge_total = machine.huge_free = 0;
  const auto message = refusal(options, machine);
  EXPECT_NE(message.find("needs 128 free 2 MiB hugepages, there are 0 of 0"), std::string::npos) << message;
  EXPECT_NE(message.find("`sysctl -w vm.nr_hugepages=128`"), std::string::npos) << message;
  machine.has_huge_size = false;
  EXPECT_NE(refusal(options, machine).find("--hugepages never"), std::string::npos);
}

TEST(EalPlan, NeverLooksAtHugepages) {
  Options options;
  options.hugepages = HugepageMode::kNever;
  const auto p = plan(options);
  EXPECT_FALSE(p.hugepages);
  EXPECT_TRUE(p.warnings.empty());
}

TEST(EalPlan, RefusesMoreMemoryThanThereIs) {
  Options options;
  options.hugepages = HugepageMode::kNever;
  options.memory_mib = 9000;
  EXPECT_NE(refusal(options).find("only 8000 MiB are available"), std::string::npos);
}

TEST(EalPlan, LetsWorkersFloatOverTheAllowedCpus) {
  Options options;
  options.workers = 2;
  const auto p = plan(options);
  EXPECT_EQ(after(p, "--lcores"), "0@(0-2,5),1@(0-2,5),2@(0-2,5)");
  EXPECT_EQ(p.lcores, (std::vector<unsigned>{1, 2}));
}

TEST(EalPlan, PinsWorkersAndKeepsTheMainThreadOffTheirCpus) {
  Options options;
  options.workers = 2;
  options.cpus = {{5, 1}};
  EXPECT_EQ(after(plan(options), "--lcores"), "0@(0,2),1@5,2@1");
  options.workers = 4;
  options.cpus = {{0, 1, 2, 5}};
  EXPECT_EQ(after(plan(options), "--lcores"), "0@(0-2,5),1@0,2@1,3@2,4@5") << "no other CPU is left";
}

TEST(EalPlan, RefusesACpuThatItMayNotUse) {
  Options options;
  options.cpus = {{3}};
  const auto message = refusal(options);
  EXPECT_NE(message.find("CPU 3"), std::string::npos) << message;
  EXPECT_NE(message.find("0-2,5"), std::string::npos) << message;
}

TEST(EalPlan, WarnsAboutBusyWorkersThatFloat) {
  Options options;
  options.idle = IdleMode::kBusy;
  ASSERT_EQ(plan(options).warnings.size(), 1u);
  EXPECT_NE(plan(options).warnings[0].find("cpus"), std::string::npos);
  options.cpus = {{1}};
  EXPECT_TRUE(plan(options).warnings.empty());
}

TEST(EalPlan, ProbesNoPciDeviceButAllowsOneLater) {
  const auto p = plan({});
  EXPECT_FALSE(has(p, "--no-pci"));
  EXPECT_FALSE(after(p, "--allow").empty());
  auto machine = good_machine();
  machine.has_pci = false;
  EXPECT_TRUE(has(plan({}, machine), "--no-pci"));
}

TEST(EalPlan, UsesVirtualAddressesUnlessADeviceNeedsPhysicalOnes) {
  EXPECT_EQ(after(plan({}), "--iova-mode"), "va");
  auto machine = good_machine();
  machine.needs_physical_addresses = true;
  EXPECT_FALSE(has(plan({}, machine), "--iova-mode"));
}

TEST(EalPlan, NamesMissingCapabilities) {
  auto machine = good_machine();
  machine.missing_capabilities = {"CAP_NET_ADMIN", "CAP_NET_RAW"};
  const auto result = plan_eal({}, machine, 1);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kDenied);
  EXPECT_NE(result.error().message.find("CAP_NET_ADMIN, CAP_NET_RAW"), std::string::npos);
  EXPECT_NE(result.error().message.find("sudo"), std::string::npos);
}

TEST(EalPlan, UsesTheConfiguredFilePrefix) {
  Options options;
  options.file_prefix = "node-a";
  EXPECT_EQ(after(plan(options), "--file-prefix"), "node-a");
}

}  // namespace
}  // namespace podwire::engine
