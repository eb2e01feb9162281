// Keeps the engine in step with the desired state: full replace on every (re)connect, batched patches
// afterwards. Owns the connection to the engine and a duplicate of every tap descriptor, so that carriers
// stay up while the engine restarts. Thread-safe; one thread of its own talks to the engine.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "control/state/store.hpp"
#include "dataplane/api/objects.hpp"
#include "dataplane/base/unique_fd.hpp"

namespace podwire::control {

struct EngineState {
  bool connected = false;
  std::string instance;  // changes with every engine start
  int pid = 0;
  std::string version;
  std::uint64_t generation = 0;
  std::uint64_t restarts = 0;  // seen by this daemon
  std::string last_error;      // why it is not connected, or the last refused change
};

class Reconciler {
 public:
  virtual ~Reconciler() = default;

  // Programs the attachment's port and endpoints; `queues` are a tap's descriptors. Returns once every worker
  // of the engine has seen it. kUnavailable when the engine is not connected (nothing is kept then).
  virtual Result<void> attach(const Attachment& attachment, std::vector<UniqueFd> queues) = 0;
  // Programs the endpoints of an attachment that is attached; its port stays as it is. kUnavailable when the
  // engine is not connected, unless endpoints only went (the next full replace leaves them out).
  virtual Result<void> update(const Attachment& attachment) = 0;
  // Removes them; succeeds also while the engine is away (the next full replace leaves them out).
  virtual Result<void> detach(const Attachment& attachment) = 0;
  // Whether the engine has this attachment's port with a live device (asked of the engine now).
  virtual Result<void> verify(const Attachment& attachment) = 0;

  virtual EngineState state() const = 0;
  // One read-only engine verb, passed through.
  virtual Result<Json> query(const std::string& verb, const Json& params) = 0;
  // Full replace now; returns the number of differences found before it.
  virtual Result<std::size_t> reconcile() = 0;
  // What differs between desired state and engine, one sentence each; empty when they agree.
  virtual Result<std::vector<std::string>> differences() = 0;
};

// query() of `status` or `stats` with the ports of all their pages in one reply.
Result<Json> query_all_ports(Reconciler& reconciler, const std::string& verb, Json params = Json::object());

}  // namespace podwire::control
