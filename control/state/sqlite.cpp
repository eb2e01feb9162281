#include "control/state/sqlite.hpp"

#include <sqlite3.h>

namespace podwire::control {

void Database::CloseDatabase::operator()(sqlite3* db) const {
  sqlite3_close_v2(db);
}
void Database::FinalizeStatement::operator()(sqlite3_stmt* statement) const {
  sqlite3_finalize(statement);
}

Result<Database> Database::open(const std::string& path) {
  sqlite3* raw = nullptr;
  const int code = sqlite3_open_v2(path.c_str(), &raw,
                                   SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, nullptr);
  Database database(path, raw);
  if (code != SQLITE_OK) return database.error("cannot open it");
  sqlite3_extended_result_codes(raw, 1);
  return database;
}

Error Database::error(std::string_view doing) const {
  const int code = db_ ? sqlite3_errcode(db_.get()) & 0xff : SQLITE_NOMEM;
  const std::string text = db_ ? sqlite3_errmsg(db_.get()) : "out of memory";
  const std::string message = "state database " + path_ + ": " + std::string(doing) + ": " + text;
  switch (code) {
    case SQLITE_NOTADB:
    case SQLITE_CORRUPT:
      return invalid(message +
                     "; the file is damaged or no database of Podwire: restore a copy, or move it away (with "
                     "its -wal file) and re-create the node's pods");
    case SQLITE_FULL:
      return {ErrorCode::kExhausted, message + "; free some space on that file system"};
    case SQLITE_BUSY:
    case SQLITE_LOCKED:
      return conflict(message + "; another process uses it");
    default:
      return io_error(message);
  }
}

Result<void> Database::execute(const std::string& sql) {
  if (sqlite3_exec(db_.get(), sql.c_str(), nullptr, nullptr, nullptr) != SQLITE_OK)
    return error(sql.substr(0, 60));
  return {};
}

std::int64_t Database::changes() const {
  return sqlite3_changes64(db_.get());
}
bool Database::in_transaction() const {
  return sqlite3_get_autocommit(db_.get()) == 0;
}

Query::Query(Database& database, const char* sql) : database_(database) {
  auto& cached = database.statements_[sql];
  if (!cached) {
    sqlite3_stmt* raw = nullptr;
    failed_ = sqlite3_prepare_v3(database.db_.get(), sql, -1, SQLITE_PREPARE_PERSISTENT, &raw, nullptr) !=
              SQLITE_OK;
    cached.reset(raw);
  }
  statement_ = cached.get();
}

Query::~Query() {
  if (statement_ == nullptr) return;
  sqlite3_reset(statement_);
  sqlite3_clear_bindings(statement_);
}

Query& Query::bind(std::int64_t value) {
  if (!failed_) failed_ = sqlite3_bind_int64(statement_, ++bound_, value) != SQLITE_OK;
  return *this;
}

Query& Query::bind(std::string_view value) {
  // A null pointer would bind NULL, and an empty string_view may hold one.
  const char* const data = value.empty() ? "" : value.data();
  if (!failed_)
    failed_ = sqlite3_bind_text64(statement_, ++bound_, data, value.size(), SQLITE_TRANSIENT, SQLITE_UTF8) !=
              SQLITE_OK;
  return *this;
}

Result<bool> Query::step() {
  if (failed_ || statement_ == nullptr) return database_.error("cannot prepare a statement");
  const int code = sqlite3_step(statement_);
  if (code == SQLITE_ROW) return true;
  if (code == SQLITE_DONE) return false;
  return database_.error(std::string_view(sqlite3_sql(statement_)).substr(0, 60));
}

Result<void> Query::run() {
  for (;;) {
    PODWIRE_TRY(const bool row, step());
    if (!row) return {};
  }
}

std::int64_t Query::integer(int column) const {
  return sqlite3_column_int64(statement_, column);
}

std::string Query::text(int column) const {
  const auto* data = reinterpret_cast<const char*>(sqlite3_column_text(statement_, column));
  return data == nullptr
             ? std::string()
             : std::string(data, static_cast<std::size_t>(sqlite3_column_bytes(statement_, column)));
}

}  // namespace podwire::control
