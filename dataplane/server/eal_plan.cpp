#include "dataplane/server/eal_plan.hpp"

#include <algorithm>

namespace podwire::engine {
namespace {

std::string join(const std::vector<std::string>& words) {
  std::string out;
  for (const auto& word : words) out += (out.empty() ? "" : ", ") + word;
  return out;
}

// "0-3,6": runs of consecutive numbers, ascending.
std::string ranges_text(const std::vector<unsigned>& numbers) {
  std::string out;
  for (std::size_t i = 0; i < numbers.size();) {
    std::size_t end = i;
    while (end + 1 < numbers.size() && numbers[end + 1] == numbers[end] + 1) ++end;
    out += (out.empty() ? "" : ",") + std::to_string(numbers[i]);
    if (end > i) out += "-" + std::to_string(numbers[end]);
    i = end + 1;
  }
  return out;
}

unsigned huge_pages_for(const Options& options) {
  return (options.memory_mib + 1) / 2;
}

// What is missing for hugepages and the command that mends it; empty when nothing is.
std::string hugepages_missing(const Options& options, const Machine& machine) {
  const auto needed = huge_pages_for(options);
  if (!machine.has_huge_size) {
    return "this kernel has no 2 MiB hugepages (hugetlbfs); run on one that has, or with --hugepages never";
  }
  if (machine.huge_free >= needed) return "";
  return "memory_mib " + std::to_string(options.memory_mib) + " needs " + std::to_string(needed) +
         " free 2 MiB hugepages, there are " + std::to_string(machine.huge_free) + " of " +
         std::to_string(machine.huge_total) + ": type `sysctl -w vm.nr_hugepages=" +
         std::to_string(machine.huge_total - machine.huge_free + needed) + "`";
}

Result<bool> use_hugepages(const Options& options, const Machine& machine, EalPlan& plan) {
  if (options.hugepages == HugepageMode::kNever) return false;
  const auto missing = hugepages_missing(options, machine);
  if (missing.empty()) return true;
  if (options.hugepages == HugepageMode::kRequire) {
    return Error{ErrorCode::kUnavailable, "hugepages is \"require\", but " + missing};
  }
  plan.warnings.push_back("running without hugepages, which costs speed: " + missing);
  return false;
}

Result<void> check_capabilities(const Machine& machine) {
  if (machine.missing_capabilities.empty()) return {};
  return Error{ErrorCode::kDenied,
               "this process lacks " + join(machine.missing_capabilities) +
                   ", without which it cannot open NICs, taps and their memory: run it as root "
                   "(sudo), or give its service or container these capabilities"};
}

// EAL's --lcores: the main thread is lcore 0, worker i is lcore i + 1.
Result<std::string> lcore_map(const Options& options, const Machine& machine, EalPlan& plan) {
  const auto allowed = "(" + ranges_text(machine.cpus) + ")";
  for (unsigned i = 0; i < options.workers; ++i) plan.lcores.push_back(i + 1);
  std::string workers;
  if (!options.cpus) {
    for (const auto lcore : plan.lcores) workers += "," + std::to_string(lcore) + "@" + allowed;
    if (options.idle == IdleMode::kBusy) {
      plan.warnings.push_back("busy workers float over CPUs " + ranges_text(machine.cpus) +
                              " with everything else that runs there; give cpus to pin them");
    }
    return "0@" + allowed + workers;
  }
  std::vector<unsigned> rest = machine.cpus;
  for (std::size_t i = 0; i < options.cpus->size(); ++i) {
    const auto cpu = (*options.cpus)[i];
    if (!std::binary_search(machine.cpus.begin(), machine.cpus.end(), cpu)) {
      return invalid("cpus names CPU " + std::to_string(cpu) + ", but this process may use " +
                     ranges_text(machine.cpus) + " only; see `nproc --all` and `taskset -p $$`");
    }
    std::erase(rest, cpu);
    workers += "," + std::to_string(plan.lcores[i]) + "@" + std::to_string(cpu);
  }
  // The main thread stays off the workers' CPUs when there are others.
  return "0@" + (rest.empty() ? allowed : "(" + ranges_text(rest) + ")") + workers;
}

}  // namespace

Result<EalPlan> plan_eal(const Options& options, const Machine& machine, int pid) {
  EalPlan plan;
  PODWIRE_CHECK(check_capabilities(machine));
  PODWIRE_TRY(plan.hugepages, use_hugepages(options, machine, plan));
  PODWIRE_TRY(const auto lcores, lcore_map(options, machine, plan));
  if (!plan.hugepages && machine.available_mib < options.memory_mib) {
    return Error{ErrorCode::kExhausted, "memory_mib is " + std::to_string(options.memory_mib) +
                                            ", but only " + std::to_string(machine.available_mib) +
                                            " MiB are available; lower memory_mib and mbufs, or free some"};
  }
  plan.memory_mode = plan.hugepages ? "2 MiB hugepages" : "4 KiB pages";
  plan.arguments = {"podwire-engine",
                    "--lcores",
                    lcores,
                    "-m",
                    std::to_string(options.memory_mib),
                    "--file-prefix",
                    options.file_prefix.value_or("podwire-" + std::to_string(pid)),
                    "--no-telemetry"};
  const auto add = [&](std::initializer_list<const char*> words) {
    plan.arguments.insert(plan.arguments.end(), words.begin(), words.end());
  };
  // Neither leaves files behind: memory is anonymous, nothing is shared with secondary processes.
  if (plan.hugepages) {
    add({"--in-memory"});
  } else {
    add({"--no-huge", "--no-shconf"});
  }
  // EAL would probe every NIC that is bound to a userspace driver, also those of other processes. An allow
  // list with nothing real on it keeps it from that and still lets a port name a PCI device later, which
  // --no-pci does not.
  if (machine.has_pci) {
    add({"--allow", "ffff:ff:1f.7"});
  } else {
    add({"--no-pci"});
  }
  // Virtual addresses make packet memory contiguous for AF_XDP.
  if (!machine.needs_physical_addresses) add({"--iova-mode", "va"});
  return plan;
}

}  // namespace podwire::engine
