#include "control/state/schema.hpp"

#include <array>

namespace podwire::control {
namespace {

constexpr std::int64_t kApplicationId = 0x50575231;  // "PWR1" in the file's header

// Entry i brings version i to version i + 1. Released entries never change; append.
constexpr std::array kMigrations{
    R"sql(
CREATE TABLE meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) STRICT, WITHOUT ROWID;
INSERT INTO meta VALUES('epoch', 0);
CREATE TABLE ids(
  noun TEXT NOT NULL, name TEXT NOT NULL, id INTEGER NOT NULL,
  PRIMARY KEY(noun, name), UNIQUE(noun, id)) STRICT, WITHOUT ROWID;
CREATE TABLE attachment(
  port INTEGER PRIMARY KEY, endpoint INTEGER NOT NULL UNIQUE,
  network TEXT NOT NULL, container_id TEXT NOT NULL, ifname TEXT NOT NULL,
  state TEXT NOT NULL CHECK(state IN ('adding', 'ready', 'deleting')),
  netns_path TEXT NOT NULL, netns_device INTEGER NOT NULL, netns_inode INTEGER NOT NULL,
  domain TEXT NOT NULL, mac TEXT NOT NULL, gateways TEXT NOT NULL, mtu INTEGER NOT NULL, queues INTEGER NOT NULL,
  ipam_type TEXT NOT NULL, config_json TEXT NOT NULL,
  pod_namespace TEXT NOT NULL, pod_name TEXT NOT NULL, pod_uid TEXT NOT NULL,
  UNIQUE(network, container_id, ifname), UNIQUE(domain, mac)) STRICT;
CREATE TABLE address(
  domain TEXT NOT NULL, address TEXT NOT NULL, length INTEGER NOT NULL,
  port INTEGER NOT NULL REFERENCES attachment(port), position INTEGER NOT NULL,
  PRIMARY KEY(domain, address)) STRICT, WITHOUT ROWID;
CREATE INDEX address_by_port ON address(port, position);
CREATE TABLE former_address(
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  domain TEXT NOT NULL, network TEXT NOT NULL, container_id TEXT NOT NULL, ifname TEXT NOT NULL,
  address TEXT NOT NULL, UNIQUE(domain, network, container_id, ifname, address)) STRICT;
CREATE TABLE cursor(domain TEXT NOT NULL, prefix TEXT NOT NULL, address TEXT NOT NULL,
  PRIMARY KEY(domain, prefix)) STRICT, WITHOUT ROWID;
CREATE TABLE fact(name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT, WITHOUT ROWID;
)sql",
    R"sql(
ALTER TABLE attachment ADD COLUMN kind TEXT NOT NULL DEFAULT 'tap' CHECK(kind IN ('tap', 'memif', 'vhost'));
ALTER TABLE attachment ADD COLUMN socket TEXT NOT NULL DEFAULT '';
ALTER TABLE attachment ADD COLUMN pod_directory TEXT NOT NULL DEFAULT '';
ALTER TABLE attachment ADD COLUMN options TEXT NOT NULL DEFAULT '{}';
CREATE UNIQUE INDEX attachment_by_socket ON attachment(socket) WHERE socket <> '';
CREATE INDEX attachment_by_container ON attachment(container_id);
CREATE INDEX attachment_by_directory ON attachment(pod_directory) WHERE pod_directory <> '';
CREATE TABLE extra_endpoint(
  id INTEGER PRIMARY KEY, port INTEGER NOT NULL REFERENCES attachment(port), name TEXT NOT NULL UNIQUE,
  domain TEXT NOT NULL, mac TEXT NOT NULL, options TEXT NOT NULL, UNIQUE(domain, mac)) STRICT;
CREATE INDEX extra_endpoint_by_port ON extra_endpoint(port);
ALTER TABLE address ADD COLUMN endpoint INTEGER NOT NULL DEFAULT 0;
)sql",
    R"sql(
CREATE TABLE manifest(
  kind TEXT NOT NULL, space TEXT NOT NULL, name TEXT NOT NULL, body TEXT NOT NULL,
  PRIMARY KEY(kind, space, name)) STRICT, WITHOUT ROWID;
)sql",
    R"sql(
CREATE TABLE published_port(
  service INTEGER PRIMARY KEY, port INTEGER NOT NULL REFERENCES attachment(port), host_ip TEXT NOT NULL,
  protocol TEXT NOT NULL CHECK(protocol IN ('tcp', 'udp', 'sctp')), host_port INTEGER NOT NULL,
  container_port INTEGER NOT NULL, UNIQUE(protocol, host_port, host_ip)) STRICT;
CREATE INDEX published_port_by_port ON published_port(port);
)sql"};

Result<std::int64_t> pragma(Database& database, const char* name) {
  Query query(database, name);
  PODWIRE_TRY(const bool row, query.step());
  return row ? query.integer(0) : 0;
}

Result<void> check_ours(Database& database) {
  PODWIRE_TRY(const auto application, pragma(database, "PRAGMA application_id"));
  PODWIRE_TRY(const auto version, pragma(database, "PRAGMA user_version"));
  PODWIRE_TRY(const auto objects, pragma(database, "SELECT count(*) FROM sqlite_master"));
  const bool fresh = application == 0 && version == 0 && objects == 0;
  if (!fresh && application != kApplicationId) {
    return invalid(database.path() +
                   " is a database of some other program; move it away or configure another state_dir");
  }
  if (version > static_cast<std::int64_t>(kMigrations.size())) {
    return invalid(database.path() + " has schema version " + std::to_string(version) +
                   ", written by a newer podwired; this one knows up to " +
                   std::to_string(kMigrations.size()) + ": install the newer one again");
  }
  Query check(database, "PRAGMA quick_check(1)");
  PODWIRE_TRY(const bool row, check.step());
  const auto verdict = row ? check.text(0) : "no answer";
  if (verdict != "ok") {
    return invalid("state database " + database.path() + " is damaged (" + verdict +
                   "): restore a copy, or move it away (with its -wal file) and re-create the node's pods");
  }
  return {};
}

}  // namespace

Result<Database> open_state_database(const std::string& path) {
  PODWIRE_TRY(Database database, Database::open(path));
  PODWIRE_CHECK(check_ours(database));
  PODWIRE_CHECK(database.execute(
      "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA busy_timeout=2000"));
  PODWIRE_TRY(const auto version, pragma(database, "PRAGMA user_version"));
  for (auto v = static_cast<std::size_t>(version); v < kMigrations.size(); ++v) {
    // Version and schema change in one transaction, so a kill leaves the one or the other version whole.
    const auto sql = "BEGIN IMMEDIATE;" + std::string(kMigrations[v]) +
                     "PRAGMA application_id=" + std::to_string(kApplicationId) +
                     ";PRAGMA user_version=" + std::to_string(v + 1) + ";COMMIT";
    PODWIRE_CHECK(database.execute(sql));
  }
  return database;
}

}  // namespace podwire::control
