// Session: opens both ports, makes sure that frames get through, measures every size and flow count. Main
// thread, after EAL's start.
#pragma once

#include "bench/trafficgen/report.hpp"

namespace podwire::trafficgen {

Result<Report> run_session(const Settings& settings, const Tell& tell);

}  // namespace podwire::trafficgen
