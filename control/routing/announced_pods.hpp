// Keeps the kernel's routes to pods that are reached without tunnels (announce.hpp) as pods come and go: one
// request to the kernel each, and none where the domain announces its prefixes only. Owns what it knows of
// the pods, no routes: those of pods that went while no daemon ran go with the next start(). Thread-safe; a
// pod's changes come one at a time. Works in the calling thread's network namespace, the node's own.
#pragma once

#include <mutex>

#include "control/routing/announce.hpp"

namespace podwire::control {

class AnnouncedPods {
 public:
  // It must outlive this.
  explicit AnnouncedPods(const Config& config) : config_(config) {}

  // The host interface is there. `pods`: those that are ready. Does nothing without a host interface.
  Result<void> start(std::vector<IpPrefix> node_addresses, const std::vector<Attachment>& pods);
  // The routes to one attachment's addresses, `there`, or to none: in place of those before. Before start()
  // nothing is done. A failure leaves what it knows as it was.
  Result<void> change(const Attachment& attachment, bool there);
  // What somebody removed comes back.
  Result<void> restore();
  // What somebody removed, one sentence each with what to type.
  Result<std::vector<std::string>> differences();

 private:
  Result<void> apply(const AnnouncedPod& before, const AnnouncedPod& after);
  netlink::Batch batch(const AnnouncedPod& before, const AnnouncedPod& after) const;

  const Config& config_;
  std::mutex mutex_;  // everything below
  bool started_ = false;
  netlink::Link link_;
  std::vector<IpPrefix> node_addresses_;
  std::map<PortId, AnnouncedPod> pods_;
};

}  // namespace podwire::control
