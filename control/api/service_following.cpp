// Services: objects as the other nodes of a cluster have them.
#include "control/api/services.hpp"

namespace podwire::control {
namespace {

// Sound in itself, and what its key says. No body: it is gone.
Result<ServiceManifest> read_shared_service(const StoredManifest& object) {
  if (object.body.empty()) return ServiceManifest{object.kind, {object.space, object.name}, nullptr};
  PODWIRE_TRY(const Json body, parse_json(object.body, "its value"));
  if (!body.is_object()) return invalid("its value must be a mapping, not " + json_type_name(body));
  PODWIRE_TRY(auto manifest, read_service_manifest(body));
  if (key_of(manifest) != key_of(object)) return invalid("its value is " + to_text(manifest));
  ServiceEdit unused;
  PODWIRE_CHECK(read_into(manifest, unused));
  return manifest;
}

}  // namespace

std::vector<std::string> Services::kinds() const {
  return {"Service", "EndpointSlice"};
}

std::map<ManifestKey, LeftOut> Services::follow(const std::vector<StoredManifest>& objects) {
  std::map<ManifestKey, LeftOut> left_out;
  std::vector<ServiceManifest> news;
  const std::lock_guard lock(mutex_);
  for (const auto& object : objects) {
    const auto known = bodies_.find(key_of(object));
    auto manifest = read_shared_service(object);
    if (!manifest)
      left_out[key_of(object)] = {manifest.error().message, true};
    else if (known == bodies_.end() ? !manifest->body.is_null() : known->second != manifest->body)
      news.push_back(std::move(*manifest));
  }
  follow_all(news, left_out);
  return left_out;
}

// At once; if that cannot be, in halves, so that one that cannot (its node port is another program's) costs
// no other.
void Services::follow_all(std::span<const ServiceManifest> news, std::map<ManifestKey, LeftOut>& left_out) {
  if (news.empty()) return;
  Change change;
  Result<void> done;
  for (const auto& one : news) {
    if (one.body.is_null()) {
      erase(key_of(one), change);
    } else {
      done = read_into(one, change.edit);
      change.put.emplace(key_of(one), one.body);
    }
    if (!done) break;
  }
  if (done) done = commit(std::move(change), Source::kOthers);
  if (done) return;
  const auto code = done.error().code;
  if (code == ErrorCode::kUnavailable || code == ErrorCode::kIo || news.size() == 1) {
    for (const auto& one : news) left_out[key_of(one)] = {done.error().message, false};
    return;
  }
  follow_all(news.first(news.size() / 2), left_out);
  follow_all(news.subspan(news.size() / 2), left_out);
}

std::vector<std::string> Services::problems() {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> out;
  for (const auto& key : model_.problems())
    out.push_back("service " + to_text(key) + " is left out on this node: " + model_.problem_of(key));
  return out;
}

}  // namespace podwire::control
