#include "dataplane/server/machine.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace podwire::engine {
namespace {

namespace fs = std::filesystem;

// A /sys and /proc of the test's own.
class MachineTest : public testing::Test {
 protected:
  MachineTest() {
    write("proc/self/status", "Name:\tx\nCapEff:\t000001ffffffffff\n");
    write("proc/meminfo", "MemTotal:  100 kB\nMemAvailable:    2048000 kB\n");
  }
  ~MachineTest() override { fs::remove_all(root_); }
  void write(const std::string& path, const std::string& text) {
    fs::create_directories((root_ / path).parent_path());
    std::ofstream(root_ / path) << text;
  }
  void hugepages(int total, int free, int promised) {
    const std::string directory = "sys/kernel/mm/hugepages/hugepages-2048kB/";
    write(directory + "nr_hugepages", std::to_string(total) + "\n");
    write(directory + "free_hugepages", std::to_string(free) + "\n");
    write(directory + "resv_hugepages", std::to_string(promised) + "\n");
  }
  void pci_device(const std::string& driver) {
    const auto device = root_ / "sys/bus/pci/devices/0000:01:00.0";
    fs::create_directories(device);
    if (!driver.empty()) fs::create_symlink("../../drivers/" + driver, device / "driver");
  }
  Machine inspect() {
    const auto machine = inspect_machine(root_.string());
    EXPECT_TRUE(machine);
    return machine ? *machine : Machine{};
  }
  const fs::path root_ = "/tmp/podwire-machine-test-" + std::to_string(::getpid());
};

TEST_F(MachineTest, CountsFreeHugepagesWithoutThePromisedOnes) {
  hugepages(100, 80, 30);
  const auto machine = inspect();
  EXPECT_TRUE(machine.has_huge_size);
  EXPECT_EQ(machine.huge_total, 100u);
  EXPECT_EQ(machine.huge_free, 50u);
}

TEST_F(MachineTest, ReadsAMachineWithoutAnything) {
  const auto machine = inspect();
  EXPECT_FALSE(machine.has_huge_size);
  EXPECT_EQ(machine.huge_free, 0u);
  EXPECT_FALSE(machine.has_pci);
  EXPECT_EQ(machine.available_mib, 2000u);
  EXPECT_FALSE(machine.cpus.empty());
  EXPECT_TRUE(machine.missing_capabilities.empty());
}

TEST_F(MachineTest, NamesMissingCapabilities) {
  write("proc/self/status", "CapEff:\t0000000000002000\n");
  EXPECT_EQ(inspect().missing_capabilities, (std::vector<std::string>{"CAP_NET_ADMIN", "CAP_IPC_LOCK"}));
}

TEST_F(MachineTest, FindsDevicesThatNeedPhysicalAddresses) {
  pci_device("uio_pci_generic");
  EXPECT_TRUE(inspect().has_pci);
  EXPECT_TRUE(inspect().needs_physical_addresses);
  fs::create_directories(root_ / "sys/class/iommu/dmar0");
  EXPECT_FALSE(inspect().needs_physical_addresses) << "an IOMMU translates";
}

TEST_F(MachineTest, LeavesKernelDevicesAlone) {
  pci_device("virtio-pci");
  EXPECT_TRUE(inspect().has_pci);
  EXPECT_FALSE(inspect().needs_physical_addresses);
}

}  // namespace
}  // namespace podwire::engine
