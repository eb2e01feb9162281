// Rows of the node's state that say what other nodes told, written behind the back of whoever follows them: a
// thread of its own writes once a second what has changed, a bounded number in one transaction, so that no
// change waits for the disk, however many there are. What it had not come to when the daemon was killed is
// missing, or as it was before; the cluster's store tells everything again, and only a start without it goes
// by these rows. Thread-safe.
#pragma once

#include <functional>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "control/cluster/periodic_thread.hpp"
#include "control/state/store.hpp"

namespace podwire::control {

class LateRows {
 public:
  using Name = std::pair<std::string, std::string>;  // `space` and `name` of a StoredManifest
  // What rows of these names hold by now; none: there is no such row any more. Called on this object's thread
  // and by its end.
  using Bodies = std::function<std::vector<std::optional<std::string>>(const std::vector<Name>& names)>;

  // `store` must outlive it. `what`: the rows are, for messages.
  LateRows(Store& store, std::string kind, std::string what, Bodies bodies,
           std::chrono::milliseconds period = std::chrono::milliseconds(1000));
  ~LateRows();  // writes what is left

  // A row is another now. Returns at once.
  void note(Name name);

 private:
  void write();
  bool write_some();

  Store& store_;
  const std::string kind_, what_;
  const Bodies bodies_;
  std::mutex mutex_;
  std::set<Name> stale_;
  bool failing_ = false;  // the disk did not take the last ones, and that was said
  PeriodicThread thread_;
};

}  // namespace podwire::control
