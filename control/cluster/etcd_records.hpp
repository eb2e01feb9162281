// Podwire's keys and values in etcd. Below cluster.prefix:
//   nodes/NAME              {"addresses": [...], "udp_port": N, "mac": "...", "transports": {DOMAIN:
//   "subnet"}} alive/NAME              the node's instance, with a lease that its podwired keeps alive
//   silent/NAME             {"since": Unix time}: when somebody noticed that alive/NAME had gone
//   prefixes/DOMAIN/A-L     {"node": "NAME"}: prefix A/L of DOMAIN is that node's, as in 10.244.1.0-24
//   manifests/              shared_manifests.hpp
//   endpoints/NODE/         endpoint_records.hpp
// Only alive/NAME has a lease: a node that cannot reach the store keeps its prefixes and its pods their
// routes. What is read was written by anybody: a value that is no such record is left out. Pure.
#pragma once

#include <optional>
#include <string>
#include <variant>

#include "control/cluster/cluster.hpp"
#include "control/cluster/etcd_client.hpp"

namespace podwire::control {

class EtcdKeys {
 public:
  explicit EtcdKeys(std::string prefix) : prefix_(std::move(prefix) + "/") {}

  const std::string& all() const { return prefix_; }
  std::string node(const std::string& name) const { return prefix_ + "nodes/" + name; }
  std::string alive(const std::string& name) const { return prefix_ + "alive/" + name; }
  std::string silent(const std::string& name) const { return prefix_ + "silent/" + name; }
  std::string prefixes() const { return prefix_ + "prefixes/"; }
  std::string prefix(const std::string& domain, const IpPrefix& prefix) const;

  // Of all keys that parse() knows.
  static constexpr const char* kSections[] = {"alive/", "nodes/", "prefixes/", "silent/"};

  enum class Kind { kNode, kAlive, kSilent, kPrefix };
  struct Parsed {
    Kind kind = Kind::kNode;
    std::string name;  // the node's, or the domain's
    IpPrefix prefix;
  };
  // None: no key of ours.
  std::optional<Parsed> parse(const std::string& key) const;

 private:
  const std::string prefix_;
};

std::string to_value(const NodeRecord& record);
Result<NodeRecord> parse_node_record(const std::string& value);
std::string owner_value(const std::string& node);
// Empty: it names nobody.
std::string parse_owner(const std::string& value);
std::string silence_value(std::int64_t since_s);
std::optional<std::int64_t> parse_silence(const std::string& value);

}  // namespace podwire::control
