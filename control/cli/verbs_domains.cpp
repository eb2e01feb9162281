#include "control/cli/verbs_connections.hpp"

namespace podwire::control::cli {
namespace {

std::vector<OptionSpec> domain_options() {
  const std::vector<std::string> add{"add"};
  return {
      names_option(),
      {"vni", "N", "add: the VXLAN network identifier, the same on every node", add},
      {"prefix", "PREFIX", "add: this node's pods have addresses of it; twice for both families", add, true},
      {"peer", "NODE[=PREFIX]", "add: what another node has of it; may be repeated", add, true},
      {"mode", "MODE", "add: l3: routed (default); l2: one broadcast segment", add},
      {"stateful", "", "add: track connections: policies, services and published ports need it", add},
      {"masquerade", "", "add: its pods reach the world as this node; implies --stateful", add},
      {"policy-default", "WHAT",
       "add: allow (default), or deny: nobody but the node reaches pods that no policy selects", add},
      {"mtu", "BYTES", "add: largest IP packet of its pods (default: what fits the tunnel)", add}};
}

}  // namespace

Verb domain_verb() {
  return {
      .name = "domain",
      .summary = "virtual networks: VNI, mode, gateways, how many addresses are left",
      .about =
          "Lists the domains of this node, or shows one in full; adds and deletes tenants while podwired "
          "runs, "
          "and\n"
          "says which namespaces' pods are theirs. Domains exchange no packets with each other, but for "
          "those "
          "that\n"
          "are joined and for global ones, which all others reach. Changes are in force when the command "
          "returns\n"
          "and stay over restarts; every node has to be told the same.",
      .method = "domains",
      .list_key = "domains",
      .subs = {{"list", "", "every domain"},
               {"show", "NAME", "one domain in full, by name, id or VNI"},
               {"add", "NAME", "a domain beside those of podwired.json", "domain_add"},
               {"del", "NAME", "remove a domain that was added and has no pods; no error when there is none",
                "domain_del"},
               {"assign", "NAMESPACE", "pods of this namespace join that domain from now on", "domain_assign",
                "DOMAIN", true},
               {"unassign", "NAMESPACE", "they join the default domain again", "domain_unassign"},
               {"join", "NAME", "join the others to the first: their pods reach each other's", "domain_join",
                "NAME"},
               {"isolate", "NAME", "part it from those that it is joined with; not global any more",
                "domain_isolate"},
               {"global", "NAME", "let all others reach it, and it them", "domain_global"}},
      .options = domain_options(),
      .columns = {{"VNI", "the VXLAN network identifier on the wire"},
                  {"MODE", "l3: routed, nothing is flooded; l2: one broadcast segment"},
                  {"GATEWAYS", "the pods' default gateway, the same on every node"},
                  {"REACHES", "the domains that it is joined with; all: it is global"},
                  {"NAMESPACES", "whose pods join it unless their network configuration names another"},
                  {"USED, FREE", "pod addresses handed out, and left to hand out"}},
      .examples = {{"podwirectl domain show default", "one domain in full"},
                   {"podwirectl domain add tenant-a --vni 100 --prefix 10.1.1.0/24 --peer node2=10.1.2.0/24",
                    "a tenant of two nodes; on node2 with the prefixes the other way round"},
                   {"podwirectl domain assign shop tenant-a", "pods of namespace shop are its"},
                   {"podwirectl domain join shop stock billing", "three domains whose pods reach each other"},
                   {"podwirectl domain isolate billing", "the other two stay joined"}},
  };
}

}  // namespace podwire::control::cli
