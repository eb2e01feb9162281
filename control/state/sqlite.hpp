// A thin, exception-free layer over SQLite: one connection, cached statements, Result instead of codes.
// Belongs to one thread at a time (the store's).
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>

#include "dataplane/base/result.hpp"

struct sqlite3;
struct sqlite3_stmt;

namespace podwire::control {

class Database {
 public:
  // Opens or creates the file. Nothing is read yet, so a file that is no database shows at the first
  // statement.
  static Result<Database> open(const std::string& path);

  const std::string& path() const { return path_; }
  Result<void> execute(const std::string& sql);  // any number of statements, results ignored
  std::int64_t changes() const;                  // rows changed by the last statement
  bool in_transaction() const;
  // The connection's last error as ours.
  Error error(std::string_view doing) const;

 private:
  friend class Query;
  struct CloseDatabase {
    void operator()(sqlite3* db) const;
  };
  struct FinalizeStatement {
    void operator()(sqlite3_stmt* statement) const;
  };
  Database(std::string path, sqlite3* db) : path_(std::move(path)), db_(db) {}

  std::string path_;
  std::unique_ptr<sqlite3, CloseDatabase> db_;
  // Declared after db_: statements go before the connection.
  std::unordered_map<std::string, std::unique_ptr<sqlite3_stmt, FinalizeStatement>> statements_;
};

// One execution of one statement; resets it when it goes out of scope. Parameters are bound in order.
class Query {
 public:
  Query(Database& database, const char* sql);
  ~Query();
  Query(const Query&) = delete;
  Query& operator=(const Query&) = delete;

  Query& bind(std::int64_t value);
  Query& bind(std::string_view value);
  Result<bool> step();  // true: there is a row
  Result<void> run();   // to the end

  std::int64_t integer(int column) const;
  std::string text(int column) const;

 private:
  Database& database_;
  sqlite3_stmt* statement_ = nullptr;
  int bound_ = 0;
  bool failed_ = false;
};

}  // namespace podwire::control
