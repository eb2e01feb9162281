#include "control/doctor/examination.hpp"

#include <algorithm>
#include <chrono>
#include <thread>
#include <unordered_map>
#include <unordered_set>

#include "control/doctor/underlay_echo.hpp"

namespace podwire::control {
namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr std::uint16_t kSmall = 100;       // bytes of a probe that is not about sizes
constexpr std::size_t kProbesAtOnce = 256;  // the engine takes so many in one call
constexpr std::size_t kResultsAtOnce = 1000;
constexpr auto kRoundTime = milliseconds(300);  // for the answers of one round
constexpr auto kGrace = milliseconds(700);      // more, after the last one
constexpr auto kSizeTime = milliseconds(500);
constexpr auto kPollTime = milliseconds(10);
constexpr std::size_t kSweptAtOnce = 16;  // paths
constexpr unsigned kSizesAtOnce = 16;     // of one path
constexpr unsigned kCopies = 2;           // of every size, against loss
constexpr std::uint64_t kVniAgeMs = 120'000;

struct Probe {
  ExaminedPath* path = nullptr;
  IpAddr to;
  std::uint16_t bytes = kSmall;
  // From the engine:
  std::uint32_t id = 0;
  std::string state{};     // of the verb probe_results; empty: not sent
  std::string next_hop{};  // unless it is answered
  std::uint64_t rtt_us = 0;
  std::string problem{}, message{};
  std::uint16_t limit = 0;  // of too_long

  bool waits() const { return state == "waiting"; }
};

Result<void> read_value(const Json& value, const std::string& path, Probe& out) {
  ObjectReader r(value, path);
  r.ignore_unknown();
  r.optional("id", out.id);
  r.optional("state", out.state);
  r.optional("next_hop", out.next_hop);
  r.optional("rtt_us", out.rtt_us);
  r.optional("problem", out.problem);
  r.optional("message", out.message);
  r.optional("limit", out.limit);
  return r.finish();
}

// The list under `key` of the engine's reply, one element for every element of `probes`.
Result<void> take_in(const Json& reply, const char* key, std::vector<Probe*>& probes) {
  std::vector<Json> list;
  ObjectReader r(reply, "the engine's answer");
  r.ignore_unknown();
  r.required(key, list);
  PODWIRE_CHECK(r.finish());
  if (list.size() != probes.size()) return unavailable("the engine's answer about probes has a wrong length");
  for (std::size_t i = 0; i < list.size(); ++i)
    PODWIRE_CHECK(podwire::control::read_value(list[i], "probe", *probes[i]));
  return {};
}

class Examiner {
 public:
  Examiner(const AskEngine& ask, std::vector<ExaminedPeer>& peers, const Thoroughness& how)
      : ask_(ask), peers_(peers), how_(how) {}

  Result<void> run() {
    PODWIRE_TRY(const auto before, checksum_drops());
    PODWIRE_CHECK(reach());
    PODWIRE_TRY(const auto after, checksum_drops());
    if (how_.sizes) PODWIRE_CHECK(sweep());
    echo_.collect();
    PODWIRE_TRY(const Json vnis, ask_("unknown_vnis", Json::object()));
    for (auto& peer : peers_) {
      peer.underlay = echo_.heard(peer);
      peer.bad_outer_checksums = after.first - before.first;
      peer.bad_checksums = after.second - before.second;
      PODWIRE_CHECK(note_vnis(vnis, peer));
    }
    return {};
  }

 private:
  // Outer and inner.
  Result<std::pair<std::uint64_t, std::uint64_t>> checksum_drops() {
    PODWIRE_TRY(const Json stats, ask_("stats", {{"all", true}}));
    std::pair<std::uint64_t, std::uint64_t> drops;
    const auto list = stats.find("drops");
    if (list == stats.end() || !list->is_array()) return drops;
    for (const auto& drop : *list) {
      std::string reason;
      std::uint64_t packets = 0;
      ObjectReader r(drop, "drops of the engine");
      r.ignore_unknown();
      r.required("reason", reason);
      r.required("packets", packets);
      PODWIRE_CHECK(r.finish());
      if (reason == "bad_outer_checksum") drops.first = packets;
      if (reason == "bad_ipv4_checksum") drops.second = packets;
    }
    return drops;
  }

  static Result<void> note_vnis(const Json& reply, ExaminedPeer& peer) {
    std::vector<Json> list;
    ObjectReader r(reply, "the engine's answer");
    r.required("unknown_vnis", list);
    PODWIRE_CHECK(r.finish());
    for (const auto& one : list) {
      IpAddr address;
      Vni vni;
      std::uint64_t age_ms = 0;
      ObjectReader seen(one, "unknown_vnis");
      seen.ignore_unknown();
      seen.required("address", address);
      seen.required("vni", vni);
      seen.required("age_ms", age_ms);
      PODWIRE_CHECK(seen.finish());
      if (address == peer.address && age_ms < kVniAgeMs) peer.unknown_vnis.push_back(vni);
    }
    return {};
  }

  std::vector<ExaminedPath*> probed_paths() const {
    std::vector<ExaminedPath*> paths;
    for (auto& peer : peers_) {
      for (auto& path : peer.paths) {
        if (path.not_probed.empty() && !path.gateways.empty()) paths.push_back(&path);
      }
    }
    return paths;
  }

  // Whether they answer at all, how many times and how soon.
  Result<void> reach() {
    const auto paths = probed_paths();
    std::vector<std::vector<Probe>> rounds(how_.rounds);
    for (auto& round : rounds) {
      echo_.ask(peers_);
      for (auto* path : paths) {
        for (const auto& gateway : path->gateways) {
          if (!path->answers || *path->answers == gateway) round.push_back({path, gateway});
        }
      }
      PODWIRE_CHECK(send(round));
      PODWIRE_CHECK(settle(round, kRoundTime, false));
      for (const auto& probe : round) {
        if (probe.state == "answered" || probe.state == "damaged") probe.path->answers = probe.to;
      }
      echo_.collect();
    }
    std::vector<Probe> all;
    for (auto& round : rounds) all.insert(all.end(), round.begin(), round.end());
    PODWIRE_CHECK(settle(all, kGrace, true));
    std::unordered_map<const ExaminedPath*, std::vector<const Probe*>> of_path;
    for (const auto& probe : all) of_path[probe.path].push_back(&probe);
    for (auto* path : paths) tell(*path, of_path[path]);
    return {};
  }

  // A gateway that does not answer while another of the same path does is none.
  static void tell(ExaminedPath& path, const std::vector<const Probe*>& own) {
    for (const auto* probe : own) {
      if (probe->state == "answered") path.answers = probe->to;
    }
    const auto gateway = path.answers.value_or(path.gateways.front());
    for (const auto* one : own) {
      const auto& probe = *one;
      if (probe.to != gateway) continue;
      ++path.sent;
      if (!probe.problem.empty()) path.problem = probe.message;
      if (probe.state == "damaged") ++path.damaged;
      if (probe.state != "answered") {
        if (!probe.next_hop.empty()) path.next_hop = probe.next_hop;
        continue;
      }
      path.rtt_min_us = path.answered == 0 ? probe.rtt_us : std::min(path.rtt_min_us, probe.rtt_us);
      path.rtt_max_us = std::max(path.rtt_max_us, probe.rtt_us);
      path.rtt_sum_us += probe.rtt_us;
      ++path.answered;
    }
    if (path.answered == 0 && !path.problem.empty() && path.next_hop.empty()) {
      path.sent = 0;
      path.not_probed = path.problem;
    }
  }

  Result<void> send(std::vector<Probe>& probes) {
    for (std::size_t at = 0; at < probes.size(); at += kProbesAtOnce) {
      Json list = Json::array();
      std::vector<Probe*> sent;
      for (std::size_t i = at; i < std::min(probes.size(), at + kProbesAtOnce); ++i) {
        auto& probe = probes[i];
        list.push_back(
            {{"domain", probe.path->id.value()}, {"to", to_string(probe.to)}, {"bytes", probe.bytes}});
        sent.push_back(&probe);
      }
      PODWIRE_TRY(const Json reply, ask_("probe", {{"probes", std::move(list)}}));
      PODWIRE_CHECK(take_in(reply, "probes", sent));
      for (auto* probe : sent) {
        if (probe->problem.empty()) probe->state = "waiting";
      }
    }
    return {};
  }

  Result<void> ask_results(std::vector<Probe>& probes) {
    std::vector<Probe*> open;
    for (auto& probe : probes) {
      if (probe.waits()) open.push_back(&probe);
    }
    for (std::size_t at = 0; at < open.size(); at += kResultsAtOnce) {
      std::vector<Probe*> asked(
          open.begin() + static_cast<std::ptrdiff_t>(at),
          open.begin() + static_cast<std::ptrdiff_t>(std::min(open.size(), at + kResultsAtOnce)));
      Json ids = Json::array();
      for (const auto* probe : asked) ids.push_back(probe->id);
      PODWIRE_TRY(const Json reply, ask_("probe_results", {{"ids", std::move(ids)}}));
      PODWIRE_CHECK(take_in(reply, "results", asked));
    }
    return {};
  }

  // Until all have their outcome or `time` is over. With `all` false one answer a path is enough: its other
  // gateways may not exist.
  Result<void> settle(std::vector<Probe>& probes, Clock::duration time, bool all) {
    const auto deadline = Clock::now() + time;
    for (;;) {
      PODWIRE_CHECK(check_wanted());
      PODWIRE_CHECK(ask_results(probes));
      const auto done = all ? AnsweredPaths() : answered_paths(probes);
      const bool waits = std::any_of(probes.begin(), probes.end(), [&](const Probe& probe) {
        return probe.waits() && (all ? matters(probe) : !done.contains(probe.path));
      });
      if (!waits || Clock::now() >= deadline) return {};
      std::this_thread::sleep_for(kPollTime);
    }
  }

  static bool matters(const Probe& probe) { return !probe.path->answers || *probe.path->answers == probe.to; }
  using AnsweredPaths = std::unordered_set<const ExaminedPath*>;
  static AnsweredPaths answered_paths(const std::vector<Probe>& probes) {
    AnsweredPaths paths;
    for (const auto& probe : probes) {
      if (probe.state == "answered" || probe.state == "damaged") paths.insert(probe.path);
    }
    return paths;
  }
  // Whoever stops podwired must not wait for all the rounds and sizes that are still to come.
  Result<void> check_wanted() const {
    if (how_.stop != nullptr && *how_.stop) return unavailable("podwired is ending");
    return {};
  }

  // The largest packet of every path that answers.
  Result<void> sweep() {
    std::vector<ExaminedPath*> paths;
    for (auto* path : probed_paths()) {
      if (path->answered != 0) paths.push_back(path);
    }
    for (std::size_t at = 0; at < paths.size(); at += kSweptAtOnce) {
      PODWIRE_CHECK(
          sweep({paths.begin() + static_cast<std::ptrdiff_t>(at),
                 paths.begin() + static_cast<std::ptrdiff_t>(std::min(paths.size(), at + kSweptAtOnce))}));
    }
    return {};
  }

  struct Search {
    ExaminedPath* path = nullptr;
    unsigned low = kSmall;  // passed
    unsigned high = 0;      // did not
  };

  Result<void> sweep(std::vector<ExaminedPath*> paths) {
    std::vector<Search> searches;
    for (int limited = 0; limited < 2 && !paths.empty(); ++limited) {
      // Mostly it is the MTU that passes, or what the uplink leaves of it.
      std::vector<Probe> probes;
      for (auto* path : paths) add_sizes(*path, {path->room != 0 ? path->room : path->mtu}, probes);
      PODWIRE_CHECK(send_and_settle(probes));
      std::vector<ExaminedPath*> too_long;
      for (auto* path : paths) judge_first(*path, probes, searches, too_long);
      paths = std::move(too_long);
    }
    const auto searched = searches;
    while (!searches.empty()) {
      std::vector<Probe> probes;
      for (const auto& search : searches) add_sizes(*search.path, sizes_between(search), probes);
      PODWIRE_CHECK(send_and_settle(probes));
      for (auto& search : searches) narrow(search, probes);
      std::erase_if(searches, [](const Search& search) {
        if (search.high - search.low > 1) return false;
        search.path->largest = static_cast<std::uint16_t>(search.low);
        return true;
      });
    }
    return look_again(searched);
  }

  // Both copies of the first size may have been lost by chance.
  Result<void> look_again(const std::vector<Search>& searched) {
    std::vector<Probe> probes;
    for (const auto& search : searched) add_sizes(*search.path, {search.high}, probes);
    PODWIRE_CHECK(send_and_settle(probes));
    for (const auto& probe : probes) {
      if (probe.state == "answered") probe.path->largest = probe.bytes;
    }
    return {};
  }

  static void judge_first(ExaminedPath& path, const std::vector<Probe>& probes, std::vector<Search>& searches,
                          std::vector<ExaminedPath*>& too_long) {
    for (const auto& probe : probes) {
      if (probe.path != &path) continue;
      if (probe.problem == "too_long" && probe.limit >= kSmall && path.room == 0) {
        path.room = probe.limit;
        too_long.push_back(&path);
        return;
      }
      if (probe.state == "answered") path.largest = probe.bytes;
    }
    if (path.largest == 0) searches.push_back({&path, kSmall, path.room != 0 ? path.room : path.mtu});
  }

  static std::vector<unsigned> sizes_between(const Search& search) {
    std::vector<unsigned> sizes;
    const unsigned between = search.high - search.low - 1;
    const unsigned count = std::min(kSizesAtOnce, between);
    for (unsigned i = 1; i <= count; ++i) sizes.push_back(search.low + (between + 1) * i / (count + 1));
    return sizes;
  }

  static void narrow(Search& search, const std::vector<Probe>& probes) {
    for (const auto& probe : probes) {
      if (probe.path == search.path && probe.state == "answered")
        search.low = std::max<unsigned>(search.low, probe.bytes);
    }
    for (const auto& probe : probes) {
      if (probe.path == search.path && probe.bytes > search.low)
        search.high = std::min<unsigned>(search.high, probe.bytes);
    }
  }

  static void add_sizes(ExaminedPath& path, const std::vector<unsigned>& sizes, std::vector<Probe>& probes) {
    for (unsigned copy = 0; copy < kCopies; ++copy) {
      for (const auto size : sizes)
        probes.push_back({&path, *path.answers, static_cast<std::uint16_t>(size)});
    }
  }

  Result<void> send_and_settle(std::vector<Probe>& probes) {
    PODWIRE_CHECK(send(probes));
    return settle(probes, kSizeTime, true);
  }

  const AskEngine& ask_;
  std::vector<ExaminedPeer>& peers_;
  const Thoroughness how_;
  UnderlayEcho echo_;
};

}  // namespace

Result<void> examine(const AskEngine& ask, std::vector<ExaminedPeer>& peers, const Thoroughness& how) {
  return Examiner(ask, peers, how).run();
}

}  // namespace podwire::control
