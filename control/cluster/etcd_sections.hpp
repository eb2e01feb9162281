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

  // Takes what is for followers out of a listing or events, for the next tell() of that kind.
  void take_out(std::vector<EtcdItem>& items);
  std::vector<EtcdEvent> take_out(const std::vector<EtcdEvent>& events);
  Result<void> tell_listed();
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
