#include "dataplane/server/machine.hpp"

#include <sched.h>

#include <charconv>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace podwire::engine {
namespace {

namespace fs = std::filesystem;

// 0 when the file is not there: the kernel then has none of what it counts.
unsigned read_number(const std::string& path) {
  std::ifstream file(path);
  unsigned n = 0;
  file >> n;
  return n;
}

// The value of `key` in a "Key:   value" file, empty when it has none.
std::string field_of(const std::string& path, const std::string& key) {
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.rfind(key + ":", 0) != 0) continue;
    std::istringstream rest(line.substr(key.size() + 1));
    std::string value;
    rest >> value;
    return value;
  }
  return "";
}

bool is_empty(const fs::path& directory) {
  std::error_code error;
  return fs::directory_iterator(directory, error) == fs::directory_iterator();
}

// Drivers that hand a PCI device to a process.
bool bound_to_userspace(const fs::path& device) {
  std::error_code error;
  const auto driver = fs::read_symlink(device / "driver", error).filename().string();
  return driver == "vfio-pci" || driver == "uio_pci_generic" || driver == "igb_uio";
}

bool needs_physical_addresses(const std::string& root) {
  if (!is_empty(root + "/sys/class/iommu")) return false;
  std::error_code error;
  for (const auto& device : fs::directory_iterator(root + "/sys/bus/pci/devices", error)) {
    if (bound_to_userspace(device.path())) return true;
  }
  return false;
}

// Numbers as in linux/capability.h.
std::vector<std::string> missing_capabilities(const std::string& root) {
  constexpr std::pair<unsigned, const char*> kNeeded[] = {
      {12, "CAP_NET_ADMIN"}, {13, "CAP_NET_RAW"}, {14, "CAP_IPC_LOCK"}};
  const auto text = field_of(root + "/proc/self/status", "CapEff");
  std::uint64_t have = 0;
  std::from_chars(text.data(), text.data() + text.size(), have, 16);
  std::vector<std::string> missing;
  for (const auto& [bit, name] : kNeeded) {
    if ((have >> bit & 1) == 0) missing.emplace_back(name);
  }
  return missing;
}

Result<std::vector<unsigned>> allowed_cpus() {
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) != 0) return errno_error("sched_getaffinity");
  std::vector<unsigned> cpus;
  for (unsigned cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

}  // namespace

Result<Machine> inspect_machine(const std::string& root) {
  Machine m;
  const std::string huge = root + "/sys/kernel/mm/hugepages/hugepages-2048kB";
  std::error_code error;
  m.has_huge_size = fs::exists(huge, error);
  m.huge_total = read_number(huge + "/nr_hugepages");
  const auto free = read_number(huge + "/free_hugepages");
  const auto promised = read_number(huge + "/resv_hugepages");
  m.huge_free = free > promised ? free - promised : 0;
  const auto available = field_of(root + "/proc/meminfo", "MemAvailable");
  std::uint64_t available_kib = 0;
  std::from_chars(available.data(), available.data() + available.size(), available_kib);
  m.available_mib = static_cast<unsigned>(available_kib >> 10);
  PODWIRE_TRY(m.cpus, allowed_cpus());
  m.has_pci = !is_empty(root + "/sys/bus/pci/devices");
  m.needs_physical_addresses = needs_physical_addresses(root);
  m.missing_capabilities = missing_capabilities(root);
  return m;
}

}  // namespace podwire::engine
