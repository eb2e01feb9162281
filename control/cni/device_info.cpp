#include "control/cni/device_info.hpp"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "dataplane/base/unique_fd.hpp"

namespace podwire::control {
namespace {

constexpr const char* kVersion = "1.1.0";

// A file beside its final place, removed unless it got there.
class TemporaryFile {
 public:
  explicit TemporaryFile(const std::string& beside) : path_(beside + ".podwire-XXXXXX") {
    fd_.reset(::mkostemp(path_.data(), O_CLOEXEC));
    if (!fd_) path_.clear();
  }
  ~TemporaryFile() {
    if (!path_.empty()) ::unlink(path_.c_str());
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  int fd() const { return fd_.get(); }
  // Never over something that is there. False: errno.
  bool move_to(const std::string& path) {
    if (::renameat2(AT_FDCWD, path_.c_str(), AT_FDCWD, path.c_str(), RENAME_NOREPLACE) != 0) return false;
    path_.clear();
    return true;
  }

 private:
  std::string path_;
  UniqueFd fd_;
};

}  // namespace

Result<void> check_device_info_path(const std::string& path) {
  const std::filesystem::path parsed(path);
  bool upwards = false;
  for (const auto& part : parsed) upwards |= part == "..";
  const bool plain = path.find('\0') == std::string::npos && path.size() < 4096;
  if (parsed.is_absolute() && parsed.has_filename() && !upwards && plain) return {};
  return invalid("\"" + path.substr(0, 200) + "\" must be the absolute path of a file, without \"..\"");
}

Json device_info(const Attachment& attachment) {
  const bool engine_listens = attachment.socket.mode == api::SocketMode::kServer;
  const auto& path = attachment.socket.path;
  if (attachment.kind == api::PortKind::kMemif) {
    return {{"type", "memif"},
            {"version", kVersion},
            {"memif", {{"role", engine_listens ? "slave" : "master"}, {"path", path}, {"mode", "ethernet"}}}};
  }
  return {{"type", "vhost-user"},
          {"version", kVersion},
          {"vhost-user", {{"mode", engine_listens ? "client" : "server"}, {"path", path}}}};
}

Result<void> write_device_info(const Attachment& attachment) {
  const auto& path = attachment.device_info;
  if (path.empty()) return {};
  const auto what = "CNIDeviceInfoFile " + path;
  std::error_code failure;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), failure);
  if (failure) return io_error(what + ": cannot create its directory: " + failure.message());
  TemporaryFile file(path);
  if (file.fd() < 0) return errno_error(what);
  const auto text = device_info(attachment).dump() + "\n";
  // For the pod, whatever user it runs as: what it says is no secret.
  if (::fchmod(file.fd(), 0644) != 0 ||
      ::write(file.fd(), text.data(), text.size()) != static_cast<ssize_t>(text.size())) {
    return errno_error(what);
  }
  if (file.move_to(path)) return {};
  if (errno != EEXIST) return errno_error(what);
  return conflict(what + " exists already and is not of this ADD; remove it or name another");
}

Result<void> remove_device_info(const Attachment& attachment) {
  const auto& path = attachment.device_info;
  if (path.empty()) return {};
  const auto content = read_json_file(path);
  if (!content || *content != device_info(attachment)) return {};
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return errno_error("remove CNIDeviceInfoFile " + path);
  return {};
}

}  // namespace podwire::control
