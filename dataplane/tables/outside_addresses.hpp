// OutsideAddresses: the table of endpoints' addresses outside in step with intent. Main thread only.
#pragma once

#include <memory>

#include "dataplane/tables/growing_table.hpp"
#include "dataplane/tables/intent.hpp"
#include "dataplane/tables/outside_table.hpp"

namespace podwire::engine {

// Whether connections of the endpoint, or to it, may have other ends outside after this change.
bool changes_outside(const Change<api::Endpoint>& change);

class OutsideAddresses {
 public:
  // `intent` has `changes` already. True: table() is another one now, to be published; the one before is in
  // `garbage`.
  bool update(const Intent& intent, const Changes& changes, Garbage& garbage);
  const OutsideTable* table() const { return table_.get(); }  // null: no endpoint has any

 private:
  std::unique_ptr<const OutsideTable> table_;
};

}  // namespace podwire::engine
