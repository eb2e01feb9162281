#include "control/state/manifest_rows.hpp"

namespace podwire::control {

Result<std::vector<StoredManifest>> load_manifests(Database& database, const std::string& kind) {
  std::vector<StoredManifest> all;
  Query query(database, "SELECT space, name, body FROM manifest WHERE kind = ? ORDER BY space, name");
  query.bind(kind);
  for (;;) {
    PODWIRE_TRY(const bool more, query.step());
    if (!more) return all;
    all.push_back({kind, query.text(0), query.text(1), query.text(2)});
  }
}

Result<void> write_manifests(Database& database, const std::vector<StoredManifest>& put,
                             const std::vector<StoredManifest>& erased) {
  for (const auto& manifest : erased) {
    Query query(database, "DELETE FROM manifest WHERE kind = ? AND space = ? AND name = ?");
    PODWIRE_CHECK(query.bind(manifest.kind).bind(manifest.space).bind(manifest.name).run());
  }
  for (const auto& manifest : put) {
    Query query(database, "INSERT OR REPLACE INTO manifest(kind, space, name, body) VALUES(?,?,?,?)");
    query.bind(manifest.kind).bind(manifest.space).bind(manifest.name);
    PODWIRE_CHECK(query.bind(manifest.body).run());
  }
  return {};
}

Result<std::vector<std::uint32_t>> ids_by_name(Database& database, const std::string& noun,
                                               const std::vector<std::string>& names) {
  std::vector<std::uint32_t> ids;
  std::vector<std::size_t> missing;
  for (const auto& name : names) {
    Query query(database, "SELECT id FROM ids WHERE noun = ? AND name = ?");
    PODWIRE_TRY(const bool found, query.bind(noun).bind(name).step());
    if (!found) missing.push_back(ids.size());
    ids.push_back(found ? static_cast<std::uint32_t>(query.integer(0)) : 0);
  }
  if (missing.empty()) return ids;
  // One walk over those in use serves all that are missing.
  auto next = missing.begin();
  {
    Query used(database, "SELECT id FROM ids WHERE noun = ? ORDER BY id");
    used.bind(noun);
    std::uint32_t free = noun == "domain" ? 2 : 1;  // the underlay is 1
    while (next != missing.end()) {
      PODWIRE_TRY(const bool more, used.step());
      const auto end = more ? static_cast<std::uint32_t>(used.integer(0)) : 0x80000000u;
      for (; free < end && next != missing.end(); ++free, ++next) ids[*next] = free;
      free = end + 1;
    }
  }
  constexpr std::uint32_t kLastDomain = 8191;
  if (noun == "domain" && ids[missing.back()] > kLastDomain)
    return Error{ErrorCode::kExhausted, "no id is left for domain \"" + names[missing.back()] + "\""};
  for (const auto index : missing) {
    Query insert(database, "INSERT INTO ids(noun, name, id) VALUES(?,?,?)");
    PODWIRE_CHECK(insert.bind(noun).bind(names[index]).bind(ids[index]).run());
  }
  return ids;
}

}  // namespace podwire::control
