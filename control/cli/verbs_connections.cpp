#include "control/cli/verbs_connections.hpp"

#include "control/cli/flows.hpp"

namespace podwire::control::cli {

OptionSpec names_option() {
  return {"names", "", "print only the names, one a line, for scripts and completion"};
}

namespace {

OptionSpec file_option() {
  return {"file",
          "FILE",
          "apply, delete: the manifests, YAML or JSON, several documents; - is standard input",
          {"apply", "delete"},
          false,
          'f'};
}

}  // namespace

Verb policy_verb() {
  const std::vector<std::string> explain{"explain"};
  return {
      .name = "policy",
      .summary =
          "Kubernetes network policies: apply, list, which pods they select, what they say of two pods",
      .about =
          "Lists the network policies that were applied, or shows one in full. Applies manifests of\n"
          "NetworkPolicies (networking.k8s.io/v1), Namespaces and Pods: a file as a whole or not at all, in\n"
          "force when the command returns. Pods here are known by the namespace and name that the runtime\n"
          "gave; a pod without a manifest, in a namespace with policies, is cut off. Policies need a domain\n"
          "with \"stateful\": true.",
      .method = "policies",
      .list_key = "policies",
      .subs = {{"list", "", "every policy"},
               {"show", "NAME", "one policy in full, by NAMESPACE/NAME"},
               {"apply", "", "add or change what the manifests say", "policy_apply"},
               {"delete", "[NAME]", "remove one policy, or with -f all objects of a file", "policy_del"},
               {"explain", "POD",
                "may this pod (NAMESPACE/NAME) connect to the one after --to, and who decides",
                "policy_explain"}},
      .options = {names_option(),
                  file_option(),
                  {"to", "POD", "explain: the pod that is connected to", explain},
                  {"proto", "PROTOCOL", "explain: tcp (default), udp, sctp or any", explain},
                  {"port", "N", "explain: the port that is connected to (default 0)", explain}},
      .columns = {{"PODS", "the pods that it selects; list: how many of them are here"},
                  {"DIRECTIONS", "ingress: connections to the pods; egress: connections from them"}},
      .examples = {{"podwirectl policy apply -f policies.yaml", "apply a file"},
                   {"podwirectl policy show shop/web", "what it allows, and whom it selects here"},
                   {"podwirectl policy explain shop/web-0 --to shop/db-0 --port 5432", "who decides"},
                   {"podwirectl policy delete shop/web", "remove it"}},
  };
}

Verb service_verb() {
  return {
      .name = "service",
      .summary = "Kubernetes services: apply, list, which endpoints they lead to",
      .about =
          "Lists the services that were applied, or shows one in full. Applies manifests of Services (v1) "
          "and\n"
          "EndpointSlices (discovery.k8s.io/v1): a file as a whole or not at all, in force when the command "
          "returns.\n"
          "A service's pods and endpoints are in the node's default domain, or in that of its annotation\n"
          "podwire.io/domain; the domain needs \"stateful\": true.",
      .method = "services",
      .list_key = "services",
      .subs = {{"list", "", "every service"},
               {"show", "NAME", "one service in full, by NAMESPACE/NAME"},
               {"apply", "", "add or change what the manifests say", "service_apply"},
               {"delete", "[NAME]",
                "remove one service with its endpoint slices, or with -f all objects of a file",
                "service_del"}},
      .options = {names_option(), file_option()},
      .columns = {{"CLUSTER IPS", "the service's own addresses, for pods of its domain"},
                  {"PORTS", "its ports; node port: on every address of the node"},
                  {"READY", "endpoints that get new connections, of those that are known"}},
      .examples = {{"podwirectl service apply -f services.yaml", "apply a file"},
                   {"podwirectl service apply -f -",
                    "what is piped in: kubectl get services,endpointslices -A -o yaml"},
                   {"podwirectl service show shop/web", "one service in full"},
                   {"podwirectl service delete shop/web", "remove it"}},
  };
}

Verb flows_verb() {
  const std::vector<std::string> list{"list"}, flush{"flush"};
  return {
      .name = "flows",
      .summary = "tracked connections of stateful domains, which of them are busiest, and forgetting them",
      .about =
          "Lists the connections that the engine tracks, or forgets them (flush). A forgotten connection is "
          "a "
          "new one with\n"
          "its next packet, and is asked about as one. How many there are: podwirectl status.",
      .method = "flows",
      .subs = {{"list", "", "connections, the first 1000 that fit"},
               {"flush", "", "forget those that fit; needs an option that says which, or --all"}},
      .options = {{"pod", "NAME", "from or to this pod, endpoint, port or container of this node"},
                  {"address", "ADDRESS", "from or to this address or prefix"},
                  {"port", "PORT", "from or to this TCP, UDP or SCTP port"},
                  {"protocol", "PROTOCOL", "icmp, icmp6, tcp, udp, sctp or a number"},
                  {"domain", "NAME", "of this domain"},
                  {"state", "STATE", "in this state, such as established or syn_sent"},
                  {"top", "[N]", "list: the N with the most traffic now, 1 to 1000 (default 10)", list, false,
                   0, std::to_string(kDefaultTopFlows)},
                  {"seconds", "S", "list: with --top, how long to measure, 1 to 30 (default 2)", list},
                  {"limit", "N", "list: this many at most, 1 to 1000000 (default 1000)", list},
                  {"all", "", "flush: every connection", flush}},
      .columns = {{"SOURCE, DESTINATION",
                   "of the connection's first packet; with its ports, or the identifier of an echo"},
                  {"REPLY", "from where and to where the answers go, when addresses or ports are translated"},
                  {"STATE", "of TCP as it passes by; others: new until somebody answered, then replied"},
                  {"PACKETS/S, MBIT/S",
                   "with --top: both directions, as received; a large segmented packet counts once"},
                  {"untracked",
                   "with --top: of a stateless domain, the node's own, or over when the page was made"},
                  {"IDLE, LEFT", "seconds since the last packet, and until it is forgotten without another"},
                  {"PODS", "whose the two addresses are, of pods on this node"}},
      .examples = {{"podwirectl flows --pod shop/web-0 --state established", "who talks with a pod"},
                   {"podwirectl flows --top 5 --pod shop/web-0", "its five busiest connections"},
                   {"podwirectl flows flush --address 10.244.1.10 --port 53", "forget some"}},
  };
}

}  // namespace podwire::control::cli
