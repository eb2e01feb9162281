// HostServices: what the node's own kernel does for services. Holds their ports (held_port.hpp), and leads
// the node's own programs to them by an nftables table (host_rules.hpp) and routes (host_routes.hpp); the
// engine then does with those packets what it does with clients' outside. Owns sockets and what it believes
// the kernel has. Thread-safe; works in the daemon's own network namespace. What a killed daemon left is put
// right by the next start(); table and routes work on while no daemon runs, and only the ports are free then.
#pragma once

#include <atomic>
#include <mutex>

#include "control/config.hpp"
#include "control/node/held_port.hpp"
#include "control/node/host_rules.hpp"
#include "control/state/host_ports.hpp"

namespace podwire::control {

class HostServices final : public HostPorts {
 public:
  explicit HostServices(const Config& config) : config_(config) {}

  // What to lead to where; before anything is held.
  void set_node(NodeObjects node, const NodeUnderlay& underlay);
  // The host interface is there: what was held before this call is held now indeed, and led to. What cannot
  // be is logged, and stands among differences() until restore() succeeds.
  void start();
  // Everything anew.
  void restore();
  // Puts the kernel back; ports are free again.
  Result<void> remove();
  // What somebody changed since, and what could not be done.
  std::vector<std::string> differences();

  Result<void> hold(const Attachment& attachment) override;
  Result<void> hold(const std::vector<api::Service>& services) override;
  void lead() override;
  void let_go(const Attachment& attachment) override;

 private:
  struct Claim {
    std::string owner;  // who asked
    std::string who;    // for people
    UniqueFd socket;
    std::string problem{};  // why it is not held
  };
  struct Wanted {
    HostPortSet ports;
    std::set<IpAddr> addresses;
  };

  // With mutex_.
  Result<void> claim(const std::string& owner, HostPlan plan);
  const std::string* owner_among(const HostPort& port, const std::string& owner) const;
  void hold_all();
  Wanted wanted() const;
  Result<void> set_up(const Wanted& wanted) const;
  Result<void> change(const Wanted& before, const Wanted& after) const;
  bool is_active() const { return !kernel_.services.empty(); }

  const Config& config_;

  mutable std::mutex mutex_;  // the next four
  NodeObjects node_;
  std::map<HostPort, Claim> claims_;
  std::map<std::string, std::set<IpAddr>> addresses_;  // of services, by owner
  std::string problem_;                                // why the node's own programs are not led

  std::atomic<bool> started_ = false;
  std::mutex kernel_mutex_;  // the next three; taken before mutex_
  HostKernel kernel_;
  bool whole_ = true;  // what the kernel has is not known
  Wanted there_;       // in the kernel
};

}  // namespace podwire::control
