// SocketFile: who shares the directory cannot make the engine change or remove anything but its own socket.
#include "dataplane/ports/socket_file.hpp"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "dataplane/base/unique_fd.hpp"

namespace podwire::engine {
namespace {

class SocketFileTest : public ::testing::Test {
 protected:
  SocketFileTest() {
    std::string name = ::testing::TempDir() + "/socket-file-XXXXXX";
    directory_ = ::mkdtemp(name.data());
    path_ = directory_ + "/a.sock";
  }
  ~SocketFileTest() override { std::filesystem::remove_all(directory_); }

  UniqueFd bind_at(const std::string& path) {
    UniqueFd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, path.c_str(), sizeof address.sun_path - 1);
    EXPECT_EQ(::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0) << path;
    return fd;
  }
  static struct stat facts(const std::string& path) {
    struct stat status {};
    EXPECT_EQ(::lstat(path.c_str(), &status), 0) << path;
    return status;
  }

  std::string directory_, path_;
};

TEST_F(SocketFileTest, GivesGroupAndPermissionsAndRemovesItsFile) {
  const auto fd = bind_at(path_);
  {
    const auto file = SocketFile::adopt(path_, 4711, 0620);
    ASSERT_TRUE(file) << file.error().message;
    EXPECT_EQ(facts(path_).st_gid, 4711u);
    EXPECT_EQ(facts(path_).st_mode & 0777u, 0620u);
  }
  EXPECT_FALSE(std::filesystem::exists(path_));
}

TEST_F(SocketFileTest, FollowsNoLink) {
  const std::string victim = directory_ + "/shadow";
  std::ofstream(victim) << "secret";
  ASSERT_EQ(::chmod(victim.c_str(), 0600), 0);
  ASSERT_EQ(::symlink(victim.c_str(), path_.c_str()), 0);
  const auto file = SocketFile::adopt(path_, 4711, 0666);
  ASSERT_FALSE(file);
  EXPECT_NE(file.error().message.find(path_), std::string::npos) << file.error().message;
  EXPECT_EQ(facts(victim).st_mode & 0777u, 0600u);
  EXPECT_NE(facts(victim).st_gid, 4711u);
  EXPECT_TRUE(std::filesystem::is_symlink(path_));
}

TEST_F(SocketFileTest, LeavesWhatHasTakenItsPlace) {
  const auto fd = bind_at(path_);
  {
    const auto file = SocketFile::adopt(path_, ::getegid(), 0600);
    ASSERT_TRUE(file) << file.error().message;
    std::filesystem::remove(path_);
    std::ofstream(path_) << "somebody else's";
  }
  EXPECT_TRUE(std::filesystem::is_regular_file(path_));
}

TEST_F(SocketFileTest, SaysWhenThereIsNone) {
  const auto file = SocketFile::adopt(path_, 0, 0600);
  ASSERT_FALSE(file);
  EXPECT_NE(file.error().message.find("No such file"), std::string::npos) << file.error().message;
}

}  // namespace
}  // namespace podwire::engine
