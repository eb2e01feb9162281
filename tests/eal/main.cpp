// Starts EAL once for all tests: no hugepages, no devices, nothing left behind. Arguments are GoogleTest's.
#include <gtest/gtest.h>
#include <rte_eal.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <string>
#include <vector>

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  // Listing tests must not depend on what this machine allows.
  if (GTEST_FLAG_GET(list_tests)) return RUN_ALL_TESTS();

  std::vector<std::string> arguments{
      argv[0],    "--no-huge",      "--no-shconf",
      "--no-pci", "--no-telemetry", "-m",
      "512",      "--file-prefix",  "podwire-test-" + std::to_string(::getpid()),
      "--lcores", "0@0,1@0,2@0",    "--log-level",
      "error"};
  std::vector<char*> raw;
  for (auto& argument : arguments) raw.push_back(argument.data());
  raw.push_back(nullptr);
  if (rte_eal_init(static_cast<int>(arguments.size()), raw.data()) < 0) {
    std::fprintf(stderr, "EAL did not start\n");
    return 1;
  }
  const std::filesystem::path runtime_directory = rte_eal_get_runtime_dir();
  const int result = RUN_ALL_TESTS();
  rte_eal_cleanup();
  std::error_code ignored;
  std::filesystem::remove_all(runtime_directory, ignored);
  return result;
}
