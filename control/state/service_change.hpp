// A change of the cluster's services for the engine, and how it is cut to messages. Pure.
#pragma once

#include <map>
#include <vector>

#include "dataplane/api/objects.hpp"

namespace podwire::control {

struct ServiceChange {
  std::vector<api::Service> put;
  std::vector<ServiceId> removed;
};

// `change` in pieces to be patched one after another, of at most `limit` frontends (with their sources) and
// backends each unless a
// service alone has more. Each can be applied to what those before it leave: with more than one piece, what
// is removed or goes from one service to another is given up before anybody gets it. `before`: what the
// engine has.
std::vector<ServiceChange> pieces_of(const std::map<ServiceId, api::Service>& before,
                                     const ServiceChange& change, std::size_t limit);

}  // namespace podwire::control
