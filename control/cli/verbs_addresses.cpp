#include "control/cli/verbs_connections.hpp"

namespace podwire::control::cli {

Verb address_verb() {
  const std::vector<std::string> set{"egress", "floating"};
  return {
      .name = "address",
      .summary =
          "addresses outside: of a namespace's connections to the world, and floating ones of single pods",
      .about =
          "Lists the addresses outside that namespaces and pods of this node have for themselves, gives them "
          "such\n"
          "addresses and takes them away. They need a domain with a masquerade. An egress address is what "
          "the "
          "world\n"
          "sees of connections of a namespace's pods, in place of the node's address. A floating address is "
          "one "
          "pod's\n"
          "alone, in both directions and with all ports and protocols (1:1). Changes are in force when the "
          "command\n"
          "returns, for pods that are here and for those to come, and end the connections that used the "
          "former "
          "ones.",
      .method = "addresses",
      .list_key = "addresses",
      .subs = {{"list", "", "all of them"},
               {"show", "NAME", "those of one namespace, pod or port in full"},
               {"egress", "NAMESPACE", "what connections of this namespace's pods come from",
                "address_egress"},
               {"floating", "POD",
                "one pod's own address, by NAMESPACE/NAME; without a slash it is a port that was added",
                "address_floating"},
               {"delete", "NAME", "take away what a namespace, pod or port was given", "address_del"}},
      .options = {names_option(),
                  {"address", "ADDRESS", "egress, floating: the address; twice for one of each family", set,
                   true}},
      .columns = {{"KIND", "egress: of connections to the world outside; floating: of one pod, both ways"},
                  {"PODS", "who has it on this node"},
                  {"PROBLEM", "why somebody has not"}},
      .examples = {{"podwirectl address egress shop --address 192.0.2.10 --address 2001:db8::10",
                    "the world sees shop's pods as these"},
                   {"podwirectl address floating shop/web-0 --address 192.0.2.20",
                    "shop/web-0 is 192.0.2.20 to the world"},
                   {"podwirectl address delete shop", "shop's pods appear as the node again"}},
  };
}

}  // namespace podwire::control::cli
