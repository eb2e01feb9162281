// `flows`, `flows_flush` and `flows_top`: the engine's connections with names in place of ids.
#include <algorithm>
#include <map>

#include "control/api/daemon.hpp"
#include "control/api/paging.hpp"

namespace podwire::control {
namespace {

constexpr std::size_t kMaxEnginePage = 1000;

bool has_name(const Attachment& a, const std::string& name) {
  if (name == endpoint_name(a) || name == port_name(a) || name == a.key.container_id || name == pod_of(a) ||
      name == a.pod_name)
    return true;
  return std::any_of(a.extra_endpoints.begin(), a.extra_endpoints.end(),
                     [&](const auto& endpoint) { return endpoint.name == name; });
}

void add_addresses(const std::vector<IpPrefix>& addresses, Json& list) {
  for (const auto& a : addresses)
    list.push_back(to_string(a.address) + "/" + std::to_string(a.address.bits()));
}

Result<DomainId> domain_named(const NodeObjects& node, const std::string& name) {
  std::vector<std::string> names;
  for (const auto& [known, id] : node.domains) {
    if (known == name) return id;
    names.push_back(known);
  }
  const auto near = closest_match(name, names);
  return not_found("domain: there is no domain \"" + name.substr(0, 64) + "\"" +
                   (near.empty() ? "; see podwirectl domain" : "; did you mean \"" + near + "\"?"));
}

// The addresses of one pod, and its domain.
Result<void> put_pod(Daemon& daemon, const NodeObjects& node, const std::string& pod, Json& question) {
  PODWIRE_TRY(const auto attachments, daemon.store.list());
  Json addresses = Json::array();
  std::string domain;
  const Attachment* first = nullptr;
  for (const auto& a : attachments) {
    if (!has_name(a, pod)) continue;
    if (first != nullptr && first->key.container_id != a.key.container_id) {
      return conflict("pod: \"" + pod.substr(0, 128) + "\" is " + endpoint_name(*first) + " and " +
                      endpoint_name(a) + "; say which, as NAMESPACE/NAME or by its port");
    }
    first = &a;
    if (!domain.empty() && domain != a.domain)
      return conflict("pod: \"" + pod.substr(0, 128) + "\" is in domains " + domain + " and " + a.domain +
                      "; name one of its ports, see podwirectl port");
    domain = a.domain;
    add_addresses(a.addresses, addresses);
    for (const auto& e : a.extra_endpoints) add_addresses(e.addresses, addresses);
  }
  if (addresses.empty()) {
    return not_found("pod: no pod, endpoint, port or container of this node is \"" + pod.substr(0, 128) +
                     "\"; see podwirectl endpoint");
  }
  PODWIRE_TRY(const auto id, domain_named(node, domain));
  if (question.contains("domain") && question["domain"] != id.value())
    return conflict("pod: \"" + pod.substr(0, 128) + "\" is in domain " + domain + "; leave out domain");
  question["domain"] = id.value();
  question["addresses"] = std::move(addresses);
  return {};
}

enum class FlowVerb { kList, kFlush, kTop };

struct Wanted {
  Json question = Json::object();  // of the engine
  bool all = false;
  Page page;
};

Result<Wanted> read_wanted(Daemon& daemon, const NodeObjects& node, const Json& params, FlowVerb verb) {
  Wanted wanted;
  std::optional<std::string> pod, domain, address, protocol, state;
  std::optional<std::uint16_t> port;
  ObjectReader r(params, "params");
  r.optional("pod", pod);
  r.optional("domain", domain);
  r.optional("address", address);
  r.optional("protocol", protocol);
  r.optional("port", port);
  r.optional("state", state);
  auto& question = wanted.question;
  if (verb == FlowVerb::kFlush) {
    r.optional("all", wanted.all);
  } else if (verb == FlowVerb::kList) {
    read_page(r, wanted.page);
  } else {
    for (const auto* key : {"sample", "limit"}) {
      if (const auto* value = r.find(key)) question[key] = *value;  // the engine says what is wrong with it
    }
  }
  PODWIRE_CHECK(r.finish());
  if (domain) {
    PODWIRE_TRY(const auto id, domain_named(node, *domain));
    question["domain"] = id.value();
  }
  if (pod && address) return invalid("params has pod and address; it takes one or the other");
  if (pod) PODWIRE_CHECK(put_pod(daemon, node, *pod, question));
  if (address) {
    const auto plain = parse_ip(*address);
    question["addresses"] = {plain ? *address + "/" + std::to_string(plain->bits()) : *address};
  }
  if (protocol) question["protocol"] = *protocol;
  if (port) question["port"] = *port;
  if (state) question["state"] = *state;
  return wanted;
}

// Pods by domain id and address.
class Names {
 public:
  Names(const NodeObjects& node, const std::vector<Attachment>& attachments) : node_(node) {
    for (const auto& a : attachments) {
      const auto domain = domain_named(node, a.domain);
      if (!domain || a.state != AttachmentState::kReady) continue;
      const auto pod = pod_of(a);
      for (const auto& one : a.addresses)
        names_[{*domain, to_string(one.address)}] = pod.empty() ? endpoint_name(a) : pod;
      for (const auto& e : a.extra_endpoints) {
        for (const auto& one : e.addresses) names_[{*domain, to_string(one.address)}] = e.name;
      }
    }
  }

  // In a connection, and in its reply where that has other ends.
  void put_both(Json& flow) const {
    put(flow);
    if (const auto reply = flow.find("reply"); reply != flow.end() && reply->is_object()) put(*reply);
  }

 private:
  // Of the engine's {domain, source, destination}: the domain by name, and whose addresses they are.
  void put(Json& tuple) const {
    const auto domain = tuple.find("domain");
    if (domain == tuple.end() || !domain->is_number_unsigned()) return;
    const DomainId id(domain->get<std::uint16_t>());
    put_pod(tuple, "source", "source_pod", id);
    put_pod(tuple, "destination", "destination_pod", id);
    tuple["domain"] = id == kUnderlayDomain ? "underlay" : std::to_string(id.value());
    for (const auto& [name, known] : node_.domains) {
      if (known == id) tuple["domain"] = name;
    }
  }

  void put_pod(Json& tuple, const char* address, const char* pod, DomainId domain) const {
    const auto at = tuple.find(address);
    if (at == tuple.end() || !at->is_string()) return;
    const auto name = names_.find({domain, at->get<std::string>()});
    if (name != names_.end()) tuple[pod] = name->second;
  }

  const NodeObjects& node_;
  std::map<std::pair<DomainId, std::string>, std::string> names_;
};

// The engine's next page; `next` becomes 0 when it was the last.
Result<Json> next_page(Daemon& daemon, const char* verb, const Json& question, std::uint32_t& next) {
  PODWIRE_TRY(Json reply, daemon.reconciler.query(verb, question));
  const auto at = reply.find("next_after_id");
  const bool more = at != reply.end() && at->is_number_unsigned();
  const auto after = more ? at->get<std::uint32_t>() : 0;
  if (more && after <= next) return unavailable("the engine's pages of connections do not advance");
  next = after;
  return reply;
}

}  // namespace

Result<Json> flows_view(Daemon& daemon, const Json& params) {
  const auto node = daemon.reconciler.node();
  PODWIRE_TRY(auto wanted, read_wanted(daemon, node, params, FlowVerb::kList));
  PODWIRE_TRY(const auto attachments, daemon.store.list());
  const Names names(node, attachments);
  Json flows = Json::array();
  std::size_t bytes = 0;
  for (std::uint32_t next = wanted.page.after;;) {
    // A page of the engine comes whole or not at all, so that its end is ours.
    const auto left = wanted.page.limit == 0 ? kMaxEnginePage : wanted.page.limit - flows.size();
    wanted.question["after_id"] = next;
    wanted.question["limit"] = std::min(left, kMaxEnginePage);
    PODWIRE_TRY(Json reply, next_page(daemon, "flows", wanted.question, next));
    for (auto& flow : reply["flows"]) {
      if (!flow.is_object()) continue;
      names.put_both(flow);
      bytes += flow.dump(-1, ' ', false, Json::error_handler_t::replace).size() + 1;
      flows.push_back(std::move(flow));
    }
    const bool full = bytes > kMaxPageBytes - (256u << 10) || flows.size() == wanted.page.limit;
    if (next != 0 && !full) continue;
    Json page{{"flows", std::move(flows)}};
    if (next != 0) page["next_after"] = next;
    return page;
  }
}

Result<Json> flows_sample(Daemon& daemon, const Json& params) {
  return daemon.reconciler.query("flows_sample", params);
}

Result<Json> flows_top(Daemon& daemon, const Json& params) {
  const auto node = daemon.reconciler.node();
  PODWIRE_TRY(const auto wanted, read_wanted(daemon, node, params, FlowVerb::kTop));
  PODWIRE_TRY(const auto attachments, daemon.store.list());
  PODWIRE_TRY(Json reply, daemon.reconciler.query("flows_top", wanted.question));
  const Names names(node, attachments);
  if (const auto flows = reply.find("flows"); flows != reply.end() && flows->is_array()) {
    for (auto& flow : *flows) {
      if (flow.is_object()) names.put_both(flow);
    }
  }
  return reply;
}

Result<Json> flows_flush(Daemon& daemon, const Json& params) {
  PODWIRE_TRY(auto wanted, read_wanted(daemon, daemon.reconciler.node(), params, FlowVerb::kFlush));
  if (wanted.all) wanted.question["all"] = true;
  std::uint64_t flushed = 0;
  std::uint32_t next = 0;
  do {
    wanted.question["after_id"] = next;
    PODWIRE_TRY(const Json reply, next_page(daemon, "flows_flush", wanted.question, next));
    if (const auto at = reply.find("flushed"); at != reply.end() && at->is_number_unsigned())
      flushed += at->get<std::uint64_t>();
  } while (next != 0);
  return Json{{"flushed", flushed}};
}

}  // namespace podwire::control
