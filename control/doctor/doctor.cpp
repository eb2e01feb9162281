#include "control/doctor/doctor.hpp"

#include <algorithm>
#include <set>

#include <spdlog/spdlog.h>

#include "control/doctor/targets.hpp"

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
      if (wake_.wait_for(lock, kPeriod, [this] { return stopping_; })) return;
    }
    check();
  }
}

std::vector<ExaminedPeer> Doctor::peers() const {
  return find_peers(reconciler_.node(), reconciler_.remote());
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
  const auto done = look_at(std::move(some), kOwnCheck);
  if (!done) spdlog::debug("the check of the peers was given up: {}", done.error().message);
}

Result<std::vector<Doctor::Diagnosed>> Doctor::look_at(std::vector<ExaminedPeer> peers,
                                                       const Thoroughness& how) {
  const std::lock_guard examining(examining_);
  const AskEngine ask = [this](const std::string& verb, const Json& params) {
    return reconciler_.query(verb, params);
  };
  PODWIRE_CHECK(podwire::control::examine(ask, peers, how));
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
  for (const auto& one : diagnosed) {
    if (!one.peer.was_probed()) {
      known_.erase(one.peer.name);
      continue;
    }
    auto& known = known_[one.peer.name];
    known.answers = one.peer.answers();
    known.problem = one.findings.empty() ? "" : one.findings.front().text;
  }
  return diagnosed;
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
    wanted.push_back(std::move(*at));
  } else {
    for (std::size_t i = first; i < all.size() && wanted.size() < kExamined; ++i)
      wanted.push_back(std::move(all[i]));
    if (first + wanted.size() < all.size()) out.next = first + wanted.size();
  }
  PODWIRE_TRY(out.peers, look_at(std::move(wanted), {}));
  return out;
}

std::map<std::string, Doctor::Known> Doctor::known_now() {
  std::set<std::string> present;
  for (const auto& peer : peers()) present.insert(peer.name);
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
  const auto known = known_now();
  const bool some =
      std::any_of(known.begin(), known.end(), [](const auto& one) { return one.second.answers; });
  if (known.size() < kFewest || some) return {};
  return "none of the " + std::to_string(known.size()) +
         " other nodes that were probed answers through the tunnel, so pods reach none of theirs; see: "
         "podwirectl "
         "doctor";
}

}  // namespace podwire::control
