// One connection to the engine as its writer: hello, dump, replace, patch. Splits what exceeds a line. Used
// by one thread; after a kUnavailable answer the connection is dead (ok() is false).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "dataplane/api/objects.hpp"
#include "dataplane/base/rpc.hpp"

namespace podwire::control {

// The tap descriptors to send with a port; borrowed. A tap port that is not in the map keeps its queues.
using PortQueues = std::map<PortId, std::vector<int>>;

struct EngineIdentity {
  std::string version;
  std::string instance;  // changes with every engine start
  int pid = 0;
  std::uint64_t generation = 0;
};

// Every object of one noun ("ports", ...), page by page, over any connection.
template <class T>
Result<std::vector<T>> dump_objects(RpcClient& client, const char* noun);

class EngineSession {
 public:
  // Connects and says hello. kDenied or kConflict when the engine has a writer of a higher epoch.
  static Result<EngineSession> open(const std::string& socket, std::uint64_t epoch);

  const EngineIdentity& identity() const { return identity_; }
  bool ok() const { return client_.ok(); }
  int fd() const { return client_.fd(); }
  RpcClient& client() { return client_; }

  // Both return the engine's new generation.
  Result<std::uint64_t> replace(const api::ObjectSet& objects, const PortQueues& queues);
  Result<std::uint64_t> patch(const api::ObjectSet& put, const api::IdSet& remove, const PortQueues& queues);

  Result<std::vector<UniqueFd>> port_descriptors(PortId port);
  Result<void> shutdown();

 private:
  EngineSession(RpcClient client, EngineIdentity identity)
      : client_(std::move(client)), identity_(std::move(identity)) {}

  RpcClient client_;
  EngineIdentity identity_;
};

}  // namespace podwire::control
