#include "dataplane/ports/memif_region.hpp"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <cerrno>
#include <cstring>
#include <string>
#include <utility>

namespace podwire::engine::memif {
namespace {

// A size that fits an address and a page count; the caps on a peer's memory are far below.
constexpr std::uint64_t kMaxFileBytes = std::uint64_t{1} << 46;

Error refused(std::string why) {
  return invalid("region " + std::move(why));
}

// Sealed against shrinking, by the peer or by us. Where that cannot be had (a file on hugetlbfs or a memfd
// made without MFD_ALLOW_SEALING has F_SEAL_SEAL from birth), the fault guard has to do.
Result<bool> seal(int file) {
  const int seals = ::fcntl(file, F_GET_SEALS);
  if (seals < 0) return refused("is no memory file: its seals cannot be read");
  if ((seals & F_SEAL_SHRINK) != 0) return true;
  if ((seals & F_SEAL_SEAL) != 0) return false;
  if (::fcntl(file, F_ADD_SEALS, F_SEAL_SHRINK) == 0) return true;
  // A read-only descriptor; mapping it for writing fails next.
  return refused(std::string("cannot be sealed against shrinking: ") + std::strerror(errno));
}

// munmap takes whole huge pages only.
std::uint64_t mapped_bytes(std::uint64_t bytes, std::size_t page_bytes) {
  return (bytes + page_bytes - 1) / page_bytes * page_bytes;
}

}  // namespace

Region::~Region() {
  guard_ = GuardedRegion();
  if (data_ != nullptr) ::munmap(data_, mapped_bytes(bytes_, page_bytes_));
}

void Region::swap(Region& other) noexcept {
  std::swap(data_, other.data_);
  std::swap(bytes_, other.bytes_);
  std::swap(page_bytes_, other.page_bytes_);
  std::swap(sealed_, other.sealed_);
  std::swap(file_, other.file_);
  std::swap(guard_, other.guard_);
}

Result<void> Region::map(int file, std::uint64_t bytes, std::size_t page_bytes, int flags,
                         std::atomic<bool>& condemned) {
  page_bytes_ = page_bytes;
  const auto mapped = mapped_bytes(bytes, page_bytes);
  void* at = ::mmap(nullptr, mapped, PROT_READ | PROT_WRITE, MAP_SHARED | flags, file, 0);
  if (at == MAP_FAILED) return refused(std::string("cannot be mapped: ") + std::strerror(errno));
  data_ = static_cast<std::byte*>(at);
  bytes_ = bytes;
  auto guard = GuardedRegion::add(at, mapped, page_bytes, condemned);
  if (!guard) return guard.error();
  guard_ = std::move(*guard);
  return {};
}

Result<Region> Region::of_peer(const UniqueFd& file, std::uint64_t bytes, std::atomic<bool>& condemned) {
  if (bytes == 0) return refused("has no bytes");
  if (bytes > kMaxFileBytes) return refused("announces " + std::to_string(bytes) + " bytes");
  Region region;
  PODWIRE_TRY(region.sealed_, seal(file.get()));
  // Sealing comes first: what is true of a sealed file's size stays true.
  struct stat status {};
  struct statfs system {};
  if (::fstat(file.get(), &status) != 0 || ::fstatfs(file.get(), &system) != 0)
    return refused(std::string("cannot be examined: ") + std::strerror(errno));
  if (status.st_size < 0 || static_cast<std::uint64_t>(status.st_size) < bytes) {
    return refused("announces " + std::to_string(bytes) + " bytes, but its file has " +
                   std::to_string(status.st_size));
  }
  const bool huge = system.f_type == HUGETLBFS_MAGIC;
  const auto page = huge ? static_cast<std::size_t>(system.f_bsize) : std::size_t{4096};
  // MAP_NORESERVE: mapping a sparse file must not reserve the machine's free huge pages.
  PODWIRE_CHECK(region.map(file.get(), bytes, page, MAP_NORESERVE, condemned));
  return region;
}

Result<Region> Region::make(std::uint64_t bytes, std::atomic<bool>& condemned) {
  Region region;
  region.file_.reset(::memfd_create("podwire-memif", MFD_CLOEXEC | MFD_ALLOW_SEALING));
  if (!region.file_) return errno_error("a memory file for memif");
  if (::ftruncate(region.file_.get(), static_cast<off_t>(bytes)) != 0)
    return errno_error(std::to_string(bytes) + " bytes of memory for memif");
  if (::fcntl(region.file_.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) != 0)
    return errno_error("sealing the memory for memif");
  region.sealed_ = true;
  PODWIRE_CHECK(region.map(region.file_.get(), bytes, 4096, MAP_POPULATE, condemned));
  return region;
}

}  // namespace podwire::engine::memif
