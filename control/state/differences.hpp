// Compares what the engine should hold with what it holds. Pure.
#pragma once

#include <string>
#include <vector>

#include "dataplane/api/objects.hpp"

namespace podwire::control {

// One sentence for each object that is missing, too many or different; names the fields that differ.
std::vector<std::string> compare_objects(const api::ObjectSet& desired, const api::ObjectSet& actual);

}  // namespace podwire::control
