#include "control/doctor/doctor.hpp"

#include <algorithm>
#include <utility>

#include <spdlog/spdlog.h>

namespace podwire::control {
namespace {

constexpr Thoroughness kOwnCheck{.rounds = 3, .sizes = true};

}  // namespace

void Doctor::start() {
  thread_ = std::thread([this] { loop(); });
}

void Doctor::stop() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  wake_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Doctor::loop() {
  for (;;) {
    {
      std::unique_lock lock(mutex_);
      if (wake_.wait_for(lock, kPeriod, [this] { return stopping_.load(); })) return;
    }
    check();
  }
}

std::vector<ExaminedPeer> Doctor::peers() const {
  return find_peers(reconciler_.node(), reconciler_.remote());
}

void Doctor::leave_paths_of(ExaminedPeer& peer, std::size_t most) {
  const std::lock_guard lock(mutex_);
  auto& known = known_[peer.name];
  known.next_path = leave_paths(peer, most, known.next_path, known.answering);
}

// Cheap: five probes a path where all is well.
void Doctor::check() {
  if (!reconciler_.state().connected) return;
  auto all = peers();
  if (all.empty()) return;
  std::vector<ExaminedPeer> some;
  for (std::size_t i = 0; i < std::min(all.size(), kChecked); ++i)
    some.push_back(std::move(all[(next_checked_ + i) % all.size()]));
  next_checked_ = (next_checked_ + some.size()) % all.size();
  for (auto& peer : some) leave_paths_of(peer, kPaths / some.size());
  const auto done = look_at(std::move(some), kOwnCheck);
  if (!done) spdlog::debug("the check of the peers was given up: {}", done.error().message);
}

Result<std::vector<Doctor::Diagnosed>> Doctor::look_at(std::vector<ExaminedPeer> peers,
                                                       const Thoroughness& how) {
  const std::lock_guard examining(examining_);
  const AskEngine ask = [this](const std::string& verb, const Json& params) {
    return reconciler_.query(verb, params);
  };
  auto until_stop = how;
  until_stop.stop = &stopping_;
  PODWIRE_CHECK(podwire::control::examine(ask, peers, until_stop));
  DomainVnis here;
  for (const auto& domain : reconciler_.node().objects.domains) here[domain.name] = domain.vni;
  std::vector<Diagnosed> diagnosed;
  for (auto& peer : peers) {
    auto findings = diagnose(peer, here);
    // Of so few probes one that is lost is no news.
    if (how.rounds == kOwnCheck.rounds)
      std::erase_if(findings, [](const Finding& finding) { return finding.fault == "loss"; });
    diagnosed.push_back({std::move(peer), std::move(findings)});
  }
  const std::lock_guard lock(mutex_);
  for (const auto& one : diagnosed) note(one);
  return diagnosed;
}

// Under the mutex. What was wrong with some of many paths is so until all have been looked at again; silence
// of the whole peer is over with its first answer.
void Doctor::note(const Diagnosed& one) {
  const auto& paths = one.peer.paths;
  auto& known = known_[one.peer.name];
  const bool answered = std::exchange(known.answers, one.peer.answers());
  known.probed = one.peer.was_probed();
  known.has_answered |= known.answers;
  const auto answering =
      std::find_if(paths.begin(), paths.end(), [](const ExaminedPath& path) { return path.answered != 0; });
  known.answering =
      answering == paths.end() ? std::nullopt : std::optional(PathKey{answering->id, answering->v4});
  // The one that answered is looked at each time.
  const auto fresh = paths.size() - (one.peer.left_out != 0 && !paths.empty() ? 1 : 0);
  known.well = one.findings.empty() ? known.well + fresh : 0;
  if (!one.findings.empty())
    known.problem = one.findings.front().text;
  else if (!known.probed || !answered || known.well >= paths.size() + one.peer.left_out)
    known.problem.clear();
}

Result<Doctor::Examined> Doctor::examine(const std::string& name, std::size_t first) {
  if (!reconciler_.state().connected)
    return unavailable("the engine is not connected, so nothing can be probed; see: podwirectl status");
  auto all = peers();
  std::vector<ExaminedPeer> wanted;
  Examined out;
  if (!name.empty()) {
    const auto at =
        std::find_if(all.begin(), all.end(), [&](const ExaminedPeer& peer) { return peer.name == name; });
    if (at == all.end())
      return not_found("there is no peer \"" + name.substr(0, 128) + "\"; see: podwirectl peer");
    leave_paths_of(*at, kPaths);
    wanted.push_back(std::move(*at));
  } else {
    std::size_t paths = 0;
    for (std::size_t i = first; i < all.size() && wanted.size() < kExamined; ++i) {
      paths += std::min(all[i].paths.size(), kPaths);
      if (paths > kPaths && !wanted.empty()) break;
      leave_paths_of(all[i], kPaths);
      wanted.push_back(std::move(all[i]));
    }
    if (first + wanted.size() < all.size()) out.next = first + wanted.size();
  }
  PODWIRE_TRY(out.peers, look_at(std::move(wanted), {}));
  return out;
}

std::map<std::string, Doctor::Known> Doctor::known_now() {
  const auto present = peer_names(reconciler_.node(), reconciler_.remote());
  const std::lock_guard lock(mutex_);
  std::erase_if(known_, [&](const auto& known) { return !present.contains(known.first); });
  return known_;
}

std::vector<std::string> Doctor::problems() {
  std::vector<std::string> all;
  for (const auto& [name, known] : known_now()) {
    if (!known.problem.empty())
      all.push_back("peer " + name + ": " + known.problem + "; see: podwirectl doctor " + name);
  }
  return all;
}

std::string Doctor::isolated() {
  constexpr std::size_t kFewest = 2;  // of a single one, nobody knows which side is at fault
  std::size_t probed = 0;
  bool some = false, some_did = false;
  for (const auto& [name, known] : known_now()) {
    probed += known.probed ? 1 : 0;
    some |= known.answers;
    some_did |= known.has_answered;
  }
  if (probed < kFewest || some || !some_did) return {};
  return "none of the " + std::to_string(probed) +
         " other nodes that were probed answers through the tunnel any more, so pods reach none of theirs; "
         "see: podwirectl doctor";
}

}  // namespace podwire::control
