// Memory that its owner takes away while we use it.
#include "dataplane/ports/fault_guard.hpp"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <csetjmp>
#include <csignal>
#include <cstring>
#include <memory>
#include <thread>
#include <vector>

#include "dataplane/base/unique_fd.hpp"

namespace podwire::engine {
namespace {

constexpr std::size_t kHugePage = 2u << 20;

// A shared mapping of a memfd, filled with 0x5A.
class Memory {
 public:
  explicit Memory(std::size_t bytes, unsigned flags = 0)
      : bytes_(bytes), fd_(::memfd_create("fault-guard-test", MFD_CLOEXEC | flags)) {
    if (::ftruncate(fd_.get(), static_cast<off_t>(bytes)) != 0) return;
    void* at = ::mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd_.get(), 0);
    if (at == MAP_FAILED) return;
    at_ = static_cast<volatile unsigned char*>(at);
    std::memset(at, 0x5A, bytes);
  }
  Memory(const Memory&) = delete;
  Memory& operator=(const Memory&) = delete;
  ~Memory() {
    if (at_ != nullptr) ::munmap(address(), bytes_);
  }
  bool mapped() const { return at_ != nullptr; }
  void* address() const { return const_cast<unsigned char*>(at_); }
  volatile unsigned char& operator[](std::size_t at) const { return at_[at]; }
  void truncate(std::size_t bytes) const { ASSERT_EQ(::ftruncate(fd_.get(), static_cast<off_t>(bytes)), 0); }
  void punch(std::size_t at, std::size_t bytes) const {
    ASSERT_EQ(::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, static_cast<off_t>(at),
                          static_cast<off_t>(bytes)),
              0);
  }

 private:
  std::size_t bytes_;
  UniqueFd fd_;
  volatile unsigned char* at_ = nullptr;
};

class FaultGuardTest : public testing::Test {
 protected:
  FaultGuardTest() { install_fault_guard(); }
  ~FaultGuardTest() override { std::signal(SIGBUS, SIG_DFL); }
  GuardedRegion guard(const Memory& memory, std::size_t bytes, std::size_t page = 4096) {
    auto region = GuardedRegion::add(memory.address(), bytes, page, condemned_);
    EXPECT_TRUE(region);
    return region ? std::move(*region) : GuardedRegion();
  }
  std::atomic<bool> condemned_{false};
};

TEST_F(FaultGuardTest, ATruncatedFileReadsAsZeroAndCondemns) {
  const Memory memory(16 * 4096);
  const auto region = guard(memory, 16 * 4096);
  memory.truncate(4 * 4096);
  EXPECT_EQ(memory[4 * 4096 - 1], 0x5A);
  EXPECT_FALSE(condemned_);
  EXPECT_EQ(memory[5 * 4096 + 17], 0);
  EXPECT_TRUE(condemned_);
  memory[15 * 4096] = 7;  // written, and there again
  EXPECT_EQ(memory[15 * 4096], 7);
  EXPECT_EQ(memory[0], 0x5A);  // what the peer has left is untouched
}

TEST_F(FaultGuardTest, EveryThreadIsGuarded) {
  const Memory memory(64 * 4096);
  const auto region = guard(memory, 64 * 4096);
  memory.truncate(0);
  std::vector<std::thread> threads;
  for (std::size_t t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (std::size_t page = 0; page < 64; ++page) memory[page * 4096] = 1;
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_TRUE(condemned_);
}

// What a library maps for a peer is nobody's region yet.
TEST_F(FaultGuardTest, AThreadIsGuardedWhileItMaps) {
  const Memory memory(8 * 4096);
  memory.truncate(4096);
  guard_this_thread(&condemned_);
  EXPECT_EQ(memory[3 * 4096], 0);
  EXPECT_TRUE(condemned_);
  EXPECT_EQ(memory[0], 0x5A);
  guard_this_thread(nullptr);
  EXPECT_EXIT(memory[5 * 4096] = 1, testing::KilledBySignal(SIGBUS), "");
}

TEST_F(FaultGuardTest, OnlyTheFaultingRegionIsCondemned) {
  const Memory one(4096), two(4096);
  std::atomic<bool> other{false};
  const auto first = GuardedRegion::add(one.address(), 4096, 4096, other);
  ASSERT_TRUE(first);
  const auto second = guard(two, 4096);
  two.truncate(0);
  EXPECT_EQ(two[0], 0);
  EXPECT_TRUE(condemned_);
  EXPECT_FALSE(other);
}

TEST_F(FaultGuardTest, ALostHugePageIsReplacedAsAWhole) {
  const Memory memory(2 * kHugePage, MFD_HUGETLB);
  if (!memory.mapped()) return;  // this machine has no huge pages: the case cannot arise
  const auto region = guard(memory, 2 * kHugePage, kHugePage);
  memory.truncate(kHugePage);
  EXPECT_EQ(memory[kHugePage + 5000], 0);
  EXPECT_TRUE(condemned_);
  memory[2 * kHugePage - 1] = 9;
  EXPECT_EQ(memory[2 * kHugePage - 1], 9);
  EXPECT_EQ(memory[kHugePage - 1], 0x5A);
}

TEST_F(FaultGuardTest, ALostGiantPageBecomesPlainOnes) {
  constexpr std::size_t kGiantPage = 1u << 30;
  void* room = ::mmap(nullptr, 2 * kGiantPage, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  ASSERT_NE(room, MAP_FAILED);
  auto* page =
      reinterpret_cast<char*>((reinterpret_cast<std::uintptr_t>(room) + kGiantPage - 1) & ~(kGiantPage - 1));
  const UniqueFd file(::memfd_create("empty", MFD_CLOEXEC));
  ASSERT_EQ(::mmap(page, kGiantPage, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, file.get(), 0), page);
  {
    const auto region = GuardedRegion::add(page, kGiantPage, kGiantPage, condemned_);
    ASSERT_TRUE(region);
    auto* bytes = reinterpret_cast<volatile unsigned char*>(page);
    EXPECT_EQ(bytes[kGiantPage / 2], 0);
    EXPECT_TRUE(condemned_);
    bytes[0] = 3;
    EXPECT_EQ(bytes[0], 3);
  }
  ::munmap(room, 2 * kGiantPage);
}

TEST_F(FaultGuardTest, MoreLostPagesThanMappingsAllowed) {
  constexpr std::size_t kPages = 140'000;  // every other one lost: beyond vm.max_map_count's usual 65530
  void* at = ::mmap(nullptr, kPages * 4096, PROT_READ | PROT_WRITE, MAP_SHARED,
                    UniqueFd(::memfd_create("void", MFD_CLOEXEC)).get(), 0);
  ASSERT_NE(at, MAP_FAILED);
  {
    const auto region = GuardedRegion::add(at, kPages * 4096, 4096, condemned_);
    ASSERT_TRUE(region);
    auto* bytes = static_cast<volatile unsigned char*>(at);
    for (std::size_t page = 0; page < kPages; page += 2) EXPECT_EQ(bytes[page * 4096], 0);
  }
  ::munmap(at, kPages * 4096);
}

TEST_F(FaultGuardTest, AFaultElsewhereIsFatal) {
  const Memory guarded(4096), other(4096);
  const auto region = guard(guarded, 4096);
  other.truncate(0);
  EXPECT_EXIT(other[0] = 1, testing::KilledBySignal(SIGBUS), "");
}

TEST_F(FaultGuardTest, AnEndedGuardGuardsNoMore) {
  const Memory memory(4096);
  { const auto region = guard(memory, 4096); }
  memory.truncate(0);
  EXPECT_EXIT(memory[0] = 1, testing::KilledBySignal(SIGBUS), "");
}

TEST_F(FaultGuardTest, AMovedGuardGuardsOn) {
  const Memory memory(4096);
  GuardedRegion kept;
  {
    auto region = guard(memory, 4096);
    kept = std::move(region);
  }
  memory.truncate(0);
  EXPECT_EQ(memory[0], 0);
}

TEST_F(FaultGuardTest, ASentSignalIsFatal) {
  EXPECT_EXIT(::kill(::getpid(), SIGBUS), testing::KilledBySignal(SIGBUS), "");
}

// As DPDK does whenever it takes a huge page at run time.
TEST_F(FaultGuardTest, ALibrarysHandlerServesItsOwnThreadBehindTheGuard) {
  static sigjmp_buf way_out;
  struct sigaction mine {
  }, former{};
  mine.sa_handler = [](int) { ::siglongjmp(way_out, 1); };
  ASSERT_EQ(::sigaction(SIGBUS, &mine, &former), 0);
  const Memory guarded(2 * 4096), other(4096);
  const auto region = guard(guarded, 2 * 4096);
  guarded.truncate(0);
  other.truncate(0);
  EXPECT_EQ(guarded[0], 0);
  std::thread([&] { EXPECT_EQ(guarded[4096], 0); }).join();
  bool jumped = true;
  if (::sigsetjmp(way_out, 1) == 0) {
    other[0] = 1;
    jumped = false;
  }
  EXPECT_TRUE(jumped);
  ASSERT_EQ(::sigaction(SIGBUS, &former, nullptr), 0);
  EXPECT_EXIT(other[0] = 1, testing::KilledBySignal(SIGBUS), "");
}

TEST_F(FaultGuardTest, RefusesWhatIsNotAligned) {
  const Memory memory(8192);
  EXPECT_FALSE(GuardedRegion::add(memory.address(), 0, 4096, condemned_));
  EXPECT_FALSE(GuardedRegion::add(memory.address(), 8192, 3000, condemned_));
  EXPECT_FALSE(GuardedRegion::add(static_cast<char*>(memory.address()) + 8, 4096, 4096, condemned_));
}

TEST_F(FaultGuardTest, AFullTableSaysSo) {
  const Memory memory(4096);
  std::vector<GuardedRegion> all;
  for (;;) {
    auto region = GuardedRegion::add(memory.address(), 4096, 4096, condemned_);
    if (!region) {
      EXPECT_EQ(region.error().code, ErrorCode::kExhausted);
      break;
    }
    all.push_back(std::move(*region));
    ASSERT_LE(all.size(), 1u << 20);
  }
  all.pop_back();
  EXPECT_TRUE(GuardedRegion::add(memory.address(), 4096, 4096, condemned_));
}

}  // namespace
}  // namespace podwire::engine
