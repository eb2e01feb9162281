// Machine: what the engine finds on the machine before EAL starts: hugepages, CPUs, capabilities, buses. Read
// once at start; no DPDK in here.
#pragma once

#include <string>
#include <vector>

#include "dataplane/base/result.hpp"

namespace podwire::engine {

struct Machine {
  bool has_huge_size = false;  // the kernel knows 2 MiB pages
  unsigned huge_total = 0;     // 2 MiB pages set aside
  unsigned huge_free = 0;      // of them neither used nor promised
  unsigned available_mib = 0;  // ordinary memory that could be had
  std::vector<unsigned> cpus;  // allowed for this process, ascending
  bool has_pci = false;
  // A PCI device is bound to a userspace driver without an IOMMU: it needs physical addresses.
  bool needs_physical_addresses = false;
  std::vector<std::string> missing_capabilities;
};

// `root` is prepended to /sys and /proc (tests have a tree of their own).
Result<Machine> inspect_machine(const std::string& root = "");

}  // namespace podwire::engine
