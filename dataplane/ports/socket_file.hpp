// SocketFile: the file of a UNIX socket that the engine has made in a directory where a pod may write, too:
// the pod may have put something else in its place at any instant, so nothing here follows a link, and only
// the file that was found at first is changed or removed. Main thread only.
#pragma once

#include <sys/types.h>

#include <string>
#include <utility>

#include "dataplane/base/result.hpp"

namespace podwire::engine {

class SocketFile {
 public:
  // The file that bind(2) has just made at `path`; gives it to `group` with `permissions` (0..0777). Call it
  // before listen(2), or before whoever should not connect can.
  static Result<SocketFile> adopt(const std::string& path, gid_t group, mode_t permissions);
  SocketFile() = default;
  SocketFile(SocketFile&& other) noexcept { swap(other); }
  SocketFile& operator=(SocketFile&& other) noexcept {
    SocketFile(std::move(other)).swap(*this);
    return *this;
  }
  ~SocketFile();  // removes it, unless another has taken its place

 private:
  void swap(SocketFile& other) noexcept {
    std::swap(path_, other.path_);
    std::swap(device_, other.device_);
    std::swap(inode_, other.inode_);
  }
  std::string path_;
  dev_t device_ = 0;
  ino_t inode_ = 0;
};

}  // namespace podwire::engine
