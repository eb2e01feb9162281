// Doctor: examines the other nodes when somebody asks, and a few of them every kPeriod by itself on a thread
// of its own; remembers what the last examination of each found, for `status` and for CNI STATUS. Whoever
// told of the peers, all are alike. Thread-safe; one examination at a time.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "control/doctor/diagnosis.hpp"
#include "control/doctor/examination.hpp"
#include "control/doctor/targets.hpp"
#include "control/state/engine_reconciler.hpp"

namespace podwire::control {

class Doctor {
 public:
  static constexpr auto kPeriod = std::chrono::seconds(30);
  // Peers that one check of its own looks at; of more, the next check looks at the next.
  static constexpr std::size_t kChecked = 64;
  // Peers that one reply to examine() is about.
  static constexpr std::size_t kExamined = 32;
  // Paths (a domain and family of a peer) that one check or examination probes, but for one more a peer. Of a
  // peer with more than its share the next ones each time.
  static constexpr std::size_t kPaths = 256;

  explicit Doctor(EngineReconciler& reconciler) : reconciler_(reconciler) {}
  ~Doctor() { stop(); }
  Doctor(const Doctor&) = delete;
  Doctor& operator=(const Doctor&) = delete;

  void start();
  void stop();

  struct Diagnosed {
    ExaminedPeer peer;
    std::vector<Finding> findings;
  };
  struct Examined {
    std::vector<Diagnosed> peers;
    std::size_t next = 0;  // where to go on; 0: that was all
  };
  // The peers from position `first` on, by name; with a name, that one. kNotFound: there is none of that
  // name; kUnavailable: the engine does not answer.
  Result<Examined> examine(const std::string& name, std::size_t first);

  // What the last examinations found wrong, a sentence a peer. Peers that have gone are left out.
  std::vector<std::string> problems();
  // Why pods reach nobody on other nodes: of two peers or more none answers in the tunnel any more. Empty:
  // some does, or none has since podwired started: the others of a new cluster may be still to come.
  std::string isolated();

 private:
  struct Known {
    bool probed = false, answers = false;
    bool has_answered = false;         // at any time
    std::string problem;               // empty: all is well
    std::size_t well = 0;              // paths in which nothing was wrong since
    std::size_t next_path = 0;         // of those that are too many for one time
    std::optional<PathKey> answering;  // looked at each time, so that others' silence is told apart
  };

  void loop();
  void check();
  std::vector<ExaminedPeer> peers() const;
  void leave_paths_of(ExaminedPeer& peer, std::size_t most);
  void note(const Diagnosed& one);
  std::map<std::string, Known> known_now();
  Result<std::vector<Diagnosed>> look_at(std::vector<ExaminedPeer> peers, const Thoroughness& how);

  EngineReconciler& reconciler_;
  std::mutex examining_;
  std::mutex mutex_;
  std::condition_variable wake_;
  std::atomic<bool> stopping_ = false;
  std::map<std::string, Known> known_;  // by name
  std::size_t next_checked_ = 0;
  std::thread thread_;
};

}  // namespace podwire::control
