#include "control/cni/pod_socket.hpp"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>

#include "dataplane/base/unique_fd.hpp"

namespace podwire::control {
namespace {

// The parent is for everybody to pass and nobody to list: who may enter a pod's own directory is its mode's
// business.
constexpr mode_t kParentMode = 0711;
constexpr mode_t kEngineSocketMode = 0750;
constexpr mode_t kPodSocketMode = 0770;

mode_t wanted_mode(const Attachment& attachment) {
  return attachment.socket.mode == api::SocketMode::kServer ? kEngineSocketMode : kPodSocketMode;
}

Result<void> make_parent(const std::filesystem::path& parent) {
  std::error_code failure;
  const bool created = std::filesystem::create_directories(parent, failure);
  if (failure)
    return io_error("cannot create pod_sockets.directory " + parent.string() + ": " + failure.message());
  if (created && ::chmod(parent.c_str(), kParentMode) != 0)
    return errno_error("set the mode of pod_sockets.directory " + parent.string());
  return {};
}

Result<UniqueFd> open_directory(const std::string& path) {
  UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (fd) return fd;
  if (errno == ENOENT) return not_found("there is no directory " + path);
  if (errno == ENOTDIR || errno == ELOOP) return conflict(path + " is no directory of ours; remove it");
  return errno_error("open " + path);
}

Result<struct stat> status_of(int directory, const std::string& path) {
  struct stat status {};
  if (::fstat(directory, &status) != 0) return errno_error("stat of " + path);
  return status;
}

// An engine that died leaves its socket.
Result<void> remove_socket(const std::string& path) {
  struct stat status {};
  if (::lstat(path.c_str(), &status) != 0) {
    return errno == ENOENT || errno == ENOTDIR ? Result<void>() : errno_error("stat of " + path);
  }
  if (!S_ISSOCK(status.st_mode)) return {};
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return errno_error("remove " + path);
  return {};
}

// Group and mode of the pod's directory, which is open.
Result<void> hand_over(const Attachment& attachment, int directory) {
  const auto& path = attachment.pod_directory;
  PODWIRE_TRY(const auto status, status_of(directory, path));
  if (status.st_uid != ::geteuid()) {
    return conflict("the pod's directory " + path + " belongs to user " + std::to_string(status.st_uid) +
                    "; remove it");
  }
  const auto group = attachment.socket.group;
  if (status.st_gid != group && ::fchown(directory, static_cast<uid_t>(-1), group) != 0)
    return errno_error("give " + path + " to group " + std::to_string(group));
  // Another interface of the pod may need the group to write already.
  const auto mode = (status.st_mode & 0777) | wanted_mode(attachment);
  if (::fchmod(directory, mode) != 0) return errno_error("set the mode of " + path);
  return {};
}

}  // namespace

Result<void> make_pod_directory(const Attachment& attachment) {
  const auto& path = attachment.pod_directory;
  PODWIRE_CHECK(make_parent(std::filesystem::path(path).parent_path()));
  const bool made = ::mkdir(path.c_str(), 0700) == 0;
  if (!made && errno != EEXIST) return errno_error("make the pod's directory " + path);
  PODWIRE_TRY(const UniqueFd directory, open_directory(path));
  auto done = hand_over(attachment, directory.get());
  if (!done && made) ::rmdir(path.c_str());
  return done;
}

Result<void> remove_pod_socket(const Attachment& attachment, bool shared) {
  const bool ours = attachment.socket.mode == api::SocketMode::kServer;
  if (attachment.pod_directory.empty()) return ours ? remove_socket(attachment.socket.path) : Result<void>();
  PODWIRE_CHECK(remove_socket(attachment.socket.path));
  if (shared) return {};
  // Something that has taken the name of our directory is not ours to remove.
  const auto directory = open_directory(attachment.pod_directory);
  if (!directory) return directory.error().code == ErrorCode::kIo ? directory.error() : Result<void>();
  PODWIRE_TRY(const auto status, status_of(directory->get(), attachment.pod_directory));
  if (status.st_uid != ::geteuid()) return {};
  std::error_code failure;
  std::filesystem::remove_all(attachment.pod_directory, failure);  // follows no links
  if (failure) return io_error("remove " + attachment.pod_directory + ": " + failure.message());
  return {};
}

CniResult<void> check_pod_socket(const Attachment& attachment) {
  const auto& path = attachment.pod_directory;
  const auto directory = open_directory(path);
  if (!directory) return differs("the pod's socket directory: " + directory.error().message);
  PODWIRE_TRY(const auto status, status_of(directory->get(), path));
  if (status.st_gid != attachment.socket.group) {
    return differs(path + " belongs to group " + std::to_string(status.st_gid) + ", not " +
                   std::to_string(attachment.socket.group));
  }
  if ((status.st_mode & wanted_mode(attachment)) != wanted_mode(attachment))
    return differs(path + " is closed to its group");
  struct stat socket {};
  if (::lstat(attachment.socket.path.c_str(), &socket) != 0) {
    if (errno == ENOENT && attachment.socket.mode == api::SocketMode::kClient) return {};
    return differs("the socket " + attachment.socket.path + " is missing; type: podwirectl reconcile");
  }
  if (!S_ISSOCK(socket.st_mode)) return differs(attachment.socket.path + " is no socket");
  return {};
}

}  // namespace podwire::control
