#include "dataplane/server/verb_server.hpp"

#include <algorithm>

namespace podwire::engine {
namespace {

Error unknown_verb(const std::string& method, const std::vector<std::string>& names) {
  const auto near = closest_match(method, names);
  std::string message = "unknown verb \"" + method.substr(0, 64) + "\"";
  message += near.empty() ? "; the verbs are " : "; did you mean \"" + near + "\"?";
  if (near.empty()) {
    for (std::size_t i = 0; i < names.size(); ++i) message += (i ? ", " : "") + names[i];
  }
  return {ErrorCode::kUnknownVerb, std::move(message)};
}

}  // namespace

// One row a verb, made from api/verbs.def.
struct VerbServer::Verb {
  enum class Who { reader, writer };  // spelled as in verbs.def
  std::string_view name;
  Who who;
  std::string_view help;
  Result<Json> (VerbServer::*handler)(Call&);

  bool takes_descriptors() const { return name == "patch" || name == "replace_chunk"; }
};

const std::vector<VerbServer::Verb>& VerbServer::verbs() {
  static const std::vector<Verb> all{
#define X(name, who, help) {#name, Verb::Who::who, help, &VerbServer::name},
#include "dataplane/api/verbs.def"
#undef X
  };
  return all;
}

Result<Json> VerbServer::dispatch(RpcRequest& request, std::vector<UniqueFd>& reply_fds) {
  const auto verb =
      std::find_if(verbs().begin(), verbs().end(), [&](const Verb& v) { return v.name == request.method; });
  if (verb == verbs().end()) {
    std::vector<std::string> names;
    for (const auto& known : verbs()) names.emplace_back(known.name);
    return unknown_verb(request.method, names);
  }
  if (verb->who == Verb::Who::writer && request.connection != writer_) {
    return Error{ErrorCode::kDenied, "\"" + request.method +
                                         "\" is for the one writer, and this connection is not it: " +
                                         "call hello {\"epoch\": N} first" +
                                         (epoch_ ? " with N at least " + std::to_string(*epoch_) : "")};
  }
  if (!request.fds.empty() && !verb->takes_descriptors()) {
    return invalid("\"" + request.method + "\" takes no descriptors, " + std::to_string(request.fds.size()) +
                   " came with it");
  }
  Call call{request.params, std::move(request.fds), request.connection, {}};
  auto result = (this->*verb->handler)(call);
  reply_fds = std::move(call.reply_fds);
  return result;
}

void VerbServer::handle(RpcRequest request, Responder responder) {
  std::vector<UniqueFd> reply_fds;
  const auto result = dispatch(request, reply_fds);
  if (result) {
    responder.reply(*result, std::move(reply_fds));
  } else {
    responder.fail(result.error());
  }
}

void VerbServer::connection_closed(std::uint64_t connection) {
  if (connection == writer_) release_writer();
}

void VerbServer::release_writer() {
  backend_.replace_abort();
  writer_ = 0;
}

std::string VerbServer::help() {
  std::size_t width = 0;
  for (const auto& verb : verbs()) width = std::max(width, verb.name.size());
  std::string out;
  for (const auto& verb : verbs()) {
    out += std::string(verb.name) + std::string(width - verb.name.size() + 2, ' ') + std::string(verb.help) +
           (verb.who == Verb::Who::writer ? " [writer only]" : "") + "\n";
  }
  return out;
}

}  // namespace podwire::engine
