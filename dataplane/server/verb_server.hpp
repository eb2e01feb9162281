// VerbServer: the engine's verbs over JSON-RPC. Finds the handler of a request, checks that the caller may
// use it and that it brought descriptors only where they are wanted, and keeps the writer rule: the
// connection that said hello with the highest epoch is the one writer. Main thread only; no sockets in here
// (base/rpc_server.hpp has them).
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "dataplane/base/rpc_server.hpp"
#include "dataplane/server/backend.hpp"

namespace podwire::engine {

// One request as a handler sees it.
struct Call {
  const Json& params;
  std::vector<UniqueFd> fds;  // of the request; only where the verb takes them
  std::uint64_t connection = 0;
  std::vector<UniqueFd> reply_fds;  // go out with the reply
};

class VerbServer {
 public:
  explicit VerbServer(Backend& backend) : backend_(backend) {}

  // For RpcServer: answers at once.
  void handle(RpcRequest request, Responder responder);
  void connection_closed(std::uint64_t connection);

  // What handle() answers. `fds` are filled for the reply.
  Result<Json> dispatch(RpcRequest& request, std::vector<UniqueFd>& reply_fds);

  std::optional<std::int64_t> epoch() const { return epoch_; }  // the highest seen
  // Every verb with its help, one a line: `podwire-engine --help-verbs`.
  static std::string help();

 private:
  struct Verb;
  static const std::vector<Verb>& verbs();
  // The handlers (handlers.cpp), one a verb; what they reply is in api/verbs.def and README.md.
#define X(name, who, help) Result<Json> name(Call& call);
#include "dataplane/api/verbs.def"
#undef X
  void release_writer();

  Backend& backend_;
  std::uint64_t writer_ = 0;  // connection; 0: none
  std::optional<std::int64_t> epoch_;
};

}  // namespace podwire::engine
