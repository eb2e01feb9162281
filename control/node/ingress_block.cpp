#include "control/node/ingress_block.hpp"

#include <unistd.h>

#include <cctype>

#include "control/cni/process.hpp"

namespace podwire::control {
namespace {

std::string table_of(const std::string& device) {
  std::string name = "podwire_" + device;
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';  // all that nft takes unquoted
  }
  return name;
}

Result<void> run_nft(const std::string& device, const std::string& script) {
  ProcessRequest request;
  for (const char* path : {"/usr/sbin/nft", "/sbin/nft", "/usr/bin/nft"}) {
    if (request.path.empty() && ::access(path, X_OK) == 0) request.path = path;
  }
  if (request.path.empty())
    return unavailable("there is no nft program, which keeps the kernel off " + device +
                       "; type: apt-get install nftables");
  request.arguments = {"-f", "-"};
  request.input = script;
  PODWIRE_TRY(const auto outcome, run_process(request));
  if (outcome.exit == 0) return {};
  return io_error("nft for " + device +
                  " failed: " + outcome.diagnostics.substr(0, outcome.diagnostics.find('\n')));
}

}  // namespace

Result<void> block_ingress(const std::string& device) {
  const auto table = table_of(device);
  // Naming the table before deleting it makes the deletion succeed the first time, too; nft applies all or
  // nothing.
  return run_nft(device, "table netdev " + table + "\ndelete table netdev " + table + "\ntable netdev " +
                             table + " {\n  chain ingress {\n    type filter hook ingress device \"" +
                             device + "\" priority -500; policy drop;\n  }\n}\n");
}

Result<void> unblock_ingress(const std::string& device) {
  const auto table = table_of(device);
  return run_nft(device, "table netdev " + table + "\ndelete table netdev " + table + "\n");
}

}  // namespace podwire::control
