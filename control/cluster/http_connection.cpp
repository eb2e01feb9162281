#include "control/cluster/http_connection.hpp"

#include <httplib.h>
#include <netinet/tcp.h>
#include <unistd.h>

#include <optional>

namespace podwire::control {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::size_t kLongestAnswer = 64 << 20;
constexpr std::size_t kLongestLine = 32 << 20;
// How long what was sent may stay unacknowledged, and how soon a silent peer is probed: a store that is gone
// is noticed within seconds although a watch itself never sends anything.
constexpr unsigned kUserTimeoutMs = 2000;
constexpr int kProbeAfterS = 2, kProbeEveryS = 1, kProbes = 2;
// A watch has nothing to say for as long as nothing happens; the probes above tell whether its server is
// there.
constexpr auto kStreamSilence = std::chrono::hours(24);

void set_up_socket(socket_t fd) {
  const auto set = [fd](int level, int name, int value) {
    ::setsockopt(fd, level, name, &value, sizeof value);
  };
  set(SOL_SOCKET, SO_KEEPALIVE, 1);
  set(IPPROTO_TCP, TCP_KEEPIDLE, kProbeAfterS);
  set(IPPROTO_TCP, TCP_KEEPINTVL, kProbeEveryS);
  set(IPPROTO_TCP, TCP_KEEPCNT, kProbes);
  set(IPPROTO_TCP, TCP_USER_TIMEOUT, static_cast<int>(kUserTimeoutMs));
}

// What to do about it is in the text where the library's own word does not tell.
std::string reason_of(httplib::Error error, bool tls) {
  switch (error) {
    case httplib::Error::Connection:
    case httplib::Error::BindIPAddress:
      return "cannot connect";
    case httplib::Error::ConnectionTimeout:
      return "no connection in time";
    case httplib::Error::SSLConnection:
      return "the TLS handshake failed; is that port for TLS, and does the server take "
             "cluster.tls.certificate?";
    case httplib::Error::SSLLoadingCerts:
      return "cluster.tls.ca holds no certificate authorities";
    case httplib::Error::SSLServerVerification:
      return "the server's certificate is not for this host or not of an authority in cluster.tls.ca";
    case httplib::Error::Read:
    case httplib::Error::Write:
      return tls ? "the connection broke, or no answer came in time"
                 : "the connection broke, or no answer came in time; is that port for TLS?";
    default:
      return "no whole answer came (" + httplib::to_string(error) + ")";
  }
}

class HttplibConnection final : public HttpConnection {
 public:
  HttplibConnection(StoreEndpoint endpoint, std::unique_ptr<httplib::ClientImpl> client,
                    const HttpTimeouts& timeouts)
      : endpoint_(std::move(endpoint)), client_(std::move(client)), timeouts_(timeouts) {}

  Result<HttpAnswer> post(const std::string& path, const std::string& body,
                          const std::string& token) override {
    HttpAnswer answer;
    const auto deadline = Clock::now() + timeouts_.answer;
    std::string problem;
    const auto take = [&](const char* data, std::size_t length) {
      answer.body.append(data, length);
      if (answer.body.size() > kLongestAnswer) problem = kAnswerTooLong;
      if (Clock::now() > deadline) problem = "the answer was not whole in time";
      return problem.empty();
    };
    client_->set_read_timeout(timeouts_.answer);
    PODWIRE_CHECK(send(path, body, token, answer.status, take, problem));
    return answer;
  }

  Result<HttpAnswer> stream(const std::string& path, const std::string& body, const std::string& token,
                            const Line& line) override {
    HttpAnswer answer;
    std::string pending, problem;
    bool done = false;
    const auto take = [&](const char* data, std::size_t length) {
      if (answer.status != 200) {
        answer.body.append(data, length);
        return answer.body.size() <= kLongestLine;
      }
      std::size_t searched = pending.size();
      pending.append(data, length);
      std::size_t begin = 0;
      for (auto end = pending.find('\n', searched); end != pending.npos; end = pending.find('\n', begin)) {
        if (!line(std::string_view(pending).substr(begin, end - begin))) {
          done = true;
          return false;
        }
        begin = end + 1;
      }
      pending.erase(0, begin);
      if (pending.size() > kLongestLine) problem = "a line of the answer is longer than 32 MiB";
      return problem.empty();
    };
    client_->set_read_timeout(kStreamSilence);
    auto sent = send(path, body, token, answer.status, take, problem);
    if (done) return answer;
    if (!sent) return sent.error();
    if (answer.status != 200) return answer;
    return failure("the server ended the stream");
  }

  void cancel() override {
    cancelled_ = true;
    client_->stop();
  }

 private:
  Error failure(const std::string& why) const { return unavailable(endpoint_.text + ": " + why); }

  Result<void> send(const std::string& path, const std::string& body, const std::string& token, int& status,
                    const std::function<bool(const char*, std::size_t)>& take, const std::string& problem) {
    httplib::Request request;
    request.method = "POST";
    request.path = path;
    request.body = body;
    request.set_header("Content-Type", "application/json");
    if (!token.empty()) request.set_header("Authorization", token);
    request.response_handler = [&status](const httplib::Response& response) {
      status = response.status;
      return true;
    };
    request.content_receiver = [this, &take](const char* data, std::size_t length, std::uint64_t,
                                             std::uint64_t) { return !cancelled_ && take(data, length); };
    httplib::Response response;
    auto error = httplib::Error::Success;
    const bool sent = client_->send(request, response, error);
    if (cancelled_.exchange(false)) return failure("cancelled");
    if (!problem.empty()) return failure(problem);
    if (!sent) return failure(reason_of(error, endpoint_.tls));
    status = response.status;
    return {};
  }

  const StoreEndpoint endpoint_;
  std::unique_ptr<httplib::ClientImpl> client_;
  const HttpTimeouts timeouts_;
  std::atomic<bool> cancelled_{false};
};

Result<void> check_readable(const std::string& file, const char* what) {
  if (file.empty() || ::access(file.c_str(), R_OK) == 0) return {};
  return errno_error(std::string("cluster.tls.") + what + ": cannot read " + file);
}

}  // namespace

Result<std::unique_ptr<HttpConnection>> HttpConnection::make(const StoreEndpoint& endpoint,
                                                             const TlsConfig& tls,
                                                             const HttpTimeouts& timeouts) {
  std::unique_ptr<httplib::ClientImpl> client;
  if (endpoint.tls) {
    PODWIRE_CHECK(check_readable(tls.ca, "ca"));
    PODWIRE_CHECK(check_readable(tls.certificate, "certificate"));
    PODWIRE_CHECK(check_readable(tls.key, "key"));
    auto secure =
        std::make_unique<httplib::SSLClient>(endpoint.host, endpoint.port, tls.certificate, tls.key);
    if (!secure->is_valid())
      return io_error("cluster.tls: " + tls.certificate + " and " + tls.key +
                      " are no certificate and its key (PEM)");
    if (!tls.ca.empty()) secure->set_ca_cert_path(tls.ca);
    client = std::move(secure);
  } else {
    client = std::make_unique<httplib::ClientImpl>(endpoint.host, endpoint.port);
  }
  client->set_connection_timeout(timeouts.connect);
  client->set_write_timeout(timeouts.answer);
  client->set_keep_alive(true);
  client->set_tcp_nodelay(true);
  client->set_follow_location(false);
  client->set_decompress(false);
  client->set_socket_options(set_up_socket);
  return std::unique_ptr<HttpConnection>(
      std::make_unique<HttplibConnection>(endpoint, std::move(client), timeouts));
}

}  // namespace podwire::control
