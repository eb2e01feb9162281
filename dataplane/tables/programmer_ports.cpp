// How the programmer opens, replaces and closes ports.
#include <fcntl.h>
#include <spdlog/spdlog.h>

#include "dataplane/tables/flow_table.hpp"
#include "dataplane/tables/programmer_state.hpp"

namespace podwire::engine {
namespace {

// Opening the device anew while it is open fails for most drivers, and closing it first could not be undone.
std::string changed_field(const api::Port& before, const api::Port& after) {
  if (before.kind != after.kind) return "kind";
  if (after.kind == api::PortKind::kTap) return {};
  if (before.devargs != after.devargs) return "devargs";
  if (before.queues != after.queues) return "queues";
  if (before.socket != after.socket) return "socket";
  if (before.socket_mode != after.socket_mode) return "socket_mode";
  if (before.socket_group != after.socket_group) return "socket_group";
  if (before.socket_permissions != after.socket_permissions) return "socket_permissions";
  if (before.memif_id != after.memif_id) return "memif_id";
  if (before.secret != after.secret) return "secret";
  if (before.ring_size != after.ring_size) return "ring_size";
  if (before.buffer_size != after.buffer_size) return "buffer_size";
  if (before.iommu != after.iommu) return "iommu";
  if (before.mtu != after.mtu) return "mtu";
  if (before.mac != after.mac) return "mac";
  return {};
}

}  // namespace

Result<std::vector<UniqueFd>> duplicate_queues(const api::Port& port, const Port& device) {
  std::vector<UniqueFd> fds;
  for (std::uint16_t queue = 0; queue < device.rx_queues(); ++queue) {
    UniqueFd fd(::fcntl(device.poll_fd(queue), F_DUPFD_CLOEXEC, 0));
    if (!fd)
      return errno_error(label(port) + ": duplicating the descriptor of queue " + std::to_string(queue));
    fds.push_back(std::move(fd));
  }
  return fds;
}

Result<Programmer::State::Devices> Programmer::State::open_devices(const Changes& changes,
                                                                   Descriptors& descriptors) const {
  Devices opened;
  for (const auto& change : changes.ports) {
    if (!change.after) continue;
    std::vector<UniqueFd> fds;
    if (const auto it = descriptors.find(change.after->id); it != descriptors.end())
      fds = std::move(it->second);
    PODWIRE_TRY(auto device, open_device(change, std::move(fds)));
    if (device) opened[change.after->id] = std::move(device);
  }
  return opened;
}

// Null: the device that is open goes on serving.
Result<std::unique_ptr<Port>> Programmer::State::open_device(const Change<api::Port>& change,
                                                             std::vector<UniqueFd> fds) const {
  const auto& port = *change.after;
  const bool tap = port.kind == api::PortKind::kTap;
  if (change.before) {
    const auto& before = *change.before;
    if (const auto field = changed_field(before, port); !field.empty()) {
      return Error{ErrorCode::kUnsupported,
                   label(port) + ": " + field +
                       " cannot change while the port is open; delete the port in one change "
                       "and add it in the next"};
    }
    if (fds.empty()) {
      if (tap && before.queues != port.queues) {
        return invalid(label(port) + ": queues is " + std::to_string(port.queues) +
                       ", but the open port has " + std::to_string(before.queues) + "; send " +
                       std::to_string(port.queues) + " descriptors with it");
      }
      if (!tap || (before.mac == port.mac && before.mtu == port.mtu)) return std::unique_ptr<Port>();
      PODWIRE_TRY(fds, duplicate_queues(port, *devices_.at(port.id)));
    }
  } else if (tap && fds.empty()) {
    return invalid(
        label(port) + ": the engine does not have this tap yet and the message brings no descriptors for " +
        "it; set \"descriptors\" to " + std::to_string(port.queues) + " and send the queues' descriptors");
  }
  return environment_.open_port(port, std::move(fds));
}

void Programmer::State::install_devices(Devices devices) {
  if (devices.empty()) return;
  ++ports_generation_;
  for (auto& [id, device] : devices) {
    auto& current = devices_[id];
    if (current) closing_.push_back({std::move(current), ports_generation_});
    current = std::move(device);
  }
}

void Programmer::State::remove_devices(const Changes& changes) {
  bool any = false;
  for (const auto& change : changes.ports) {
    if (change.after) continue;
    if (!any) ++ports_generation_;
    any = true;
    const auto it = devices_.find(change.before->id);
    closing_.push_back({std::move(it->second), ports_generation_});
    devices_.erase(it);
    shaping_.forget(change.before->id);
    discard(garbage_, std::exchange(port_entries_[change.before->id.value()], nullptr));
    publish_needed_ = true;
  }
}

// An id that is given out again soon must not answer for what the port before it has begun.
void Programmer::State::forget_connections(const Changes& changes) {
  if (environment_.flows == nullptr) return;
  std::set<PortId> gone;
  for (const auto& change : changes.ports) {
    if (!change.after && environment_.flows->begun_by(change.before->id) != 0) gone.insert(change.before->id);
  }
  if (gone.empty()) return;
  using Judgement = FlowTable::Judgement;
  const auto judge = [&](const FlowKey&, const FlowKey&, FlowState, PortId owner) {
    return gone.contains(owner) ? Judgement::kRemove : Judgement::kKeep;
  };
  const auto found = environment_.flows->review(1, environment_.flows->capacity(), judge);
  environment_.counters->flows.removed.add(found.removed);
}

void Programmer::State::close_devices(int timeout_ms) {
  if (closing_.empty()) return;
  const auto newest = closing_.back().ports_generation;
  if (!environment_.publisher->wait_ports_seen(newest, timeout_ms)) {
    if (timeout_ms != 0) {
      spdlog::warn(
          "a worker has not let go of {} removed port(s) within {} ms; they are closed as soon as it does",
          closing_.size(), timeout_ms);
    }
    return;
  }
  environment_.publisher->synchronize();
  closing_.clear();
}

}  // namespace podwire::engine
