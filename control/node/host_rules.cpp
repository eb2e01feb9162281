#include "control/node/host_rules.hpp"

#include <algorithm>

namespace podwire::control {
namespace {

constexpr std::size_t kElementsALine = 500;

std::string table_name() {
  return std::string("inet ") + kHostTable;
}

// The kernel's names for a family.
struct FamilyTexts {
  bool v4;
  const char *digit, *ip, *type, *loopback;
};
constexpr FamilyTexts kFamilyTexts[] = {{true, "4", "ip", "ipv4_addr", "127.0.0.0/8"},
                                        {false, "6", "ip6", "ipv6_addr", "::1"}};

const IpAddr* of_family(const std::vector<IpAddr>& all, bool v4) {
  const auto at = std::find_if(all.begin(), all.end(), [v4](const IpAddr& a) { return a.is_v4() == v4; });
  return at == all.end() ? nullptr : &*at;
}

std::string collection_of(const HostPort& port) {
  return std::string(port.address ? "addresses" : "ports") + (port.v4 ? "4" : "6");
}

// As an element of that set or map. The kernel knows `alias` for the port's address.
std::string element_of(const HostKernel& kernel, const HostPort& port) {
  const auto& protocol = api::kServiceProtocolNames[static_cast<std::size_t>(port.protocol)];
  const auto place = protocol + " . " + std::to_string(port.port);
  if (!port.address) return place;
  return to_string(*port.address) + " . " + place + " : " + to_string(kernel.aliases.at(*port.address));
}

std::string join(const std::vector<std::string>& texts) {
  std::string all;
  for (const auto& text : texts) all += (all.empty() ? "" : ", ") + text;
  return all;
}

// "add element ..." or "delete element ..." for all of `ports`.
std::string elements_command(const HostKernel& kernel, const char* command, const HostPortSet& ports) {
  std::map<std::string, std::vector<std::string>> by_collection;
  for (const auto& port : ports) by_collection[collection_of(port)].push_back(element_of(kernel, port));
  std::string script;
  for (const auto& [collection, elements] : by_collection) {
    for (std::size_t at = 0; at < elements.size(); at += kElementsALine) {
      const auto end = std::min(elements.size(), at + kElementsALine);
      const auto first = elements.begin() + static_cast<std::ptrdiff_t>(at);
      const auto last = elements.begin() + static_cast<std::ptrdiff_t>(end);
      script += std::string(command) + " element " + table_name() + " " + collection + " { " +
                join({first, last}) + " }\n";
    }
  }
  return script;
}

std::string sets_of(const HostKernel& kernel, const FamilyTexts& family) {
  std::vector<std::string> own{family.loopback};
  for (const auto& address : kernel.addresses) {
    if (address.is_v4() == family.v4) own.push_back(to_string(address));
  }
  const std::string digit = family.digit, type = family.type;
  return "  set node" + digit + " { type " + type + "; flags interval; elements = { " + join(own) + " } }\n" +
         "  set ports" + digit + " { type inet_proto . inet_service; }\n" +  //
         "  map addresses" + digit + " { type " + type + " . inet_proto . inet_service : " + type + "; }\n";
}

std::string output_rules(const IpAddr& service, const FamilyTexts& family) {
  const std::string digit = family.digit, ip = family.ip;
  return "    " + ip + " daddr @node" + digit + " meta l4proto . th dport @ports" + digit + " dnat " + ip +
         " to " + to_string(service) + "\n" +  //
         "    dnat " + ip + " to " + ip + " daddr . meta l4proto . th dport map @addresses" + digit + "\n";
}

std::string postrouting_rule(const HostKernel& kernel, const FamilyTexts& family) {
  const auto prefix = std::find_if(kernel.prefixes.begin(), kernel.prefixes.end(),
                                   [&](const IpPrefix& p) { return p.address.is_v4() == family.v4; });
  const std::string ip = family.ip;
  return "    oifname \"" + kernel.interface + "\" " + ip + " saddr " + family.loopback + " " + ip +
         " daddr " + to_string(*prefix) + " snat " + ip + " to " +
         to_string(*of_family(kernel.addresses, family.v4)) + "\n";
}

}  // namespace

std::string no_host_table() {
  // Naming the table before deleting it makes the deletion succeed when there is none, too.
  return "table " + table_name() + "\ndelete table " + table_name() + "\n";
}

std::string host_table(const HostKernel& kernel, const HostPortSet& ports) {
  std::string sets, output, postrouting;
  for (const auto& family : kFamilyTexts) {
    const auto* service = of_family(kernel.services, family.v4);
    if (service == nullptr) continue;
    sets += sets_of(kernel, family);
    output += output_rules(*service, family);
    postrouting += postrouting_rule(kernel, family);
  }
  const auto from_network = "    iifname \"" + kernel.interface + "\" ip ";
  return no_host_table() + "table " + table_name() + " {\n" + sets +
         "  chain prerouting {\n    type filter hook prerouting priority raw; policy accept;\n" +
         from_network + "daddr 127.0.0.0/8 drop\n" + from_network + "saddr 127.0.0.0/8 drop\n  }\n" +
         "  chain output {\n    type nat hook output priority -110; policy accept;\n" + output + "  }\n" +
         "  chain postrouting {\n    type nat hook postrouting priority 90; policy accept;\n" + postrouting +
         "  }\n}\n" + elements_command(kernel, "add", ports);
}

std::string host_table_change(const HostKernel& kernel, const HostPortSet& before, const HostPortSet& after) {
  HostPortSet gone, fresh;
  std::set_difference(before.begin(), before.end(), after.begin(), after.end(),
                      std::inserter(gone, gone.end()));
  std::set_difference(after.begin(), after.end(), before.begin(), before.end(),
                      std::inserter(fresh, fresh.end()));
  return elements_command(kernel, "delete", gone) + elements_command(kernel, "add", fresh);
}

}  // namespace podwire::control
