// Rows that are written behind the back of who changes them.
#include "control/cluster/late_rows.hpp"

#include <gtest/gtest.h>
#include <sqlite3.h>

#include <map>
#include <thread>

#include "tests/unit/control/temporary_directory.hpp"

namespace podwire::control {
namespace {

class LateRowsTest : public ::testing::Test {
 protected:
  LateRowsTest() : store_(std::move(*Store::open(directory_.path() + "/state"))) {}
  std::unique_ptr<LateRows> begin(std::chrono::milliseconds period) {
    return std::make_unique<LateRows>(
        *store_, "Thing", "what is tested", [this](const auto& names) { return bodies(names); }, period);
  }
  std::vector<std::optional<std::string>> bodies(const std::vector<LateRows::Name>& names) {
    const std::lock_guard lock(mutex_);
    std::vector<std::optional<std::string>> out;
    for (const auto& name : names) {
      const auto at = things_.find(name);
      out.push_back(at == things_.end() ? std::nullopt : std::optional<std::string>(at->second));
    }
    return out;
  }
  void set(LateRows& rows, const std::string& name, const char* body) {
    const LateRows::Name key("space", name);
    {
      const std::lock_guard lock(mutex_);
      if (body != nullptr)
        things_[key] = body;
      else
        things_.erase(key);
    }
    rows.note(key);
  }
  std::map<std::string, std::string> kept() {
    std::map<std::string, std::string> out;
    const auto rows = store_->manifests("Thing");
    EXPECT_TRUE(rows);
    for (const auto& row : *rows) out[row.name] = row.body;
    return out;
  }
  void sql(const char* text) {
    sqlite3* raw = nullptr;
    ASSERT_EQ(sqlite3_open((directory_.path() + "/state/podwire.db").c_str(), &raw), SQLITE_OK);
    sqlite3_busy_timeout(raw, 5000);
    EXPECT_EQ(sqlite3_exec(raw, text, nullptr, nullptr, nullptr), SQLITE_OK) << sqlite3_errmsg(raw);
    sqlite3_close(raw);
  }

  TemporaryDirectory directory_;
  std::unique_ptr<Store> store_;
  std::mutex mutex_;
  std::map<LateRows::Name, std::string> things_;
};

TEST_F(LateRowsTest, AreAllThereAtItsEnd) {
  auto rows = begin(std::chrono::hours(1));
  for (int i = 0; i < 2500; ++i) set(*rows, std::to_string(i), "first");
  set(*rows, "7", "second");
  set(*rows, "8", nullptr);
  EXPECT_TRUE(kept().empty());
  rows.reset();
  const auto all = kept();
  EXPECT_EQ(all.size(), 2499u);
  EXPECT_EQ(all.at("7"), "second");
  EXPECT_FALSE(all.contains("8"));
}

TEST_F(LateRowsTest, GetThereByThemselvesAlsoWhenTheDiskWasFull) {
  sql("CREATE TRIGGER full BEFORE INSERT ON manifest BEGIN SELECT RAISE(ABORT, 'disk full'); END");
  const auto rows = begin(std::chrono::milliseconds(10));
  set(*rows, "a", "1");
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_TRUE(kept().empty());
  sql("DROP TRIGGER full");
  for (int i = 0; i < 2000 && kept().empty(); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_EQ(kept(), (std::map<std::string, std::string>{{"a", "1"}}));
  set(*rows, "a", nullptr);
  for (int i = 0; i < 2000 && !kept().empty(); ++i)
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  EXPECT_TRUE(kept().empty());
}

}  // namespace
}  // namespace podwire::control
