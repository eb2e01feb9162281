#include "dataplane/ports/socket_file.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>

#include "dataplane/base/unique_fd.hpp"

namespace podwire::engine {

Result<SocketFile> SocketFile::adopt(const std::string& path, gid_t group, mode_t permissions) {
  const UniqueFd file(::open(path.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  struct stat status {};
  if (!file || ::fstat(file.get(), &status) != 0) return errno_error("socket " + path);
  if (!S_ISSOCK(status.st_mode)) {
    return conflict("socket " + path +
                    ": something that is no socket took its place while it was made; remove it");
  }
  SocketFile made;
  made.path_ = path;
  made.device_ = status.st_dev;
  made.inode_ = status.st_ino;
  if (group != status.st_gid &&
      ::fchownat(file.get(), "", static_cast<uid_t>(-1), group, AT_EMPTY_PATH) != 0) {
    return errno_error("socket " + path + ": giving it to group " + std::to_string(group));
  }
  // There is no chmod for O_PATH descriptors, but for what they are through /proc.
  if (::chmod(("/proc/self/fd/" + std::to_string(file.get())).c_str(), permissions) != 0)
    return errno_error("socket " + path + ": setting its permissions");
  return made;
}

SocketFile::~SocketFile() {
  struct stat status {};
  if (!path_.empty() && ::lstat(path_.c_str(), &status) == 0 && status.st_dev == device_ &&
      status.st_ino == inode_) {
    ::unlink(path_.c_str());
  }
}

}  // namespace podwire::engine
