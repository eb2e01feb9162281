// Services: the table of services in step with intent. Keeps one entry a service, made when the service
// appears or changes, and puts a new table together when services or the node's addresses have changed. Main
// thread only.
#pragma once

#include <map>
#include <memory>

#include "dataplane/tables/growing_table.hpp"
#include "dataplane/tables/intent.hpp"
#include "dataplane/tables/service_table.hpp"

namespace podwire::engine {

// What counts as the node's own: see ServiceTable::find. Sorted.
std::vector<IpAddr> node_addresses(const Intent& intent);

class Services {
 public:
  // `intent` has `changes` already. True: table() is another one now, to be published; the one before waits
  // in take_garbage().
  bool update(const Intent& intent, const Changes& changes);
  const ServiceTable* table() const { return table_.get(); }  // null: there are no services
  Garbage take_garbage() { return std::exchange(garbage_, {}); }

 private:
  std::map<ServiceId, std::shared_ptr<const ServiceEntry>> entries_;
  std::vector<IpAddr> node_addresses_;
  std::unique_ptr<const ServiceTable> table_;
  Garbage garbage_;
};

}  // namespace podwire::engine
