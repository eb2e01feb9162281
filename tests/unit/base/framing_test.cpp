#include "dataplane/base/framing.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <fstream>
#include <thread>

namespace podwire {
namespace {

struct SocketPair {
  SocketPair() {
    std::array<int, 2> fds{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()), 0);
    a.reset(fds[0]);
    b.reset(fds[1]);
  }
  UniqueFd a, b;
};

std::vector<UniqueFd> open_null(std::size_t count) {
  std::vector<UniqueFd> fds;
  for (std::size_t i = 0; i < count; ++i) fds.emplace_back(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  return fds;
}

std::vector<int> raw(const std::vector<UniqueFd>& fds) {
  std::vector<int> out;
  for (const auto& fd : fds) out.push_back(fd.get());
  return out;
}

TEST(LineReader, ReassemblesLinesCutAnywhere) {
  const std::string text = "first\n\nthird line\n";
  for (std::size_t cut = 0; cut <= text.size(); ++cut) {
    LineReader reader;
    ASSERT_TRUE(reader.feed(text.substr(0, cut), {}));
    ASSERT_TRUE(reader.feed(text.substr(cut), {}));
    Line line;
    for (const char* expected : {"first", "", "third line"}) {
      ASSERT_TRUE(reader.next(line)) << cut;
      EXPECT_EQ(line.text, expected) << cut;
    }
    EXPECT_FALSE(reader.next(line));
    EXPECT_FALSE(reader.mid_line());
  }
}

TEST(LineReader, RefusesALineOverOneMebibyte) {
  LineReader fits;
  ASSERT_TRUE(fits.feed(std::string(kMaxLineBytes - 1, 'x'), {}));
  EXPECT_TRUE(fits.feed("\n", {}));
  LineReader reader;
  ASSERT_TRUE(reader.feed(std::string(kMaxLineBytes - 1, 'x'), {}));
  const auto fed = reader.feed("y", {});
  ASSERT_FALSE(fed);
  EXPECT_NE(fed.error().message.find("1048576"), std::string::npos) << fed.error().message;
}

TEST(LineReader, RefusesMoreDescriptorsThanALineMayBring) {
  LineReader reader;
  ASSERT_TRUE(reader.feed("a", open_null(200)));
  EXPECT_FALSE(reader.feed("b", open_null(51)));
}

TEST(LineReader, GivesDescriptorsToTheLineTheyCameWith) {
  SocketPair pair;
  const auto fds = open_null(3);
  ASSERT_TRUE(send_line(pair.a.get(), "without"));
  ASSERT_TRUE(send_line(pair.a.get(), "with three", raw(fds)));
  ASSERT_TRUE(send_line(pair.a.get(), "without again"));
  pair.a.reset();
  LineReader reader;
  for (;;) {
    const auto status = receive_into(pair.b.get(), reader);
    ASSERT_TRUE(status);
    if (*status == ReceiveStatus::kClosed) break;
  }
  Line line;
  for (const std::size_t expected : {0u, 3u, 0u}) {
    ASSERT_TRUE(reader.next(line));
    EXPECT_EQ(line.fds.size(), expected) << line.text;
    for (const auto& fd : line.fds) EXPECT_NE(::fcntl(fd.get(), F_GETFD) & FD_CLOEXEC, 0);
  }
}

TEST(SendLine, CarriesALargeLineWithDescriptors) {
  SocketPair pair;
  const std::string text(900000, 'z');
  const auto fds = open_null(kMaxLineFds);
  std::thread sender([&] { EXPECT_TRUE(send_line(pair.a.get(), text, raw(fds))); });
  LineReader reader;
  Line line;
  while (!reader.next(line)) {
    const auto status = receive_into(pair.b.get(), reader);
    ASSERT_TRUE(status);
    ASSERT_EQ(*status, ReceiveStatus::kData);
  }
  sender.join();
  EXPECT_EQ(line.text, text);
  EXPECT_EQ(line.fds.size(), kMaxLineFds);
}

TEST(SendLine, GivesUpOnAPeerThatDoesNotRead) {
  SocketPair pair;
  const auto sent = send_line(pair.a.get(), std::string(1000000, 'z'), {}, 50);
  ASSERT_FALSE(sent);
  EXPECT_EQ(sent.error().code, ErrorCode::kUnavailable);
}

TEST(SendLine, RefusesWhatDoesNotFitALine) {
  SocketPair pair;
  EXPECT_FALSE(send_line(pair.a.get(), std::string(kMaxLineBytes, 'z')));
  EXPECT_FALSE(send_line(pair.a.get(), "x", std::vector<int>(kMaxLineFds + 1, 0)));
}

TEST(PeerCredentials, AreTheKernels) {
  SocketPair pair;
  const auto peer = peer_credentials(pair.a.get());
  ASSERT_TRUE(peer);
  EXPECT_EQ(peer->uid, ::getuid());
  EXPECT_EQ(peer->pid, ::getpid());
  EXPECT_FALSE(peer_credentials(-1));
}

class ListenUnix : public testing::Test {
 protected:
  ~ListenUnix() override { ::unlink(path_.c_str()); }
  const std::string path_ = "/tmp/podwire-listen-test-" + std::to_string(::getpid());
};

TEST_F(ListenUnix, CreatesTheSocketWithItsMode) {
  const auto listener = listen_unix(path_, 0600);
  ASSERT_TRUE(listener);
  struct stat status {};
  ASSERT_EQ(::stat(path_.c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 0777, 0600u);
  EXPECT_TRUE(connect_unix(path_));
}

TEST_F(ListenUnix, ReplacesAStaleSocketAndRefusesALiveOne) {
  {
    const auto listener = listen_unix(path_, 0600);
    ASSERT_TRUE(listener);
    const auto second = listen_unix(path_, 0600);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().code, ErrorCode::kConflict);
    EXPECT_NE(second.error().message.find("in use"), std::string::npos);
  }
  EXPECT_FALSE(connect_unix(path_)) << "nobody listens, the file is left over";
  EXPECT_TRUE(listen_unix(path_, 0600));
}

TEST_F(ListenUnix, DoesNotRemoveAFileThatIsNoSocket) {
  std::ofstream(path_) << "precious";
  const auto listener = listen_unix(path_, 0600);
  ASSERT_FALSE(listener);
  EXPECT_EQ(listener.error().code, ErrorCode::kConflict);
  EXPECT_EQ(::access(path_.c_str(), F_OK), 0);
}

TEST_F(ListenUnix, SaysHowLongAPathMayBe) {
  const auto listener = listen_unix(std::string(200, '/'), 0600);
  ASSERT_FALSE(listener);
  EXPECT_NE(listener.error().message.find("107"), std::string::npos) << listener.error().message;
  EXPECT_FALSE(listen_unix("", 0600));
}

}  // namespace
}  // namespace podwire
