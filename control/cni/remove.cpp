// DEL, GC, and undoing what a killed daemon left: everything that takes attachments down.
#include <spdlog/spdlog.h>

#include <algorithm>
#include <fstream>

#include "control/cni/device_info.hpp"
#include "control/cni/pod_interface.hpp"
#include "control/cni/pod_socket.hpp"
#include "control/cni/service.hpp"

namespace podwire::control {
namespace {

std::string name_of(const AttachmentKey& key) {
  if (key.is_named_port()) return "port " + key.container_id;
  return key.network + "/" + key.container_id + "/" + key.ifname;
}

constexpr const char* kBootFact = "boot_id";

Result<std::string> current_boot() {
  std::string id;
  std::ifstream file("/proc/sys/kernel/random/boot_id");
  if (!std::getline(file, id)) return io_error("/proc/sys/kernel/random/boot_id cannot be read");
  return id;
}

// No pod outlives a reboot, and not every runtime calls DEL for those that did not.
Result<bool> another_boot(Store& store) {
  PODWIRE_TRY(const auto recorded, store.get_fact(kBootFact));
  PODWIRE_TRY(const auto now, current_boot());
  return recorded.has_value() && *recorded != Json(now).dump();
}

Result<void> note_boot(Store& store) {
  PODWIRE_TRY(const auto now, current_boot());
  return store.set_fact(kBootFact, Json(now).dump());
}

}  // namespace

CniResult<void> CniService::Impl::release(const Attachment& attachment, int netns) {
  PODWIRE_CHECK(context.reconciler.detach(attachment));
  if (context.host_ports != nullptr) context.host_ports->let_go(attachment);
  UniqueFd opened;
  if (attachment.kind == api::PortKind::kTap) {
    PODWIRE_TRY(opened, open_attachment_netns(attachment, netns));
  }
  // Only what has been ready is known to be ours by its name; an ADD that failed on a name that was taken is
  // not.
  const bool ours_by_name = attachment.state == AttachmentState::kReady;
  PODWIRE_CHECK(remove_interface(attachment, opened.get(), ours_by_name));
  if (!attachment.ipam_type.empty()) {
    PODWIRE_TRY(const auto call, remembered_ipam_call(attachment));
    PODWIRE_CHECK(ipam.del(call));
  }
  return context.store.finish_delete(attachment.key);
}

Result<void> CniService::Impl::remove_interface(const Attachment& attachment, int netns, bool ours_by_name) {
  if (attachment.kind == api::PortKind::kTap)
    return netns < 0 ? Result<void>() : remove_pod_interface(netns, attachment, ours_by_name);
  PODWIRE_CHECK(remove_device_info(attachment));
  PODWIRE_TRY(const auto all, context.store.list());
  // The gate lets one call of a container run at a time, so nobody joins or leaves the directory meanwhile.
  const bool shared = std::any_of(all.begin(), all.end(), [&](const Attachment& other) {
    return other.pod_directory == attachment.pod_directory && other.port != attachment.port;
  });
  return remove_pod_socket(attachment, shared);
}

CniResult<void> CniService::Impl::del(const CniCall& call) {
  const auto pass = gate.enter(call.key(), ContainerGate::For::kDel);
  PODWIRE_TRY(const auto attachment, context.store.begin_delete(call.key()));
  if (attachment) return release(*attachment, call.netns);
  // Nothing of ours is left, but an ADD may have died between the IPAM plugin and our record.
  if (!call.config.ipam_type.empty()) return ipam.del(ipam_call(call));
  return {};
}

CniResult<void> CniService::Impl::gc(const CniCall& call) {
  std::string failures;
  const auto keep = [&](const std::string& what, const CniResult<void>& step) {
    if (!step) failures += (failures.empty() ? "" : "; ") + what + ": " + step.error().message;
  };
  if (const auto& valid = call.config.valid_attachments) {
    PODWIRE_TRY(const auto attachments, context.store.list());
    for (const auto& attachment : attachments) {
      const auto& key = attachment.key;
      const ContainerInterface entry{key.container_id, key.ifname};
      if (key.network != call.config.name || std::find(valid->begin(), valid->end(), entry) != valid->end())
        continue;
      // The list is older than an ADD that is under way.
      if (gate.adding(key)) continue;
      const auto pass = gate.enter(key, ContainerGate::For::kOther);
      auto found = context.store.begin_delete(key);
      if (!found) {
        keep(name_of(key), found.error());
      } else if (*found) {
        spdlog::info("GC removes {}", name_of(key));
        keep(name_of(key), release(**found, -1));
      }
    }
  }
  if (!call.config.ipam_type.empty()) keep("IPAM plugin " + call.config.ipam_type, ipam.gc(ipam_call(call)));
  if (failures.empty()) return {};
  return CniError(CniCode::kGcIncomplete, "not everything could be removed: " + failures);
}

std::vector<std::string> CniService::recover() {
  auto& store = impl_->context.store;
  const auto rebooted = another_boot(store);
  auto attachments = store.list();
  if (!rebooted || !attachments) return {rebooted ? attachments.error().message : rebooted.error().message};
  std::vector<std::string> failures;
  for (const auto& attachment : *attachments) {
    // Named ports are kept until somebody deletes them.
    const bool kept = !*rebooted || attachment.key.is_named_port();
    if (attachment.state == AttachmentState::kReady && kept) continue;
    const auto pass = impl_->gate.enter(attachment.key, ContainerGate::For::kOther);
    const auto released = impl_->release(attachment, -1);
    if (released) {
      spdlog::info("{}: {}", name_of(attachment.key),
                   *rebooted && attachment.state == AttachmentState::kReady
                       ? "freed, the machine was rebooted since its ADD"
                       : "its unfinished ADD or DEL is undone");
    } else {
      failures.push_back(
          name_of(attachment.key) + " is half done and cannot be undone: " + released.error().message +
          (attachment.key.is_named_port() ? "; type: podwirectl port del " + attachment.key.container_id
                                          : "; the container runtime's DEL will try again"));
    }
  }
  if (!failures.empty()) return failures;
  if (auto noted = note_boot(store); !noted) failures.push_back(noted.error().message);
  return failures;
}

}  // namespace podwire::control
