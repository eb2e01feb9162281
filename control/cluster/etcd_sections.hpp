// Who follows which section of the store's keys beside the nodes' own, and what of a listing or of events is
// for whom. Followers are named before the cluster starts; the rest is the following thread's.
#pragma once

#include <string>
#include <vector>

#include "control/cluster/shared_store.hpp"

namespace podwire::control {

class EtcdSections {
 public:
  // `start`: of the section's keys.
  void add(std::string start, SharedSection& by) { sections_.push_back({std::move(start), &by, {}, {}}); }

  // A listing: takes what is for followers out of each page of it; who takes it in parts is told by
  // tell_parts(), everybody by tell_listed() at its end.
  void begin_listing();
  void take_out(std::vector<EtcdItem>& page);
  void tell_parts();
  Result<void> tell_listed();
  // What of events is for followers, for the next tell_changed(), is not in what is returned.
  std::vector<EtcdEvent> take_out(const std::vector<EtcdEvent>& events);
  void tell_changed();

 private:
  struct Section {
    std::string start;
    SharedSection* by;
    std::vector<EtcdItem> items;
    std::vector<EtcdEvent> events;
  };
  Section* of(const std::string& key);  // the narrowest

  std::vector<Section> sections_;
};

}  // namespace podwire::control
