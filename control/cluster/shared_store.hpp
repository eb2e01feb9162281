// What nodes share through the cluster's store beside what they tell of themselves: sections of its keys,
// each followed by somebody (shared_manifests.hpp) with the listing and the watch that the nodes have anyway.
// Implemented by etcd_cluster.hpp; Flannel's store has no such sections.
#pragma once

#include <string>
#include <vector>

#include "control/cluster/etcd_client.hpp"

namespace podwire::control {

// Called on the thread of the cluster that follows the store, never two calls at once.
class SharedSection {
 public:
  virtual ~SharedSection() = default;
  // All of the section, as it was at one revision: at first, and again after every interruption. An error
  // ends the session; the next one begins with another listing.
  virtual Result<void> listed(const std::vector<EtcdItem>& items) = 0;
  // Who can begin with a part of a long listing gets it as it comes, in order of keys: begin_listing(), some
  // of it any number of times, and the rest by listed(). One that breaks off ends with the next
  // begin_listing(); what it told was so.
  virtual bool takes_parts() const { return false; }
  virtual void begin_listing() {}
  virtual void list_part(const std::vector<EtcdItem>&) {}
  // What changed since; may tell things twice, and late.
  virtual void changed(const std::vector<EtcdEvent>& events) = 0;
};

class SharedStore {
 public:
  virtual ~SharedStore() = default;
  // Of every key, with its slash at the end.
  virtual const std::string& prefix() const = 0;
  // The keys below prefix() + `section` ("manifests/"). Before the cluster's start(); it must outlive its
  // stop().
  virtual void follow(const std::string& section, SharedSection& by) = 0;
  // Asks it. kUnavailable: it does not answer, or not all of it has been read yet; with what to do.
  virtual Result<void> ready() = 0;
  // EtcdClient::commit. This and ready() from any thread; they block for the store's time-outs at most.
  virtual Result<std::int64_t> write(const EtcdTransaction& transaction) = 0;
};

}  // namespace podwire::control
