// Policies: objects as the other nodes of a cluster have them.
#include <spdlog/spdlog.h>

#include "control/api/policies.hpp"

namespace podwire::control {

std::vector<std::string> Policies::kinds() const {
  return {"NetworkPolicy", "Namespace", "Pod"};
}

std::map<ManifestKey, std::string> Policies::bodies() {
  const std::lock_guard lock(mutex_);
  return bodies_;
}

// Sound in itself, and what its key says.
Result<PolicyManifest> Policies::read_shared(const StoredManifest& object) const {
  PODWIRE_TRY(const Json body, parse_json(object.body, "its value"));
  PODWIRE_TRY(auto manifest, read_policy_manifest(body));
  if (key_of(manifest) != key_of(object)) return invalid("its value is " + to_text(manifest));
  PolicyModel alone;
  PODWIRE_CHECK(put_into(manifest, alone, *setting_));
  return manifest;
}

std::map<ManifestKey, LeftOut> Policies::follow(const std::vector<StoredManifest>& objects) {
  std::map<ManifestKey, LeftOut> left_out;
  std::vector<Followed> news;
  const std::lock_guard lock(mutex_);
  for (const auto& object : objects) {
    const auto known = bodies_.find(key_of(object));
    if (object.body.empty()) {
      if (known != bodies_.end())
        news.push_back({true, {object.kind, {object.space, object.name}, Json::object()}});
      continue;
    }
    auto manifest = read_shared(object);
    if (!manifest)
      left_out[key_of(object)] = {manifest.error().message, true};
    else if (known == bodies_.end() || known->second != manifest->body.dump())
      news.push_back({false, std::move(*manifest)});
  }
  follow_all(news, left_out);
  return left_out;
}

// At once; if that cannot be, in halves, so that one that cannot costs no other.
void Policies::follow_all(std::span<const Followed> news, std::map<ManifestKey, LeftOut>& left_out) {
  if (news.empty()) return;
  Change change;
  for (const auto& one : news) (one.erased ? change.erased : change.put).push_back(one.manifest);
  const auto done = take_over(change, Source::kOthers);
  if (done) return;
  const auto code = done.error().code;
  const bool of_all = code == ErrorCode::kUnavailable || code == ErrorCode::kIo;
  if (of_all || news.size() == 1) {
    for (const auto& one : news) left_out[key_of(one.manifest)] = {done.error().message, false};
    return;
  }
  follow_all(news.first(news.size() / 2), left_out);
  follow_all(news.subspan(news.size() / 2), left_out);
}

PodNames Policies::locate(const PodPlaces& changed) {
  const std::lock_guard lock(mutex_);
  std::vector<Followed> moved;
  PodPlaces before;
  const auto place = [this](const auto& pod, const PodPlaces::mapped_type& addresses) {
    if (addresses.empty())
      located_.erase(pod);
    else
      located_[pod] = addresses;
  };
  for (const auto& [pod, addresses] : changed) {
    const auto former = located_.find(pod);
    auto& was = before[pod];
    if (former != located_.end()) was = former->second;
    if (was == addresses) continue;
    place(pod, addresses);
    const auto known = bodies_.find({"Pod", pod.first, pod.second});
    if (known == bodies_.end()) continue;
    auto manifest = read_shared({"Pod", pod.first, pod.second, known->second});
    if (manifest) moved.push_back({false, std::move(*manifest)});
  }
  std::map<ManifestKey, LeftOut> left_out;
  follow_all(moved, left_out);
  PodNames failed;
  for (const auto& [key, why] : left_out) {
    const std::pair pod(std::get<1>(key), std::get<2>(key));
    failed.insert(pod);
    place(pod, before.at(pod));
  }
  if (!failed.empty())
    spdlog::warn("policy: the addresses of {} pods of other nodes, such as {}/{}, trying again: {}",
                 failed.size(), failed.begin()->first, failed.begin()->second, left_out.begin()->second.why);
  return failed;
}

}  // namespace podwire::control
