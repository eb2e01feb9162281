// Regions: the memory files that a memif client shares with its server, checked, mapped and guarded. As
// server we map the peer's, as client we make our own. Main thread only; workers see plain addresses. No DPDK
// in here.
#pragma once

#include <array>
#include <atomic>
#include <cstddef>
#include <cstdint>

#include "dataplane/base/result.hpp"
#include "dataplane/base/unique_fd.hpp"
#include "dataplane/ports/fault_guard.hpp"

namespace podwire::engine::memif {

inline constexpr std::size_t kMaxRegions = 32;  // of one peer; DPDK shares one a memory segment list
// All regions of one peer together. Plain pages are charged to whoever touches them first, which may be us;
// huge pages come from a pool that the administrator has limited, and a zero-copy peer shares all it has.
inline constexpr std::uint64_t kMaxPlainBytes = 1ull << 30;
inline constexpr std::uint64_t kMaxHugeBytes = 64ull << 30;

// One mapping; unmapped when it ends. Nobody may use it then.
class Region {
 public:
  Region() = default;
  Region(Region&& other) noexcept { swap(other); }
  Region& operator=(Region&& other) noexcept {
    Region(std::move(other)).swap(*this);
    return *this;
  }
  ~Region();

  // The peer's `file`, announced as `bytes` long. `condemned` is set when memory behind the mapping vanishes.
  // The error's message is the reason for the peer.
  static Result<Region> of_peer(const UniqueFd& file, std::uint64_t bytes, std::atomic<bool>& condemned);
  // A new memory file of our own, sealed against resizing, zeroed and resident.
  static Result<Region> make(std::uint64_t bytes, std::atomic<bool>& condemned);

  std::byte* data() const { return data_; }
  std::uint64_t bytes() const { return bytes_; }
  bool huge() const { return page_bytes_ > 4096; }
  bool sealed() const { return sealed_; }   // cannot shrink
  int file() const { return file_.get(); }  // of make(); to send it to the peer

 private:
  Result<void> map(int file, std::uint64_t bytes, std::size_t page_bytes, int flags,
                   std::atomic<bool>& condemned);
  void swap(Region& other) noexcept;

  std::byte* data_ = nullptr;
  std::uint64_t bytes_ = 0;
  std::size_t page_bytes_ = 4096;
  bool sealed_ = false;
  UniqueFd file_;
  GuardedRegion guard_;
};

// What a descriptor may point into, by region index. Absent regions are empty, so that one comparison refuses
// them too.
struct RegionTable {
  struct Span {
    std::byte* data = nullptr;
    std::uint64_t bytes = 0;
  };
  std::array<Span, kMaxRegions> spans{};

  // The address of `length` bytes, or null when they are not wholly inside the region.
  std::byte* locate(std::uint32_t region, std::uint32_t offset, std::uint32_t length) const noexcept {
    if (region >= kMaxRegions) return nullptr;
    const Span& span = spans[region];
    return std::uint64_t{offset} + length <= span.bytes ? span.data + offset : nullptr;
  }
};

}  // namespace podwire::engine::memif
