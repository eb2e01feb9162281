// One connection to one server of the cluster's store: HTTP/1.1 POSTs of JSON, plain or by TLS, and answers
// that come as a stream of lines. The only user of cpp-httplib. One request at a time, by any one thread;
// cancel() may be called from any other. Everything that comes is bounded in size, and (a stream apart) in
// time.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "control/cluster/endpoint.hpp"
#include "control/config.hpp"

namespace podwire::control {

struct HttpTimeouts {
  std::chrono::milliseconds connect{2000};
  std::chrono::milliseconds answer{5000};  // of a whole answer
};

struct HttpAnswer {
  int status = 0;
  std::string body;
};

// In the message of a post() whose answer is larger than is taken: asking for less may help.
inline constexpr const char* kAnswerTooLong = "the answer is longer than 64 MiB";

class HttpConnection {
 public:
  // Connects with the first request, and again after a failed one. kIo: a file of `tls` cannot be read.
  static Result<std::unique_ptr<HttpConnection>> make(const StoreEndpoint& endpoint, const TlsConfig& tls,
                                                      const HttpTimeouts& timeouts);
  virtual ~HttpConnection() = default;

  // kUnavailable: no whole answer came, with why. `token` goes as Authorization unless it is empty.
  virtual Result<HttpAnswer> post(const std::string& path, const std::string& body,
                                  const std::string& token) = 0;
  // Calls `line` for every line of the answer, without its end, until it returns false (then the answer is
  // returned, without a body) or the stream ends (kUnavailable). An answer with another status than 200 is
  // returned as post() does.
  using Line = std::function<bool(std::string_view)>;
  virtual Result<HttpAnswer> stream(const std::string& path, const std::string& body,
                                    const std::string& token, const Line& line) = 0;
  // Ends what is under way with kUnavailable.
  virtual void cancel() = 0;
};

}  // namespace podwire::control
