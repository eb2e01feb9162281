#include "control/cluster/late_rows.hpp"

#include <spdlog/spdlog.h>

#include <iterator>

namespace podwire::control {
namespace {

// In one transaction, and described in one go: whoever holds them waits meanwhile.
constexpr std::size_t kRowsAtOnce = 1000;

}  // namespace

LateRows::LateRows(Store& store, std::string kind, std::string what, Bodies bodies,
                   std::chrono::milliseconds period)
    : store_(store), kind_(std::move(kind)), what_(std::move(what)), bodies_(std::move(bodies)) {
  thread_.start(period, [this] { write(); });
}

LateRows::~LateRows() {
  thread_.stop();
  write();
}

void LateRows::note(Name name) {
  const std::lock_guard lock(mutex_);
  stale_.insert(std::move(name));
}

void LateRows::write() {
  while (write_some()) {
  }
}

// Whether there may be more to write now.
bool LateRows::write_some() {
  std::vector<Name> names;
  {
    const std::lock_guard lock(mutex_);
    while (!stale_.empty() && names.size() < kRowsAtOnce)
      names.push_back(std::move(stale_.extract(stale_.begin()).value()));
  }
  if (names.empty()) return false;
  const auto bodies = bodies_(names);
  std::vector<StoredManifest> put, erased;
  for (std::size_t i = 0; i < names.size(); ++i) {
    const auto& [space, name] = names[i];
    (bodies[i] ? put : erased).push_back({kind_, space, name, bodies[i].value_or("")});
  }
  const auto written = store_.change_manifests(put, erased);
  if (written) {
    failing_ = false;
    return true;
  }
  if (!std::exchange(failing_, true))
    spdlog::error("cluster: {} could not be kept on disk, trying again: {}", what_, written.error().message);
  const std::lock_guard lock(mutex_);
  stale_.insert(std::make_move_iterator(names.begin()), std::make_move_iterator(names.end()));
  return false;
}

}  // namespace podwire::control
