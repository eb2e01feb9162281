// What the CNI commands mean (CNI specification 1.1.0; versions 0.3.1, 0.4.0, 1.0.0 and 1.1.0 are served).
// The daemon's `cni` verb hands every call of the plugin process to one CniService, on a pool thread; calls
// may block for as long as the kernel, the engine or an IPAM plugin takes. Thread-safe.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "control/state/host_ports.hpp"
#include "control/state/reconciler.hpp"
#include "control/state/store.hpp"
#include "dataplane/base/json.hpp"
#include "dataplane/base/unique_fd.hpp"

namespace podwire::control {

struct Config;  // control/config.hpp
class NamespaceDomains;

// Must outlive the service.
struct CniContext {
  const Config& config;
  Store& store;
  Reconciler& reconciler;
  HostPorts* host_ports = nullptr;  // null: the node's own side of published ports is nobody's business
  const NamespaceDomains* namespaces = nullptr;  // null: namespaces do not say what pods join
  // Why pods reach nobody on other nodes; empty: they do, or nobody knows. May be empty itself.
  std::function<std::string()> isolated{};
};

// One invocation of the plugin.
struct CniRequest {
  std::map<std::string, std::string> env;  // every CNI_* variable that was set (and PATH, for an IPAM plugin)
  std::string input;                       // what came on stdin
  UniqueFd netns;  // CNI_NETNS, opened by the plugin process; none when it could not be opened
};

// The `cni` verb's parameters {env: {...}, stdin: "text"} and descriptors. Fails with kInvalid.
Result<CniRequest> read_cni_request(const Json& params, std::vector<UniqueFd> fds);

// What the plugin process prints and exits with. An error is a result here: its JSON is in `output`.
struct CniReply {
  int exit = 0;
  std::string output;  // empty, or one JSON object
};
Json to_json(const CniReply& reply);  // {exit, stdout}

class CniService {
 public:
  struct Impl;  // service.hpp; for control/cni itself

  explicit CniService(CniContext context);
  ~CniService();

  CniReply handle(CniRequest request);

  // Undoes what a killed daemon left half done: attachments in state adding or deleting, and after a reboot
  // of the machine all of them, lose their interface (if their namespace is still the same), their engine
  // port, their delegated addresses and their record. Call it before serving and after the reconciler exists;
  // the engine need not be connected. Returns what could not be undone, one sentence each; those attachments
  // stay and are tried again by the runtime's DEL or the next recover().
  std::vector<std::string> recover();

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace podwire::control
