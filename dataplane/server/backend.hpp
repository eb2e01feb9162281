// Backend: what the verbs act on, as far as their handlers know it. The engine implements it
// (server/engine.hpp); the handlers' tests use a fake. Main thread only.
#pragma once

#include <cstdint>
#include <vector>

#include "dataplane/api/objects.hpp"
#include "dataplane/base/unique_fd.hpp"

namespace podwire::engine {

class Backend {
 public:
  virtual ~Backend() = default;

  virtual std::uint64_t generation() const = 0;
  // Random for every start of the engine, so that podwired can tell a new one from the old.
  virtual const std::string& instance() const = 0;

  // All or nothing; the generation afterwards. When they return, every worker has seen it.
  virtual Result<std::uint64_t> patch(api::ObjectSet put, const api::IdSet& remove,
                                      std::vector<UniqueFd> fds) = 0;
  virtual void replace_begin() = 0;
  virtual Result<void> replace_chunk(api::ObjectSet put, std::vector<UniqueFd> fds) = 0;
  virtual Result<std::uint64_t> replace_commit() = 0;
  virtual void replace_abort() = 0;  // the writer has gone in the midst of one
  virtual Result<std::vector<UniqueFd>> port_descriptors(PortId id) = 0;
  virtual void shut_down() = 0;  // soon, after the reply

  virtual Json status() = 0;
  virtual Json stats(bool all_drops) = 0;
  // These read their own parameters, strictly.
  virtual Result<Json> dump(const Json& params) = 0;
  virtual Result<Json> fdb(const Json& params) = 0;
  virtual Result<Json> neighbors(const Json& params) = 0;
  virtual Result<Json> explain(const Json& params) = 0;
  virtual Result<Json> flows(const Json& params) = 0;
  virtual Result<Json> flows_flush(const Json& params) = 0;
  virtual Result<Json> flows_sample(const Json& params) = 0;
  virtual Result<Json> flows_top(const Json& params) = 0;
};

}  // namespace podwire::engine
