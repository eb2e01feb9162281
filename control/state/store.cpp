#include "control/state/store.hpp"

#include <fcntl.h>
#include <sys/file.h>

#include <filesystem>
#include <map>
#include <set>

#include "control/state/allotment.hpp"
#include "control/state/attachment_rows.hpp"
#include "control/state/commit_queue.hpp"
#include "control/state/manifest_rows.hpp"
#include "control/state/published_ports.hpp"
#include "control/state/schema.hpp"
#include "dataplane/base/json.hpp"
#include "dataplane/base/unique_fd.hpp"

namespace podwire::control {
namespace {

class SqliteStore final : public Store {
 public:
  SqliteStore(UniqueFd lock, std::uint64_t epoch, Database database)
      : lock_(std::move(lock)), epoch_(epoch), queue_(std::move(database)) {}

  std::uint64_t epoch() const override { return epoch_; }
  void set_domains(std::vector<DomainPools> domains) override;
  Result<std::vector<PoolUsage>> usage() override;
  Result<void> forget_pools(const std::string& domain) override;
  Result<Attachment> begin_add(const AttachmentRequest& request) override;
  Result<void> mark_ready(const AttachmentKey& key) override;
  Result<std::optional<Attachment>> begin_delete(const AttachmentKey& key) override;
  Result<void> finish_delete(const AttachmentKey& key) override;
  Result<std::optional<Attachment>> find(const AttachmentKey& key) override;
  Result<std::vector<Attachment>> list() override;
  Result<Attachment> add_endpoint(const EndpointRequest& request) override;
  Result<Attachment> remove_endpoint(const AttachmentKey& port, const std::string& name) override;
  Result<std::optional<std::string>> get_fact(const std::string& name) override;
  Result<void> set_fact(const std::string& name, const std::optional<std::string>& value) override;
  Result<std::uint32_t> id_for(const std::string& noun, const std::string& name) override;
  Result<std::vector<std::uint32_t>> ids_for(const std::string& noun,
                                             const std::vector<std::string>& names) override;
  Result<void> keep_ids(const std::string& noun, const std::vector<std::string>& names) override;
  Result<std::vector<StoredManifest>> manifests(const std::string& kind) override;
  Result<void> change_manifests(const std::vector<StoredManifest>& put,
                                const std::vector<StoredManifest>& erased) override;

 private:
  Result<const DomainPools*> find_pools(const std::string& name) const;  // on the queue's thread

  UniqueFd lock_;  // <state_dir>/lock, held while this store lives
  std::uint64_t epoch_;
  // By name; queue's thread only.
  std::map<std::string, DomainPools> domains_;
  CommitQueue queue_;  // last: its thread ends before the members that it uses go
};

// run<void> of the queue as its callers want it.
template <class Work>
Result<void> run_void(CommitQueue& queue, Work work) {
  auto done = queue.run<bool>([&work](Database& database) -> Result<bool> {
    PODWIRE_CHECK(work(database));
    return true;
  });
  if (!done) return done.error();
  return {};
}

void SqliteStore::set_domains(std::vector<DomainPools> domains) {
  // Cannot fail: no SQL.
  [[maybe_unused]] const auto done = run_void(queue_, [&](Database&) -> Result<void> {
    domains_.clear();
    for (auto& domain : domains) domains_.emplace(domain.name, std::move(domain));
    return {};
  });
}

Result<const DomainPools*> SqliteStore::find_pools(const std::string& name) const {
  if (const auto at = domains_.find(name); at != domains_.end()) return &at->second;
  std::vector<std::string> names;
  for (const auto& [other, pools] : domains_) names.push_back(other);
  std::string known;
  for (const auto& n : names) known += (known.empty() ? "" : ", ") + n;
  const auto near = closest_match(name, names);
  return not_found("domain \"" + name + "\" is not configured on this node" +
                   (near.empty() ? "; configured: " + known : "; did you mean \"" + near + "\"?"));
}

Result<std::vector<PoolUsage>> SqliteStore::usage() {
  return queue_.run<std::vector<PoolUsage>>(
      [this](Database& database) { return pool_usage(database, domains_); });
}

Result<void> SqliteStore::forget_pools(const std::string& domain) {
  return run_void(queue_, [&](Database& database) -> Result<void> {
    PODWIRE_CHECK(Query(database, "DELETE FROM former_address WHERE domain = ?").bind(domain).run());
    return Query(database, "DELETE FROM cursor WHERE domain = ?").bind(domain).run();
  });
}

// The request's part of an attachment; the allotted part is left out.
Attachment attachment_of(const AttachmentRequest& request, const DomainPools& domain) {
  Attachment a;
  a.key = request.key;
  a.netns_path = request.netns_path;
  a.netns_device = request.netns_device;
  a.netns_inode = request.netns_inode;
  a.domain = request.domain;
  a.mtu = request.mtu == 0 ? domain.mtu : request.mtu;
  a.queues = request.queues;
  a.ipam_type = request.ipam_type;
  a.config_json = request.config_json;
  a.pod_namespace = request.pod_namespace;
  a.pod_name = request.pod_name;
  a.pod_uid = request.pod_uid;
  a.kind = request.kind;
  a.socket = request.socket;
  a.device_info = request.device_info;
  a.limits = request.limits;
  a.options = request.options;
  a.published_ports = request.published_ports;
  return a;
}

// Of a socket that a person named; those of pods are distinct by their making.
Result<void> check_socket_unused(Database& database, const std::string& path) {
  Query query(database, "SELECT network, container_id, ifname FROM attachment WHERE socket = ?");
  PODWIRE_TRY(const bool found, query.bind(path).step());
  if (!found) return {};
  return conflict("socket " + path + " is that of " +
                  describe({query.text(0), query.text(1), query.text(2)}) + "; every port needs its own");
}

Result<Attachment> SqliteStore::begin_add(const AttachmentRequest& request) {
  return queue_.run<Attachment>([&](Database& database) -> Result<Attachment> {
    PODWIRE_TRY(const auto existing, load_attachment(database, request.key));
    if (existing) {
      const char* const remedy = existing->state == AttachmentState::kReady
                                     ? "; delete it first ("
                                     : "; wait for that call to end, or delete it (";
      return conflict(describe(request.key) + " exists already in state \"" + to_text(existing->state) +
                      "\"" + remedy + deletion_of(request.key) + ")");
    }
    if (request.key.is_named_port()) PODWIRE_CHECK(check_unnamed(database, request.key.container_id));
    PODWIRE_TRY(const auto* const domain, find_pools(request.domain));
    auto a = attachment_of(request, *domain);
    if (!request.pods_directory.empty()) {
      PODWIRE_CHECK(allot_socket(database, request, a));
    } else if (!a.socket.path.empty()) {
      PODWIRE_CHECK(check_socket_unused(database, a.socket.path));
    }
    PODWIRE_CHECK(allot_addresses(database, *domain, request, a));
    PODWIRE_CHECK(allot_mac(database, request, a));
    PODWIRE_CHECK(allot_ids(database, a));
    PODWIRE_CHECK(allot_published_ports(database, *domain, a));
    PODWIRE_CHECK(insert_attachment(database, a));
    PODWIRE_CHECK(insert_published_ports(database, a));
    return a;
  });
}

Result<void> SqliteStore::mark_ready(const AttachmentKey& key) {
  return run_void(queue_, [&](Database& database) -> Result<void> {
    PODWIRE_TRY(const auto existing, load_attachment(database, key));
    if (!existing) return not_found(describe(key) + " is not recorded; it was deleted meanwhile");
    if (existing->state == AttachmentState::kDeleting) return conflict(describe(key) + " is being deleted");
    return set_attachment_state(database, key, AttachmentState::kReady);
  });
}

Result<std::optional<Attachment>> SqliteStore::begin_delete(const AttachmentKey& key) {
  return queue_.run<std::optional<Attachment>>([&](Database& database) -> Result<std::optional<Attachment>> {
    PODWIRE_TRY(auto existing, load_attachment(database, key));
    if (existing) PODWIRE_CHECK(set_attachment_state(database, key, AttachmentState::kDeleting));
    return existing;
  });
}

Result<void> SqliteStore::finish_delete(const AttachmentKey& key) {
  return run_void(queue_, [&](Database& database) -> Result<void> {
    PODWIRE_TRY(const auto existing, load_attachment(database, key));
    return existing ? remove_attachment(database, *existing) : Result<void>();
  });
}

Result<std::optional<Attachment>> SqliteStore::find(const AttachmentKey& key) {
  return queue_.run<std::optional<Attachment>>(
      [&](Database& database) { return load_attachment(database, key); });
}

Result<std::vector<Attachment>> SqliteStore::list() {
  return queue_.run<std::vector<Attachment>>([](Database& database) { return load_attachments(database); });
}

Result<Attachment> SqliteStore::add_endpoint(const EndpointRequest& request) {
  return queue_.run<Attachment>([&](Database& database) -> Result<Attachment> {
    PODWIRE_TRY(const auto port, load_attachment(database, request.port));
    if (!port || port->state != AttachmentState::kReady)
      return not_found("there is no " + describe(request.port) + "; see: podwirectl port");
    PODWIRE_CHECK(check_unnamed(database, request.name));
    PODWIRE_TRY(const auto* const domain, find_pools(port->domain));
    // Addresses and MAC are allotted as for an attachment of this name.
    AttachmentRequest wanted;
    wanted.key = {"", request.name, ""};
    wanted.mac = request.mac;
    wanted.requested_ips = request.requested_ips;
    wanted.exact = true;
    Attachment allotted;
    allotted.domain = port->domain;
    PODWIRE_CHECK(allot_addresses(database, *domain, wanted, allotted));
    PODWIRE_CHECK(allot_mac(database, wanted, allotted));
    PODWIRE_CHECK(insert_endpoint(database, *port,
                                  {{}, request.name, allotted.mac, allotted.addresses, request.options}));
    PODWIRE_TRY(auto after, load_attachment(database, request.port));
    return std::move(*after);
  });
}

Result<Attachment> SqliteStore::remove_endpoint(const AttachmentKey& port, const std::string& name) {
  return queue_.run<Attachment>([&](Database& database) -> Result<Attachment> {
    PODWIRE_TRY(auto attachment, load_attachment(database, port));
    if (!attachment) return not_found("there is no " + describe(port) + "; see: podwirectl port");
    for (const auto& endpoint : attachment->extra_endpoints) {
      if (endpoint.name == name) PODWIRE_CHECK(remove_endpoint_rows(database, endpoint));
    }
    std::erase_if(attachment->extra_endpoints, [&](const ExtraEndpoint& e) { return e.name == name; });
    return std::move(*attachment);
  });
}

Result<std::optional<std::string>> SqliteStore::get_fact(const std::string& name) {
  return queue_.run<std::optional<std::string>>(
      [&](Database& database) -> Result<std::optional<std::string>> {
        Query query(database, "SELECT value FROM fact WHERE name = ?");
        PODWIRE_TRY(const bool found, query.bind(name).step());
        return found ? std::optional<std::string>(query.text(0)) : std::nullopt;
      });
}

Result<void> SqliteStore::set_fact(const std::string& name, const std::optional<std::string>& value) {
  return run_void(queue_, [&](Database& database) -> Result<void> {
    if (!value) return Query(database, "DELETE FROM fact WHERE name = ?").bind(name).run();
    return Query(database, "INSERT OR REPLACE INTO fact(name, value) VALUES(?,?)")
        .bind(name)
        .bind(*value)
        .run();
  });
}

Result<std::uint32_t> SqliteStore::id_for(const std::string& noun, const std::string& name) {
  return queue_.run<std::uint32_t>([&](Database& database) -> Result<std::uint32_t> {
    Query query(database, "SELECT id FROM ids WHERE noun = ? AND name = ?");
    PODWIRE_TRY(const bool found, query.bind(noun).bind(name).step());
    if (found) return static_cast<std::uint32_t>(query.integer(0));
    if (noun == "domain") return allot_id(database, noun, name, 2, 8191);
    return allot_id(database, noun, name, 1, noun == "port" ? 4095 : 0x7fffffff);
  });
}

Result<std::vector<std::uint32_t>> SqliteStore::ids_for(const std::string& noun,
                                                        const std::vector<std::string>& names) {
  return queue_.run<std::vector<std::uint32_t>>(
      [&](Database& database) { return ids_by_name(database, noun, names); });
}

Result<std::vector<StoredManifest>> SqliteStore::manifests(const std::string& kind) {
  return queue_.run<std::vector<StoredManifest>>(
      [&](Database& database) { return load_manifests(database, kind); });
}

Result<void> SqliteStore::change_manifests(const std::vector<StoredManifest>& put,
                                           const std::vector<StoredManifest>& erased) {
  return run_void(queue_, [&](Database& database) { return write_manifests(database, put, erased); });
}

Result<void> SqliteStore::keep_ids(const std::string& noun, const std::vector<std::string>& names) {
  return run_void(queue_, [&](Database& database) -> Result<void> {
    const std::set<std::string> kept(names.begin(), names.end());
    std::vector<std::string> gone;
    Query query(database, "SELECT name FROM ids WHERE noun = ?");
    query.bind(noun);
    for (;;) {
      PODWIRE_TRY(const bool more, query.step());
      if (!more) break;
      auto name = query.text(0);
      if (!kept.contains(name)) gone.push_back(std::move(name));
    }
    for (const auto& name : gone) {
      PODWIRE_CHECK(
          Query(database, "DELETE FROM ids WHERE noun = ? AND name = ?").bind(noun).bind(name).run());
    }
    return {};
  });
}

Result<UniqueFd> lock_directory(const std::string& state_dir) {
  std::error_code failure;
  const bool created = std::filesystem::create_directories(state_dir, failure);
  if (failure) return io_error("cannot create state_dir " + state_dir + ": " + failure.message());
  if (created) std::filesystem::permissions(state_dir, std::filesystem::perms::owner_all, failure);
  if (failure) return io_error("cannot set the mode of state_dir " + state_dir + ": " + failure.message());
  const auto path = state_dir + "/lock";
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) return errno_error("cannot open " + path);
  if (::flock(fd.get(), LOCK_EX | LOCK_NB) == 0) return fd;
  if (errno != EWOULDBLOCK) return errno_error("cannot lock " + path);
  return conflict("another podwired uses state_dir " + state_dir +
                  "; stop it, or give this one a state_dir of its own");
}

Result<std::uint64_t> next_epoch(Database& database) {
  PODWIRE_CHECK(database.execute("UPDATE meta SET value = value + 1 WHERE name = 'epoch'"));
  Query query(database, "SELECT value FROM meta WHERE name = 'epoch'");
  PODWIRE_TRY(const bool found, query.step());
  if (!found)
    return invalid("state database " + database.path() +
                   " lacks its epoch; move it away and re-create the node's pods");
  return static_cast<std::uint64_t>(query.integer(0));
}

}  // namespace

Result<std::unique_ptr<Store>> Store::open(const std::string& state_dir) {
  PODWIRE_TRY(UniqueFd lock, lock_directory(state_dir));
  PODWIRE_TRY(Database database, open_state_database(state_dir + "/podwire.db"));
  PODWIRE_TRY(const auto epoch, next_epoch(database));
  return std::unique_ptr<Store>(std::make_unique<SqliteStore>(std::move(lock), epoch, std::move(database)));
}

}  // namespace podwire::control
