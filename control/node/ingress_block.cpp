#include "control/node/ingress_block.hpp"

#include <cctype>

#include "control/node/nft.hpp"

namespace podwire::control {
namespace {

std::string table_of(const std::string& device) {
  std::string name = "podwire_" + device;
  for (char& c : name) {
    if (std::isalnum(static_cast<unsigned char>(c)) == 0) c = '_';  // all that nft takes unquoted
  }
  return name;
}

Result<void> run_script(const std::string& device, const std::string& script) {
  return apply_nft(script, "keeps the kernel off " + device);
}

}  // namespace

Result<void> block_ingress(const std::string& device) {
  const auto table = table_of(device);
  // Naming the table before deleting it makes the deletion succeed the first time, too; nft applies all or
  // nothing.
  return run_script(device, "table netdev " + table + "\ndelete table netdev " + table + "\ntable netdev " +
                                table + " {\n  chain ingress {\n    type filter hook ingress device \"" +
                                device + "\" priority -500; policy drop;\n  }\n}\n");
}

Result<void> unblock_ingress(const std::string& device) {
  const auto table = table_of(device);
  return run_script(device, "table netdev " + table + "\ndelete table netdev " + table + "\n");
}

}  // namespace podwire::control
